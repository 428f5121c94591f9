//! One session per account: ends mean what they say, hit nobody for nothing, and leave the newest.

use std::collections::BTreeMap;

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
                let floor = self.floors.entry((*node, *player)).or_insert((*below, now));
                *floor = (floor.0.max(*below), now);
            }
            ServerMessage::GrantReply { stamp, player, fence, verdict: Verdict::Held, .. }
                if stamp.is_change =>
            {
                let floor = self.floors.get(&(*node, *player)).filter(|(_, at)| now - at < FLOOR_MS);
                if let Some((floor, _)) = floor.filter(|(floor, _)| fence < floor) {
                    return Err(format!("{node} holds fence {fence} under the floor {floor}"));
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// §10.8: no session is ended for a handover that got no place.
pub(super) struct NobodyEndsForNothing;

impl Checker for NobodyEndsForNothing {
    fn name(&self) -> &'static str {
        "nobody-ends-for-nothing"
    }

    fn check(&mut self, fact: &Fact, truth: &Truth, _now: Ms) -> Result<(), String> {
        let Fact::Kicked { node, slot, reason: Code::Superseded, .. } = fact else { return Ok(()) };
        let Some(process) = truth.processes.get(node).filter(|process| !process.is_closing) else {
            return Ok(());
        };
        match process.live.get(slot) {
            Some(session) if !truth.is_outdone(session.account, session.fence) => Err(format!(
                "{node} ends slot={} of account={}, which has nothing newer",
                slot.0, session.account
            )),
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
