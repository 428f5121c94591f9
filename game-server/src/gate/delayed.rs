//! The delayed-connect queue: clients whose token is genuine and who wait for their grant, or for their own older session to leave.
//!
//! Owns who waits for which hash and until when. Knows neither grants nor verdicts. Invariants: one client per hash, one hash per
//! ticket, never more than its bound.

use std::collections::BTreeMap;

use shared_msgs::clock::Mono;
use shared_msgs::ids::TokenHash;

use super::types::Ticket;

/// A client that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Parked {
    pub(super) ticket: Ticket,
    /// Its verdict comes by then.
    pub(super) deadline: Mono,
}

/// What became of an attempt to park.
pub(super) enum Park {
    /// It waits; whom it replaced has to be refused.
    Done { replaced: Option<Parked> },
    /// The queue is at its bound.
    Full,
}

/// Who waits.
pub(super) struct Delayed {
    max: usize,
    by_hash: BTreeMap<TokenHash, Parked>,
    by_ticket: BTreeMap<Ticket, TokenHash>,
}

impl Delayed {
    pub(super) fn new(max: u32) -> Self {
        let max = usize::try_from(max).unwrap_or(usize::MAX);
        Self { max, by_hash: BTreeMap::new(), by_ticket: BTreeMap::new() }
    }

    pub(super) fn len(&self) -> u32 {
        u32::try_from(self.by_hash.len()).unwrap_or(u32::MAX)
    }

    pub(super) fn contains(&self, hash: TokenHash) -> bool {
        self.by_hash.contains_key(&hash)
    }

    /// A newer client with the same token takes the older one's place, even when the queue is full.
    pub(super) fn park(&mut self, hash: TokenHash, parked: Parked) -> Park {
        if self.by_hash.len() >= self.max && !self.contains(hash) {
            return Park::Full;
        }
        let replaced = self.take(hash);
        self.by_hash.insert(hash, parked);
        self.by_ticket.insert(parked.ticket, hash);
        Park::Done { replaced }
    }

    /// Whoever waits for this hash, no longer waiting.
    pub(super) fn take(&mut self, hash: TokenHash) -> Option<Parked> {
        let parked = self.by_hash.remove(&hash)?;
        self.by_ticket.remove(&parked.ticket);
        Some(parked)
    }

    pub(super) fn take_ticket(&mut self, ticket: Ticket) -> Option<(TokenHash, Parked)> {
        let hash = self.by_ticket.remove(&ticket)?;
        self.by_hash.remove(&hash).map(|parked| (hash, parked))
    }

    /// Hashes somebody waits for, in order.
    pub(super) fn hashes(&self) -> Vec<TokenHash> {
        self.by_hash.keys().copied().collect()
    }
}
