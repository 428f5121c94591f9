//! Tokens: used once, by whom they were granted to, where they were granted, in time; and good if the hub said so.

use std::collections::BTreeMap;

use game_server::gate::Refused;
use shared_msgs::codes::Code;
use shared_msgs::ids::TokenHash;
use shared_msgs::limits;
use shared_msgs::messages::{ServerMessage, Verdict};

use super::Checker;
use crate::facts::{Fact, Ms, NodeId, Shown, brief};
use crate::truth::{Granted, Truth, Visit};

/// §10.1: successful redemptions per token hash ≤ 1, over crashes, duplicates, reordering.
pub(super) struct RedeemedOnce;

impl Checker for RedeemedOnce {
    fn name(&self) -> &'static str {
        "redeemed-once"
    }

    fn check(&mut self, fact: &Fact, truth: &Truth, _now: Ms) -> Result<(), String> {
        let Fact::Verdict { ticket, verdict: Ok(_), .. } = fact else { return Ok(()) };
        let Some(Visit { shown: Shown::Genuine(hash), .. }) = truth.visits.get(ticket) else { return Ok(()) };
        match truth.grants.get(hash) {
            Some(grant) if grant.welcomes > 1 => Err(format!(
                "token {hash} of h={} was redeemed {} times",
                brief(grant.handover),
                grant.welcomes
            )),
            _ => Ok(()),
        }
    }
}

/// §10.2: a client with a confirmed place that comes in time gets in, unless something newer or the server's end explains why not.
pub(super) struct ConfirmedGetsIn;

impl ConfirmedGetsIn {
    fn is_explained(refused: Refused, grant: &Granted, visit: &Visit, truth: &Truth) -> bool {
        let Some(process) = truth.processes.get(&visit.node) else { return true };
        let Shown::Genuine(hash) = visit.shown else { return true };
        match refused.code {
            Code::TokenSpent => grant.welcomes == 1,
            Code::Superseded => {
                process.is_closing
                    || truth.is_outdone(grant.account, grant.fence)
                    || truth.is_ended(grant.account, grant.fence)
            }
            Code::Moved => truth.is_outdone(grant.account, grant.fence),
            Code::Kicked | Code::Banned => truth.is_ended(grant.account, grant.fence),
            Code::TokenExpired => visit.unix >= grant.expires_at || visit.park_deadline.is_some(),
            Code::ServerDraining | Code::ServerClosed => process.is_closing,
            Code::ConnectedElsewhere => {
                let is_newer = |other: &Visit| other.shown == Shown::Genuine(hash) && other.at >= visit.at;
                truth.visits.values().filter(|other| is_newer(other)).count() > 1
            }
            Code::ServerBusy => process.parked.len() >= process.parked_max as usize,
            // It waited for an older session of its own that has not left yet.
            Code::HandoverTimedOut => process.live.values().any(|session| session.player == grant.player),
            _ => false,
        }
    }
}

impl Checker for ConfirmedGetsIn {
    fn name(&self) -> &'static str {
        "confirmed-gets-in"
    }

    fn check(&mut self, fact: &Fact, truth: &Truth, _now: Ms) -> Result<(), String> {
        let Fact::Verdict { ticket, verdict: Err(refused), .. } = fact else { return Ok(()) };
        let Some(visit) = truth.visits.get(ticket) else { return Ok(()) };
        let Shown::Genuine(hash) = visit.shown else { return Ok(()) };
        let Some(grant) = truth.grants.get(&hash).filter(|grant| grant.answered.is_some()) else {
            return Ok(());
        };
        if refused.code == Code::TokenNotGenuine {
            return Err(format!(
                "the genuine token {hash} of h={} was taken for none",
                brief(grant.handover)
            ));
        }
        if grant.answered == Some(true) && !Self::is_explained(*refused, grant, visit, truth) {
            let (handover, code) = (brief(grant.handover), refused.code);
            return Err(format!("h={handover} was confirmed, came in time, and was refused {code}"));
        }
        Ok(())
    }
}

/// §10.3: redeemed (player, server) = granted (player, server); never after expiry + skew, never under another boot.
pub(super) struct RedeemedAsGranted;

impl Checker for RedeemedAsGranted {
    fn name(&self) -> &'static str {
        "redeemed-as-granted"
    }

    fn check(&mut self, fact: &Fact, truth: &Truth, _now: Ms) -> Result<(), String> {
        if let Fact::Said { node, message: ServerMessage::GrantReply { hash, verdict: Verdict::Held, .. } } =
            fact
            && !truth.is_minted_for(*hash, *node)
        {
            return Err(format!("{node} holds {hash}, which was granted elsewhere"));
        }
        let Fact::Verdict { node, ticket, verdict: Ok(welcome), unix } = fact else { return Ok(()) };
        let shown = truth.visits.get(ticket).map(|visit| visit.shown);
        if shown == Some(Shown::Credential) && welcome.resumes.is_some() {
            return Ok(());
        }
        let Some(Shown::Genuine(hash)) = shown else {
            return Err(format!("t={} was let in with no token for {node}", ticket.0));
        };
        let Some(grant) = truth.grants.get(&hash) else {
            return Err(format!("token {hash} was never granted"));
        };
        if (welcome.player, welcome.fence, welcome.handover) != (grant.player, grant.fence, grant.handover) {
            return Err(format!("token {hash} let in another than it was granted to"));
        }
        if !truth.is_minted_for(hash, *node) {
            return Err(format!("token {hash} was redeemed at {node}, and granted elsewhere"));
        }
        if *unix > grant.expires_at + limits::CLOCK_SKEW_MAX {
            return Err(format!("token {hash} was redeemed after its end"));
        }
        Ok(())
    }
}

/// A hash that a process has refused once is never held or redeemed there, while anything of it may be under way.
#[derive(Default)]
pub(super) struct RefusedStaysRefused {
    refused: BTreeMap<(NodeId, TokenHash), Ms>,
}

impl Checker for RefusedStaysRefused {
    fn name(&self) -> &'static str {
        "refused-stays-refused"
    }

    fn check(&mut self, fact: &Fact, _truth: &Truth, now: Ms) -> Result<(), String> {
        let Fact::Said { node, message: ServerMessage::GrantReply { hash, verdict, .. } } = fact else {
            return Ok(());
        };
        match verdict {
            Verdict::Refused(_) => {
                self.refused.entry((*node, *hash)).or_insert(now);
            }
            Verdict::Held | Verdict::Redeemed if self.refused.contains_key(&(*node, *hash)) => {
                return Err(format!("{node} refused {hash} and says {verdict:?} now"));
            }
            Verdict::Held | Verdict::Redeemed => {}
        }
        Ok(())
    }
}
