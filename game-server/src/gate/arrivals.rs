//! Clients: in, waiting, or refused.
//!
//! Owns every verdict. Invariant: a ticket that comes in leaves either with one verdict or abandoned, and is parked in between.

use shared_msgs::clock::Now;
use shared_msgs::codes::Code;
use shared_msgs::ids::{HandoverId, PlayerId, TokenHash};
use shared_msgs::messages::{EntryKind, RosterEntry, ServerMessage};
use shared_msgs::token::{Genuine, TokenError};

use super::deadlines::Due;
use super::delayed::{Park, Parked};
use super::marks::Closed;
use super::types::{Effect, Refused, Ticket, Welcome};
use super::{Gate, Standing, note, note_limited};

impl Gate {
    pub(super) fn on_arrive(&mut self, ticket: Ticket, token: &str, now: Now) {
        note_limited!(self, info, "client.arrived", ticket = ticket.0);
        if let Some(code) = self.shut() {
            return self.turn_away(ticket, code, None);
        }
        let genuine = match self.config.tag.verify(token, now.unix) {
            Ok(genuine) => genuine,
            Err(TokenError::NotGenuine) => return self.turn_away(ticket, Code::TokenNotGenuine, None),
            Err(TokenError::Expired) => return self.turn_away(ticket, Code::TokenExpired, None),
        };
        match self.standing(genuine.hash) {
            Standing::Closed(closed, handover) if self.marks.is_first_shown(genuine.hash) => {
                self.refuse(ticket, closed.code(), handover);
            }
            Standing::Closed(closed, handover) => self.turn_away(ticket, closed.code(), handover),
            Standing::Unknown => self.park(ticket, genuine, now),
            Standing::Held if self.must_wait(genuine.hash) => self.park(ticket, genuine, now),
            Standing::Held => self.redeem(ticket, genuine.hash, now),
        }
    }

    pub(super) fn on_abandon(&mut self, ticket: Ticket) {
        if let Some((hash, parked)) = self.delayed.take_ticket(ticket) {
            self.deadlines.cancel(parked.deadline, Due::Unpark(ticket));
            let handover = self.ledger.held(hash).map(|held| held.handover);
            // One genuine token is enough to come and go all day.
            note_limited!(self, info, "client.abandoned", ticket = ticket.0, token_hash = %hash, handover_id = handover.map(display));
        }
    }

    pub(super) fn on_waited_enough(&mut self, ticket: Ticket) {
        if let Some((hash, _)) = self.delayed.take_ticket(ticket) {
            let handover = self.ledger.held(hash).map(|held| held.handover);
            self.refuse(ticket, Code::HandoverTimedOut, handover);
        }
    }

    fn park(&mut self, ticket: Ticket, genuine: Genuine, now: Now) {
        let Genuine { hash, expires_at } = genuine;
        let left = expires_at.abs_diff(now.unix).min(self.config.timing.park_time);
        let deadline = now.mono + left;
        match self.delayed.park(hash, Parked { ticket, deadline }) {
            Park::Full => self.turn_away(ticket, Code::ServerBusy, None),
            Park::Done { replaced } => {
                self.deadlines.at(deadline, Due::Unpark(ticket));
                // Known only to who waits for an older session of its own: an early client's grant is still to come.
                let handover = self.ledger.held(hash).map(|held| held.handover);
                let handover_id = handover.map(tracing::field::display);
                if let Some(older) = replaced {
                    self.deadlines.cancel(older.deadline, Due::Unpark(older.ticket));
                    // One token, shown over and over while it waits.
                    note_limited!(self, info, "client.replaced", ticket = older.ticket.0, token_hash = %hash, handover_id);
                    self.turn_away(older.ticket, Code::ConnectedElsewhere, handover);
                }
                note_limited!(self, info, "client.parked", ticket = ticket.0, token_hash = %hash, handover_id);
                self.out.push(Effect::Delayed { ticket, deadline });
            }
        }
    }

