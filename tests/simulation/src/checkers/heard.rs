//! What a hub can know of a server from what it has heard alone: who lives there, and how fresh that is. Memory of several checkers.
//!
//! Knows nothing of what the hub makes of it. Invariant: an entry is in here only if the newest that was heard, of the boot that
//! counts, says so; changes and pages older than that, in whatever order they come, bring nothing back.

use std::collections::BTreeMap;

use auth_hub::bus::Sender;
use shared_msgs::ids::{BootId, HubId, PlayerId, ServerId, StreamId, TokenHash};
use shared_msgs::limits;
use shared_msgs::messages::{
    EntryKind, Order, RosterDigest, RosterEntry, ServerMessage, Stamp, Status, Verdict,
};

use crate::facts::{Fact, Ms, NodeId};

pub(super) const LEASE_MS: Ms = limits::LEASE.as_secs() * 1_000;

/// How a message's server stands; a will says nothing of it.
pub(super) fn stamp_of(message: &ServerMessage) -> Option<&Stamp> {
    match message {
        ServerMessage::Status(status) => Some(&status.stamp),
        ServerMessage::Gone { .. } => None,
        ServerMessage::Move(asked) => Some(&asked.stamp),
        ServerMessage::GrantReply { stamp, .. }
        | ServerMessage::Ended { stamp, .. }
        | ServerMessage::Joined { stamp, .. }
        | ServerMessage::Left { stamp, .. }
        | ServerMessage::RosterPage { stamp, .. }
        | ServerMessage::Noticed { stamp, .. } => Some(stamp),
    }
}

/// Who lives on one boot of one server, as of the newest that one hub has heard.
#[derive(Debug)]
pub(super) struct Door {
    pub(super) boot: BootId,
    pub(super) entries: BTreeMap<TokenHash, RosterEntry>,
    /// A roster came, or there was none to come.
    pub(super) is_known: bool,
    rev: u64,
    streams: Vec<StreamId>,
    /// The newest request for its roster, and whether it has not come yet.
    requests: u64,
    awaits: bool,
}

impl Door {
    fn new(boot: BootId) -> Self {
        let (entries, streams) = (BTreeMap::new(), Vec::new());
        Self { boot, entries, is_known: false, rev: 0, streams, requests: 0, awaits: false }
    }

    fn hear(&mut self, stream: StreamId, message: &ServerMessage) {
        match message {
            ServerMessage::Status(status) => self.on_status(stream, status),
            ServerMessage::GrantReply { stamp, hash, player, fence, verdict, .. } => {
                let entry =
                    RosterEntry { hash: *hash, player: *player, fence: *fence, kind: EntryKind::Held };
                self.change(stamp, *hash, matches!(verdict, Verdict::Held).then_some(entry));
            }
            ServerMessage::Joined { stamp, entry } => self.change(stamp, entry.hash, Some(*entry)),
            ServerMessage::Left { stamp, entry } => self.change(stamp, entry.hash, None),
            ServerMessage::RosterPage { stamp, request, pages, entries, .. } => {
                // The simulation's servers are small: one page is all. Numbers that are not ours yet are other hubs'.
                if self.awaits && *request <= self.requests && *pages == 1 && stamp.rev >= self.rev {
                    self.entries = entries.iter().map(|entry| (entry.hash, *entry)).collect();
                    (self.rev, self.awaits, self.is_known) = (stamp.rev, false, true);
                }
            }
            ServerMessage::Ended { .. }
            | ServerMessage::Gone { .. }
            | ServerMessage::Noticed { .. }
            | ServerMessage::Move(_) => {}
        }
    }

    fn change(&mut self, stamp: &Stamp, hash: TokenHash, entry: Option<RosterEntry>) {
        if stamp.is_change && stamp.rev > self.rev {
            self.entries.remove(&hash);
            self.entries.extend(entry.map(|entry| (hash, entry)));
            self.rev = stamp.rev;
        }
    }

    fn on_status(&mut self, stream: StreamId, status: &Status) {
        self.is_known |= status.digest.count == 0;
        if self.streams.contains(&stream) {
            return;
        }
        self.streams.push(stream);
        // On a new connection nothing older is on its way any more.
        let mut digest = RosterDigest::default();
        self.entries.values().for_each(|entry| digest.add(entry));
        if digest == status.digest && !self.awaits {
            self.rev = self.rev.max(status.stamp.rev);
        }
    }

    pub(super) fn has_player(&self, player: PlayerId) -> bool {
        self.entries.values().any(|entry| entry.player == player)
    }
}

/// All doors, as each hub has heard of them.
#[derive(Debug, Default)]
pub(super) struct Doors(BTreeMap<(NodeId, ServerId), Door>);

