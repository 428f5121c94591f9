//! What is really so, kept up from the facts alone: the checkers' common memory.
//!
//! Knows nothing of how the product keeps its books. A process that is gone stays known, for what was said of it.

use std::collections::{BTreeMap, BTreeSet};

use game_server::gate::{SlotId, Ticket};
use shared_msgs::clock::UnixMs;
use shared_msgs::codes::Code;
use shared_msgs::ids::{BootId, Fence, HandoverId, PlayerId, ServerId, TokenHash};
use shared_msgs::messages::{Order, ServerMessage, Verdict};

use crate::facts::{Fact, Ms, NodeId, Shown};

/// A grant, from when a hub first sends it.
#[derive(Clone, Debug)]
pub(crate) struct Granted {
    pub(crate) handover: HandoverId,
    pub(crate) account: i64,
    pub(crate) player: PlayerId,
    pub(crate) fence: Fence,
    pub(crate) server: ServerId,
    pub(crate) boot: BootId,
    pub(crate) expires_at: UnixMs,
    /// Its server has said yes at some time.
    pub(crate) was_held: bool,
    /// Its client was told 200, and whether the server's yes was in by then.
    pub(crate) answered: Option<bool>,
    pub(crate) welcomes: u32,
}

/// A session in game.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) account: i64,
    pub(crate) player: PlayerId,
    pub(crate) fence: Fence,
    pub(crate) hash: Option<TokenHash>,
}

/// A client at a door.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Visit {
    pub(crate) node: NodeId,
    pub(crate) shown: Shown,
    pub(crate) at: Ms,
    pub(crate) unix: UnixMs,
    pub(crate) park_deadline: Option<Ms>,
    pub(crate) verdict_at: Option<Ms>,
    pub(crate) abandoned: Option<Ms>,
}

/// A server process.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) server: ServerId,
    pub(crate) boot: BootId,
    pub(crate) max_players: u32,
    pub(crate) parked_max: u32,
    /// How long it keeps the session of a broken connection.
    pub(crate) grace: Ms,
    pub(crate) is_up: bool,
    pub(crate) is_closing: bool,
    pub(crate) live: BTreeMap<SlotId, Session>,
    /// As it has said itself.
    pub(crate) held: BTreeMap<TokenHash, (PlayerId, Fence)>,
    pub(crate) parked: BTreeSet<Ticket>,
    /// Over for their players; the gate has yet to hear of it.
    pub(crate) leaving: BTreeMap<TokenHash, PlayerId>,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Truth {
    pub(crate) grants: BTreeMap<TokenHash, Granted>,
    pub(crate) accounts: BTreeMap<HandoverId, i64>,
    pub(crate) owners: BTreeMap<PlayerId, i64>,
    /// Hashes by account, for all grants.
    pub(crate) of_account: BTreeMap<i64, Vec<TokenHash>>,
    pub(crate) processes: BTreeMap<NodeId, Process>,
    pub(crate) visits: BTreeMap<Ticket, Visit>,
    pub(crate) hubs: BTreeMap<NodeId, u16>,
    /// Below which fence operators have ended an account, as hubs have ordered it.
    pub(crate) ended: BTreeMap<i64, Fence>,
    /// From when until when a process stood still last.
    frozen: BTreeMap<NodeId, (Ms, Ms)>,
}

impl Truth {
    /// Whether the token of this hash is for this very process.
    pub(crate) fn is_minted_for(&self, hash: TokenHash, node: NodeId) -> bool {
        let (Some(grant), Some(process)) = (self.grants.get(&hash), self.processes.get(&node)) else {
            return false;
        };
        grant.server == process.server && grant.boot == process.boot
    }

    /// When at the latest a process that had to do something by `by` could do it: it may have stood still then.
    pub(crate) fn latest(&self, node: NodeId, by: Ms) -> Ms {
        match self.frozen.get(&node) {
            Some((from, until)) if *from <= by => by.max(*until),
            _ => by,
        }
    }

