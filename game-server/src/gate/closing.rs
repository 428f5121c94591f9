//! How sessions and the server come to their end.
//!
//! Owns leaving, voiding, draining and its undoing, being superseded, closing. Invariant: while `closing` is set nothing is held,
//! nobody is parked, and the number of sessions only falls; only the hub's undrain takes it away, from a drain that is not final.

use std::time::Duration;

use shared_msgs::clock::{Mono, Now};
use shared_msgs::codes::Code;
use shared_msgs::ids::BootId;
use shared_msgs::messages::{ServerMessage, ServerState};

use super::deadlines::Due;
use super::ledger::{Kicked, Live};
use super::types::{Effect, SlotId};
use super::{Drain, Gate, note};

impl Gate {
    pub(super) fn on_leave(&mut self, slot: SlotId, now: Now) {
        let Some(live) = self.ledger.leave(slot) else { return };
        if let Some(kicked) = live.kicked {
            self.deadlines.cancel(kicked.save_by, Due::Void(slot));
        }
        note!(self, info, "session.left", handover_id = %live.handover, player_id = %live.player);
        if let Some(drain) = &mut self.drain {
            drain.report.left += 1;
        }
        self.freed(slot, &live, now);
    }

    /// Takes the place of a session that did not leave in time.
    pub(super) fn void(&mut self, slot: SlotId, now: Now) {
        let Some(live) = self.ledger.leave(slot) else { return };
        note!(self, warn, "session.voided", handover_id = %live.handover, player_id = %live.player);
        if let Some(drain) = &mut self.drain {
            drain.report.voided += 1;
        }
        self.out.push(Effect::Void { slot, player: live.player });
        self.freed(slot, &live, now);
    }

    fn freed(&mut self, slot: SlotId, live: &Live, now: Now) {
        self.end_move(slot, Err(Code::ServerClosed));
        self.close_way(slot, live.kicked.map(|kicked| kicked.reason), now);
        let entry = live.entry();
        self.send_change(|stamp| ServerMessage::Left { stamp, entry });
        self.on_gone(live.player, now);
        self.report_drained();
    }

    /// A drain that nothing takes back.
    pub(super) fn on_retire(&mut self, within: Option<Duration>, now: Now) {
        self.drain.get_or_insert_default().is_final = true;
        self.on_drain(within, now);
    }

    /// The hub takes a drain back, whoever began it. Sessions that were told to go still go.
    pub(super) fn on_undrain(&mut self) {
        let is_final = self.drain.as_ref().is_some_and(|drain| drain.is_final);
        if is_final || self.closing == Some(Code::ServerClosed) {
            return note!(self, info, "undrain.refused");
        }
        if self.state != ServerState::Draining {
            return;
        }
        (self.closing, self.drain) = (None, None);
        self.state = match self.wished {
            ServerState::Draining => ServerState::Online,
            state => state,
        };
        note!(self, info, "drain.undone");
        self.out.push(Effect::Undrained);
        self.pulse.want();
    }

    pub(super) fn on_drain(&mut self, within: Option<Duration>, now: Now) {
        let is_first = self.closing.is_none();
        self.shut_for_good(Code::ServerDraining, now);
        let limit = within.map(|within| now.mono + within);
        let drain = self.drain.get_or_insert_default();
        let is_sooner = limit.is_some_and(|limit| drain.limit.is_none_or(|before| limit < before));
        if is_sooner {
            drain.limit = limit;
        }
        if is_first || is_sooner {
            note!(self, info, "drain.started", within_ms = within.map(|within| within.as_millis()));
            self.out.push(Effect::Draining { deadline: limit });
        }
        if let Some(limit) = limit.filter(|_| is_sooner) {
            let save_from = Mono(limit.0.saturating_sub(millis(self.config.timing.save_time)));
            self.deadlines.at(save_from.max(now.mono), Due::DrainKick(limit));
        }
        self.report_drained();
    }

    fn report_drained(&mut self) {
        if let Some(Drain { report, .. }) = self.drain
            && self.ledger.is_empty_of_sessions()
        {
            self.out.push(Effect::Drained(report));
        }
    }

    /// Who is left is told to go, if this limit still holds.
    pub(super) fn on_drain_kick(&mut self, limit: Mono) {
        if self.drain.as_ref().is_some_and(|drain| drain.limit == Some(limit)) {
            self.kick_all(Code::ServerDraining, limit);
        }
    }

    pub(super) fn kick_all(&mut self, reason: Code, save_by: Mono) {
        for slot in self.ledger.slots() {
            self.kick(slot, Kicked { reason, save_by });
        }
    }

    pub(super) fn on_superseded(&mut self, by: BootId, now: Now) {
        if by <= self.config.boot || self.closing == Some(Code::ServerClosed) {
            return;
        }
        note!(self, error, "server.superseded", boot = %self.config.boot, by = %by);
        self.shut_for_good(Code::ServerClosed, now);
        self.kick_all(Code::Superseded, now.mono + self.config.timing.save_time);
        self.out.push(Effect::Superseded { by });
    }

    pub(super) fn on_close(&mut self, now: Now) {
        self.shut_for_good(Code::ServerClosed, now);
        for slot in self.ledger.slots() {
            self.void(slot, now);
        }
        self.pulse.force();
    }

    /// Takes nobody new from now on: who waits is refused, what is held is closed.
    fn shut_for_good(&mut self, code: Code, now: Now) {
        if self.closing != Some(Code::ServerClosed) {
            self.closing = Some(code);
        }
        self.state = ServerState::Draining;
        self.pulse.want();
        for hash in self.ledger.held_hashes() {
            self.close_held(hash, code, now);
        }
        for hash in self.delayed.hashes() {
            self.refuse_parked(hash, code, None);
        }
    }
}

fn millis(of: Duration) -> u64 {
    u64::try_from(of.as_millis()).unwrap_or(u64::MAX)
}
