//! When a status is due: every beat, at once on change and on a probe, never closer together than the gap.
//!
//! Owns the beat and the probes to echo. Knows nothing of what a status says. Invariants: at most one status per gap but for the
//! first of a link; at most [`limits::PROBE_ECHOES_MAX`] echoes, the longest unheard hub going first.

use std::collections::BTreeMap;
use std::time::Duration;

use shared_msgs::clock::Mono;
use shared_msgs::ids::HubId;
use shared_msgs::limits;
use shared_msgs::messages::ProbeEcho;

struct Heard {
    n: u64,
    at: Mono,
}

/// The beat of one server.
pub(super) struct Pulse {
    beat: Duration,
    link_up: bool,
    sent: Option<Mono>,
    is_wanted: bool,
    hubs: BTreeMap<HubId, Heard>,
}

impl Pulse {
    pub(super) fn new(beat: Duration) -> Self {
        Self { beat, link_up: false, sent: None, is_wanted: false, hubs: BTreeMap::new() }
    }

    /// A fresh link gets a status at once.
    pub(super) fn link(&mut self, up: bool) {
        self.link_up = up;
        self.sent = None;
    }

    /// The last word of a server that closes does not wait for the gap.
    pub(super) fn force(&mut self) {
        self.sent = None;
    }

    /// Something changed that a status tells.
    pub(super) fn want(&mut self) {
        self.is_wanted = true;
    }

    pub(super) fn probe(&mut self, hub: HubId, n: u64, now: Mono) {
        self.want();
        if let Some(heard) = self.hubs.get_mut(&hub) {
            *heard = Heard { n: heard.n.max(n), at: now };
            return;
        }
        if self.hubs.len() >= limits::PROBE_ECHOES_MAX {
            let unheard = self.hubs.iter().min_by_key(|(_, heard)| heard.at).map(|(hub, _)| hub.clone());
            unheard.map(|hub| self.hubs.remove(&hub));
        }
        self.hubs.insert(hub, Heard { n, at: now });
    }

    pub(super) fn echoes(&self) -> Vec<ProbeEcho> {
        self.hubs.iter().map(|(hub, heard)| ProbeEcho { hub: hub.clone(), n: heard.n }).collect()
    }

    /// When the next status is due; `None` while nobody would get it.
    pub(super) fn next(&self) -> Option<Mono> {
        let pause = if self.is_wanted { limits::STATUS_GAP_MIN } else { self.beat };
        self.link_up.then(|| self.sent.map_or(Mono(0), |sent| sent + pause))
    }

    /// Whether to send one now; if so, it counts as sent.
    pub(super) fn is_due(&mut self, now: Mono) -> bool {
        let due = self.next().is_some_and(|at| at <= now);
        if due {
            self.sent = Some(now);
            self.is_wanted = false;
        }
        due
    }
}
