//! How tickets come and go.
//!
//! Invariant: a slot kept for a ticket is given back on every way out but the one that leads into the game.

use std::time::Duration;

use shared_msgs::clock::{Mono, Now};
use shared_msgs::ids::ServerId;

use super::{
    Alarm, Class, GATHER_TIME, Gone, LINES_MAX, Line, NoTicket, PRESENT_FOR, Party, Queue, RETURN_TIME,
    State, Ticket, TicketId, TicketRow, Unit, UnitId,
};
use crate::accounts::AccountRow;

impl Queue {
    /// Makes a ticket, to be saved before it counts. The account must not have one.
    pub(crate) fn join(
        &mut self,
        ticket: TicketId,
        account: AccountRow,
        line: Line,
        party: Option<Party>,
        class: Class,
        now: Now,
    ) -> Result<TicketRow, NoTicket> {
        if self.tickets.len() >= self.settings.tickets_max || !self.has_room_for(&line) {
            return Err(NoTicket::Full);
        }
        if let Some(other) = party.and_then(|party| self.units.get(self.parties.get(&party.key)?)) {
            let is_same = other.party == party && other.line == line && !is_complete(other);
            if !is_same {
                return Err(NoTicket::OtherParty);
            }
        }
        self.last_arrival_us = (self.last_arrival_us + 1).max(now.unix.0.saturating_mul(1_000));
        let row = TicketRow {
            ticket,
            account,
            arrived_us: self.last_arrival_us,
            class,
            line,
            regions: Vec::new(),
            party,
        };
        self.add(&row, now.mono, false);
        Ok(row)
    }

    fn has_room_for(&self, line: &Line) -> bool {
        let is_special = |line: &Line| !matches!(line, Line::Anywhere | Line::Server(_));
        !is_special(line)
            || self.lines.contains_key(line)
            || self.lines.keys().filter(|line| is_special(line)).count() < LINES_MAX
    }

    /// A ticket of the hub's last run: its owner has a little while to come back.
    pub(crate) fn restore(&mut self, row: &TicketRow, now: Now) {
        let is_taken = self.by_account.contains_key(&row.account);
        let party = row.party.and_then(|party| self.units.get(self.parties.get(&party.key)?));
        if is_taken || party.is_some_and(|unit| is_complete(unit) || unit.line != row.line) {
            return;
        }
        self.last_arrival_us = self.last_arrival_us.max(row.arrived_us);
        self.add(row, now.mono, true);
        self.saved(row.ticket, row.class);
    }

    /// A ticket has its place in the order from the moment it came, and its turn only once it is on disk.
    fn add(&mut self, row: &TicketRow, now: Mono, is_ghost: bool) {
        let known = row.party.and_then(|party| self.parties.get(&party.key).copied());
        let unit = known.unwrap_or_else(|| {
            let id = self.add_unit(Unit::new(row.line.clone(), row.class, row.party));
            if let Some(party) = row.party {
                self.parties.insert(party.key, id);
                self.timers.set(Alarm::Gathering(id), now + GATHER_TIME);
            }
            id
        });
        self.by_account.insert(row.account, row.ticket);
        let (account, arrived_us, state) = (row.account, row.arrived_us, State::Saving);
        let ticket = Ticket { account, arrived_us, unit, seen: now, is_present: true, is_ghost, state };
        self.tickets.insert(row.ticket, ticket);
        let Some(joined) = self.units.get_mut(&unit) else { return };
        joined.members.push(row.ticket);
        // A party is of the class of its lowest.
        joined.class = joined.class.min(row.class);
        if is_complete(joined) {
            self.timers.cancel(&Alarm::Gathering(unit));
            self.line_up(unit);
        }
    }

    /// Gives a complete unit its place by its class. A party came when its last one came.
    fn line_up(&mut self, id: UnitId) {
        let Some(unit) = self.units.get(&id) else { return };
        let arrivals = || unit.members.iter().filter_map(|m| self.tickets.get(m)).map(|m| m.arrived_us);
        let (Some(first), Some(last)) = (arrivals().min(), arrivals().max()) else { return };
        let key = self.settings.key(unit.class, last, first);
        self.enter(id, key);
    }

    /// The ticket is on disk. `class` is the higher of what it came with and what its account has.
    pub(crate) fn saved(&mut self, id: TicketId, class: Class) {
        let Some(ticket) = self.tickets.get_mut(&id).filter(|ticket| ticket.state == State::Saving) else {
            return;
        };
        ticket.state = State::Waiting;
        let id_of_unit = ticket.unit;
        self.arm(id);
        let Some(unit) = self.units.get_mut(&id_of_unit) else { return };
        // Only who goes alone goes before others for its account.
        if unit.party.is_none() && class > unit.class {
            unit.class = class;
            self.step_out(id_of_unit);
            self.line_up(id_of_unit);
        } else {
            self.show(id_of_unit);
        }
    }

    /// Its owner was heard. True when it had not been for so long that its turn was passed over.
    pub(crate) fn seen(&mut self, id: TicketId, now: Mono) -> bool {
        let Some(ticket) = self.tickets.get_mut(&id) else { return false };
        ticket.seen = now;
        ticket.is_ghost = false;
        let (was_present, unit) = (std::mem::replace(&mut ticket.is_present, true), ticket.unit);
        if !was_present {
            self.show(unit);
        }
        self.arm(id);
        !was_present
    }

    /// The handover of a ticket whose slot is kept begins. Gives the server.
    pub(crate) fn claim(&mut self, id: TicketId) -> Option<ServerId> {
        let ticket = self.tickets.get_mut(&id)?;
        let State::Reserved(server, _) = &ticket.state else { return None };
        let server = server.clone();
        ticket.state = State::Placing(Some(server.clone()));
        self.arm(id);
        Some(server)
    }

