//! `[queue]`: who waits for a slot, and how.
//!
//! Owns the keys and their defaults, which are those of the room that queues. Invariant: what it says is what the desk is told.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::queue::QueueSettings;

/// `[queue]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QueueSection {
    /// Whether players wait when all is full; else they are refused.
    pub enabled: bool,
    /// Tickets in all.
    pub tickets_max: usize,
    /// How long a freed slot is kept for the ticket whose turn it is.
    pub hold_s: u64,
    /// A ticket whose owner is not heard for this long leaves.
    pub abandon_after_s: u64,
    /// How much earlier a reconnecting player counts as having come.
    pub reconnect_head_start_s: u64,
    /// Likewise for accounts with priority.
    pub priority_head_start_s: u64,
}

impl Default for QueueSection {
    fn default() -> Self {
        let QueueSettings { tickets_max, reconnect_head_start, priority_head_start, hold, abandon_after } =
            QueueSettings::default();
        Self {
            enabled: true,
            tickets_max,
            hold_s: hold.as_secs(),
            abandon_after_s: abandon_after.as_secs(),
            reconnect_head_start_s: reconnect_head_start.as_secs(),
            priority_head_start_s: priority_head_start.as_secs(),
        }
    }
}

impl QueueSection {
    /// For the desk.
    pub fn settings(&self) -> Option<QueueSettings> {
        self.enabled.then(|| QueueSettings {
            tickets_max: self.tickets_max,
            reconnect_head_start: Duration::from_secs(self.reconnect_head_start_s),
            priority_head_start: Duration::from_secs(self.priority_head_start_s),
            hold: Duration::from_secs(self.hold_s),
            abandon_after: Duration::from_secs(self.abandon_after_s),
        })
    }

    /// Each number with its name and its bounds.
    pub(super) fn numbers(&self) -> [(&'static str, u64, u64, u64); 5] {
        [
            ("queue.tickets_max", self.tickets_max as u64, 1, 100_000),
            ("queue.hold_s", self.hold_s, 5, 300),
            ("queue.abandon_after_s", self.abandon_after_s, 30, 3_600),
            ("queue.reconnect_head_start_s", self.reconnect_head_start_s, 0, 86_400),
            ("queue.priority_head_start_s", self.priority_head_start_s, 0, 86_400),
        ]
    }
}
