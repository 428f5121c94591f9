//! One session per account: ends mean what they say, hit nobody for nothing, and leave the newest.

use std::collections::{BTreeMap, BTreeSet};

use shared_msgs::codes::Code;
use shared_msgs::ids::{Fence, PlayerId, TokenHash};
use shared_msgs::limits;
use shared_msgs::messages::{Order, ServerMessage, Verdict};

use super::Checker;
use crate::facts::{Fact, Ms, NodeId, Phase};
use crate::truth::Truth;

/// A floor is remembered at least this long.
const FLOOR_MS: Ms = limits::CLOSED_LIFE.as_secs() * 1_000;

/// §10.8: after `ended` nothing of a lower fence lives on that server, nor comes to live there.
#[derive(Default)]
pub(super) struct EndedMeansEnded {
    floors: BTreeMap<(NodeId, PlayerId), (Fence, Ms)>,
    over: BTreeSet<(NodeId, TokenHash)>,
}

impl EndedMeansEnded {
    /// Something comes to live here.
    fn comes(
        &self,
        node: NodeId,
        hash: TokenHash,
        player: PlayerId,
        fence: Fence,
        now: Ms,
    ) -> Result<(), String> {
        if self.over.contains(&(node, hash)) {
            return Err(format!("{node} said that {hash} has ended, and takes it in"));
        }
        let floor = self.floors.get(&(node, player)).filter(|(_, at)| now - at < FLOOR_MS);
        match floor.filter(|(floor, _)| fence < *floor) {
            Some((floor, _)) => Err(format!("{node} takes fence {fence} in under the floor {floor}")),
            None => Ok(()),
        }
    }
}

impl Checker for EndedMeansEnded {
    fn name(&self) -> &'static str {
        "ended-means-ended"
    }

    fn check(&mut self, fact: &Fact, truth: &Truth, now: Ms) -> Result<(), String> {
        let Fact::Said { node, message } = fact else { return Ok(()) };
        match message {
            ServerMessage::Ended { player, below, hashes, .. } => {
                let Some(process) = truth.processes.get(node) else { return Ok(()) };
                let lives = process.live.values().map(|session| (session.player, session.fence));
                let older = lives.chain(process.held.values().copied());
                if older.into_iter().any(|(whose, fence)| whose == *player && fence < *below) {
                    return Err(format!("{node} says ended below {below}, and something older lives"));
                }
                if hashes.iter().any(|hash| process.held.contains_key(hash)) {
                    return Err(format!("{node} says ended, and holds what was to end"));
                }
                self.over.extend(hashes.iter().map(|hash| (*node, *hash)));
                let floor = self.floors.entry((*node, *player)).or_insert((*below, now));
                *floor = (floor.0.max(*below), now);
            }
            ServerMessage::GrantReply { stamp, hash, player, fence, verdict: Verdict::Held, .. }
                if stamp.is_change =>
            {
                return self.comes(*node, *hash, *player, *fence, now);
            }
            ServerMessage::Joined { entry, .. } => {
                return self.comes(*node, entry.hash, entry.player, entry.fence, now);
            }
            _ => {}
        }
        Ok(())
    }
}

/// §10.8: no session is ended for a handover that got no place; nor by an operator who has not asked for it.
pub(super) struct NobodyEndsForNothing;

impl Checker for NobodyEndsForNothing {
    fn name(&self) -> &'static str {
        "nobody-ends-for-nothing"
    }

    fn check(&mut self, fact: &Fact, truth: &Truth, _now: Ms) -> Result<(), String> {
        let Fact::Kicked { node, slot, reason, .. } = fact else { return Ok(()) };
        let Some(process) = truth.processes.get(node).filter(|process| !process.is_closing) else {
            return Ok(());
        };
        let Some(session) = process.live.get(slot) else { return Ok(()) };
        let (slot, account, fence) = (slot.0, session.account, session.fence);
        match reason {
            Code::Superseded | Code::Moved if !truth.is_outdone(account, fence) => {
                Err(format!("{node} ends slot={slot} of account={account}, which has nothing newer"))
            }
            Code::Kicked | Code::Banned if !truth.is_ended(account, fence) => {
                Err(format!("{node} ends slot={slot} of account={account}: {reason}, which nobody asked for"))
            }
            _ => Ok(()),
        }
    }
}

