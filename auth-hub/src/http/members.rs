//! The members of the requests' bodies: one table that reads, that refuses and that the API's document shows.
//!
//! Knows names, forms and bounds; what a text means is its type's business. Invariant: a body is read by its table alone, so what the
//! document says can be asked is what can be asked.

use shared_msgs::{limits, text};

use crate::accounts::account::{LOGIN_CHARS_MAX, LOGIN_CHARS_MIN, PASSWORD_BYTES_MAX, PASSWORD_BYTES_MIN};
use crate::accounts::entry_rules::ALLOWED_MAX;
use crate::queue::PARTY_MAX;

/// Longest region a client may ask for.
pub(super) const REGION_BYTES_MAX: usize = 64;

/// Shortest and longest key of a party.
pub(super) const PARTY_BYTES_MIN: usize = 16;
/// See [`PARTY_BYTES_MIN`].
pub(super) const PARTY_BYTES_MAX: usize = 64;

/// Most regions in a list.
pub(super) const REGIONS_MAX: usize = 8;

/// Most labels in a list.
pub(super) const LABELS_MAX: usize = 8;

/// Most texts in any list.
pub(super) const TEXTS_MAX: usize = if ALLOWED_MAX > REGIONS_MAX { ALLOWED_MAX } else { REGIONS_MAX };
const _: () = assert!(TEXTS_MAX >= LABELS_MAX);
const _: () = assert!(REGIONS_MAX <= TEXTS_MAX && LABELS_MAX <= TEXTS_MAX);

/// Most latencies.
pub(super) const LATENCIES_MAX: usize = 16;

/// Longest latency.
pub(super) const LATENCY_MS_MAX: u32 = 60_000;

/// What a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// A text of so many bytes as UTF-8, and of this form where it is not free.
    Text { bytes_min: usize, bytes_max: usize, pattern: Option<&'static str> },
    /// True or false.
    Flag { default: bool },
    /// A list of at most so many texts of so many bytes as UTF-8, each of this form where it is not free.
    Texts { items_max: usize, bytes_max: usize, pattern: Option<&'static str> },
    /// A whole number.
    Number { min: u64, max: u64 },
    /// An object of at most so many whole numbers from 0 on, under names of so many bytes as UTF-8.
    Numbers { items_max: usize, name_bytes_max: usize, max: u32 },
}

/// One member of a body.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) name: &'static str,
    pub(super) form: Form,
    /// Must be there. What may be missing may be null as well.
    pub(super) needed: bool,
    /// For people.
    pub(super) about: &'static str,
}

impl Member {
    /// In words, for a refusal.
    pub(super) const fn must_be(&self) -> &'static str {
        match self.form {
            Form::Text { .. } => "must be a text",
            Form::Flag { .. } => "must be true or false",
            Form::Texts { .. } => "must be a list of texts",
            Form::Number { .. } => "must be a whole number",
            Form::Numbers { .. } => "must be an object of whole numbers",
        }
    }
}

const ANY: Form = Form::Text { bytes_min: 0, bytes_max: usize::MAX, pattern: None };

/// The login name of somebody new.
pub(super) const NEW_LOGIN: Member = Member {
    name: "login",
    form: Form::Text {
        bytes_min: LOGIN_CHARS_MIN,
        bytes_max: LOGIN_CHARS_MAX,
        pattern: Some("^[A-Za-z0-9][A-Za-z0-9_.-]*$"),
    },
    needed: true,
    about: "What one types to log in. Upper case is folded to lower.",
};

/// The password of somebody new.
pub(super) const NEW_PASSWORD: Member = Member {
    name: "password",
    form: Form::Text { bytes_min: PASSWORD_BYTES_MIN, bytes_max: PASSWORD_BYTES_MAX, pattern: None },
    needed: true,
    about: "Any text. Its length is counted in bytes, as UTF-8.",
};

/// The display name of somebody new.
pub(super) const DISPLAY_NAME: Member = Member {
    name: "display_name",
    form: Form::Text { bytes_min: 0, bytes_max: usize::MAX, pattern: None },
    needed: false,
    about: "What other players see; the login name as typed when missing. Normalised (NFKC, spaces), and then bound by the rules of \
            display names.",
};

/// The login name of anybody. One that nobody can have is a wrong one.
pub(super) const LOGIN: Member = Member {
    name: "login",
    form: ANY,
    needed: true,
    about: "As registered; the case of letters does not matter.",
};

