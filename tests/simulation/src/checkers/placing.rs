//! Placement: only where a server is known to be alive now, and only the death of the newest connection stops it.

use std::collections::BTreeSet;

use shared_msgs::ids::TokenHash;
use shared_msgs::messages::Order;

use super::Checker;
use super::heard::{Doors, Echoes, LEASE_MS};
use crate::facts::{Fact, Ms};
use crate::truth::Truth;

/// §10.7: no placement on a server without a fresh probe echo, by the hub's clock, of a probe sent since its last will; and nobody is sent to
/// one whose lease has ended, or whose will has come, since.
#[derive(Default)]
pub(super) struct PlacedOnTheFresh {
    echoes: Echoes,
    granted: BTreeSet<TokenHash>,
}

impl Checker for PlacedOnTheFresh {
    fn name(&self) -> &'static str {
        "placed-on-the-fresh"
    }

    fn check(&mut self, fact: &Fact, truth: &Truth, now: Ms) -> Result<(), String> {
        self.echoes.learn(fact, now);
        match fact {
            Fact::Ordered { node, to } => match &to.order {
                Order::Grant(grant) if self.granted.insert(grant.hash) => {
                    let fresh = self.echoes.alive(*node, &to.server, to.boot);
                    if fresh.is_none_or(|fresh| now - fresh >= LEASE_MS) {
                        return Err(format!("{node} places on {}, fresh as of {fresh:?}", to.server));
                    }
                }
                _ => {}
            },
            Fact::Answered { node, handover, answer: Ok(placed) } => {
                let Some((_, grant)) = truth.newest_of(*handover) else { return Ok(()) };
                let fresh = self.echoes.alive(*node, &placed.server, grant.boot);
                if fresh.is_none_or(|fresh| now - fresh > LEASE_MS) {
                    return Err(format!("{node} sends a client to {}, fresh as of {fresh:?}", placed.server));
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// §10.7: a will never removes a newer stream.
#[derive(Default)]
pub(super) struct WillsSpareNewerStreams {
    echoes: Echoes,
}

impl Checker for WillsSpareNewerStreams {
    fn name(&self) -> &'static str {
        "wills-spare-newer-streams"
    }

    fn check(&mut self, fact: &Fact, _truth: &Truth, now: Ms) -> Result<(), String> {
        if let Fact::WillHeard { node, from, boot, before: true, after: false } = fact
            && !self.echoes.is_newest(*node, from, *boot)
        {
            return Err(format!("{node} took {} off for the will of an older connection", from.server));
        }
        self.echoes.learn(fact, now);
        Ok(())
    }
}

/// §10.7: no placement on a server before a roster of that boot came, or a word that it is empty.
#[derive(Default)]
pub(super) struct PlacedOnTheKnown {
    doors: Doors,
    granted: BTreeSet<TokenHash>,
}

impl Checker for PlacedOnTheKnown {
    fn name(&self) -> &'static str {
        "placed-on-the-known"
    }

    fn check(&mut self, fact: &Fact, _truth: &Truth, _now: Ms) -> Result<(), String> {
        self.doors.learn(fact);
        let Fact::Ordered { node, to } = fact else { return Ok(()) };
        let Order::Grant(grant) = &to.order else { return Ok(()) };
        let is_known = self.doors.get(*node, &to.server, to.boot).is_some_and(|door| door.is_known);
        if self.granted.insert(grant.hash) && !is_known {
            return Err(format!("{node} places on {} and knows no roster of it", to.server));
        }
        Ok(())
    }
}
