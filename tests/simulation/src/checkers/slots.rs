//! Slots: never more than there are, and counted by the newest that the server said.

use std::collections::{BTreeMap, BTreeSet};

use shared_msgs::ids::{BootId, PlayerId, ServerId, TokenHash};
use shared_msgs::limits;
use shared_msgs::messages::{Occupancy, Order, ServerMessage, Verdict};

use super::Checker;
use super::heard::{Doors, stamp_of};
use super::line::Book;
use crate::facts::{Fact, Ms, NodeId};
use crate::truth::Truth;

/// §10.5: players + held ≤ max_players on every server, always: by its own word, and by a count of its sessions and grants; the two agree.
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
        // A session whose client has gone before its welcome came is over, and the gate hears of it a step later.
        let leaving: BTreeSet<PlayerId> = process.leaving.values().copied().collect();
        let held = held.iter().filter(|player| !live.contains(player) && !leaving.contains(player)).count();
        let counted = (live.len() + leaving.len(), held, process.parked.len());
        let said = [occupancy.players, occupancy.held, occupancy.parked].map(|n| n as usize);
        if said != <[usize; 3]>::from(counted) {
            return Err(format!("{node} says {said:?} in game, held and parked; by count {counted:?}"));
        }
        Ok(())
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
        // How many wait is no part of a revision.
        let slots_of = |o: &Occupancy| (o.players, o.held);
        let before = self.newest.get(&key).filter(|(known, _, _)| known == boot);
        if let Some((_, _, before)) = before.filter(|(_, rev, _)| stamp.rev < *rev) {
            if slots_of(before) != slots_of(slots) {
                return Err(format!("{node} believes an old word of {}: rev={}", from.server, stamp.rev));
            }
            return Ok(());
        }
        if slots_of(&stamp.occupancy) != slots_of(slots) {
            return Err(format!("{node} passes over the newest word of {}: rev={}", from.server, stamp.rev));
        }
        self.newest.insert(key, (*boot, stamp.rev, *slots));
        Ok(())
    }
}

/// Rule 2: nobody is sent where, as far as the hub has heard, no slot is free: its own grants count as taken until they are answered, those
/// that it took back until the server has said that they are over, and for who has no ticket those that it keeps for others.
#[derive(Default)]
pub(super) struct FreeSlotsAreCounted {
    doors: Doors,
    book: Book,
    promises: BTreeMap<(NodeId, ServerId), Promises>,
    /// When each grant was first sent.
    sent: BTreeMap<TokenHash, Ms>,
}

/// What one hub has promised at one boot of a server.
struct Promises {
    boot: BootId,
    slots: Occupancy,
    open: BTreeMap<TokenHash, Promise>,
}

#[derive(Clone, Copy)]
struct Promise {
    player: PlayerId,
    /// When it was made: nothing of it can be left after a while, whatever the clocks.
    at: Ms,
    /// The server has not said that it is in its own count.
    counts: bool,
    is_taken_back: bool,
}

const CLOSED_MS: Ms = limits::CLOSED_LIFE.as_secs() * 1_000;

impl Promises {
    fn hear(&mut self, message: &ServerMessage) {
        match message {
            ServerMessage::GrantReply { hash, verdict: Verdict::Refused(_), .. } => {
                self.open.remove(hash);
            }
            ServerMessage::GrantReply { hash, .. } => {
                self.open.retain(|other, promise| other != hash || promise.is_taken_back);
            }
            ServerMessage::Joined { entry, .. } | ServerMessage::Left { entry, .. } => {
                self.shown(entry.hash);
            }
            ServerMessage::RosterPage { entries, .. } => {
                for entry in entries {
                    self.shown(entry.hash);
                }
            }
            ServerMessage::Ended { hashes, .. } => self.open.retain(|hash, _| !hashes.contains(hash)),
            ServerMessage::Status(_)
            | ServerMessage::Gone { .. }
            | ServerMessage::Noticed { .. }
            | ServerMessage::Move(_) => {}
        }
    }

