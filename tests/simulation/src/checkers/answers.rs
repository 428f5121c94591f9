//! Answers: a client is told of its new place only when the account's older ones are known to be over, or cannot be waited for.

use std::collections::{BTreeMap, BTreeSet};

use shared_msgs::ids::{BootId, Fence, HandoverId, PlayerId, ServerId, TokenHash};
use shared_msgs::limits;
use shared_msgs::messages::{Order, RosterEntry, ServerMessage, Verdict};

use super::Checker;
use super::heard::{Doors, Echoes, LEASE_MS};
use crate::facts::{Fact, Ms, NodeId, brief};
use crate::truth::{Granted, Truth};

const DEADLINE_MS: Ms = limits::LOGIN_DEADLINE.as_secs() * 1_000;
const CLOSED_MS: Ms = limits::CLOSED_LIFE.as_secs() * 1_000;

/// Rule 4: with something older of the account known, no answer without the new server's yes; and with it, none before the older has
/// ended, unless a lease has passed since the yes, the older one's server is lost, or the login's time is up.
///
/// Only what the hub surely knows counts: entries of players whom it has granted something itself, and its own unanswered grants.
#[derive(Default)]
pub(super) struct AnsweredOnceClear {
    doors: Doors,
    echoes: Echoes,
    asked: BTreeMap<HandoverId, Ms>,
    /// When a hub first heard that a grant is held.
    yes: BTreeMap<(NodeId, TokenHash), Ms>,
    /// What a server has said is over, or a hub has ordered to be: an entry that comes late is none.
    over: BTreeSet<(NodeId, TokenHash)>,
    floors: BTreeMap<(NodeId, ServerId, BootId, PlayerId), Fence>,
    /// Grants without an answer, with when they were first sent.
    open: BTreeMap<(NodeId, TokenHash), Ms>,
    /// Which boot counts for a hub.
    counted: BTreeMap<(NodeId, ServerId), BootId>,
    /// Whose player ids a hub has used.
    known: BTreeSet<(NodeId, PlayerId)>,
}

impl AnsweredOnceClear {
    fn hear(&mut self, node: NodeId, server: &ServerId, message: &ServerMessage, now: Ms) {
        let mut yes = |hash: TokenHash| {
            self.open.remove(&(node, hash));
            self.yes.entry((node, hash)).or_insert(now);
        };
        match message {
            ServerMessage::GrantReply { hash, verdict: Verdict::Held | Verdict::Redeemed, .. } => yes(*hash),
            ServerMessage::Joined { entry, .. } => yes(entry.hash),
            ServerMessage::RosterPage { entries, .. } => entries.iter().for_each(|entry| yes(entry.hash)),
            ServerMessage::GrantReply { hash, verdict: Verdict::Refused(_), .. }
            | ServerMessage::Left { entry: RosterEntry { hash, .. }, .. } => {
                self.open.remove(&(node, *hash));
                self.over.insert((node, *hash));
            }
            ServerMessage::Ended { stamp, player, below, hashes } => {
                for hash in hashes {
                    self.open.remove(&(node, *hash));
                    self.over.insert((node, *hash));
                }
                let floor = self.floors.entry((node, server.clone(), stamp.boot, *player)).or_insert(*below);
                *floor = (*floor).max(*below);
            }
            ServerMessage::Status(_)
            | ServerMessage::Gone { .. }
            | ServerMessage::Noticed { .. }
            | ServerMessage::Move(_) => {}
        }
    }

    fn order(&mut self, node: NodeId, order: &Order, now: Ms) {
        match order {
            Order::Grant(grant) if !self.yes.contains_key(&(node, grant.hash)) => {
                self.known.insert((node, grant.player));
                self.open.entry((node, grant.hash)).or_insert(now);
            }
            Order::End(end) => {
                for hash in &end.hashes {
                    self.open.remove(&(node, *hash));
                    self.over.insert((node, *hash));
                }
            }
            _ => {}
        }
    }

