//! One fixed value of everything that travels, and its name: what the golden files and the examples of `docs/PROTOCOL.md` show.
//!
//! Adding a variant does not compile until it has a name here; a name without a sample fails `golden.rs`. Knows no files.

use std::fmt::Write as _;

use shared_msgs::clock::UnixMs;
use shared_msgs::codec;
use shared_msgs::codes::{Code, Retry};
use shared_msgs::envelope::Sealer;
use shared_msgs::frames::{self, ClientFrame, Frame, Hello, Resume, ServerFrame};
use shared_msgs::ids::{BootId, Fence, HandoverId, HubId, PlayerId, ServerId, StreamId, TokenHash};
use shared_msgs::keys::{FleetKeys, Purpose, ServerKey};
use shared_msgs::messages::{
    End, Endpoint, EntryKind, Grant, HubMessage, Message, Occupancy, Order, ProbeEcho, Profile, RosterDigest,
    RosterEntry, ServerMessage, ServerState, SkewNotice, Stamp, Status, Verdict,
};
use shared_msgs::moves::{Luggage, Move, MoveAnswer, MoveTarget};
use shared_msgs::reconnect::{BoundTo, CredentialName};
use shared_msgs::rng::Rng;
use shared_msgs::token::{Token, TokenTag};
use shared_msgs::topics::Topic;

/// Names each variant of an enum, and lists the names.
macro_rules! names {
    ($fn:ident, $all:ident, $of:ty, $($variant:pat => $name:literal,)+) => {
        pub(crate) fn $fn(of: &$of) -> &'static str {
            match of { $($variant => $name,)+ }
        }
        pub(crate) const $all: &[&str] = &[$($name),+];
    };
}

names! { name_of_server_message, SERVER_MESSAGES, ServerMessage,
    ServerMessage::Status(_) => "server-status",
    ServerMessage::Gone { .. } => "server-gone",
    ServerMessage::GrantReply { verdict: Verdict::Held, .. } => "server-grant-reply-held",
    ServerMessage::GrantReply { verdict: Verdict::Redeemed, .. } => "server-grant-reply-redeemed",
    ServerMessage::GrantReply { verdict: Verdict::Refused(_), .. } => "server-grant-reply-refused",
    ServerMessage::Ended { .. } => "server-ended",
    ServerMessage::Joined { .. } => "server-joined",
    ServerMessage::Left { .. } => "server-left",
    ServerMessage::RosterPage { .. } => "server-roster-page",
    ServerMessage::Noticed { .. } => "server-noticed",
    ServerMessage::Move(_) => "server-move",
}

names! { name_of_hub_message, HUB_MESSAGES, HubMessage,
    HubMessage::Order { order: Order::Probe { .. }, .. } => "hub-order-probe",
    HubMessage::Order { order: Order::Grant(_), .. } => "hub-order-grant",
    HubMessage::Order { order: Order::End(_), .. } => "hub-order-end",
    HubMessage::Order { order: Order::Drain { .. }, .. } => "hub-order-drain",
    HubMessage::Order { order: Order::Roster { .. }, .. } => "hub-order-roster",
    HubMessage::Order { order: Order::Superseded { .. }, .. } => "hub-order-superseded",
    HubMessage::Order { order: Order::Undrain, .. } => "hub-order-undrain",
    HubMessage::Order { order: Order::Notice { .. }, .. } => "hub-order-notice",
    HubMessage::Order { order: Order::MoveAnswer(_), .. } => "hub-order-move-answer",
}

names! { name_of_skew_notice, SKEW_NOTICES, SkewNotice,
    SkewNotice::Clocks { .. } => "skew-clocks",
}

names! { name_of_client_frame, CLIENT_FRAMES, ClientFrame,
    ClientFrame::Hello(_) => "frame-client-hello",
    ClientFrame::App(_) => "frame-client-app",
    ClientFrame::Leave => "frame-client-leave",
    ClientFrame::Resume(_) => "frame-client-resume",
    ClientFrame::Kept => "frame-client-kept",
}

names! { name_of_server_frame, SERVER_FRAMES, ServerFrame,
    ServerFrame::Welcome { .. } => "frame-server-welcome",
    ServerFrame::Delayed { .. } => "frame-server-delayed",
    ServerFrame::Refused { retry: Retry::Never, .. } => "frame-server-refused-never",
    ServerFrame::Refused { retry: Retry::SameToken { .. }, .. } => "frame-server-refused-same-token",
    ServerFrame::Refused { retry: Retry::NewHandover { .. }, .. } => "frame-server-refused-new-handover",
    ServerFrame::App(_) => "frame-server-app",
    ServerFrame::Ending { .. } => "frame-server-ending",
    ServerFrame::Notice { .. } => "frame-server-notice",
    ServerFrame::Reconnect { .. } => "frame-server-reconnect",
}