    /// It is, or was, in the server's own count.
    fn shown(&mut self, hash: TokenHash) {
        if let Some(promise) = self.open.get_mut(&hash) {
            promise.counts = promise.is_taken_back;
        }
    }

    /// Takes a new grant in. `Err` tells how many slots were taken by others, and of how many.
    fn grant(
        &mut self,
        hash: TokenHash,
        player: PlayerId,
        lives: bool,
        kept: usize,
        now: Ms,
    ) -> Result<(), (usize, u32)> {
        self.open.retain(|_, promise| now - promise.at < CLOSED_MS);
        let is_own = lives || self.open.values().any(|promise| promise.player == player);
        let counting = self.open.values().filter(|promise| promise.counts);
        let players: BTreeSet<PlayerId> = counting.map(|promise| promise.player).collect();
        let taken = (self.slots.players + self.slots.held) as usize + players.len() + kept;
        self.open.insert(hash, Promise { player, at: now, counts: true, is_taken_back: false });
        let max = self.slots.max_players;
        if taken >= max as usize && !is_own { Err((taken, max)) } else { Ok(()) }
    }
}

impl Checker for FreeSlotsAreCounted {
    fn name(&self) -> &'static str {
        "free-slots-are-counted"
    }

    fn check(&mut self, fact: &Fact, truth: &Truth, now: Ms) -> Result<(), String> {
        self.doors.learn(fact);
        let judged = self.judge(fact, truth, now);
        self.book.learn(fact, truth, now);
        judged
    }
}

impl FreeSlotsAreCounted {
    fn judge(&mut self, fact: &Fact, truth: &Truth, now: Ms) -> Result<(), String> {
        match fact {
            Fact::Heard { node, from, message, believed: Some((boot, slots)) } => {
                let new = || Promises { boot: *boot, slots: *slots, open: BTreeMap::new() };
                let promises = self.promises.entry((*node, from.server.clone())).or_insert_with(new);
                if promises.boot != *boot {
                    *promises = new();
                }
                if message.boot() == *boot {
                    promises.slots = *slots;
                    promises.hear(message);
                }
            }
            Fact::Ordered { node, to } => {
                let promises = self.promises.get_mut(&(*node, to.server.clone()));
                let Some(promises) = promises.filter(|promises| promises.boot == to.boot) else {
                    return Ok(());
                };
                match &to.order {
                    Order::Grant(grant) if !self.sent.contains_key(&grant.hash) => {
                        self.sent.insert(grant.hash, now);
                        let door = self.doors.get(*node, &to.server, to.boot);
                        let lives = door.is_some_and(|door| door.has_player(grant.player));
                        // Who has no ticket is one of those for whom nothing is kept.
                        let ticket = self.book.of_account(truth.owner(grant.player));
                        let is_new = ticket.is_none();
                        // And whose slot was kept since some time ago takes that one, whatever was heard since.
                        let lives = lives || ticket.is_some_and(|(_, ticket)| !self.book.waits(ticket, now));
                        let servers: BTreeSet<&ServerId> =
                            truth.processes.values().map(|process| &process.server).collect();
                        let keeps = self.book.keeps(*node, &to.server, servers.len() == 1, now);
                        let kept = if is_new { keeps } else { 0 };
                        let granted = promises.grant(grant.hash, grant.player, lives, kept, now);
                        return granted.map_err(|(taken, max)| {
                            format!("{node} grants at {} with {taken} of {max} taken", to.server)
                        });
                    }
                    Order::End(end) => {
                        for hash in &end.hashes {
                            let at = self.sent.get(hash).copied().unwrap_or_default();
                            let back = Promise { player: end.player, at, counts: true, is_taken_back: true };
                            promises.open.insert(*hash, back);
                        }
                    }
                    _ => {}
                }
            }
            _ => {}
        }
        Ok(())
    }
}
