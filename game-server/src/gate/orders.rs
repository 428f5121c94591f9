//! Grants and `end`s: what the hub gives a place to, and what it takes the place from.
//!
//! Owns every answer to them. Invariants: a hash that was refused once stays refused; a repeated order gets the first one's answer and
//! changes nothing; `Ended` goes out only when nothing that it names lives here.

use std::time::Duration;

use shared_msgs::clock::Now;
use shared_msgs::codes::Code;
use shared_msgs::ids::{Fence, HandoverId, PlayerId, TokenHash};
use shared_msgs::limits;
use shared_msgs::messages::{End, Grant, ServerMessage, Verdict};

use super::deadlines::Due;
use super::ends::OwedEnd;
use super::ledger::{Held, Kicked};
use super::marks::Closed;
use super::types::{Effect, SlotId};
use super::{Gate, Standing, note};

impl Gate {
    pub(super) fn on_grant(&mut self, grant: Grant, now: Now) {
        note!(
            self, info, "grant.received",
            handover_id = %grant.handover, player_id = %grant.player, token_hash = %grant.hash, fence = %grant.fence
        );
        match self.standing(grant.hash) {
            Standing::Closed(Closed::Spent, _) => self.repeat_reply(&grant, Verdict::Redeemed),
            Standing::Closed(Closed::Refused(code), _) => self.repeat_reply(&grant, Verdict::Refused(code)),
            Standing::Held => self.repeat_reply(&grant, Verdict::Held),
            Standing::Unknown => match self.judge(&grant, now) {
                Some(code) => self.refuse_grant(&grant, code, now),
                None => self.hold(grant, now),
            },
        }
    }

    /// What speaks against a grant we have not seen before.
    fn judge(&self, grant: &Grant, now: Now) -> Option<Code> {
        if self.shut().is_some() {
            return self.shut();
        }
        if grant.fence.unix() > now.unix + limits::FENCE_AHEAD_MAX {
            return Some(Code::FenceTooFarAhead);
        }
        if grant.fence < self.marks.floor(grant.player).max(self.ledger.highest_fence(grant.player)) {
            return Some(Code::Superseded);
        }
        if grant.expires_at <= now.unix {
            return Some(Code::TokenExpired);
        }
        if !self.ledger.has_room_for(grant.player) {
            return Some(Code::ServerFull);
        }
        if self.ledger.luggage_bytes() + grant.luggage.len() > self.config.luggage_bytes_max {
            return Some(Code::ServerOverloaded);
        }
        let is_full =
            !self.marks.has_room(self.ledger.held_len()) || self.marks.may_be_unmarked(grant.expires_at, now);
        is_full.then_some(Code::ServerOverloaded)
    }

    fn refuse_grant(&mut self, grant: &Grant, code: Code, now: Now) {
        note!(self, info, "grant.refused", handover_id = %grant.handover, player_id = %grant.player, code = %code);
        if self.marks.has_room(self.ledger.held_len()) {
            self.close(grant.hash, Closed::Refused(code), Some(grant.handover), now);
        } else {
            self.marks.refuse_unmarked(grant.expires_at, now);
        }
        self.repeat_reply(grant, Verdict::Refused(code));
        self.refuse_parked(grant.hash, code, Some(grant.handover));
    }

    fn hold(&mut self, grant: Grant, now: Now) {
        let (hash, handover) = (grant.hash, grant.handover);
        note!(self, info, "grant.held", handover_id = %handover, player_id = %grant.player, token_hash = %hash);
        let bound = now.mono + limits::TOKEN_LIFE + 2 * limits::CLOCK_SKEW_MAX;
        self.deadlines.expire_at(grant.expires_at, bound, hash);
        let (player, fence) = (grant.player, grant.fence);
        self.ledger.hold(grant, bound);
        self.send_change(|stamp| ServerMessage::GrantReply {
            stamp,
            handover,
            hash,
            player,
            fence,
            verdict: Verdict::Held,
        });
        self.admit(hash, now);
    }

    /// An answer that tells of no change.
    fn repeat_reply(&mut self, grant: &Grant, verdict: Verdict) {
        let stamp = self.stamp(false);
        let &Grant { handover, hash, player, fence, .. } = grant;
        self.send(ServerMessage::GrantReply { stamp, handover, hash, player, fence, verdict });
    }

