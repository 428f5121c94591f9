//! The order of those who wait.
//!
//! Invariant: a key is given once and kept, so a ticket falls back only behind those whose class gives them a head start over it.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::time::Duration;

use shared_msgs::clock::Mono;
use shared_msgs::ids::ServerId;

use super::{Called, Class, Line, Queue, QueueSettings, State, TicketId, Unit, UnitId};

/// A place in the order: when it counts as having come, then when it came; both in microseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    counts_from_us: u64,
    pub(super) arrived_us: u64,
}

impl QueueSettings {
    fn head_start(&self, class: Class) -> Duration {
        match class {
            Class::Normal => Duration::ZERO,
            Class::Priority => self.priority_head_start,
            Class::Reconnect => self.reconnect_head_start,
        }
    }

    /// The key of who is complete at `complete_us`.
    pub(super) fn key(&self, class: Class, complete_us: u64, arrived_us: u64) -> Key {
        let head_start = u64::try_from(self.head_start(class).as_micros()).unwrap_or(u64::MAX);
        Key { counts_from_us: complete_us.saturating_sub(head_start), arrived_us }
    }
}

/// One who may be next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Next {
    key: Key,
    unit: UnitId,
}

impl Queue {
    /// Puts a unit in line. Who is called stays there, before the others, until it is in: nobody falls back when it does not come.
    pub(super) fn enter(&mut self, id: UnitId, key: Key) {
        let Some(unit) = self.units.get_mut(&id) else { return };
        unit.key = Some(key);
        let line = unit.line.clone();
        let size = size(unit);
        self.order.insert(key, id);
        *self.waiting.entry(line.clone()).or_default() += size;
        let is_last = self.order.last_key_value().is_some_and(|(last, _)| *last == key);
        let position = if is_last {
            let met = self.waiting.iter().filter(|(other, _)| other.meets(&line));
            met.map(|(_, tickets)| *tickets).sum::<u32>() - size + 1
        } else {
            // Somebody with a head start: those behind are told their new position with the next count.
            self.want_recount();
            let before = self.order.range(..key).filter_map(|(_, unit)| self.units.get(unit));
            before.filter(|unit| unit.line.meets(&line)).map(self::size).sum::<u32>() + 1
        };
        if let Some(unit) = self.units.get_mut(&id) {
            unit.position = position;
        }
        self.show(id);
    }

    /// Takes a unit out of the line; it keeps its key.
    pub(super) fn step_out(&mut self, id: UnitId) {
        let Some(unit) = self.units.get_mut(&id) else { return };
        let pinned = unit.pinned.take();
        let (line, size) = (unit.line.clone(), size(unit));
        let Some(key) = unit.key.filter(|key| self.order.remove(key).is_some()) else { return };
        self.unpin(id, pinned);
        self.want_recount();
        if let Some(tickets) = self.waiting.get_mut(&line) {
            *tickets = tickets.saturating_sub(size);
            if *tickets == 0 {
                self.waiting.remove(&line);
            }
        }
        self.hide(&line, key);
    }

    /// Lists a unit among those whose turn may come, if all its owners are present and their tickets on disk and not called.
    pub(super) fn show(&mut self, id: UnitId) {
        let Some(unit) = self.units.get(&id) else { return };
        let Some(key) = unit.key.filter(|key| self.order.contains_key(key)) else { return };
        let is_here = |ticket: &TicketId| {
            let ticket = self.tickets.get(ticket);
            ticket.is_some_and(|ticket| ticket.is_present && ticket.state == State::Waiting)
        };
        let line = unit.line.clone();
        if unit.members.iter().all(is_here) {
            self.present.entry(line).or_default().insert(key);
        } else {
            self.hide(&line, key);
        }
    }

    fn hide(&mut self, line: &Line, key: Key) {
        if let Some(keys) = self.present.get_mut(line) {
            keys.remove(&key);
            if keys.is_empty() {
                self.present.remove(line);
            }
        }
    }

    /// Whether anybody's turn may come.
    pub(crate) fn is_anybody_present(&self) -> bool {
        !self.present.is_empty()
    }

    /// The first of each line whose turn may come, in order.
    pub(crate) fn heads(&self) -> BTreeSet<Next> {
        let firsts = self.present.values().filter_map(|keys| keys.first());
        firsts.filter_map(|key| self.next(*key)).collect()
    }

    /// Who comes after one of this line.
    pub(crate) fn after(&self, next: Next, line: &Line) -> Option<Next> {
        let keys = self.present.get(line)?;
        self.next(*keys.range((Bound::Excluded(next.key), Bound::Unbounded)).next()?)
    }

