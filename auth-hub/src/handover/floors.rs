//! Accounts that an operator has ended: what is older than the end may not live anywhere, wherever it comes to light.
//!
//! Invariant: a floor is kept for as long as a token from before it could still be shown; beyond that, for a server that was cut off
//! and comes back, while there is room: the oldest goes first. A restarted hub starts without floors; those of banned accounts come back
//! with the store's word on who is banned, when a server shows their players.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use shared_msgs::clock::Mono;
use shared_msgs::codes::Code;
use shared_msgs::ids::Fence;
use shared_msgs::limits;

use crate::accounts::AccountRow;

/// Accounts remembered: about 8 MB.
const FLOORS_MAX: usize = 65_536;
/// A server that was cut off for longer than this has no players of before any more.
const FLOOR_LIFE: Duration = Duration::from_hours(24);
const _: () = assert!(FLOOR_LIFE.as_secs() > limits::CLOSED_LIFE.as_secs());

/// Below which fence an account's places end, and what its player is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Floor {
    pub(crate) below: Fence,
    pub(crate) reason: Code,
    since: Mono,
}

/// All floors.
#[derive(Debug, Default)]
pub(crate) struct Floors {
    of: BTreeMap<AccountRow, Floor>,
    by_age: BTreeSet<(Mono, AccountRow)>,
}

impl Floors {
    pub(crate) fn get(&self, account: AccountRow) -> Option<Floor> {
        self.of.get(&account).copied()
    }

    /// Whether this account's floor can be kept for as long as it is needed.
    pub(crate) fn has_room(&self, account: AccountRow, now: Mono) -> bool {
        let is_idle = |(since, _): &(Mono, AccountRow)| now >= *since + limits::CLOSED_LIFE;
        self.of.len() < FLOORS_MAX
            || self.of.contains_key(&account)
            || self.by_age.first().is_some_and(is_idle)
    }

    /// Fences only grow, so the newest floor is the highest.
    pub(crate) fn raise(&mut self, account: AccountRow, below: Fence, reason: Code, now: Mono) {
        if let Some(old) = self.of.insert(account, Floor { below, reason, since: now }) {
            self.by_age.remove(&(old.since, account));
        }
        self.by_age.insert((now, account));
        if self.of.len() > FLOORS_MAX
            && let Some((_, oldest)) = self.by_age.pop_first()
        {
            self.of.remove(&oldest);
        }
    }

    pub(crate) fn prune(&mut self, now: Mono) {
        while let Some((since, account)) = self.by_age.first().copied() {
            if now < since + FLOOR_LIFE {
                return;
            }
            self.by_age.remove(&(since, account));
            self.of.remove(&account);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fence(hlc: u64) -> Fence {
        Fence { hlc, hub: 0 }
    }

    #[test]
    fn a_full_table_takes_a_newcomer_only_for_one_that_is_not_needed_any_more() {
        let mut floors = Floors::default();
        let max = i64::try_from(FLOORS_MAX).unwrap();
        for n in 0..max {
            let (account, at) = (AccountRow::from_raw(n), Mono(u64::try_from(n).unwrap()));
            assert!(floors.has_room(account, at));
            floors.raise(account, fence(1), Code::Banned, at);
        }
        let [first, second, newcomer] = [0, 1, max].map(AccountRow::from_raw);
        let later = Mono(0) + limits::CLOSED_LIFE;
        assert!(!floors.has_room(newcomer, Mono(later.0 - 1)));
        assert!(floors.has_room(first, Mono(later.0 - 1)), "it is there already");
        assert!(floors.has_room(newcomer, later));
        floors.raise(newcomer, fence(2), Code::Kicked, later);
        assert_eq!(floors.get(first), None);
        assert!(floors.get(second).is_some());
        assert_eq!(floors.get(newcomer).map(|f| (f.below, f.reason)), Some((fence(2), Code::Kicked)));
        assert_eq!((floors.of.len(), floors.by_age.len()), (FLOORS_MAX, FLOORS_MAX));
    }

    #[test]
    fn a_floor_that_is_raised_again_lives_on_and_all_are_forgotten_in_the_end() {
        let mut floors = Floors::default();
        let [a, b] = [1, 2].map(AccountRow::from_raw);
        for (account, at) in [(a, 0), (b, 5), (a, 10)] {
            floors.raise(account, fence(at), Code::Banned, Mono(at));
        }
        floors.prune(Mono(9) + FLOOR_LIFE);
        assert!(floors.get(b).is_none() && floors.get(a).is_some());
        floors.prune(Mono(10) + FLOOR_LIFE);
        assert!(floors.get(a).is_none() && floors.by_age.is_empty());
    }
}