    /// The account's entries older than this grant that the hub knows of, and where they are.
    fn older<'a>(
        &'a self,
        node: NodeId,
        new: &'a Granted,
        truth: &'a Truth,
    ) -> impl Iterator<Item = (&'a ServerId, BootId, TokenHash)> {
        self.doors.of_hub(node).flat_map(move |(server, door)| {
            let older = door.entries.values().filter(move |entry| {
                let floor = self.floors.get(&(node, server.clone(), door.boot, entry.player));
                entry.fence < new.fence
                    && truth.owners.get(&entry.player) == Some(&new.account)
                    && self.known.contains(&(node, entry.player))
                    && !self.over.contains(&(node, entry.hash))
                    && floor.is_none_or(|floor| entry.fence >= *floor)
            });
            older.map(move |entry| (server, door.boot, entry.hash))
        })
    }

    fn judge(
        &self,
        node: NodeId,
        hash: TokenHash,
        new: &Granted,
        truth: &Truth,
        now: Ms,
    ) -> Result<(), String> {
        let handover = brief(new.handover);
        let mut older = self.older(node, new, truth);
        if new.answered == Some(false) {
            if let Some((server, _, hash)) = older.next() {
                return Err(format!("h={handover} is told of no yes, with {hash} on {server} known"));
            }
            let hashes = truth.of_account.get(&new.account).into_iter().flatten();
            let mut open = hashes.filter(|hash| {
                let is_open = self.open.get(&(node, **hash)).is_some_and(|sent| now - sent < CLOSED_MS);
                // What was granted to an earlier boot is void.
                let counts = |grant: &&Granted| self.doors.get(node, &grant.server, grant.boot).is_some();
                let grant = truth.grants.get(hash).filter(counts);
                is_open && grant.is_some_and(|grant| grant.fence < new.fence)
            });
            return match open.next() {
                Some(hash) => Err(format!("h={handover} is told of no yes, with {hash} unanswered")),
                None => Ok(()),
            };
        }
        let is_in_time = self.asked.get(&new.handover).is_some_and(|asked| now - asked < DEADLINE_MS);
        let waits = is_in_time && self.yes.get(&(node, hash)).is_some_and(|yes| now - yes < LEASE_MS);
        let is_lost = |server: &ServerId, boot| {
            self.echoes.fresh(node, server, boot).is_none_or(|fresh| now - fresh >= LEASE_MS)
        };
        match older.find(|(server, boot, _)| waits && !is_lost(server, *boot)) {
            Some((server, _, hash)) => {
                Err(format!("h={handover} is told of its place while {hash} is on {server}"))
            }
            None => Ok(()),
        }
    }
}

impl Checker for AnsweredOnceClear {
    fn name(&self) -> &'static str {
        "answered-once-clear"
    }

    fn check(&mut self, fact: &Fact, truth: &Truth, now: Ms) -> Result<(), String> {
        self.doors.learn(fact);
        self.echoes.learn(fact, now);
        match fact {
            Fact::Heard { node, from, message, believed } => {
                if let Some((boot, _)) = believed {
                    let before = self.counted.insert((*node, from.server.clone()), *boot);
                    if before.is_some_and(|before| before != *boot) {
                        // Another boot counts: what was granted to the one before is void, should that even come back.
                        let is_there = |hash: &TokenHash| {
                            truth.grants.get(hash).is_some_and(|g| g.server == from.server && g.boot != *boot)
                        };
                        self.open.retain(|(hub, hash), _| hub != node || !is_there(hash));
                    }
                }
                if believed.is_some_and(|(boot, _)| boot == message.boot()) {
                    self.hear(*node, &from.server, message, now);
                }
            }
            Fact::Asked { handover, .. } => {
                self.asked.insert(*handover, now);
            }
            Fact::Ordered { node, to } => self.order(*node, &to.order, now),
            Fact::Answered { node, handover, answer: Ok(_) } => {
                if let Some((hash, new)) = truth.newest_of(*handover) {
                    return self.judge(*node, hash, new, truth, now);
                }
            }
            _ => {}
        }
        Ok(())
    }
}