/// The password of anybody. One that nobody can have is a wrong one.
pub(super) const PASSWORD: Member =
    Member { name: "password", form: ANY, needed: true, about: "As registered." };

/// Which server.
pub(super) const SERVER: Member = Member {
    name: "server",
    form: Form::Text { bytes_min: 1, bytes_max: limits::NAME_BYTES_MAX, pattern: Some("^[a-z0-9-]*$") },
    needed: false,
    about: "This server or none.",
};

/// Where.
pub(super) const REGION: Member = Member {
    name: "region",
    form: Form::Text { bytes_min: 0, bytes_max: REGION_BYTES_MAX, pattern: None },
    needed: false,
    about: "Servers of this region first. Empty is the same as missing.",
};

/// Where, in the order of liking.
pub(super) const REGIONS: Member = Member {
    name: "regions",
    form: Form::Texts { items_max: REGIONS_MAX, bytes_max: REGION_BYTES_MAX, pattern: None },
    needed: false,
    about: "Servers of the first of these regions that has a place, degraded servers last of all. Not beside `region`. An empty list is the \
            same as a missing one.",
};

/// How far away.
pub(super) const LATENCIES: Member = Member {
    name: "latencies",
    form: Form::Numbers { items_max: LATENCIES_MAX, name_bytes_max: REGION_BYTES_MAX, max: LATENCY_MS_MAX },
    needed: false,
    about: "Milliseconds to a server of each region, as the client measured them: servers of nearer regions first, those of regions without a \
            figure last. Regions nearly as near are equals. Not beside `region` or `regions`. An empty object is the same as a missing one.",
};

/// What kind.
pub(super) const LABELS: Member = Member {
    name: "labels",
    form: Form::Texts {
        items_max: LABELS_MAX,
        bytes_max: limits::LABEL_BYTES_MAX,
        pattern: Some(text::LABEL_PATTERN),
    },
    needed: false,
    about: "Only servers with all of these labels, as `GET /servers` shows them. An empty list is the same as a missing one.",
};

/// Whether the last server counts.
pub(super) const STICKY: Member = Member {
    name: "sticky",
    form: Form::Flag { default: true },
    needed: false,
    about: "`false`: the server that the player was on last is as good as any other.",
};

/// Whether to hand over at once.
pub(super) const WANTS_PLACE: Member = Member {
    name: "handover",
    form: Form::Flag { default: true },
    needed: false,
    about: "`false`: only log in; `handover` in the reply is then `null`.",
};

/// With whom.
pub(super) const PARTY: Member = Member {
    name: "party",
    form: Form::Text {
        bytes_min: PARTY_BYTES_MIN,
        bytes_max: PARTY_BYTES_MAX,
        pattern: Some("^[A-Za-z0-9_-]*$"),
    },
    needed: false,
    about: "A random text that the members of a party share: they get places on one server, all of them or none. Each logs in for itself, \
            asks for the same, and says `party_size`. Always answered with a ticket first.",
};

/// How many they are.
pub(super) const PARTY_SIZE: Member = Member {
    name: "party_size",
    form: Form::Number { min: 2, max: PARTY_MAX as u64 },
    needed: false,
    about: "How many the party has. Only beside `party`, and always there.",
};

/// What asks.
pub(super) const BUILD: Member = Member {
    name: "build",
    form: Form::Text {
        bytes_min: 1,
        bytes_max: limits::BUILD_BYTES_MAX,
        pattern: Some("^[0-9]{1,19}([.][0-9]{1,19})*$"),
    },
    needed: false,
    about: "The client's build, as dotted numbers: 1.10 is newer than 1.9. An operator may ask for a least one; who says none is too old then.",
};

/// A table of members.
pub(super) type Members = &'static [&'static Member];

/// `POST /auth/register`.
pub(super) const REGISTER: Members = &[&NEW_LOGIN, &NEW_PASSWORD, &DISPLAY_NAME];
/// `POST /auth/login`.
pub(super) const LOG_IN: Members = &[
    &LOGIN,
    &PASSWORD,
    &SERVER,
    &REGION,
    &REGIONS,
    &LATENCIES,
    &LABELS,
    &STICKY,
    &PARTY,
    &PARTY_SIZE,
    &WANTS_PLACE,
    &BUILD,
];
/// `POST /handover`.
pub(super) const HAND_OVER: Members =
    &[&SERVER, &REGION, &REGIONS, &LATENCIES, &LABELS, &STICKY, &PARTY, &PARTY_SIZE, &BUILD];
