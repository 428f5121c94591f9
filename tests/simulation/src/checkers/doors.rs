//! The door: every client gets one verdict, in time; only genuine tokens wait, one client for each.

use super::Checker;
use crate::facts::{Fact, Ms, Phase, Shown};
use crate::truth::Truth;

/// §10.4: every parked client gets exactly one verdict by its deadline; parked ≤ cap; one per hash. Who is not parked gets it at once.
pub(super) struct OneVerdictInTime;

impl Checker for OneVerdictInTime {
    fn name(&self) -> &'static str {
        "one-verdict-in-time"
    }

    fn check(&mut self, fact: &Fact, truth: &Truth, now: Ms) -> Result<(), String> {
        match fact {
            Fact::Verdict { ticket, .. } => {
                let Some(visit) = truth.visits.get(ticket) else { return Ok(()) };
                let by = truth.latest(visit.node, visit.park_deadline.unwrap_or(visit.at));
                if now > by {
                    return Err(format!("t={} got its verdict {} ms late", ticket.0, now - by));
                }
            }
            Fact::Parked { node, ticket, .. } => {
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
                    visit.verdict_at.is_none() && !visit.abandoned && is_late && waits(&visit.node)
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
            Some(Shown::NotGenuine) => Err(format!("t={} waits with no token for here", ticket.0)),
            Some(Shown::Genuine(_)) | None => Ok(()),
        }
    }
}
