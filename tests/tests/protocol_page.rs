//! `docs/PROTOCOL.md` tells the truth: its bytes are the code's, its JSON is the hub's, its tables are complete, and a client written
//! from it alone plays.
//!
//! `UPDATE_PROTOCOL=1` rewrites the blocks of bytes.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

#[cfg(test)]
#[path = "protocol_page/json.rs"]
mod json;
#[cfg(test)]
#[path = "protocol_page/player.rs"]
mod player;
#[cfg(test)]
#[expect(dead_code, reason = "the golden files' test uses the rest")]
#[path = "../../shared-msgs/tests/golden/samples.rs"]
mod samples;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use auth_hub::handover::NoPlace;
use auth_hub::http::ProblemKind;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::{aead, hkdf};
use shared_msgs::codes::{Code, Retry};
use shared_msgs::limits;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

fn page() -> String {
    fs::read_to_string(root().join("docs/PROTOCOL.md")).unwrap()
}

/// The fenced blocks behind `<!-- KIND: NAME -->`: name, and where the block's text stands.
fn blocks<'a>(page: &'a str, kind: &str) -> Vec<(&'a str, std::ops::Range<usize>)> {
    let marker = format!("<!-- {kind}: ");
    let mut found = Vec::new();
    for (at, _) in page.match_indices(&marker) {
        let (name, rest) = page[at + marker.len()..].split_once(" -->\n```").unwrap();
        let start = page.len() - rest.len() + rest.find('\n').unwrap() + 1;
        let end = start + page[start..].find("```").unwrap();
        found.push((name, start..end));
    }
    found
}

/// The rows of the table behind `<!-- table: NAME -->`, cell by cell.
fn table(page: &str, name: &str) -> Vec<Vec<String>> {
    let marker = format!("<!-- table: {name} -->\n");
    let rows = page[page.find(&marker).unwrap() + marker.len()..].lines().take_while(|l| l.starts_with('|'));
    let cells = |row: &str| -> Vec<String> {
        row.trim_matches('|').split('|').map(|cell| cell.trim().trim_matches('`').to_owned()).collect()
    };
    rows.skip(2).map(cells).collect()
}

// ---- bytes ----

const TEXTS: [&str; 4] = ["token", "fleet-key-file", "server-key-line", "mqtt-password"];

struct Len;
impl hkdf::KeyType for Len {
    fn len(&self) -> usize {
        32
    }
}

/// As the page describes it, apart from the crate's own derivation.
fn derive(key: &[u8], salt: &[u8], info: &[&[u8]]) -> Vec<u8> {
    let mut out = vec![0; 32];
    let info = [info.concat()];
    let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(key);
    prk.expand(&[info[0].as_slice()], Len).unwrap().fill(&mut out).unwrap();
    out
}

fn keys() -> Vec<(&'static str, Vec<u8>)> {
    let fleet: Vec<u8> = (0..32).collect();
    let server = derive(&fleet, b"handover/v1 fleet", &[b"server", b"alpha", &1_u32.to_be_bytes()]);
    let of_server = |info: &[&[u8]]| derive(&server, b"handover/v1 server", info);
    let (password, tag) = (of_server(&[b"mqtt-password"]), of_server(&[b"token-tag"]));
    let purpose = of_server(&[b"purpose", &[4]]);
    let stream = derive(&purpose, &samples::STREAM.0, &[b"stream"]);
    vec![
        ("fleet key                 ", fleet),
        ("server key                ", server),
        ("password secret           ", password),
        ("token-tag key             ", tag),
        ("purpose key, 4 inbox      ", purpose),
        ("its stream key            ", stream),
    ]
}

fn examples() -> BTreeMap<&'static str, String> {
    let show = |(name, bytes): (&'static str, Vec<u8>)| {
        let text = if TEXTS.contains(&name) {
            String::from_utf8(bytes).unwrap().trim_end().to_owned() + "\n"
        } else {
            samples::to_hex(&bytes)
        };
        (name, text)
    };
    let lines: Vec<_> =
        keys().into_iter().map(|(name, key)| format!("{name} {}", samples::to_hex(&key))).collect();
    samples::all().into_iter().map(show).chain([("keys", lines.concat())]).collect()
}