/// 2026-01-01 00:00:00 UTC.
pub(crate) const NOW: UnixMs = UnixMs(1_767_225_600_000);
pub(crate) const EXPIRY: UnixMs = UnixMs(NOW.0 + 90_000);
pub(crate) const STREAM: StreamId = StreamId(*b"0123456789abcdef");
const BOOT: BootId = BootId { started: UnixMs(NOW.0 - 60_000), random: 0x0123_4567_89ab_cdef };
const NEWER_BOOT: BootId = BootId { started: UnixMs(NOW.0 - 1), random: 7 };
const PLAYER: PlayerId = PlayerId([0x50; 16]);
const NOTICE: u64 = 9;
const HANDOVER: HandoverId = HandoverId([0x48; 16]);
const FENCE: Fence = Fence { hlc: (NOW.0 << 16) | 3, hub: 0 };

/// Counts up from 0: its bytes are easily seen in a dump.
#[derive(Debug)]
struct Ramp;

impl Rng for Ramp {
    fn fill(&self, out: &mut [u8]) {
        out.iter_mut().zip(0..=u8::MAX).for_each(|(byte, n)| *byte = n);
    }
}

pub(crate) fn server() -> ServerId {
    "alpha".parse().unwrap()
}

fn hub() -> HubId {
    "hub-00000000000000aa".parse().unwrap()
}

/// Epoch 1, the secret's bytes counting up from 0.
pub(crate) fn fleet() -> FleetKeys {
    FleetKeys::generate(&Ramp)
}

pub(crate) fn server_key() -> ServerKey {
    fleet().server_key(&server(), 1)
}

pub(crate) fn token_tag() -> TokenTag {
    TokenTag::new(&server_key(), &server(), BOOT)
}

pub(crate) fn token() -> (Token, TokenHash) {
    token_tag().mint(EXPIRY, &Ramp)
}

fn credential() -> String {
    let bound = BoundTo { boot: BOOT, player: PLAYER, fence: FENCE };
    bound.mint(CredentialName::random(&Ramp), &Ramp).0.expose().to_owned()
}

fn stamp(is_change: bool) -> Stamp {
    let occupancy = Occupancy { players: 41, held: 2, parked: 1, max_players: 300 };
    Stamp { boot: BOOT, rev: 1000, is_change, occupancy }
}

fn entry(kind: EntryKind) -> RosterEntry {
    RosterEntry { hash: token().1, player: PLAYER, fence: FENCE, kind }
}

fn luggage() -> Luggage {
    b"hat".to_vec().into()
}

pub(crate) fn server_messages() -> Vec<ServerMessage> {
    let mut digest = RosterDigest::default();
    digest.add(&entry(EntryKind::Live));
    let status = Status {
        stamp: stamp(false),
        profile: Profile {
            name: "Alpha".into(),
            realm: "main".parse().unwrap(),
            region: "eu".into(),
            build: "1.2.3".into(),
            msg_version_max: 1,
            endpoints: vec![Endpoint { transport: "tcp".into(), address: "play.example.org:7000".into() }],
            labels: vec!["pvp".into(), "mode=ranked".into()],
        },
        state: ServerState::Online,
        load_percent: 14,
        digest,
        echoes: vec![ProbeEcho { hub: hub(), n: 77 }],
        message: "Season 2 starts at 20:00".into(),
    };
    let reply = |verdict, is_change| ServerMessage::GrantReply {
        stamp: stamp(is_change),
        handover: HANDOVER,
        hash: token().1,
        player: PLAYER,
        fence: FENCE,
        verdict,
    };
    let page =
        vec![entry(EntryKind::Held), RosterEntry { hash: TokenHash([9; 32]), ..entry(EntryKind::Live) }];
    vec![
        ServerMessage::Status(Box::new(status)),
        ServerMessage::Gone { boot: BOOT },
        reply(Verdict::Held, true),
        reply(Verdict::Redeemed, false),
        reply(Verdict::Refused(Code::ServerFull), false),
        ServerMessage::Ended { stamp: stamp(false), player: PLAYER, below: FENCE, hashes: vec![token().1] },
        ServerMessage::Joined { stamp: stamp(true), entry: entry(EntryKind::Live) },
        ServerMessage::Left { stamp: stamp(true), entry: entry(EntryKind::Live) },
        ServerMessage::RosterPage { stamp: stamp(false), request: 5, page: 0, pages: 1, entries: page },
        ServerMessage::Noticed { stamp: stamp(false), id: NOTICE },
        ServerMessage::Move(Box::new(Move {
            stamp: stamp(false),
            request: 6,
            player: PLAYER,
            fence: FENCE,
            target: MoveTarget::Regions(vec!["eu".into()]),
            luggage: luggage(),
            within_ms: 14_000,
        })),
    ]
}