    /// Where the slot is that a running handover was given.
    pub(crate) fn claimed(&self, id: TicketId) -> Option<&ServerId> {
        match &self.tickets.get(&id)?.state {
            State::Placing(server) => server.as_ref(),
            State::Saving | State::Waiting | State::Reserved(..) => None,
        }
    }

    /// The slot that was kept is counted as a grant from now on.
    pub(crate) fn granted(&mut self, id: TicketId) {
        let Some(ticket) = self.tickets.get_mut(&id) else { return };
        if let State::Placing(server) = &mut ticket.state
            && let Some(server) = server.take()
        {
            self.free_kept(&server);
        }
    }

    /// No place after all: back to where it stood.
    pub(crate) fn give_back(&mut self, id: TicketId) {
        let Some(ticket) = self.tickets.get_mut(&id) else { return };
        let server = match std::mem::replace(&mut ticket.state, State::Waiting) {
            State::Reserved(server, _) | State::Placing(Some(server)) => Some(server),
            State::Placing(None) => None,
            before @ (State::Saving | State::Waiting) => {
                ticket.state = before;
                return;
            }
        };
        let unit = ticket.unit;
        if let Some(server) = server {
            self.free_kept(&server);
        }
        self.show(unit);
        self.arm(id);
    }

    /// Its owner has a place.
    pub(crate) fn admitted(&mut self, id: TicketId, now: Mono) {
        if let Some(line) = self.unit_of(id).map(|unit| unit.line.clone()) {
            self.admissions.entry(line).or_default().note(now);
        }
        self.remove(id);
    }

    /// Takes a ticket out. Gives the others of its party that go with it.
    pub(crate) fn remove(&mut self, id: TicketId) -> Vec<TicketId> {
        let Some(unit) = self.tickets.get(&id).map(|ticket| ticket.unit) else { return Vec::new() };
        self.step_out(unit);
        let Some(unit_gone) = self.units.remove(&unit) else { return Vec::new() };
        self.leave_line(&unit_gone.line);
        if let Some(party) = unit_gone.party {
            self.parties.remove(&party.key);
            self.timers.cancel(&Alarm::Gathering(unit));
        }
        for member in &unit_gone.members {
            self.timers.cancel(&Alarm::Ticket(*member));
            let Some(ticket) = self.tickets.remove(member) else { continue };
            self.by_account.remove(&ticket.account);
            if let State::Reserved(server, _) | State::Placing(Some(server)) = ticket.state {
                self.free_kept(&server);
            }
        }
        // Lines are made by whoever asks: of those that nobody waits in, this one alone is remembered.
        let lines = &self.lines;
        self.admissions.retain(|line, _| lines.contains_key(line) || *line == unit_gone.line);
        unit_gone.members.into_iter().filter(|member| *member != id).collect()
    }

    fn free_kept(&mut self, server: &ServerId) {
        if let Some(kept) = self.kept.get_mut(server) {
            *kept -= 1;
            if *kept == 0 {
                self.kept.remove(server);
            }
        }
    }

    /// Sets when the ticket is looked at again: what is kept for it, whether its owner is still here.
    pub(super) fn arm(&mut self, id: TicketId) {
        let Some(ticket) = self.tickets.get(&id) else { return };
        let present_for = if ticket.is_ghost { RETURN_TIME } else { PRESENT_FOR };
        let at = match &ticket.state {
            State::Saving | State::Placing(_) => return self.timers.cancel(&Alarm::Ticket(id)),
            State::Waiting if ticket.is_present => ticket.seen + present_for,
            State::Waiting => {
                ticket.seen + self.settings.abandon_after.max(present_for + Duration::from_millis(1))
            }
            State::Reserved(_, until) => *until,
        };
        self.timers.set(Alarm::Ticket(id), at);
    }

    /// Lets time pass: owners who are not heard, slots kept for nothing, parties that do not gather. Gives who is gone, and why.
    pub(crate) fn tick(&mut self, now: Mono) -> Vec<(TicketId, Gone)> {
        self.ticked_at = now;
        let mut gone = Vec::new();
        while let Some(alarm) = self.timers.pop_due(now) {
            let (first, why, others) = match alarm {
                Alarm::Ticket(id) if self.look(id) => (id, Gone::Abandoned, Gone::PartyBroken),
                Alarm::Ticket(_) => continue,
                Alarm::Recount => {
                    self.recount(now);
                    continue;
                }
                Alarm::Gathering(unit) => {
                    let Some(first) = self.units.get(&unit).and_then(|unit| unit.members.first()) else {
                        continue;
                    };
                    (*first, Gone::PartyIncomplete, Gone::PartyIncomplete)
                }
            };
            gone.push((first, why));
            gone.extend(self.remove(first).into_iter().map(|other| (other, others)));
        }
        gone
    }

    /// True when the ticket is to go.
    fn look(&mut self, id: TicketId) -> bool {
        let Some(ticket) = self.tickets.get_mut(&id) else { return false };
        match ticket.state {
            State::Saving | State::Placing(_) => false,
            State::Reserved(..) => {
                // Its turn comes again when it has been heard.
                ticket.is_present = false;
                self.give_back(id);
                false
            }
            State::Waiting if ticket.is_present => {
                ticket.is_present = false;
                let unit = ticket.unit;
                self.show(unit);
                self.arm(id);
                false
            }
            State::Waiting => true,
        }
    }
}

fn is_complete(unit: &Unit) -> bool {
    unit.party.is_none_or(|party| unit.members.len() >= usize::from(party.size))
}