    /// From now on and for long enough, this is what the hash is.
    pub(super) fn close(&mut self, hash: TokenHash, closed: Closed, handover: Option<HandoverId>, now: Now) {
        let until = self.marks.close(hash, closed, handover, now);
        self.deadlines.at(until, Due::ForgetMark(hash));
    }

    /// Takes a held grant's place away and tells the hub and whoever waits.
    pub(super) fn close_held(&mut self, hash: TokenHash, code: Code, now: Now) {
        let Some(held) = self.ledger.release(hash) else { return };
        let Held { handover, player, fence, expires_at, bound, .. } = held;
        self.deadlines.cancel_expiry(expires_at, bound, hash);
        self.close(hash, Closed::Refused(code), Some(handover), now);
        if code == Code::TokenExpired {
            note!(self, info, "grant.expired", handover_id = %handover, player_id = %player, token_hash = %hash);
        } else {
            note!(self, info, "grant.refused", handover_id = %handover, player_id = %player, code = %code);
        }
        let verdict = Verdict::Refused(code);
        self.send_change(|stamp| ServerMessage::GrantReply { stamp, handover, hash, player, fence, verdict });
        self.refuse_parked(hash, code, Some(handover));
    }

    pub(super) fn on_end(&mut self, end: End, now: Now) {
        let End { player, below, hashes, reason, save_within_ms } = end;
        note!(self, info, "end.received", player_id = %player, below = %below, hashes = hashes.len(), reason = %reason);
        let mut is_full = false;
        if below > Fence::ZERO {
            match self.marks.raise_floor(player, below, now) {
                Ok(Some(until)) => self.deadlines.at(until, Due::ForgetFloor(player)),
                Ok(None) => {}
                Err(()) => is_full = true,
            }
        }
        for hash in &hashes {
            match self.standing(*hash) {
                Standing::Closed(..) => {}
                Standing::Held => self.close_held(*hash, reason, now),
                Standing::Unknown if self.marks.has_room(self.ledger.held_len()) => {
                    self.close(*hash, Closed::Refused(reason), None, now);
                    self.refuse_parked(*hash, reason, None);
                }
                Standing::Unknown => is_full = true,
            }
        }
        for (fence, hash) in self.ledger.held_of(player) {
            if fence < below {
                self.close_held(hash, reason, now);
            }
        }
        let session = self.ledger.session_of(player);
        let ends = session.filter(|(_, live)| live.fence < below || hashes.contains(&live.hash));
        let slot = ends.map(|(slot, _)| slot);
        if let Some(slot) = slot {
            let reason = self.reason_to_end(slot, reason, now);
            let save = Duration::from_millis(save_within_ms.into()).min(self.config.timing.save_time);
            self.kick(slot, Kicked { reason, save_by: now.mono + save });
        }
        if is_full {
            // What could not be remembered must not be promised: the hub asks again.
            note!(self, warn, "end.unanswered", player_id = %player);
        } else if slot.is_some() {
            self.ends.owe(player, OwedEnd { below, hashes });
        } else {
            self.answer_end(player, OwedEnd { below, hashes });
        }
    }

    fn answer_end(&mut self, player: PlayerId, end: OwedEnd) {
        let OwedEnd { below, hashes } = end;
        note!(self, info, "end.answered", player_id = %player, below = %below);
        let stamp = self.stamp(false);
        self.send(ServerMessage::Ended { stamp, player, below, hashes });
    }

    /// A session's place is free: who was owed an answer gets it, who waited comes in.
    pub(super) fn on_gone(&mut self, player: PlayerId, now: Now) {
        for end in self.ends.take(player) {
            self.answer_end(player, end);
        }
        self.admit_next(player, now);
    }

    /// Tells a session that it ends, once.
    pub(super) fn kick(&mut self, slot: SlotId, kicked: Kicked) {
        if !self.ledger.kick(slot, kicked) {
            return;
        }
        let Kicked { reason, save_by } = kicked;
        self.stop_grace(slot);
        self.deadlines.at(save_by, Due::Void(slot));
        if let Some(live) = self.ledger.session(slot) {
            let (player, handover) = (live.player, live.handover);
            note!(self, info, "session.kicked", handover_id = %handover, player_id = %player, reason = %reason);
            self.end_move_of_kicked(slot, reason);
            self.out.push(Effect::Kick { slot, player, reason, save_by });
        }
    }
}