    fn next(&self, key: Key) -> Option<Next> {
        self.order.get(&key).map(|unit| Next { key, unit: *unit })
    }

    /// What one waits for: its line, how many slots, and one of its tickets to ask for its owner.
    pub(crate) fn wants(&self, next: Next) -> Option<(&Line, u32, TicketId)> {
        let unit = self.units.get(&next.unit)?;
        Some((&unit.line, size(unit), *unit.members.first()?))
    }

    /// From now on the free slots of this server are this party's.
    pub(crate) fn pin(&mut self, next: Next, server: &ServerId) {
        let Some(unit) = self.units.get_mut(&next.unit) else { return };
        let before = unit.pinned.replace(server.clone());
        self.unpin(next.unit, before);
        self.pins.insert(server.clone(), next.unit);
    }

    /// Another party may gather there by now.
    fn unpin(&mut self, id: UnitId, server: Option<ServerId>) {
        if let Some(server) = server.filter(|server| self.pins.get(server) == Some(&id)) {
            self.pins.remove(&server);
        }
    }

    /// Where slots gather for one.
    pub(crate) fn pinned(&self, next: Next) -> Option<&ServerId> {
        let server = self.units.get(&next.unit)?.pinned.as_ref()?;
        (self.pins.get(server) == Some(&next.unit)).then_some(server)
    }

    /// Keeps a slot for each of a unit, for a while. Gives the tickets.
    pub(crate) fn reserve(&mut self, next: Next, server: &ServerId, now: Mono) -> Vec<TicketId> {
        self.step_out(next.unit);
        let Some(unit) = self.units.remove(&next.unit) else { return Vec::new() };
        self.leave_line(&unit.line);
        if let Some(party) = unit.party {
            self.parties.remove(&party.key);
        }
        for id in &unit.members {
            let Some(ticket) = self.tickets.get_mut(id) else { continue };
            let mut until = now + self.settings.hold;
            if ticket.is_ghost {
                until = until.min(ticket.seen + super::RETURN_TIME);
            }
            ticket.state = State::Reserved(server.clone(), until);
            *self.kept.entry(server.clone()).or_default() += 1;
            // From here on each goes alone; who loses its slot waits for the others' server, where it stood.
            let (line, called_with) = match unit.party {
                Some(party) => {
                    (Line::Server(server.clone()), Some(Called { line: unit.line.clone(), party }))
                }
                None => (unit.line.clone(), unit.called_with.clone()),
            };
            let key = unit.key.map(|key| Key { arrived_us: ticket.arrived_us, ..key });
            let alone = self.add_unit(Unit { called_with, ..Unit::new(line, unit.class, None) });
            if let (Some(ticket), Some(of_one)) = (self.tickets.get_mut(id), self.units.get_mut(&alone)) {
                ticket.unit = alone;
                of_one.members.push(*id);
            }
            if let Some(key) = key {
                self.enter(alone, key);
            }
            self.arm(*id);
        }
        unit.members
    }

    pub(super) fn add_unit(&mut self, unit: Unit) -> UnitId {
        self.units_made += 1;
        let id = UnitId(self.units_made);
        *self.lines.entry(unit.line.clone()).or_default() += 1;
        self.units.insert(id, unit);
        id
    }

    /// A unit of this line is no more.
    pub(super) fn leave_line(&mut self, line: &Line) {
        if let Some(units) = self.lines.get_mut(line) {
            *units -= 1;
            if *units == 0 {
                self.lines.remove(line);
            }
        }
    }

    fn want_recount(&mut self) {
        if !self.is_recount_set {
            self.is_recount_set = true;
            // Never for now: a tick must come to its end.
            let soon = self.ticked_at + Duration::from_millis(1);
            self.timers.set(super::Alarm::Recount, soon.max(self.recounted_at + super::RECOUNT_EVERY));
        }
    }

    /// Counts everybody's position anew.
    pub(super) fn recount(&mut self, now: Mono) {
        (self.is_recount_set, self.recounted_at) = (false, now);
        let mut counted: Vec<(Line, u32)> = Vec::new();
        for unit in self.order.values() {
            let Some(unit) = self.units.get_mut(unit) else { continue };
            let met = counted.iter().filter(|(line, _)| line.meets(&unit.line));
            unit.position = met.map(|(_, tickets)| *tickets).sum::<u32>() + 1;
            match counted.iter_mut().find(|(line, _)| *line == unit.line) {
                Some((_, tickets)) => *tickets += size(unit),
                None => counted.push((unit.line.clone(), size(unit))),
            }
        }
    }
}

/// How many slots it takes.
fn size(unit: &Unit) -> u32 {
    u32::try_from(unit.members.len()).unwrap_or(u32::MAX)
}
