//! The way back: a credential is good for its own session of its own process, once; what is not good changes nothing; slots are kept as long
//! as they are said to be, and no longer.

use std::collections::BTreeMap;

use game_server::gate::{SlotId, Ticket, Welcome};
use shared_msgs::codes::Code;
use shared_msgs::ids::{Fence, HandoverId, PlayerId};

use super::Checker;
use crate::facts::{Fact, Ms, NodeId};
use crate::truth::Truth;

/// One session, and what leads back to it.
#[derive(Debug)]
struct Way {
    node: NodeId,
    slot: SlotId,
    is: (HandoverId, PlayerId, Fence),
    current: String,
    /// Shown last: good until the client has said that it has the current one, for the answer may have been lost.
    previous: Option<String>,
    kicked: Option<Code>,
    is_over: bool,
}

impl Way {
    fn takes(&self, credential: &str) -> bool {
        self.current == credential || self.previous.as_deref() == Some(credential)
    }
}

/// Who shows a good credential is let in, to its own session; nobody else is, and nothing changes by that.
#[derive(Default)]
pub(super) struct WaysLeadHome {
    ways: Vec<Way>,
    by_text: BTreeMap<String, usize>,
    by_slot: BTreeMap<(NodeId, SlotId), usize>,
    shown: BTreeMap<Ticket, String>,
}

impl WaysLeadHome {
    fn at(&mut self, node: NodeId, slot: SlotId) -> Option<&mut Way> {
        self.by_slot.get(&(node, slot)).and_then(|way| self.ways.get_mut(*way))
    }

    fn begins(&mut self, node: NodeId, welcome: &Welcome) {
        let Some(reconnect) = &welcome.reconnect else { return };
        let current = reconnect.credential.expose().to_owned();
        self.by_text.insert(current.clone(), self.ways.len());
        self.by_slot.insert((node, welcome.slot), self.ways.len());
        let is = (welcome.handover, welcome.player, welcome.fence);
        let slot = welcome.slot;
        let way = Way { node, slot, is, current, previous: None, kicked: None, is_over: false };
        self.ways.push(way);
    }

    fn goes_on(&mut self, node: NodeId, from: SlotId, text: &str, welcome: &Welcome) -> Result<(), String> {
        let slot = welcome.slot;
        let at = self.by_text.get(text).copied();
        let Some((at, way)) = at.and_then(|at| Some((at, self.ways.get_mut(at)?))) else {
            return Err(format!("{node} lets somebody into slot={} with what it never gave", from.0));
        };
        let is_here = way.node == node && way.slot == from && !way.is_over;
        if !is_here || !way.takes(text) || way.is != (welcome.handover, welcome.player, welcome.fence) {
            return Err(format!("{node} lets somebody into slot={} with what is not good for it", from.0));
        }
        if let Some(reason) = way.kicked {
            return Err(format!("{node} lets somebody back into slot={}, which ends: {reason}", from.0));
        }
        let Some(reconnect) = &welcome.reconnect else {
            return Err(format!("{node} leaves slot={} without a way back", slot.0));
        };
        reconnect.credential.expose().clone_into(&mut way.current);
        (way.previous, way.slot) = (Some(text.to_owned()), slot);
        self.by_text.insert(way.current.clone(), at);
        self.by_slot.remove(&(node, from));
        self.by_slot.insert((node, slot), at);
        Ok(())
    }

    fn turned_away(&self, node: NodeId, text: &str, code: Code) -> Result<(), String> {
        let way = self.by_text.get(text).and_then(|at| self.ways.get(*at));
        let Some(way) = way.filter(|way| way.node == node && !way.is_over && way.takes(text)) else {
            return Ok(());
        };
        match way.kicked {
            Some(reason) if reason == code => Ok(()),
            Some(reason) => Err(format!("{node} says {code} of slot={}, which ends: {reason}", way.slot.0)),
            None => Err(format!("{node} does not let the player of slot={} back: {code}", way.slot.0)),
        }
    }
}

