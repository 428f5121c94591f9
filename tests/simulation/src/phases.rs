//! The end of every run: calm, and what must be true once it has lasted.
//!
//! Faults stop → everything comes to rest → everybody who wants in gets in → everybody leaves, and nothing is left.

use shared_msgs::messages::Occupancy;

use crate::facts::{Fact, Ms, NodeId, Phase, View};
use crate::node::Kind;
use crate::server::Server;
use crate::world::{Event, World};

/// Within this everybody is in: a token's life, twice the skew, and the longest way in after that.
const ALL_IN: Ms = 240_000;
/// How often it is looked whether everybody is in.
const LOOK_EVERY: Ms = 5_000;
/// After the last session, within this nothing is left: closed marks live longest.
const ALL_OUT: Ms = 240_000;

impl World {
    pub(crate) fn begin_phase(&mut self, phase: Phase) {
        match phase {
            Phase::Calm => {
                self.enter(phase);
                self.mend();
                self.after(Self::SETTLE, Event::Phase(Phase::Settled));
            }
            Phase::Settled => {
                self.compare();
                self.enter(phase);
                for device in 0..self.devices.len() {
                    // What it was told in the storm excuses nothing now.
                    self.devices[device].refused = None;
                    self.devices[device].was_in = self.is_home(device);
                    if self.devices[device].comes_back() {
                        let delay = self.dice.below(2_000);
                        self.wake(device, delay);
                    }
                }
                self.all_in_by = self.now + ALL_IN;
                self.after(LOOK_EVERY, Event::Phase(Phase::AllIn));
            }
            Phase::AllIn => {
                let back = (0..self.devices.len()).filter(|device| self.devices[*device].comes_back());
                let back: Vec<usize> = back.collect();
                let is_home = |device: &usize| self.has_been_in(*device);
                if self.now < self.all_in_by && !back.iter().all(is_home) {
                    return self.after(LOOK_EVERY, Event::Phase(Phase::AllIn));
                }
                self.report_home(&back);
                self.enter(phase);
                self.everybody_leaves();
                self.after(ALL_OUT, Event::Phase(Phase::AllOut));
            }
            Phase::AllOut => {
                self.compare();
                for (id, running, unanswered) in self.waiting_hubs() {
                    self.state(&Fact::Unanswered { node: id, running, unanswered });
                }
                self.report_tickets();
                self.enter(phase);
            }
        }
    }

    fn enter(&mut self, phase: Phase) {
        self.phase = Some(phase);
        self.state(&Fact::Phase(phase));
    }

    fn report_home(&mut self, devices: &[usize]) {
        // A queue excuses nobody's absence: everybody's turn comes.
        let is_crowded = self.scenario.queue.is_none() && self.scenario.room() < self.scenario.accounts;
        for device in devices {
            let is_in = self.has_been_in(*device);
            let Some(device) = self.devices.get(*device) else { continue };
            let refused = device.refused.filter(|_| is_crowded);
            self.watch.see(self.now, &Fact::Home { account: device.account, is_in, refused });
        }
    }

    /// Sessions that devices hold, and those that nobody comes back to.
    fn everybody_leaves(&mut self) {
        let mut leaving = Vec::new();
        for (id, node) in &self.nodes {
            if let Kind::Server(server) = &node.kind {
                leaving.extend(server.slots().into_iter().map(|slot| (*id, slot)));
            }
        }
        for (node, slot) in leaving {
            let delay = self.dice.below(3_000);
            self.after(delay, Event::Leave { node, slot });
        }
    }

    /// Whether a device is in; where there is a queue, whether it has been.
    fn has_been_in(&self, device: usize) -> bool {
        self.is_home(device) || (self.scenario.queue.is_some() && self.devices[device].was_in)
    }

    /// Tickets in hubs' memory.
    pub(crate) fn waiting_tickets(&self) -> usize {
        let of = self.nodes.values().map(|node| match &node.kind {
            Kind::Hub(hub) => hub.core.tickets(),
            Kind::Server(_) => 0,
        });
        of.sum()
    }

    fn waiting_hubs(&self) -> Vec<(NodeId, usize, usize)> {
        let mut hubs = Vec::new();
        for (id, node) in &self.nodes {
            if let Kind::Hub(hub) = &node.kind {
                hubs.push((*id, hub.core.running(), hub.core.unanswered()));
            }
        }
        hubs
    }

    /// Whether a newer process of the same id runs: it is told to go any moment.
    fn is_outlived(&self, server: &Server) -> bool {
        let others = self.nodes.values().filter_map(|node| match &node.kind {
            Kind::Server(other) if other.id == server.id => Some(other.gate.boot()),
            Kind::Server(_) | Kind::Hub(_) => None,
        });
        others.max() > Some(server.gate.boot())
    }

    /// What each hub believes of each server, and what is.
    fn compare(&mut self) {
        let mut views: Vec<(NodeId, shared_msgs::ids::ServerId, Option<Occupancy>, Occupancy)> = Vec::new();
        for (hub_id, hub) in &self.nodes {
            let Kind::Hub(hub) = &hub.kind else { continue };
            for server in self.nodes.values() {
                let Kind::Server(server) = &server.kind else { continue };
                if self.is_outlived(server) {
                    continue;
                }
                let believed = hub.core.slots(&server.id).map(|(_, slots)| slots);
                views.push((*hub_id, server.id.clone(), believed, server.gate.occupancy()));
            }
        }
        for (node, server, believed, is) in views {
            self.state(&Fact::Seen { node, view: View { server: &server, believed, is } });
        }
    }
}