#[test]
fn the_bytes_on_the_page_are_the_codes() {
    let (examples, mut page) = (examples(), page());
    if std::env::var_os("UPDATE_PROTOCOL").is_some() {
        let found: Vec<_> = blocks(&page, "example").into_iter().map(|(n, r)| (n.to_owned(), r)).collect();
        for (name, range) in found.into_iter().rev() {
            page.replace_range(range, &examples[name.as_str()]);
        }
        fs::write(root().join("docs/PROTOCOL.md"), &page).unwrap();
    }
    let shown = blocks(&page, "example");
    for (name, range) in &shown {
        let example = examples.get(name).unwrap_or_else(|| panic!("the page shows {name}: no such example"));
        assert_eq!(&page[range.clone()], example, "{name}: on the page, and as the code makes it");
    }
    let frames = examples.keys().filter(|name| name.starts_with("frame-"));
    for name in frames.chain([&"keys", &"token", &"envelope-inbox"]) {
        assert!(shown.iter().any(|(shown, _)| shown == name), "the page does not show {name}");
    }
}

#[test]
fn keys_and_envelopes_are_what_the_page_says() {
    let keys: BTreeMap<_, _> = keys().into_iter().map(|(name, key)| (name.trim_end(), key)).collect();
    let line = samples::server_key().to_line().to_string();
    assert_eq!(line, format!("hub-server-1.alpha.1.1.{}", URL_SAFE_NO_PAD.encode(&keys["server key"])));
    let password = format!("1.1.{}", URL_SAFE_NO_PAD.encode(&keys["password secret"]));
    assert_eq!(*samples::server_key().mqtt_password(), password);

    let token = URL_SAFE_NO_PAD.decode(samples::token().0.expose()).unwrap();
    let boot =
        [&(samples::NOW.0 - 60_000).to_be_bytes()[..], &0x0123_4567_89ab_cdef_u64.to_be_bytes()].concat();
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &keys["token-tag key"]);
    let tag = ring::hmac::sign(&key, &[&token[..41], &boot, b"alpha"].concat());
    assert_eq!(token[41..], tag.as_ref()[..16]);

    let mut sealed = samples::sealed();
    let mut plain = sealed.split_off(32);
    let key = aead::UnboundKey::new(&aead::AES_256_GCM, &keys["its stream key"]).unwrap();
    let nonce = [&[0; 4], &sealed[24..32]].concat().try_into().unwrap();
    let aad = [&sealed[..], b"handover/v1/servers/alpha/inbox"].concat();
    let nonce = aead::Nonce::assume_unique_for_key(nonce);
    let plain = aead::LessSafeKey::new(key).open_in_place(nonce, aead::Aad::from(aad), &mut plain).unwrap();
    assert_eq!(plain[..8], samples::NOW.0.to_be_bytes());
}

// ---- tables ----

#[test]
fn the_table_of_codes_is_complete() {
    let row = |(number, code): (usize, Code)| {
        let (retry, after) = match code.retry() {
            Retry::Never => ("never", 0),
            Retry::SameToken { after_ms } => ("same token", after_ms),
            Retry::NewHandover { after_ms } => ("new handover", after_ms),
        };
        vec![number.to_string(), code.as_str().to_owned(), retry.to_owned(), after.to_string()]
    };
    let rows = table(&page(), "codes");
    assert!(rows.iter().all(|row| !row[4].is_empty()), "a code without a meaning");
    let shown: Vec<_> = rows.into_iter().map(|row| row[..4].to_vec()).collect();
    assert_eq!(shown, Code::ALL.into_iter().enumerate().map(row).collect::<Vec<_>>());
}

/// Lists an enum's variants; does not compile when one is missing.
macro_rules! variants {
    ($all:ident, $of:ident, [$($variant:ident),+] $(, $rest:pat)?) => {
        const $all: &[$of] = &{
            const fn known(of: $of) -> $of {
                match of { $($of::$variant => of,)+ $($rest => of)? }
            }
            [$(known($of::$variant)),+]
        };
    };
}

