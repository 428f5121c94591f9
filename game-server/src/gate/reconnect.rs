//! The way back of a player whose connection broke: kept slots, and who may take one over.
//!
//! Owns each session's credentials, as hashes, and how long a session without a connection is kept. Invariants: what comes with a
//! credential that is not good changes nothing; a good one moves the session to a slot of a new number, so that whatever is still said
//! of the old one falls on nobody; at most two credentials of a session are good at once, and one when the client has said that
//! it has the newer, so a lost reply locks nobody out and a spent credential lets nobody in. A session that was told to end does
//! not come back: who tries is told why it ended, for as long again as it would have been kept.

use std::collections::BTreeMap;

use shared_msgs::clock::{Mono, Now};
use shared_msgs::codes::Code;
use shared_msgs::ids::HandoverId;
use shared_msgs::moves::Luggage;
use shared_msgs::reconnect::{BoundTo, CredentialHash, CredentialName, Shown};

use super::deadlines::Due;
use super::ledger::{Kicked, Live};
use super::types::{Effect, Reconnect, SlotId, Ticket, Welcome};
use super::{Gate, note_limited};

/// How one session is come back to.
struct Way {
    stands: Stands,
    bound: BoundTo,
    handover: HandoverId,
    /// What the player is called.
    name: String,
    current: CredentialHash,
    /// Good until the client has said that it has the current one.
    previous: Option<CredentialHash>,
}

/// What a credential leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stands {
    Live(SlotId),
    /// Told to end, and gone.
    Ended(Code),
}

impl Way {
    fn takes(&self, shown: &Shown) -> bool {
        let is_current = shown.is(&self.current, &self.bound);
        // Both are compared, whichever it is.
        let is_previous = self.previous.is_some_and(|previous| shown.is(&previous, &self.bound));
        is_current | is_previous
    }
}

/// All ways.
#[derive(Default)]
pub(super) struct Ways {
    by_name: BTreeMap<CredentialName, Way>,
    by_slot: BTreeMap<SlotId, CredentialName>,
    /// Sessions without a connection, and until when they are kept.
    lost: BTreeMap<SlotId, Mono>,
}

impl Ways {
    /// Sessions without a connection.
    pub(super) fn lost_len(&self) -> usize {
        self.lost.len()
    }

    /// Sessions that are over, and whose reason is kept.
    fn ended_len(&self) -> usize {
        self.by_name.len() - self.by_slot.len()
    }

    fn of(&mut self, slot: SlotId) -> Option<&mut Way> {
        self.by_slot.get(&slot).and_then(|name| self.by_name.get_mut(name))
    }

    /// What must hold of them, with so many sessions and slots.
    #[cfg(test)]
    pub(super) fn check(&self, slots: &[SlotId], max_players: u32) {
        assert!(self.by_slot.keys().chain(self.lost.keys()).all(|slot| slots.contains(slot)), "of nobody");
        assert!(self.ended_len() <= max_players as usize, "more ended ways than slots");
        for (name, way) in &self.by_name {
            let Stands::Live(slot) = way.stands else { continue };
            assert_eq!(self.by_slot.get(&slot), Some(name), "a way that its slot does not know");
        }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.by_name.is_empty() && self.by_slot.is_empty() && self.lost.is_empty()
    }
}

impl Gate {
    /// Sessions whose connection is lost; they count as players.
    pub fn lost(&self) -> u32 {
        u32::try_from(self.ways.lost_len()).unwrap_or(u32::MAX)
    }

    /// A session begins: what its client comes back with. None where nobody comes back.
    pub(super) fn open_way(&mut self, slot: SlotId, name: &str) -> Option<Reconnect> {
        let within = self.config.reconnect_grace;
        let live = self.ledger.session(slot).filter(|_| !within.is_zero())?;
        let bound = BoundTo { boot: self.config.boot, player: live.player, fence: live.fence };
        let key = CredentialName::random(&*self.config.rng);
        let (credential, current) = bound.mint(key, &*self.config.rng);
        let (stands, handover, name) = (Stands::Live(slot), live.handover, name.to_owned());
        self.ways.by_name.insert(key, Way { stands, bound, handover, name, current, previous: None });
        self.ways.by_slot.insert(slot, key);
        Some(Reconnect { credential, within })
    }

