//! Everything that happens by itself, in order of time.
//!
//! Two queues: moments of our monotonic clock, and grants' expiries, which travel as wall-clock times and so move when our wall clock
//! steps. Owns no meaning: what falls due is looked up by the gate, and may be gone. Invariant: what is put in comes out once, never early.

use std::collections::BTreeSet;

use shared_msgs::clock::{Mono, Now, UnixMs};
use shared_msgs::ids::{PlayerId, TokenHash};
use shared_msgs::reconnect::CredentialName;

use super::types::{SlotId, Ticket};

/// What falls due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Due {
    /// A parked client has waited long enough.
    Unpark(Ticket),
    /// A held grant is over.
    Expire(TokenHash),
    /// A closed hash may be forgotten.
    ForgetMark(TokenHash),
    /// A player's floor may be forgotten.
    ForgetFloor(PlayerId),
    /// A kicked session has had its time to save.
    Void(SlotId),
    /// The hub has not answered a move.
    AskToMove(SlotId),
    /// The drain's limit is near: kick who is left, to be voided then. Means nothing once the drain is over or another limit holds.
    DrainKick(Mono),
    /// Nobody came back to a session without a connection.
    GraceOver(SlotId),
    /// Who comes back to a session that is over need not be told why any more.
    ForgetWay(CredentialName),
}

/// The two queues.
#[derive(Default)]
pub(super) struct Deadlines {
    mono: BTreeSet<(Mono, Due)>,
    wall: BTreeSet<(UnixMs, TokenHash)>,
}

impl Deadlines {
    pub(super) fn at(&mut self, when: Mono, due: Due) {
        self.mono.insert((when, due));
    }

    pub(super) fn cancel(&mut self, when: Mono, due: Due) {
        self.mono.remove(&(when, due));
    }

    /// A grant is over at its wall-clock expiry, or at `bound` however the wall clock steps.
    pub(super) fn expire_at(&mut self, expires_at: UnixMs, bound: Mono, hash: TokenHash) {
        self.wall.insert((expires_at, hash));
        self.at(bound, Due::Expire(hash));
    }

    pub(super) fn cancel_expiry(&mut self, expires_at: UnixMs, bound: Mono, hash: TokenHash) {
        self.wall.remove(&(expires_at, hash));
        self.cancel(bound, Due::Expire(hash));
    }

    /// The next thing due by `now`, taken out.
    pub(super) fn pop(&mut self, now: Now) -> Option<Due> {
        if self.wall.first().is_some_and(|(at, _)| *at <= now.unix) {
            return self.wall.pop_first().map(|(_, hash)| Due::Expire(hash));
        }
        if self.mono.first().is_some_and(|(at, _)| *at <= now.mono) {
            return self.mono.pop_first().map(|(_, due)| due);
        }
        None
    }

    /// When to look again, should the wall clock run on evenly.
    pub(super) fn next(&self, now: Now) -> Option<Mono> {
        let mono = self.mono.first().map(|(at, _)| *at);
        let wall =
            self.wall.first().map(|(at, _)| Mono(now.mono.0.saturating_add(at.0.saturating_sub(now.unix.0))));
        mono.into_iter().chain(wall).min()
    }

    /// How many are queued.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.mono.len() + self.wall.len()
    }
}