impl Doors {
    pub(super) fn learn(&mut self, fact: &Fact) {
        match fact {
            Fact::Heard { node, from, message, believed: Some((boot, _)) } => {
                let door = self.0.entry((*node, from.server.clone())).or_insert_with(|| Door::new(*boot));
                if door.boot != *boot {
                    *door = Door::new(*boot);
                }
                if message.boot() == *boot {
                    door.hear(from.stream, message);
                }
            }
            Fact::Ordered { node, to } => {
                let Order::Roster { request } = to.order else { return };
                let door = self.0.get_mut(&(*node, to.server.clone()));
                if let Some(door) = door.filter(|door| door.boot == to.boot) {
                    (door.requests, door.awaits) = (request, true);
                }
            }
            Fact::Down { node, .. } => self.0.retain(|(hub, _), _| hub != node),
            _ => {}
        }
    }

    pub(super) fn of_hub(&self, hub: NodeId) -> impl Iterator<Item = (&ServerId, &Door)> {
        self.0.iter().filter(move |((node, _), _)| *node == hub).map(|((_, server), door)| (server, door))
    }

    /// What the hub has heard of this very boot.
    pub(super) fn get(&self, hub: NodeId, server: &ServerId, boot: BootId) -> Option<&Door> {
        self.0.get(&(hub, server.clone())).filter(|door| door.boot == boot)
    }
}

/// One boot of a server, by its echoes.
#[derive(Debug)]
struct Pulse {
    boot: BootId,
    /// The newest heard of it.
    rev: u64,
    /// Its connections, in the order in which a status at least as new as all before came by them.
    streams: Vec<StreamId>,
    /// When the newest probe that came back was sent.
    fresh: Option<Ms>,
    /// Its connection died: no echo counts of probes up to this one.
    dead_to: Option<u64>,
}

/// Probes, their echoes, and the wills that make earlier ones worth nothing.
#[derive(Debug, Default)]
pub(super) struct Echoes {
    hubs: BTreeMap<HubId, NodeId>,
    sent: BTreeMap<(NodeId, u64), Ms>,
    pulses: BTreeMap<(NodeId, ServerId), Pulse>,
}

impl Echoes {
    pub(super) fn learn(&mut self, fact: &Fact, now: Ms) {
        match fact {
            Fact::HubUp { node, id, .. } => {
                self.hubs.insert((*id).clone(), *node);
            }
            Fact::Heard { node, from, message, believed: Some((boot, _)) } => {
                let key = (*node, from.server.clone());
                let new = || Pulse { boot: *boot, rev: 0, streams: Vec::new(), fresh: None, dead_to: None };
                let pulse = self.pulses.entry(key).or_insert_with(new);
                if pulse.boot != *boot {
                    *pulse = new();
                }
                let Some(stamp) = stamp_of(message).filter(|stamp| stamp.boot == *boot) else { return };
                let is_late = stamp.rev < pulse.rev;
                pulse.rev = pulse.rev.max(stamp.rev);
                let ServerMessage::Status(status) = message else { return };
                if !is_late && !pulse.streams.contains(&from.stream) {
                    pulse.streams.push(from.stream);
                }
                for echo in status.echoes.iter().filter(|echo| self.hubs.get(&echo.hub) == Some(node)) {
                    // An echo as old as a lease proves nothing.
                    let sent = self.sent.get(&(*node, echo.n)).filter(|sent| now - **sent < LEASE_MS);
                    if sent.is_some() && pulse.dead_to.is_none_or(|dead_to| echo.n > dead_to) {
                        pulse.fresh = pulse.fresh.max(sent.copied());
                        pulse.dead_to = None;
                    }
                }
            }
            Fact::WillHeard { node, from, boot, .. } if self.is_newest(*node, from, *boot) => {
                let newest = self.sent.range(..=(*node, u64::MAX)).next_back();
                let newest = newest.filter(|((hub, _), _)| hub == node).map_or(0, |((_, n), _)| *n);
                if let Some(pulse) = self.pulses.get_mut(&(*node, from.server.clone())) {
                    pulse.dead_to = Some(newest);
                }
            }
            Fact::Ordered { node, to } => {
                if let Order::Probe { n, .. } = &to.order {
                    self.sent.insert((*node, *n), now);
                }
            }
            _ => {}
        }
    }

    /// Whether a will is the newest connection's of the boot that counts.
    pub(super) fn is_newest(&self, hub: NodeId, from: &Sender, boot: BootId) -> bool {
        let pulse = self.pulses.get(&(hub, from.server.clone())).filter(|pulse| pulse.boot == boot);
        pulse.is_some_and(|pulse| pulse.streams.last() == Some(&from.stream))
    }

    /// When the newest probe that came back was sent, whatever wills came since.
    pub(super) fn fresh(&self, hub: NodeId, server: &ServerId, boot: BootId) -> Option<Ms> {
        self.pulses.get(&(hub, server.clone())).filter(|pulse| pulse.boot == boot)?.fresh
    }

    /// The same; `None` once its connection is known to be dead.
    pub(super) fn alive(&self, hub: NodeId, server: &ServerId, boot: BootId) -> Option<Ms> {
        let is_dead = self.pulses.get(&(hub, server.clone())).is_some_and(|pulse| pulse.dead_to.is_some());
        self.fresh(hub, server, boot).filter(|_| !is_dead)
    }
}
