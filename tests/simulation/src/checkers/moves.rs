//! Moves: nobody leaves for a place that is not there, who is refused stays, and luggage comes along with its own player, once, unaltered.

use std::collections::{BTreeMap, BTreeSet};

use game_server::gate::{SlotId, Welcome};
use shared_msgs::codes::Code;
use shared_msgs::ids::{HandoverId, ServerId, TokenHash};
use shared_msgs::limits;
use shared_msgs::messages::Order;
use shared_msgs::moves::{Luggage, MoveTarget};

use super::Checker;
use crate::facts::{Fact, Ms, NodeId, Phase, Shown, brief};
use crate::truth::Truth;

/// Luggage is shown to the player it was packed for, where the game wanted it, once, byte for byte; and to nobody else.
#[derive(Default)]
pub(super) struct LuggageComesAlong {
    packed: BTreeMap<Vec<u8>, Packed>,
    /// As hubs have sent it on.
    of_grant: BTreeMap<TokenHash, Luggage>,
}

struct Packed {
    account: i64,
    from: ServerId,
    target: MoveTarget,
    is_shown: bool,
}

impl LuggageComesAlong {
    fn arrives(
        &mut self,
        node: NodeId,
        hash: TokenHash,
        welcome: &Welcome,
        truth: &Truth,
    ) -> Result<(), String> {
        let player = truth.owner(welcome.player);
        if self.of_grant.get(&hash).map_or(0, |luggage| luggage.len()) != welcome.luggage.len()
            || self.of_grant.get(&hash).is_some_and(|luggage| *luggage != welcome.luggage)
        {
            return Err(format!("{node} shows account={player} other luggage than came for it"));
        }
        if welcome.luggage.is_empty() {
            return Ok(());
        }
        let Some(packed) = self.packed.get_mut(&welcome.luggage[..]) else {
            return Err(format!("{node} shows account={player} luggage that nobody packed"));
        };
        if packed.account != player {
            return Err(format!("{node} shows account={player} the luggage of account={}", packed.account));
        }
        if std::mem::replace(&mut packed.is_shown, true) {
            return Err(format!("{node} shows account={player} luggage that was shown before"));
        }
        let here = truth.processes.get(&node).map(|process| &process.server);
        let is_meant = match &packed.target {
            MoveTarget::Server(server) => Some(server) == here,
            MoveTarget::Regions(_) | MoveTarget::Anywhere => Some(&packed.from) != here,
        };
        if is_meant { Ok(()) } else { Err(format!("{node} is not where account={player} was to go")) }
    }
}

impl Checker for LuggageComesAlong {
    fn name(&self) -> &'static str {
        "luggage-comes-along"
    }

    fn check(&mut self, fact: &Fact, truth: &Truth, _now: Ms) -> Result<(), String> {
        match fact {
            Fact::MoveAsked { node, slot, target, luggage } => {
                let process = truth.processes.get(node);
                let session = process.and_then(|process| Some((process, process.live.get(slot)?)));
                if let Some((process, session)) = session {
                    let (account, from) = (session.account, process.server.clone());
                    let packed = Packed { account, from, target: (*target).clone(), is_shown: false };
                    self.packed.insert(luggage.to_vec(), packed);
                }
            }
            Fact::Ordered { to, .. } => {
                if let Order::Grant(grant) = &to.order {
                    self.of_grant.entry(grant.hash).or_insert_with(|| grant.luggage.clone());
                }
            }
            Fact::Verdict { node, ticket, verdict: Ok(welcome), .. } => {
                let shown = truth.visits.get(ticket).map(|visit| visit.shown);
                return match shown {
                    Some(Shown::Genuine(hash)) => self.arrives(*node, hash, welcome, truth),
                    _ if welcome.luggage.is_empty() => Ok(()),
                    _ => Err(format!("{node} shows luggage to who only comes back")),
                };
            }
            _ => {}
        }
        Ok(())
    }
}

/// A game that wants a player moved hears once, in time, whether it moves. It is told to go only when that was asked, and not after it was
/// told to stay. A place that is ready is given to one client, once.
#[derive(Default)]
pub(super) struct WhoIsRefusedStays {
    /// Not answered yet.
    asked: BTreeMap<(NodeId, SlotId), Ms>,
    /// The last answer.
    answered: BTreeMap<(NodeId, SlotId), Result<(), Code>>,
    given: BTreeSet<HandoverId>,
    /// Questions of tickets' owners: they are told their place again should the answer get lost.
    of_tickets: BTreeSet<HandoverId>,
}

const ANSWER_MS: Ms = limits::LOGIN_DEADLINE.as_secs() * 1_000;

impl WhoIsRefusedStays {
    fn may_go(&self, key: (NodeId, SlotId)) -> bool {
        match self.answered.get(&key) {
            _ if self.asked.contains_key(&key) => true,
            // A yes may come too late to be heard.
            Some(answer) => matches!(answer, Ok(()) | Err(Code::HandoverTimedOut)),
            None => false,
        }
    }

    fn answer(
        &mut self,
        key: (NodeId, SlotId),
        answer: Result<(), Code>,
        truth: &Truth,
        now: Ms,
    ) -> Result<(), String> {
        let (node, slot) = (key.0, key.1.0);
        self.answered.insert(key, answer);
        match self.asked.remove(&key) {
            None => Err(format!("{node} answers a move of slot={slot}, which waits for none")),
            Some(at) if now > truth.latest(node, at + ANSWER_MS) => {
                Err(format!("{node} answers the move of slot={slot} after {} ms", now - at))
            }
            Some(_) => Ok(()),
        }
    }
}

impl Checker for WhoIsRefusedStays {
    fn name(&self) -> &'static str {
        "who-is-refused-stays"
    }

    fn check(&mut self, fact: &Fact, truth: &Truth, now: Ms) -> Result<(), String> {
        match fact {
            Fact::MoveAsked { node, slot, .. } => {
                self.asked.entry((*node, *slot)).or_insert(now);
            }
            Fact::MoveAnswered { node, slot, answer } => {
                return self.answer((*node, *slot), *answer, truth, now);
            }
            Fact::Verdict { node, verdict: Ok(welcome), .. } => {
                // In another slot it is the same session, and the same wish.
                let Some(from) = welcome.resumes else { return Ok(()) };
                if let Some(at) = self.asked.remove(&(*node, from)) {
                    self.asked.insert((*node, welcome.slot), at);
                }
                if let Some(answer) = self.answered.remove(&(*node, from)) {
                    self.answered.insert((*node, welcome.slot), answer);
                }
            }
            Fact::Kicked { node, slot, reason: Code::Moved, .. } if !self.may_go((*node, *slot)) => {
                return Err(format!("{node} tells slot={} to go, which was to stay", slot.0));
            }
            Fact::TicketAsked { handover, .. } => {
                self.of_tickets.insert(*handover);
            }
            Fact::Answered { handover, answer: Ok(placed), .. }
                if !self.of_tickets.contains(handover) && !self.given.insert(placed.handover) =>
            {
                return Err(format!("the place of h={} is given twice", brief(placed.handover)));
            }
            Fact::Down { node, .. } => self.asked.retain(|(of, _), _| of != node),
            Fact::Phase(Phase::Settled | Phase::AllOut) => {
                let late = |(node, at): (NodeId, Ms)| now > truth.latest(node, at + ANSWER_MS);
                if let Some(((node, slot), _)) = self.asked.iter().find(|((n, _), at)| late((*n, **at))) {
                    return Err(format!("{node} never heard whether slot={} moves", slot.0));
                }
            }
            _ => {}
        }
        Ok(())
    }
}