impl Checker for WaysLeadHome {
    fn name(&self) -> &'static str {
        "ways-lead-home"
    }

    fn check(&mut self, fact: &Fact, _truth: &Truth, _now: Ms) -> Result<(), String> {
        match fact {
            Fact::CameBack { ticket, credential, .. } => {
                self.shown.insert(*ticket, (*credential).to_owned());
            }
            Fact::Verdict { node, ticket, verdict, .. } => {
                let text = self.shown.remove(ticket);
                return match (text, verdict) {
                    (Some(text), Ok(welcome)) => match welcome.resumes {
                        Some(from) => self.goes_on(*node, from, &text, welcome),
                        None => Err(format!("t={} comes back, and {node} begins a session", ticket.0)),
                    },
                    (Some(text), Err(refused)) => self.turned_away(*node, &text, refused.code),
                    (None, Ok(welcome)) if welcome.resumes.is_some() => {
                        Err(format!("t={} is let into another's session at {node}", ticket.0))
                    }
                    (None, Ok(welcome)) => {
                        self.begins(*node, welcome);
                        Ok(())
                    }
                    (None, Err(_)) => Ok(()),
                };
            }
            Fact::Kept { node, slot } => {
                if let Some(way) = self.at(*node, *slot) {
                    way.previous = None;
                }
            }
            Fact::Kicked { node, slot, reason, .. } => {
                if let Some(way) = self.at(*node, *slot) {
                    way.kicked = Some(*reason);
                }
            }
            Fact::Left { node, slot, .. } => {
                if let Some(way) = self.at(*node, *slot) {
                    way.is_over = true;
                }
                self.by_slot.remove(&(*node, *slot));
            }
            Fact::Down { node, .. } => {
                self.by_slot.retain(|(of, _), _| of != node);
                self.ways.iter_mut().filter(|way| way.node == *node).for_each(|way| way.is_over = true);
            }
            _ => {}
        }
        Ok(())
    }
}

/// A session without a connection is kept for exactly its grace; then it is told to end. One that has a connection is not ended for that.
#[derive(Default)]
pub(super) struct KeptForTheGrace {
    lost: BTreeMap<(NodeId, SlotId), Ms>,
    told: BTreeMap<(NodeId, SlotId), Code>,
}

impl Checker for KeptForTheGrace {
    fn name(&self) -> &'static str {
        "kept-for-the-grace"
    }

    fn check(&mut self, fact: &Fact, truth: &Truth, now: Ms) -> Result<(), String> {
        let grace = |node: &NodeId| truth.processes.get(node).map_or(0, |process| process.grace);
        match fact {
            Fact::Dropped { node, slot } if !self.told.contains_key(&(*node, *slot)) => {
                self.lost.insert((*node, *slot), now);
            }
            Fact::Kicked { node, slot, reason, .. } => {
                self.told.insert((*node, *slot), *reason);
                let lost = self.lost.remove(&(*node, *slot));
                let is_early = lost.is_none_or(|lost| now < lost + grace(node));
                if *reason == Code::ReconnectRefused && is_early {
                    return Err(format!("{node} gives slot={} up, lost as of {lost:?}", slot.0));
                }
            }
            Fact::Verdict { node, verdict: Ok(welcome), .. } => {
                self.lost.retain(|(of, slot), _| of != node || Some(*slot) != welcome.resumes);
            }
            Fact::Left { node, slot, .. } => {
                self.lost.remove(&(*node, *slot));
                self.told.remove(&(*node, *slot));
            }
            Fact::Down { node, .. } => {
                self.lost.retain(|(of, _), _| of != node);
                self.told.retain(|(of, _), _| of != node);
            }
            Fact::Stands { node, .. } => {
                let of_node = self.lost.range((*node, SlotId(0))..=(*node, SlotId(u64::MAX)));
                let mut late = of_node.filter(|(_, lost)| now > truth.latest(*node, **lost + grace(node)));
                if let Some(((_, slot), lost)) = late.next() {
                    return Err(format!("{node} keeps slot={} still, lost as of {lost}", slot.0));
                }
            }
            _ => {}
        }
        Ok(())
    }
}
