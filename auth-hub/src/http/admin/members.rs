//! The members of the admin API's bodies.
//!
//! Invariant: as with clients' bodies, what is not in a table is refused.

use shared_msgs::limits;

use crate::accounts::account::LOGIN_CHARS_MAX;
use crate::accounts::audit::{AUDIT_ROWS_MAX, REASON_BYTES_MAX};
use crate::accounts::entry_rules::ALLOWED_MAX;
use crate::http::members::{BUILD, Form, Member, Members, SERVER};

/// Longest text that players are shown.
pub(in crate::http) const MESSAGE_BYTES_MAX: usize = 500;
const DAY_S: u64 = 24 * 60 * 60;

const fn text(name: &'static str, bytes_max: usize, needed: bool, about: &'static str) -> Member {
    Member { name, form: Form::Text { bytes_min: 1, bytes_max, pattern: None }, needed, about }
}

const fn number(name: &'static str, min: u64, max: u64, about: &'static str) -> Member {
    Member { name, form: Form::Number { min, max }, needed: false, about }
}

/// Who acts.
pub(super) const OPERATOR: Member = text("operator", 64, true, "Who acts, for the audit.");
/// Why.
pub(super) const WHY: Member =
    text("why", REASON_BYTES_MAX, true, "Why, for the audit; a banned player reads it, too.");
/// Whom.
pub(super) const PLAYER: Member = text("player", 64, true, "A login name or an account id.");
/// Whom, or nearly.
pub(super) const LIKE: Member =
    text("player", 64, true, "A login name, an account id, or the start of a login or display name.");
/// Where.
pub(super) const ON: Member = Member { needed: true, ..SERVER };
/// How long a server's players may stay.
pub(super) const WITHIN: Member =
    number("within_s", 1, DAY_S, "Who is left after so many seconds is ended, in time to save.");
/// How long a ban holds.
pub(super) const FOR: Member =
    number("for_s", 1, 3_650 * DAY_S, "Seconds until it ends by itself; for ever when missing.");
/// What is left of a server's keys.
pub(super) const LOWEST: Member = Member {
    needed: true,
    ..number("lowest", 2, u32::MAX as u64, "The lowest generation that is still believed.")
};
/// How many.
pub(super) const LAST: Member =
    number("last", 1, AUDIT_ROWS_MAX as u64, "How many of the last actions; 20 when missing.");
/// What players read.
pub(super) const MESSAGE: Member =
    text("message", MESSAGE_BYTES_MAX, false, "What players are told; missing or null: none.");
/// What players in game read now.
pub(super) const TEXT: Member = text("text", MESSAGE_BYTES_MAX, true, "What players in game are told.");
/// Whom maintenance does not stop.
pub(super) const ALLOW: Member = Member {
    name: "allow",
    form: Form::Texts { items_max: ALLOWED_MAX, bytes_max: LOGIN_CHARS_MAX, pattern: None },
    needed: false,
    about: "Login names that get in all the same.",
};

/// Of each route.
pub(in crate::http) const DRAIN: Members = &[&ON, &WITHIN, &WHY, &OPERATOR];
pub(in crate::http) const ON_SERVER: Members = &[&ON, &WHY, &OPERATOR];
pub(in crate::http) const REVOKE: Members = &[&ON, &LOWEST, &WHY, &OPERATOR];
pub(in crate::http) const FIND: Members = &[&LIKE];
pub(in crate::http) const OF_PLAYER: Members = &[&PLAYER];
pub(in crate::http) const KICK: Members = &[&PLAYER, &WHY, &OPERATOR];
pub(in crate::http) const BAN: Members = &[&PLAYER, &FOR, &WHY, &OPERATOR];
pub(in crate::http) const MAINTENANCE: Members = &[&MESSAGE, &ALLOW, &WHY, &OPERATOR];
pub(in crate::http) const LEAST_BUILD: Members = &[&BUILD, &WHY, &OPERATOR];
pub(in crate::http) const SAY: Members = &[&MESSAGE, &WHY, &OPERATOR];
pub(in crate::http) const BROADCAST: Members = &[&TEXT, &SERVER, &WHY, &OPERATOR];
pub(in crate::http) const AUDIT: Members = &[&LAST];

const _: () = assert!(MESSAGE_BYTES_MAX * 2 < limits::FRAME_BYTES_MAX, "what players are told fits a frame");