variants!(
    NO_PLACES,
    NoPlace,
    [
        NoServerOnline,
        AllServersFull,
        ServerUnknown,
        ServerFull,
        ServerDraining,
        HubBusy,
        TimedOut,
        TicketUnknown,
        PartyIncomplete,
        PartyBroken,
        PartyMismatch,
        Kicked,
        Banned,
        DuplicateLogin
    ]
);
variants!(
    PROBLEMS,
    ProblemKind,
    [
        MalformedRequest,
        InvalidRequest,
        BodyTooLarge,
        UnsupportedMediaType,
        RequestTimedOut,
        NotFound,
        MethodNotAllowed,
        InvalidCredentials,
        TooManyAttempts,
        Banned,
        RegistrationClosed,
        LoginTaken,
        InvalidLogin,
        InvalidPassword,
        InvalidDisplayName,
        AccessTokenInvalid,
        AccessTokenExpired,
        IdempotencyKeyReused,
        RequestInProgress,
        HubBusy,
        NotReady,
        Internal,
        Maintenance,
        ClientTooOld,
        AdminKeyInvalid,
        AccountUnknown,
        ServerOffline
    ],
    ProblemKind::NoPlace(_)
);

#[test]
fn the_table_of_problems_is_complete() {
    let all = PROBLEMS.iter().copied().chain(NO_PLACES.iter().copied().map(ProblemKind::NoPlace));
    let all: BTreeSet<_> = all.collect();
    assert_eq!(all, ProblemKind::ALL.into_iter().collect(), "the hub's own list");
    let all: BTreeMap<_, _> =
        all.into_iter().map(|kind| (kind.code().to_owned(), kind.status().as_u16().to_string())).collect();
    let rows = table(&page(), "problems");
    let shown: BTreeMap<_, _> = rows.iter().map(|row| (row[0].clone(), row[1].clone())).collect();
    assert_eq!(shown, all);
    assert_eq!(shown.len(), rows.len(), "a code stands twice");
}

#[test]
fn the_limits_are_the_codes() {
    let bytes = |of: usize| of.to_string();
    let ms = |of: Duration| of.as_millis().to_string();
    let limits = [
        bytes(limits::FRAME_BYTES_MAX),
        bytes(limits::TOKEN_TEXT_BYTES_MAX),
        bytes(limits::CREDENTIAL_TEXT_BYTES_MAX),
        bytes(limits::BUILD_BYTES_MAX),
        bytes(limits::APP_DATA_BYTES_MAX),
        bytes(limits::NAME_BYTES_MAX),
        bytes(limits::DISPLAY_NAME_BYTES_MAX),
        bytes(limits::ADDRESS_BYTES_MAX),
        bytes(limits::ENDPOINTS_MAX),
        bytes(limits::LABELS_MAX),
        bytes(limits::LABEL_BYTES_MAX),
        bytes(limits::STATUS_MESSAGE_BYTES_MAX),
        bytes(limits::PAYLOAD_BYTES_MAX),
        bytes(limits::MESSAGE_BYTES_MAX),
        bytes(limits::ROSTER_PAGE_ENTRIES_MAX),
        bytes(limits::END_HASHES_MAX),
        bytes(limits::NOTICE_BYTES_MAX),
        bytes(limits::PROBE_ECHOES_MAX),
        limits::PLAYERS_PER_SERVER_MAX.to_string(),
        limits::PARKED_MIN.to_string(),
        bytes(limits::HUB_STREAMS_MAX),
        bytes(limits::WAITING_PER_ACCOUNT_MAX),
        bytes(limits::LUGGAGE_BYTES_MAX),
        bytes(limits::LUGGAGE_BYTES_TOTAL_MAX),
        bytes(limits::MOVE_REGIONS_MAX),
        ms(limits::STATUS_BEAT),
        ms(limits::STATUS_GAP_MIN),
        ms(limits::LEASE),
        ms(limits::CLOCK_SKEW_MAX),
        ms(limits::TOKEN_LIFE),
        ms(limits::PARK_TIME),
        ms(limits::CLOSED_LIFE),
        ms(limits::HELLO_DEADLINE),
        ms(limits::SAVE_TIME),
        ms(limits::RECONNECT_GRACE),
        ms(limits::RECONNECT_GRACE_MAX),
        ms(limits::LOGIN_DEADLINE),
        ms(limits::FENCE_AHEAD_MAX),
        ms(limits::RECONNECT_FIRST),
        ms(limits::RECONNECT_MAX),
    ];
    let shown: Vec<_> = table(&page(), "limits").into_iter().map(|row| row[1].clone()).collect();
    assert_eq!(shown, limits);
}
