//! Ends that operators ask for: they reach all that the account has, it is gone in time, and who is shut out stays out.

use std::collections::{BTreeMap, BTreeSet};

use game_server::gate::SlotId;
use shared_msgs::codes::Code;
use shared_msgs::ids::{BootId, Fence, PlayerId, ServerId, TokenHash};
use shared_msgs::limits;
use shared_msgs::messages::{End, Order};

use super::Checker;
use super::heard::Doors;
use crate::facts::{Fact, Ms, NodeId, Phase};
use crate::truth::Truth;

const SAVE_MS: Ms = limits::SAVE_TIME.as_secs() * 1_000;

/// A session that is told to end has its time to save, no longer than that, and is gone when it is over.
#[derive(Default)]
pub(super) struct KickedGoInTime {
    told: BTreeMap<(NodeId, SlotId), Ms>,
}

impl Checker for KickedGoInTime {
    fn name(&self) -> &'static str {
        "kicked-go-in-time"
    }

    fn check(&mut self, fact: &Fact, truth: &Truth, now: Ms) -> Result<(), String> {
        match fact {
            Fact::Kicked { node, slot, reason, save_by, .. } => {
                if self.told.insert((*node, *slot), *save_by).is_some() {
                    return Err(format!("{node} tells slot={} to end once more", slot.0));
                }
                // A drain's limit is the operator's own.
                if *reason != Code::ServerDraining && *save_by > now + SAVE_MS {
                    return Err(format!("{node} gives slot={} until {save_by} to save", slot.0));
                }
            }
            Fact::Left { node, slot, .. } => {
                self.told.remove(&(*node, *slot));
            }
            Fact::Down { node, .. } => self.told.retain(|(of, _), _| of != node),
            // A step later: what falls due in a step comes before it.
            Fact::Stands { node, .. } => {
                let of_node = self.told.range((*node, SlotId(0))..=(*node, SlotId(u64::MAX)));
                let mut late = of_node.filter(|(_, save_by)| now > truth.latest(*node, **save_by));
                if let Some(((_, slot), save_by)) = late.next() {
                    return Err(format!("{node} has slot={} still, which was to end by {save_by}", slot.0));
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// An operator's end is ordered of every server on which the hub knows of something of the account, at once.
#[derive(Default)]
pub(super) struct EndsReachAll {
    doors: Doors,
    /// What is to be ended, by the hub that is at it.
    missing: BTreeMap<NodeId, BTreeSet<(ServerId, BootId, PlayerId)>>,
    /// Taken back before: entries of these count for nothing.
    over: BTreeSet<(NodeId, TokenHash)>,
}

impl EndsReachAll {
    fn known_of(&self, node: NodeId, account: i64, truth: &Truth) -> BTreeSet<(ServerId, BootId, PlayerId)> {
        let doors = self.doors.of_hub(node);
        let entries = doors.flat_map(|(server, door)| {
            let counts = move |hash: TokenHash| !self.over.contains(&(node, hash));
            let entries = door.entries.values().filter(move |entry| counts(entry.hash));
            entries.map(move |entry| (server.clone(), door.boot, entry.player))
        });
        entries.filter(|(.., player)| truth.owner(*player) == account).collect()
    }

    fn ordered(&mut self, node: NodeId, server: &ServerId, boot: BootId, end: &End) {
        self.over.extend(end.hashes.iter().map(|hash| (node, *hash)));
        if let Some(missing) = self.missing.get_mut(&node).filter(|_| end.below > Fence::ZERO) {
            missing.remove(&(server.clone(), boot, end.player));
        }
    }
}

impl Checker for EndsReachAll {
    fn name(&self) -> &'static str {
        "ends-reach-all"
    }

    fn check(&mut self, fact: &Fact, truth: &Truth, _now: Ms) -> Result<(), String> {
        self.doors.learn(fact);
        match fact {
            Fact::OperatorEnds { node, account, is_done: true, .. } => {
                self.missing.insert(*node, self.known_of(*node, *account, truth));
            }
            Fact::Ordered { node, to } => {
                if let Order::End(end) = &to.order {
                    self.ordered(*node, &to.server, to.boot, end);
                }
            }
            Fact::OperatorDone { node } => {
                let missing = self.missing.remove(node).unwrap_or_default();
                if let Some((server, _, player)) = missing.first() {
                    let account = truth.owner(*player);
                    return Err(format!("{node} leaves account={account} in peace at {server}"));
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// Nobody is let in by a place that a hub gave once it had acted on the account's ban; and when all has come to rest nothing lives that a
/// hub which is still there was to end.
#[derive(Default)]
pub(super) struct ShutOutStaysOut {
    barred: BTreeSet<i64>,
    /// Hubs that have acted on a ban which stands.
    acted: BTreeSet<(i64, NodeId)>,
    /// Grants given after that.
    void: BTreeMap<TokenHash, i64>,
    granted: BTreeSet<TokenHash>,
    floors: BTreeMap<(NodeId, i64), Fence>,
}

impl ShutOutStaysOut {
    fn lives(&self, truth: &Truth) -> Option<(NodeId, i64)> {
        let up = truth.processes.iter().filter(|(_, process)| process.is_up);
        let all = up.flat_map(|(node, process)| {
            let live = process.live.values().map(|session| (session.account, session.fence));
            let held = process.held.values().map(|(player, fence)| (truth.owner(*player), *fence));
            live.chain(held).map(|(account, fence)| (*node, account, fence))
        });
        let is_over = |account: i64, fence: Fence| {
            let mut floors = self.floors.iter().filter(|((_, of), _)| *of == account);
            floors.any(|(_, below)| fence < *below)
        };
        let mut over = all.filter(|(_, account, fence)| is_over(*account, *fence));
        over.next().map(|(node, account, _)| (node, account))
    }
}

impl Checker for ShutOutStaysOut {
    fn name(&self) -> &'static str {
        "shut-out-stays-out"
    }

    fn check(&mut self, fact: &Fact, truth: &Truth, _now: Ms) -> Result<(), String> {
        match fact {
            Fact::Barred { account, is_barred: true } => {
                self.barred.insert(*account);
            }
            Fact::Barred { account, is_barred: false } => {
                self.barred.remove(account);
                self.acted.retain(|(of, _)| of != account);
                self.void.retain(|_, of| of != account);
            }
            Fact::OperatorEnds { node, account, reason: Code::Banned, is_done: true } => {
                self.acted.extend(self.barred.get(account).map(|account| (*account, *node)));
            }
            Fact::Down { node, .. } => {
                self.acted.retain(|(_, of)| of != node);
                // A restarted hub knows of no kicks, and of bans from the store, with fences of its own.
                self.floors.retain(|(of, _), _| of != node);
            }
            Fact::Ordered { node, to } => match &to.order {
                Order::Grant(grant) if self.granted.insert(grant.hash) => {
                    let account = truth.owner(grant.player);
                    if self.acted.contains(&(account, *node)) {
                        self.void.insert(grant.hash, account);
                    }
                }
                Order::End(end) if matches!(end.reason, Code::Kicked | Code::Banned) => {
                    let below = self.floors.entry((*node, truth.owner(end.player))).or_default();
                    *below = (*below).max(end.below);
                }
                _ => {}
            },
            Fact::Verdict { node, ticket, verdict: Ok(_), .. } => {
                let shown = truth.visits.get(ticket).map(|visit| visit.shown);
                if let Some(crate::facts::Shown::Genuine(hash)) = shown
                    && let Some(account) = self.void.get(&hash)
                {
                    return Err(format!("{node} lets account={account} in, which is shut out"));
                }
            }
            Fact::Phase(Phase::Settled) => {
                if let Some((node, account)) = self.lives(truth) {
                    return Err(format!("account={account} lives at {node} after an operator's end"));
                }
            }
            _ => {}
        }
        Ok(())
    }
}
