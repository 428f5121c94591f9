//! How the server stands, for whoever asks from another thread.
//!
//! Owns copies only: the gate's task writes, everybody reads. Decides nothing.

use std::sync::atomic::{AtomicU64, Ordering};

use shared_msgs::codes::Code;
use shared_msgs::messages::{Occupancy, ServerState};
use tokio::sync::watch;

use crate::events::LinkState;

/// As of some moment, all of one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Its slots.
    pub occupancy: Occupancy,
    /// Of the players, those whose connection is lost and who may come back.
    pub lost: u32,
    /// Whether it takes players.
    pub state: ServerState,
    /// Whether the hub can be heard.
    pub link: LinkState,
}

/// Counters since the start.
#[derive(Debug)]
pub(crate) struct Stats {
    snapshot: watch::Sender<Snapshot>,
    redeemed: AtomicU64,
    resumed: AtomicU64,
    refused: [AtomicU64; Code::ALL.len()],
}

impl Stats {
    pub(crate) fn new(max_players: u32, state: ServerState) -> Self {
        let occupancy = Occupancy { max_players, ..Occupancy::default() };
        Self {
            snapshot: watch::Sender::new(Snapshot { occupancy, lost: 0, state, link: LinkState::Down }),
            redeemed: AtomicU64::new(0),
            resumed: AtomicU64::new(0),
            refused: Default::default(),
        }
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        *self.snapshot.borrow()
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Snapshot> {
        self.snapshot.subscribe()
    }

    pub(crate) fn set(&self, snapshot: Snapshot) {
        self.snapshot.send_if_modified(|old| std::mem::replace(old, snapshot) != snapshot);
    }

    pub(crate) fn count(&self, verdict: Result<(), Code>) {
        let counter = match verdict {
            Ok(()) => &self.redeemed,
            Err(code) => &self.refused[code as usize],
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_resumed(&self) {
        self.resumed.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn resumed(&self) -> u64 {
        self.resumed.load(Ordering::Relaxed)
    }

    pub(crate) fn redeemed(&self) -> u64 {
        self.redeemed.load(Ordering::Relaxed)
    }

    pub(crate) fn refused(&self, code: Code) -> u64 {
        self.refused[code as usize].load(Ordering::Relaxed)
    }
}
