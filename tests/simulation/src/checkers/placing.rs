//! Placement: only where a server is known to be alive now, and only the death of the newest connection stops it.

use std::collections::BTreeMap;

use shared_msgs::ids::{BootId, HubId, ServerId, StreamId};
use shared_msgs::limits;
use shared_msgs::messages::{Order, ServerMessage};

use super::Checker;
use super::slots::stamp_of;
use crate::facts::{Fact, Ms, NodeId};
use crate::truth::Truth;

const LEASE_MS: Ms = limits::LEASE.as_secs() * 1_000;

/// §10.7: no placement on a server without a fresh probe echo, by the hub's clock; and nobody is sent to one whose lease has ended since.
#[derive(Default)]
pub(super) struct PlacedOnTheFresh {
    hubs: BTreeMap<HubId, NodeId>,
    sent: BTreeMap<(NodeId, u64), Ms>,
    /// When the newest probe that came back was sent.
    fresh: BTreeMap<(NodeId, ServerId, BootId), Ms>,
    granted: std::collections::BTreeSet<shared_msgs::ids::TokenHash>,
}

impl Checker for PlacedOnTheFresh {
    fn name(&self) -> &'static str {
        "placed-on-the-fresh"
    }

    fn check(&mut self, fact: &Fact, truth: &Truth, now: Ms) -> Result<(), String> {
        match fact {
            Fact::HubUp { node, id, .. } => {
                self.hubs.insert((*id).clone(), *node);
            }
            Fact::Heard { node, from, message: ServerMessage::Status(status), .. } => {
                for echo in status.echoes.iter().filter(|echo| self.hubs.get(&echo.hub) == Some(node)) {
                    if let Some(sent) = self.sent.get(&(*node, echo.n)) {
                        let key = (*node, from.server.clone(), status.stamp.boot);
                        let fresh = self.fresh.entry(key).or_insert(*sent);
                        *fresh = (*fresh).max(*sent);
                    }
                }
            }
            Fact::Ordered { node, to } => match &to.order {
                Order::Probe { n, .. } => {
                    self.sent.insert((*node, *n), now);
                }
                Order::Grant(grant) if self.granted.insert(grant.hash) => {
                    let fresh = self.fresh.get(&(*node, to.server.clone(), to.boot));
                    if fresh.is_none_or(|fresh| now - fresh >= LEASE_MS) {
                        return Err(format!("{node} places on {}, fresh as of {fresh:?}", to.server));
                    }
                }
                _ => {}
            },
            Fact::Answered { node, handover, answer: Ok(placed) } => {
                let hashes = truth.accounts.get(handover).and_then(|account| truth.of_account.get(account));
                let newest = hashes.and_then(|hashes| hashes.last()).and_then(|hash| truth.grants.get(hash));
                let Some(grant) = newest.filter(|grant| grant.handover == *handover) else { return Ok(()) };
                let fresh = self.fresh.get(&(*node, placed.server.clone(), grant.boot));
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
    doors: BTreeMap<(NodeId, ServerId), Connections>,
}

/// The connections of the boot that counts for a hub, in the order in which a status at least as new as all before came by them.
struct Connections {
    boot: BootId,
    rev: u64,
    streams: Vec<StreamId>,
}

impl Checker for WillsSpareNewerStreams {
    fn name(&self) -> &'static str {
        "wills-spare-newer-streams"
    }

    fn check(&mut self, fact: &Fact, _truth: &Truth, _now: Ms) -> Result<(), String> {
        match fact {
            Fact::Heard { node, from, message, believed: Some((counted, _)) } => {
                let Some(stamp) = stamp_of(message).filter(|stamp| stamp.boot == *counted) else {
                    return Ok(());
                };
                let fresh = || Connections { boot: stamp.boot, rev: 0, streams: Vec::new() };
                let known = self.doors.entry((*node, from.server.clone())).or_insert_with(fresh);
                if known.boot != stamp.boot {
                    *known = fresh();
                }
                let is_late = stamp.rev < known.rev;
                known.rev = known.rev.max(stamp.rev);
                let is_status = matches!(message, ServerMessage::Status(_));
                if is_status && !is_late && !known.streams.contains(&from.stream) {
                    known.streams.push(from.stream);
                }
            }
            Fact::WillHeard { node, from, boot, before: true, after: false } => {
                let known = self.doors.get(&(*node, from.server.clone())).filter(|known| known.boot == *boot);
                let newest = known.and_then(|known| known.streams.last());
                if newest.is_some_and(|newest| *newest != from.stream) {
                    return Err(format!(
                        "{node} took {} off for the will of an older connection",
                        from.server
                    ));
                }
            }
            _ => {}
        }
        Ok(())
    }
}