    /// A session is over. Who comes back to one that was told to end hears why: else it would log in, and end what ended it.
    pub(super) fn close_way(&mut self, slot: SlotId, told: Option<Code>, now: Now) {
        self.stop_grace(slot);
        let Some(key) = self.ways.by_slot.remove(&slot) else { return };
        let room = usize::try_from(self.config.max_players).unwrap_or(usize::MAX);
        let told = told.filter(|code| *code != Code::ReconnectRefused && self.ways.ended_len() <= room);
        match (told, self.ways.by_name.get_mut(&key)) {
            (Some(code), Some(way)) => {
                way.stands = Stands::Ended(code);
                self.deadlines.at(now.mono + self.config.reconnect_grace, Due::ForgetWay(key));
            }
            _ => self.forget_way(key),
        }
    }

    pub(super) fn forget_way(&mut self, key: CredentialName) {
        self.ways.by_name.remove(&key);
    }

    /// It is found again, or told to end: either way its grace runs no longer.
    pub(super) fn stop_grace(&mut self, slot: SlotId) {
        if let Some(over) = self.ways.lost.remove(&slot) {
            self.deadlines.cancel(over, Due::GraceOver(slot));
        }
    }

    /// A session's connection broke: its slot is kept for a while.
    pub(super) fn on_dropped(&mut self, slot: SlotId, now: Now) {
        let Some(live) = self.ledger.session(slot) else { return };
        if live.kicked.is_some() || self.ways.lost.contains_key(&slot) {
            return;
        }
        let Live { handover, player, .. } = *live;
        let within = self.config.reconnect_grace;
        // One session is enough to be lost and come back all day.
        note_limited!(
            self, info, "session.lost",
            handover_id = %handover, player_id = %player, within_ms = within.as_millis()
        );
        let over = now.mono + within;
        self.ways.lost.insert(slot, over);
        self.deadlines.at(over, Due::GraceOver(slot));
    }

    /// Nobody came back. The game saves as for any other end, and then the slot is free.
    pub(super) fn on_grace_over(&mut self, slot: SlotId, now: Now) {
        let save_by = now.mono + self.config.timing.save_time;
        self.kick(slot, Kicked { reason: Code::ReconnectRefused, save_by });
    }

    /// The client of this slot has the newest credential, so it needs no older one.
    pub(super) fn on_kept(&mut self, slot: SlotId) {
        if let Some(way) = self.ways.of(slot) {
            way.previous = None;
        }
    }

    /// Somebody comes back. Gets its verdict at once, and is never parked.
    pub(super) fn on_resume(&mut self, ticket: Ticket, credential: &str) {
        note_limited!(self, info, "client.arrived", ticket = ticket.0);
        let shown = Shown::parse(credential);
        let way = shown.and_then(|shown| {
            let way = self.ways.by_name.get(&shown.name())?;
            way.takes(&shown).then_some((shown, way))
        });
        let Some((shown, way)) = way else { return self.turn_away(ticket, Code::ReconnectRefused, None) };
        let (stands, handover) = (way.stands, Some(way.handover));
        let from = match stands {
            Stands::Live(slot) => slot,
            Stands::Ended(code) => return self.turn_away(ticket, code, handover),
        };
        match self.ledger.session(from).map(|live| live.kicked) {
            Some(None) => self.move_session(ticket, from, &shown),
            Some(Some(kicked)) => self.turn_away(ticket, kicked.reason, handover),
            None => self.turn_away(ticket, Code::ReconnectRefused, None),
        }
    }

    /// A session goes on in a slot of a new number, with a new credential. To the hub nothing has happened.
    fn move_session(&mut self, ticket: Ticket, from: SlotId, shown: &Shown) {
        self.stop_grace(from);
        let Some((slot, live)) = self.ledger.move_session(from) else { return };
        let within = self.config.reconnect_grace;
        let key = shown.name();
        self.ways.by_slot.remove(&from);
        self.ways.by_slot.insert(slot, key);
        let Some(way) = self.ways.by_name.get_mut(&key) else { return };
        // What was shown is what the client certainly has.
        way.previous = Some(if shown.is(&way.current, &way.bound) {
            way.current
        } else {
            way.previous.unwrap_or(way.current)
        });
        let (credential, current) = way.bound.mint(key, &*self.config.rng);
        (way.current, way.stands) = (current, Stands::Live(slot));
        let name = way.name.clone();
        let Live { handover, player, fence, .. } = live;
        note_limited!(
            self, info, "session.resumed",
            handover_id = %handover, player_id = %player, ticket = ticket.0, slot = slot.0
        );
        let reconnect = Some(Reconnect { credential, within });
        self.follow_move(from, slot);
        // The older slot had it.
        let luggage = Luggage::default();
        let resumes = Some(from);
        let welcome = Welcome { slot, handover, player, fence, name, luggage, resumes, reconnect };
        self.out.push(Effect::Verdict { ticket, verdict: Ok(welcome) });
    }
}
