//! Requests with a key that are being carried out, so that one that is sent again meanwhile waits for the first.
//!
//! Knows names and digests, no table. Invariants: of one name at most one runs; at most [`RUNNING_MAX`] run; whoever waits hears of the end,
//! and be it that there was none.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::Outcome;
use super::seal::Named;
use crate::accounts::kept::{Digest, Name};

/// Requests at one time. They outlive their clients' connections, so the bound on those is not theirs.
const RUNNING_MAX: usize = 4_096;

/// Where a request's end is told.
pub(super) type Told = watch::Receiver<Option<Outcome>>;

/// All that run.
#[derive(Clone, Debug, Default)]
pub(in crate::http) struct Running(Arc<Mutex<BTreeMap<Name, (Digest, Told)>>>);

/// What a request is to do.
#[derive(Debug)]
pub(super) enum Turn {
    /// It is the first: carry it out and tell.
    First(Lead, Told),
    /// It runs already.
    Joined(Told),
    /// Another one of this name runs.
    Reused,
    /// Too many run.
    Full,
}

/// The right to carry a request out; the next one of its name may begin when it is dropped.
#[derive(Debug)]
pub(super) struct Lead {
    running: Running,
    pub(super) of: Named,
    tell: watch::Sender<Option<Outcome>>,
}

impl Lead {
    /// How it ended.
    pub(super) fn tell(&self, outcome: Outcome) {
        self.tell.send_replace(Some(outcome));
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        self.running.lock().remove(&self.of.name);
    }
}

impl Running {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Name, (Digest, Told)>> {
        // A plain table, consistent between calls.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn turn(&self, of: Named) -> Turn {
        let mut running = self.lock();
        let is_full = running.len() >= RUNNING_MAX;
        match running.entry(of.name) {
            Entry::Occupied(other) => {
                let (request, told) = other.get();
                if *request == of.request { Turn::Joined(told.clone()) } else { Turn::Reused }
            }
            Entry::Vacant(_) if is_full => Turn::Full,
            Entry::Vacant(place) => {
                let (tell, told) = watch::channel(None);
                place.insert((of.request, told.clone()));
                Turn::First(Lead { running: self.clone(), of, tell }, told)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::problem::{Kind, Problem};

    fn named(n: u16, request: u8) -> Named {
        let mut name = [0; 32];
        name[..2].copy_from_slice(&n.to_be_bytes());
        Named { name, request: [request; 32] }
    }

    #[tokio::test]
    async fn the_first_runs_and_the_others_hear_how_it_ended() {
        let running = Running::default();
        let Turn::First(lead, _) = running.turn(named(1, 1)) else { panic!("not the first") };
        let Turn::Joined(mut told) = running.turn(named(1, 1)) else { panic!("not joined") };
        assert!(matches!(running.turn(named(1, 2)), Turn::Reused));
        let Turn::First(other, _) = running.turn(named(2, 1)) else { panic!("others do not matter") };
        lead.tell(Err(Problem::new(Kind::Banned)));
        drop(lead);
        let outcome = told.wait_for(Option::is_some).await.unwrap().clone();
        assert_eq!(outcome.unwrap().unwrap_err().kind, Kind::Banned);
        assert!(matches!(running.turn(named(1, 2)), Turn::First(..)), "its name is free again");
        let Turn::Joined(mut told) = running.turn(named(2, 1)) else { panic!("not joined") };
        drop(other);
        assert!(told.wait_for(Option::is_some).await.is_err(), "that there was no end is heard, too");
    }

    #[test]
    fn there_is_room_for_so_many() {
        let running = Running::default();
        let most = u16::try_from(RUNNING_MAX).unwrap();
        let mut leads: Vec<_> = (0..most).map(|n| running.turn(named(n, 1))).collect();
        assert!(leads.iter().all(|turn| matches!(turn, Turn::First(..))));
        assert!(matches!(running.turn(named(most, 1)), Turn::Full));
        assert!(matches!(running.turn(named(0, 1)), Turn::Joined(_)), "whoever runs can be joined");
        leads.pop();
        assert!(matches!(running.turn(named(most, 1)), Turn::First(..)));
    }
}