pub(crate) fn hub_messages() -> Vec<HubMessage> {
    let grant = Grant {
        handover: HANDOVER,
        hash: token().1,
        player: PLAYER,
        fence: FENCE,
        expires_at: EXPIRY,
        name: "Ada".into(),
        luggage: luggage(),
    };
    let end = End {
        player: PLAYER,
        below: FENCE,
        hashes: vec![token().1],
        reason: Code::Superseded,
        save_within_ms: 4000,
    };
    [
        Order::Probe { hub: hub(), n: 77 },
        Order::Grant(grant),
        Order::End(end),
        Order::Drain { within_ms: 60_000 },
        Order::Roster { request: 5 },
        Order::Superseded { by: NEWER_BOOT },
        Order::Undrain,
        Order::Notice { id: NOTICE, text: "Restart at ten.".into() },
        Order::MoveAnswer(MoveAnswer { request: 6, player: PLAYER, code: Some(Code::AllServersFull) }),
    ]
    .map(|order| HubMessage::Order { boot: BOOT, order })
    .into()
}

pub(crate) fn skew_notices() -> Vec<SkewNotice> {
    vec![SkewNotice::Clocks { ours: NOW, yours: UnixMs(NOW.0 - 45_000) }]
}

pub(crate) fn client_frames() -> Vec<ClientFrame> {
    let token = token().0.expose().to_owned();
    let hello = Hello { version: 1, token, build: "1.2.3".into(), app_data: vec![0xca, 0xfe] };
    let resume =
        Resume { version: 1, credential: credential(), build: "1.2.3".into(), app_data: vec![0xca, 0xfe] };
    vec![
        ClientFrame::Hello(hello),
        ClientFrame::App(b"who".to_vec()),
        ClientFrame::Leave,
        ClientFrame::Resume(resume),
        ClientFrame::Kept,
    ]
}

pub(crate) fn server_frames() -> Vec<ServerFrame> {
    vec![
        ServerFrame::Welcome { name: "Ada".into(), server: server(), session: HANDOVER },
        ServerFrame::Delayed { deadline_ms: 10_000 },
        ServerFrame::refused(Code::Banned, None),
        ServerFrame::refused(Code::ServerBusy, None),
        ServerFrame::refused(Code::ServerFull, Some(HANDOVER)),
        ServerFrame::App(b"Ada\nBob".to_vec()),
        ServerFrame::Ending { code: Code::Kicked.as_str().to_owned(), save_within_ms: 4000 },
        ServerFrame::Notice { text: "Restart at ten.".into() },
        ServerFrame::Reconnect { credential: credential(), within_ms: 30_000 },
    ]
}

/// A hub's envelope with a grant, the first of its stream.
pub(crate) fn sealed() -> Vec<u8> {
    let mut sealer = Sealer::new(&server_key(), Purpose::Inbox, STREAM, &Topic::Inbox(server()));
    sealer.seal(NOW, &message(&hub_messages()[1])).unwrap()
}

/// A server's last will.
pub(crate) fn sealed_will() -> Vec<u8> {
    let mut sealer = Sealer::new(&server_key(), Purpose::Will, STREAM, &Topic::Status(server()));
    sealer.seal(NOW, &message(&server_messages()[1])).unwrap()
}

fn message<M: Message>(of: &M) -> Vec<u8> {
    codec::encode(of).unwrap()
}

fn frame<F: Frame>(of: &F) -> Vec<u8> {
    frames::encode(of).unwrap()
}

/// As golden files and examples have it: 32 bytes a line.
pub(crate) fn to_hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for line in bytes.chunks(32) {
        for byte in line {
            write!(text, "{byte:02x}").unwrap();
        }
        text.push('\n');
    }
    text
}

/// Everything by name, as it travels; texts as their bytes.
pub(crate) fn all() -> Vec<(&'static str, Vec<u8>)> {
    let mut all = Vec::new();
    all.extend(server_messages().iter().map(|m| (name_of_server_message(m), message(m))));
    all.extend(hub_messages().iter().map(|m| (name_of_hub_message(m), message(m))));
    all.extend(skew_notices().iter().map(|m| (name_of_skew_notice(m), message(m))));
    all.extend(client_frames().iter().map(|f| (name_of_client_frame(f), frame(f))));
    all.extend(server_frames().iter().map(|f| (name_of_server_frame(f), frame(f))));
    all.push(("token", token().0.expose().as_bytes().to_vec()));
    all.push(("token-hash", token().1.0.to_vec()));
    all.push(("envelope-inbox", sealed()));
    all.push(("envelope-will", sealed_will()));
    all.push(("fleet-key-file", fleet().to_file_text().as_bytes().to_vec()));
    all.push(("server-key-line", server_key().to_line().as_bytes().to_vec()));
    all.push(("mqtt-password", server_key().mqtt_password().as_bytes().to_vec()));
    all
}
