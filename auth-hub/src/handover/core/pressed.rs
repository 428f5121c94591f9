//! Requests for which only overloaded servers would do, and moves whose luggage must wait until other luggage has arrived: they wait here
//! instead of being refused, the first one first.
//!
//! Owns who waits. Knows from the ledger and the fleet who is overloaded. Invariants: who waits is counted among the running handovers
//! and answered by its deadline; a server that eases takes the oldest that may go there until it is overloaded again.

use std::time::Duration;

use shared_msgs::clock::Now;
use shared_msgs::ids::HandoverId;
use tracing::debug;

use super::{Alarm, Core, Effect, Stage};
use crate::fleet::Pressure;

/// How often a request looks again by itself: for room that no server's answer tells of, like a new server or a load that fell.
const LOOK_EVERY: Duration = Duration::from_millis(500);

impl Core {
    /// Lets a handover wait until a server eases, or its deadline.
    pub(super) fn wait_for_ease(&mut self, id: HandoverId, now: Now) {
        let Some(handover) = self.running.get_mut(&id) else { return };
        if !matches!(handover.stage, Stage::Pressed) {
            debug!(target: "handover", handover_id = %id, "handover.pressed");
        }
        handover.stage = Stage::Pressed;
        self.pressed.insert(handover.number, id);
        let look = (now.mono + LOOK_EVERY).min(handover.deadline);
        self.timers.set(Alarm::Handover(id), look.max(now.mono + Duration::from_millis(1)));
    }

    /// It waits no longer, whatever comes now.
    pub(super) fn wait_no_longer(&mut self, id: HandoverId) {
        if let Some(handover) = self.running.get(&id) {
            self.pressed.remove(&handover.number);
        }
    }

    /// A move whose luggage has no room on the link waits, so that what others are told does not wait behind it. True when it must.
    pub(super) fn waits_with_luggage(&mut self, id: HandoverId, now: Now) -> bool {
        let has_room = self.has_room_for_luggage(id);
        if !has_room {
            self.wait_for_ease(id, now);
        }
        !has_room
    }

    fn has_room_for_luggage(&self, id: HandoverId) -> bool {
        let carried = self.running.get(&id).and_then(|handover| handover.carries.as_ref());
        let bytes = carried.map_or(0, |carried| carried.luggage.len());
        bytes == 0 || self.ledger.has_room_for_luggage(bytes)
    }

    /// Luggage has arrived: those that wait with theirs go, the oldest first, while there is room.
    fn serve_laden(&mut self, now: Now, fx: &mut Vec<Effect>) {
        if !self.ledger.take_lightened() {
            return;
        }
        let is_laden =
            |id: &HandoverId| self.running.get(id).is_some_and(|handover| handover.carries.is_some());
        for id in self.pressed.values().copied().filter(is_laden).collect::<Vec<_>>() {
            if !self.has_room_for_luggage(id) {
                return;
            }
            self.place(id, now, fx);
        }
    }

    /// Servers that were overloaded by what they had not answered take those who wait, oldest first, until they are so again.
    pub(super) fn serve_pressed(&mut self, now: Now, fx: &mut Vec<Effect>) {
        self.serve_laden(now, fx);
        for server in self.ledger.take_eased() {
            let waiting: Vec<_> = self.pressed.values().copied().collect();
            for id in waiting {
                let Some(view) = self.fleet.get(&server) else { break };
                if self.pressure(&server, view) == Pressure::Overloaded {
                    break;
                }
                // Others keep their place in the queue, at the price of one look.
                if self.running.get(&id).is_some_and(|handover| self.may_go_to(handover, &server, now)) {
                    self.place(id, now, fx);
                }
            }
        }
    }
}