    /// Whether some server has said yes to a grant of this account with a higher fence.
    pub(crate) fn is_outdone(&self, account: i64, fence: Fence) -> bool {
        let hashes = self.of_account.get(&account).into_iter().flatten();
        hashes.filter_map(|hash| self.grants.get(hash)).any(|grant| grant.was_held && grant.fence > fence)
    }

    /// Whether an operator has ended this account above that fence.
    pub(crate) fn is_ended(&self, account: i64, fence: Fence) -> bool {
        self.ended.get(&account).is_some_and(|below| fence < *below)
    }

    /// Whose player this is; no account's number is negative.
    pub(crate) fn owner(&self, player: PlayerId) -> i64 {
        self.owners.get(&player).copied().unwrap_or(-1)
    }

    /// The newest grant of a handover: the one its client is told of.
    pub(crate) fn newest_of(&self, handover: HandoverId) -> Option<(TokenHash, &Granted)> {
        let hashes = self.accounts.get(&handover).and_then(|account| self.of_account.get(account));
        let grants =
            hashes.into_iter().flatten().rev().filter_map(|hash| Some((*hash, self.grants.get(hash)?)));
        grants.into_iter().find(|(_, grant)| grant.handover == handover)
    }

    /// Takes a fact in. The checkers see the truth as it is after it.
    pub(crate) fn learn(&mut self, now: Ms, fact: &Fact) {
        match fact {
            Fact::HubUp { node, number, .. } => {
                self.hubs.insert(*node, *number);
            }
            Fact::ServerUp { node, server, boot, max_players, parked_max, grace } => {
                let process = Process {
                    server: (*server).clone(),
                    boot: *boot,
                    max_players: *max_players,
                    parked_max: *parked_max,
                    grace: *grace,
                    is_up: true,
                    is_closing: false,
                    live: BTreeMap::new(),
                    held: BTreeMap::new(),
                    parked: BTreeSet::new(),
                    leaving: BTreeMap::new(),
                };
                self.processes.insert(*node, process);
            }
            Fact::Frozen { node, until } => {
                let (from, before) = self.frozen.get(node).copied().unwrap_or((now, 0));
                // One standstill may begin within another.
                let from = if before >= now { from } else { now };
                self.frozen.insert(*node, (from, *until.max(&before)));
            }
            Fact::Down { node, .. } => {
                self.hubs.remove(node);
                if let Some(process) = self.processes.get_mut(node) {
                    process.is_up = false;
                    process.live.clear();
                    process.held.clear();
                    process.parked.clear();
                    process.leaving.clear();
                }
            }
            Fact::Closing { node } => {
                if let Some(process) = self.processes.get_mut(node) {
                    process.is_closing = true;
                }
            }
            Fact::Asked { handover, account, .. } | Fact::Carries { handover, account } => {
                self.accounts.insert(*handover, *account);
            }
            Fact::Ordered { to, .. } => match &to.order {
                Order::Grant(grant) => self.on_grant(to, grant),
                Order::End(end) if matches!(end.reason, Code::Kicked | Code::Banned) => {
                    let below = self.ended.entry(self.owner(end.player)).or_default();
                    *below = (*below).max(end.below);
                }
                _ => {}
            },
            Fact::Answered { answer: Ok(placed), .. } => {
                let newest = self.newest_of(placed.handover).map(|(hash, _)| hash);
                if let Some(grant) = newest.and_then(|hash| self.grants.get_mut(&hash)) {
                    grant.answered = Some(placed.confirmed);
                }
            }
            Fact::Said { node, message } => self.on_said(*node, message),
            Fact::Arrived { .. }
            | Fact::CameBack { .. }
            | Fact::Parked { .. }
            | Fact::Abandoned { .. }
            | Fact::Verdict { .. } => {
                self.on_visit(now, fact);
            }
            Fact::Left { node, slot, voided } => {
                let Some(process) = self.processes.get_mut(node) else { return };
                if let Some(session) = process.live.remove(slot).filter(|_| !voided) {
                    process.leaving.extend(session.hash.map(|hash| (hash, session.player)));
                }
            }
            _ => {}
        }
    }

