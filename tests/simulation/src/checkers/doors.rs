//! The door: every client gets one verdict, in time; only genuine tokens wait, one client for each.

use std::collections::BTreeSet;

use game_server::gate::Ticket;
use shared_msgs::limits;

use super::Checker;
use crate::facts::{Fact, Ms, Phase, Shown};
use crate::truth::{Truth, Visit};

const PARK_MS: Ms = limits::PARK_TIME.as_secs() * 1_000;

/// Until when a client may wait at most: the park time, and not past its token's end by the clock at its door.
fn latest(visit: &Visit, truth: &Truth) -> Option<Ms> {
    let Shown::Genuine(hash) = visit.shown else { return None };
    let left = truth.grants.get(&hash)?.expires_at.0.saturating_sub(visit.unix.0);
    Some(visit.at + left.min(PARK_MS))
}

/// §10.4: every parked client gets exactly one verdict by its deadline; parked ≤ cap; one per hash. Who is not parked gets it at once.
#[derive(Default)]
pub(super) struct OneVerdictInTime {
    judged: BTreeSet<Ticket>,
}

impl Checker for OneVerdictInTime {
    fn name(&self) -> &'static str {
        "one-verdict-in-time"
    }

    fn check(&mut self, fact: &Fact, truth: &Truth, now: Ms) -> Result<(), String> {
        match fact {
            Fact::Verdict { node, ticket, .. } => {
                let Some(visit) = truth.visits.get(ticket) else {
                    return Err(format!("{node} judges t={}, who never came", ticket.0));
                };
                if visit.node != *node || !self.judged.insert(*ticket) {
                    return Err(format!("t={} at {} has a second verdict, by {node}", ticket.0, visit.node));
                }
                if let Some(at) = visit.abandoned.filter(|at| *at < now) {
                    return Err(format!(
                        "t={} has a verdict, and went away {} ms before",
                        ticket.0,
                        now - at
                    ));
                }
                let by = truth.latest(visit.node, visit.park_deadline.unwrap_or(visit.at));
                if now > by {
                    return Err(format!("t={} got its verdict {} ms late", ticket.0, now - by));
                }
            }
            Fact::Parked { node, ticket, deadline } => {
                if let Some(late) =
                    truth.visits.get(ticket).and_then(|visit| latest(visit, truth)).filter(|by| deadline > by)
                {
                    return Err(format!("t={} is to wait until {deadline}, and not after {late}", ticket.0));
                }
                let Some(process) = truth.processes.get(node) else { return Ok(()) };
                if process.parked.len() > process.parked_max as usize {
                    return Err(format!("{node} parks {} clients", process.parked.len()));
                }
                let shown = |ticket| truth.visits.get(ticket).map(|visit| visit.shown);
                let same = process.parked.iter().filter(|other| shown(other) == shown(ticket)).count();
                if same > 1 {
                    return Err(format!("{node} parks {same} clients with the token of t={}", ticket.0));
                }
            }
            Fact::Phase(Phase::Settled | Phase::AllOut) => {
                let waits = |node| truth.processes.get(node).is_some_and(|process| process.is_up);
                let forgotten = truth.visits.iter().find(|(_, visit)| {
                    let is_late = truth.latest(visit.node, visit.park_deadline.unwrap_or(visit.at)) < now;
                    visit.verdict_at.is_none() && visit.abandoned.is_none() && is_late && waits(&visit.node)
                });
                if let Some((ticket, visit)) = forgotten {
                    return Err(format!("t={} at {} never got a verdict", ticket.0, visit.node));
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// §10.4: no token without a valid tag is ever parked.
pub(super) struct OnlyGenuineWait;

impl Checker for OnlyGenuineWait {
    fn name(&self) -> &'static str {
        "only-genuine-wait"
    }

    fn check(&mut self, fact: &Fact, truth: &Truth, _now: Ms) -> Result<(), String> {
        let Fact::Parked { ticket, .. } = fact else { return Ok(()) };
        match truth.visits.get(ticket).map(|visit| visit.shown) {
            Some(Shown::NotGenuine | Shown::Credential) => {
                Err(format!("t={} waits with no token for here", ticket.0))
            }
            Some(Shown::Genuine(_)) | None => Ok(()),
        }
    }
}
