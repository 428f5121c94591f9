//! Slots: never more than there are, and counted by the newest that the server said.

use std::collections::{BTreeMap, BTreeSet};

use shared_msgs::ids::{BootId, PlayerId, ServerId, TokenHash};
use shared_msgs::messages::{Occupancy, Order, ServerMessage, Stamp};

use super::Checker;
use crate::facts::{Fact, Ms, NodeId};
use crate::truth::Truth;

/// §10.5: players + held ≤ max_players on every server, always: by its own word, and by a count of its sessions and grants.
pub(super) struct NeverOverCapacity;

impl Checker for NeverOverCapacity {
    fn name(&self) -> &'static str {
        "never-over-capacity"
    }

    fn check(&mut self, fact: &Fact, truth: &Truth, _now: Ms) -> Result<(), String> {
        let Fact::Stands { node, occupancy } = fact else { return Ok(()) };
        let Some(process) = truth.processes.get(node).filter(|process| process.is_up) else { return Ok(()) };
        let live: BTreeSet<PlayerId> = process.live.values().map(|session| session.player).collect();
        let held: BTreeSet<PlayerId> = process.held.values().map(|(player, _)| *player).collect();
        let taken = live.union(&held).count();
        let says = occupancy.players + occupancy.held;
        let max = process.max_players;
        if says > max || taken > max as usize || process.live.len() > live.len() {
            return Err(format!("{node} has {says} taken by its word, {taken} by count, of {max}"));
        }
        Ok(())
    }
}

pub(super) fn stamp_of(message: &ServerMessage) -> Option<&Stamp> {
    match message {
        ServerMessage::Status(status) => Some(&status.stamp),
        ServerMessage::Gone { .. } => None,
        ServerMessage::GrantReply { stamp, .. }
        | ServerMessage::Ended { stamp, .. }
        | ServerMessage::Joined { stamp, .. }
        | ServerMessage::Left { stamp, .. }
        | ServerMessage::RosterPage { stamp, .. } => Some(stamp),
    }
}

/// Rule 2: the occupancy of the newest rev of the boot that counts, in whatever order messages come.
#[derive(Default)]
pub(super) struct NewestOccupancyCounts {
    /// The boot that counts, the newest rev heard of it, and the slots believed then.
    newest: BTreeMap<(NodeId, ServerId), (BootId, u64, Occupancy)>,
}

impl Checker for NewestOccupancyCounts {
    fn name(&self) -> &'static str {
        "newest-occupancy-counts"
    }

    fn check(&mut self, fact: &Fact, _truth: &Truth, _now: Ms) -> Result<(), String> {
        let Fact::Heard { node, from, message, believed: Some((boot, slots)) } = fact else { return Ok(()) };
        let Some(stamp) = stamp_of(message).filter(|stamp| stamp.boot == *boot) else { return Ok(()) };
        let key = (*node, from.server.clone());
        let before = self.newest.get(&key).filter(|(known, _, _)| known == boot);
        if let Some((_, _, before)) = before.filter(|(_, rev, _)| stamp.rev < *rev) {
            // How many wait is no part of a revision.
            let slots_of = |o: &Occupancy| (o.players, o.held);
            if slots_of(before) != slots_of(slots) {
                return Err(format!("{node} believes an old word of {}: rev={}", from.server, stamp.rev));
            }
            return Ok(());
        }
        self.newest.insert(key, (*boot, stamp.rev, *slots));
        Ok(())
    }
}

/// Rule 2: nobody is sent where, as far as the hub has heard, no slot is free: its own unanswered grants count as taken.
#[derive(Default)]
pub(super) struct FreeSlotsAreCounted {
    /// With the boot that counts: when another one does, all is forgotten.
    doors: BTreeMap<(NodeId, ServerId), (BootId, Door)>,
    seen: BTreeSet<TokenHash>,
}

/// One boot of a server, as one hub knows it.
#[derive(Default)]
struct Door {
    slots: Option<Occupancy>,
    /// Granted and not answered.
    open: BTreeMap<TokenHash, PlayerId>,
    /// Whoever has or had something there may take over its own slot.
    known: BTreeSet<PlayerId>,
}

impl Door {
    fn hear(&mut self, message: &ServerMessage) {
        let mut settle = |hash: &TokenHash, player: PlayerId| {
            self.open.remove(hash);
            self.known.insert(player);
        };
        match message {
            ServerMessage::GrantReply { hash, player, .. } => settle(hash, *player),
            ServerMessage::Joined { entry, .. } | ServerMessage::Left { entry, .. } => {
                settle(&entry.hash, entry.player);
            }
            ServerMessage::RosterPage { entries, .. } => {
                for entry in entries {
                    settle(&entry.hash, entry.player);
                }
            }
            ServerMessage::Status(_) | ServerMessage::Gone { .. } | ServerMessage::Ended { .. } => {}
        }
    }

    /// Takes a new grant in. `Err` tells how many slots were taken by others, and of how many.
    fn grant(&mut self, hash: TokenHash, player: PlayerId) -> Result<(), (usize, u32)> {
        let others: BTreeSet<_> = self.open.values().filter(|other| **other != player).collect();
        let is_own = self.known.contains(&player) || self.open.values().any(|other| *other == player);
        let Some(slots) = self.slots else { return Ok(()) };
        let taken = (slots.players + slots.held) as usize + others.len();
        self.open.insert(hash, player);
        let is_full = taken >= slots.max_players as usize && !is_own;
        if is_full { Err((taken, slots.max_players)) } else { Ok(()) }
    }
}

impl Checker for FreeSlotsAreCounted {
    fn name(&self) -> &'static str {
        "free-slots-are-counted"
    }

    fn check(&mut self, fact: &Fact, _truth: &Truth, _now: Ms) -> Result<(), String> {
        match fact {
            Fact::Heard { node, from, message, believed: Some((boot, slots)) } => {
                let key = (*node, from.server.clone());
                let (current, door) = self.doors.entry(key).or_insert_with(|| (*boot, Door::default()));
                if current != boot {
                    (*current, *door) = (*boot, Door::default());
                }
                if message.boot() == *boot {
                    door.slots = Some(*slots);
                    door.hear(message);
                }
            }
            Fact::Ordered { node, to } => {
                let door = self.doors.get_mut(&(*node, to.server.clone()));
                let Some((_, door)) = door.filter(|(boot, _)| *boot == to.boot) else { return Ok(()) };
                match &to.order {
                    Order::Grant(grant) if self.seen.insert(grant.hash) => {
                        let granted = door.grant(grant.hash, grant.player);
                        return granted.map_err(|(taken, max)| {
                            format!("{node} grants at {} with {taken} of {max} taken", to.server)
                        });
                    }
                    // Taken back, and its slot the player's own until the server has answered.
                    Order::End(end) => {
                        let taken_back = end.hashes.iter().filter_map(|hash| door.open.remove(hash));
                        door.known.extend(taken_back.collect::<Vec<_>>());
                    }
                    _ => {}
                }
            }
            _ => {}
        }
        Ok(())
    }
}