    /// A client's way through a door.
    fn on_visit(&mut self, now: Ms, fact: &Fact) {
        match fact {
            Fact::Arrived { node, ticket, .. } | Fact::CameBack { node, ticket, .. } => {
                let (shown, unix) = match fact {
                    Fact::Arrived { shown, unix, .. } => (*shown, *unix),
                    _ => (Shown::Credential, UnixMs(0)),
                };
                let visit = Visit {
                    node: *node,
                    shown,
                    at: now,
                    unix,
                    park_deadline: None,
                    verdict_at: None,
                    abandoned: None,
                };
                self.visits.insert(*ticket, visit);
            }
            Fact::Parked { node, ticket, deadline } => {
                if let Some(visit) = self.visits.get_mut(ticket) {
                    visit.park_deadline = Some(*deadline);
                }
                if let Some(process) = self.processes.get_mut(node) {
                    process.parked.insert(*ticket);
                }
            }
            Fact::Abandoned { node, ticket } => {
                if let Some(visit) = self.visits.get_mut(ticket) {
                    visit.abandoned = Some(now);
                }
                if let Some(process) = self.processes.get_mut(node) {
                    process.parked.remove(ticket);
                }
            }
            Fact::Verdict { node, ticket, verdict, .. } => {
                let visit = self.visits.get_mut(ticket);
                let shown = visit.map(|visit| {
                    visit.verdict_at = Some(now);
                    visit.shown
                });
                let Some(process) = self.processes.get_mut(node) else { return };
                process.parked.remove(ticket);
                let Ok(welcome) = verdict else { return };
                let hash = match shown {
                    Some(Shown::Genuine(hash)) => Some(hash),
                    Some(Shown::NotGenuine | Shown::Credential) | None => None,
                };
                if let Some(grant) = hash.and_then(|hash| self.grants.get_mut(&hash)) {
                    grant.welcomes += 1;
                }
                // A session that goes on is the same one.
                let goes_on = welcome.resumes.and_then(|from| process.live.remove(&from));
                let hash = hash.or(goes_on.and_then(|session| session.hash));
                let account = self.owners.get(&welcome.player).copied().unwrap_or(-1);
                let session = Session { account, player: welcome.player, fence: welcome.fence, hash };
                process.live.insert(welcome.slot, session);
            }
            _ => {}
        }
    }

    fn on_grant(&mut self, to: &auth_hub::fleet::Addressed, grant: &shared_msgs::messages::Grant) {
        let account = self.accounts.get(&grant.handover).copied().unwrap_or(-1);
        self.owners.insert(grant.player, account);
        if self.grants.contains_key(&grant.hash) {
            return;
        }
        self.of_account.entry(account).or_default().push(grant.hash);
        let granted = Granted {
            handover: grant.handover,
            account,
            player: grant.player,
            fence: grant.fence,
            server: to.server.clone(),
            boot: to.boot,
            expires_at: grant.expires_at,
            was_held: false,
            answered: None,
            welcomes: 0,
        };
        self.grants.insert(grant.hash, granted);
    }

    fn on_said(&mut self, node: NodeId, message: &ServerMessage) {
        let Some(process) = self.processes.get_mut(&node) else { return };
        match message {
            ServerMessage::GrantReply { stamp, hash, player, fence, verdict, .. } => match verdict {
                Verdict::Held => {
                    if stamp.is_change {
                        process.held.insert(*hash, (*player, *fence));
                    }
                    if let Some(grant) = self.grants.get_mut(hash) {
                        grant.was_held = true;
                    }
                }
                Verdict::Redeemed => {}
                Verdict::Refused(_) => {
                    process.held.remove(hash);
                }
            },
            ServerMessage::Joined { entry, .. } => {
                process.held.remove(&entry.hash);
            }
            ServerMessage::Left { entry, .. } => {
                process.leaving.remove(&entry.hash);
            }
            _ => {}
        }
    }
}