/// §10.8: after faults stop, at most one live session per account.
pub(super) struct OneSessionInTheEnd;

impl Checker for OneSessionInTheEnd {
    fn name(&self) -> &'static str {
        "one-session-in-the-end"
    }

    fn check(&mut self, fact: &Fact, truth: &Truth, _now: Ms) -> Result<(), String> {
        let Fact::Phase(Phase::Settled | Phase::AllIn) = fact else { return Ok(()) };
        let mut homes: BTreeMap<i64, NodeId> = BTreeMap::new();
        for (node, process) in &truth.processes {
            for session in process.live.values() {
                if let Some(other) = homes.insert(session.account, *node) {
                    return Err(format!("account={} lives at {other} and at {node}", session.account));
                }
            }
        }
        Ok(())
    }
}

/// §10.8: after faults stop, an account's live session is the one with the highest fence: nothing newer is held or lives beside it.
pub(super) struct HighestFenceWins;

impl Checker for HighestFenceWins {
    fn name(&self) -> &'static str {
        "highest-fence-wins"
    }

    fn check(&mut self, fact: &Fact, truth: &Truth, _now: Ms) -> Result<(), String> {
        let Fact::Phase(Phase::Settled) = fact else { return Ok(()) };
        let mut newest: BTreeMap<i64, (Fence, NodeId)> = BTreeMap::new();
        let up = || truth.processes.iter().filter(|(_, process)| process.is_up);
        for (node, process) in up() {
            let held = process.held.values().map(|(player, fence)| (truth.owner(*player), *fence));
            let live = process.live.values().map(|session| (session.account, session.fence));
            for (account, fence) in held.chain(live) {
                let known = newest.entry(account).or_insert((fence, *node));
                *known = (*known).max((fence, *node));
            }
        }
        for (node, process) in up() {
            for session in process.live.values() {
                if let Some((fence, at)) = newest.get(&session.account).filter(|(f, _)| *f > session.fence) {
                    let account = session.account;
                    return Err(format!("account={account} lives at {node}, with fence {fence} at {at}"));
                }
            }
        }
        Ok(())
    }
}

/// A token that a client was told of is never taken back as if nobody knew it.
pub(super) struct ToldIsNotCancelled;

impl Checker for ToldIsNotCancelled {
    fn name(&self) -> &'static str {
        "told-is-not-cancelled"
    }

    fn check(&mut self, fact: &Fact, truth: &Truth, _now: Ms) -> Result<(), String> {
        let Fact::Ordered { node, to } = fact else { return Ok(()) };
        let Order::End(end) = &to.order else { return Ok(()) };
        if end.reason != Code::Cancelled {
            return Ok(());
        }
        let is_told =
            |hash: &&TokenHash| truth.grants.get(hash).is_some_and(|grant| grant.answered.is_some());
        match end.hashes.iter().find(is_told) {
            Some(hash) => Err(format!("{node} cancels {hash}, which its client was told of")),
            None => Ok(()),
        }
    }
}

/// Fences of an account grow with each grant of one hub, over its restarts; no two grants have the same.
#[derive(Default)]
pub(super) struct FencesGrow {
    last: BTreeMap<(i64, u16), Fence>,
    by_fence: BTreeMap<Fence, TokenHash>,
}

impl Checker for FencesGrow {
    fn name(&self) -> &'static str {
        "fences-grow"
    }

    fn check(&mut self, fact: &Fact, truth: &Truth, _now: Ms) -> Result<(), String> {
        let Fact::Ordered { node, to } = fact else { return Ok(()) };
        let Order::Grant(grant) = &to.order else { return Ok(()) };
        if self.by_fence.get(&grant.fence) == Some(&grant.hash) {
            return Ok(());
        }
        if let Some(other) = self.by_fence.insert(grant.fence, grant.hash) {
            return Err(format!("fence {} for {other} and for {}", grant.fence, grant.hash));
        }
        let (Some(hub), Some(granted)) = (truth.hubs.get(node), truth.grants.get(&grant.hash)) else {
            return Ok(());
        };
        match self.last.insert((granted.account, *hub), grant.fence) {
            Some(last) if grant.fence <= last => Err(format!("fence {} after {last}", grant.fence)),
            _ => Ok(()),
        }
    }
}