    /// Whether the player of a held grant still has a session here; it must leave first.
    fn must_wait(&self, hash: TokenHash) -> bool {
        self.ledger.held(hash).is_some_and(|held| self.ledger.session_of(held.player).is_some())
    }

    /// Lets in whoever waits for this held grant, unless it has to wait on.
    pub(super) fn admit(&mut self, hash: TokenHash, now: Now) {
        if !self.must_wait(hash)
            && let Some(parked) = self.take_parked(hash)
        {
            self.redeem(parked.ticket, hash, now);
        }
    }

    /// A player's session is gone: whoever waited for that comes in, the highest fence first.
    pub(super) fn admit_next(&mut self, player: PlayerId, now: Now) {
        let held = self.ledger.held_of(player);
        if let Some((_, hash)) = held.into_iter().find(|(_, hash)| self.delayed.contains(*hash)) {
            self.admit(hash, now);
        }
    }

    fn redeem(&mut self, ticket: Ticket, hash: TokenHash, now: Now) {
        let Some(held) = self.ledger.held(hash) else { return self.refuse(ticket, Code::Cancelled, None) };
        let is_over = held.expires_at <= now.unix || held.bound <= now.mono;
        let redeemed = if is_over { None } else { self.ledger.redeem(hash) };
        let Some((slot, grant)) = redeemed else {
            // Over, or lost by the cache: either way the hub must hear that this grant is none.
            let code = if is_over { Code::TokenExpired } else { Code::Cancelled };
            self.close_held(hash, code, now);
            return self.refuse(ticket, code, Some(held.handover));
        };
        self.deadlines.cancel_expiry(held.expires_at, held.bound, hash);
        self.close(hash, Closed::Spent, Some(grant.handover), now);
        note!(
            self, info, "token.redeemed",
            handover_id = %grant.handover, player_id = %grant.player, token_hash = %hash,
            fence = %grant.fence, slot = slot.0
        );
        let entry = RosterEntry { hash, player: grant.player, fence: grant.fence, kind: EntryKind::Live };
        self.send_change(|stamp| ServerMessage::Joined { stamp, entry });
        let reconnect = self.open_way(slot, &grant.name);
        self.out.push(Effect::Verdict {
            ticket,
            verdict: Ok(Welcome {
                slot,
                handover: grant.handover,
                player: grant.player,
                fence: grant.fence,
                name: grant.name.clone(),
                luggage: grant.luggage.clone(),
                resumes: None,
                reconnect,
            }),
        });
        // Nothing older of this player may come alive behind the session that has just begun.
        for (fence, older) in self.ledger.held_of(grant.player) {
            if fence < grant.fence {
                self.close_held(older, Code::Superseded, now);
            }
        }
    }

    pub(super) fn refuse(&mut self, ticket: Ticket, code: Code, handover: Option<HandoverId>) {
        note!(self, info, "client.refused", ticket = ticket.0, code = %code, handover_id = handover.map(display));
        self.out.push(Effect::Verdict { ticket, verdict: Err(Refused { code, handover }) });
    }

    /// As [`Gate::refuse`], where anybody can be refused as often as they come: without a genuine token, or with one used up before.
    pub(super) fn turn_away(&mut self, ticket: Ticket, code: Code, handover: Option<HandoverId>) {
        note_limited!(self, info, "client.refused", ticket = ticket.0, code = %code, handover_id = handover.map(display));
        self.out.push(Effect::Verdict { ticket, verdict: Err(Refused { code, handover }) });
    }

    /// Refuses whoever waits for this hash.
    pub(super) fn refuse_parked(&mut self, hash: TokenHash, code: Code, handover: Option<HandoverId>) {
        if let Some(parked) = self.take_parked(hash) {
            self.refuse(parked.ticket, code, handover);
        }
    }

    fn take_parked(&mut self, hash: TokenHash) -> Option<Parked> {
        let parked = self.delayed.take(hash)?;
        self.deadlines.cancel(parked.deadline, Due::Unpark(parked.ticket));
        Some(parked)
    }
}
