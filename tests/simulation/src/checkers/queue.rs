//! The login queue: first come, first served within a class; no ticket lost, none that stays for ever; a party stays together.

use std::collections::{BTreeMap, BTreeSet};

use auth_hub::handover::NoPlace;
use auth_hub::queue::{Line, Standing, TicketId};
use shared_msgs::ids::{HandoverId, ServerId, TokenHash};
use shared_msgs::messages::Order;

use super::Checker;
use super::line::{Book, Ticket};
use crate::facts::{Fact, Ms, brief};
use crate::tickets::Wish;
use crate::truth::Truth;

/// §10.12: no place goes to a newcomer, or to a younger ticket of the same line and class, past one whose owner waits for it at this moment.
#[derive(Default)]
pub(super) struct FirstComeFirstServed {
    book: Book,
    granted: BTreeSet<TokenHash>,
}

impl FirstComeFirstServed {
    fn judge(&self, server: &ServerId, hash: TokenHash, truth: &Truth, now: Ms) -> Result<(), String> {
        let Some(grant) = truth.grants.get(&hash) else { return Ok(()) };
        let mut waiting = self
            .book
            .tickets
            .iter()
            .filter(|(_, ticket)| ticket.account != grant.account && self.book.waits(ticket, now));
        let passed = match self.book.of_account(grant.account) {
            // Its slot may have been kept for it since before the others came.
            Some((_, own)) if !self.book.waits(own, now) => None,
            Some((_, own)) => waiting.find(|(_, ticket)| {
                ticket.line == own.line && self.book.latest(ticket) < self.book.earliest(own)
            }),
            None => {
                // Where it has or had something, it takes that slot over.
                let hashes = truth.of_account.get(&grant.account).into_iter().flatten();
                let mut others = hashes.filter(|other| **other != hash).filter_map(|h| truth.grants.get(h));
                if others.any(|other| other.server == *server) {
                    return Ok(());
                }
                waiting.find(|(_, ticket)| match &ticket.line {
                    Line::Anywhere => true,
                    Line::Server(only) => only == server,
                    Line::Regions(_) | Line::Labelled(..) => false,
                })
            }
        };
        match passed {
            Some((id, _)) => Err(format!("account={} goes to {server} past ticket {id}", grant.account)),
            None => Ok(()),
        }
    }
}

impl Checker for FirstComeFirstServed {
    fn name(&self) -> &'static str {
        "first-come-first-served"
    }

    fn check(&mut self, fact: &Fact, truth: &Truth, now: Ms) -> Result<(), String> {
        let judged = match fact {
            Fact::Ordered { to, .. } => match &to.order {
                Order::Grant(grant) if self.granted.insert(grant.hash) => {
                    self.judge(&to.server, grant.hash, truth, now)
                }
                _ => Ok(()),
            },
            _ => Ok(()),
        };
        self.book.learn(fact, truth, now);
        judged
    }
}

/// §10.12: a ticket on disk is there after a crash, known to its owner's questions until it is dropped, and dropped for a reason; who is not
/// heard leaves in time.
#[derive(Default)]
pub(super) struct NoTicketIsLost {
    book: Book,
    /// Tickets that were on disk when their hub died.
    durable: BTreeMap<TicketId, i64>,
    asked: BTreeMap<HandoverId, TicketId>,
    /// Dropped just now, it does not show yet why: the answer with a place follows at once.
    dropped: Vec<(Ms, TicketId, i64)>,
    /// Whose things an operator is ending at this moment.
    ending: Option<i64>,
}

/// What a handover, a party that gathers and the hub's own steps may add to an absent owner's time.
const SLACK_MS: Ms = 65_000;

impl NoTicketIsLost {
    /// Whether a ticket may go though its owner has got no place.
    fn may_go(&self, ticket: &Ticket, now: Ms) -> bool {
        let is_absent = ticket.heard + 25_000 <= now;
        let is_bound = ticket.party.is_some() || !matches!(ticket.line, Line::Anywhere);
        is_absent || is_bound || self.ending == Some(ticket.account) || self.book.asks_otherwise(ticket)
    }

    fn overdue(&self, truth: &Truth, now: Ms) -> Option<TicketId> {
        let settings = &self.book.settings;
        let life = settings.abandon_after.as_millis() + settings.hold.as_millis();
        let life = u64::try_from(life).unwrap_or(Ms::MAX) + SLACK_MS;
        let hub = self.book.hub?;
        let late = |ticket: &Ticket| now > truth.latest(hub, ticket.heard + life);
        self.book.tickets.iter().find(|(_, ticket)| late(ticket)).map(|(id, _)| *id)
    }
}

impl Checker for NoTicketIsLost {
    fn name(&self) -> &'static str {
        "no-ticket-is-lost"
    }

    fn check(&mut self, fact: &Fact, truth: &Truth, now: Ms) -> Result<(), String> {
        if let Some((_, id, account)) = self.dropped.iter().find(|(at, ..)| *at < now) {
            return Err(format!("ticket {id} is dropped though account={account} waits for its turn"));
        }
        let judged = match fact {
            Fact::Down { node, .. } if self.book.hub == Some(*node) => {
                let kept = self.book.tickets.iter().filter(|(_, ticket)| ticket.is_kept);
                self.durable = kept.map(|(id, ticket)| (*id, ticket.account)).collect();
                self.asked.clear();
                Ok(())
            }
            Fact::TicketRestored { row, .. } => {
                self.durable.remove(&row.ticket);
                Ok(())
            }
            Fact::OperatorEnds { account, .. } => {
                self.ending = Some(*account);
                Ok(())
            }
            Fact::OperatorDone { .. } => {
                self.ending = None;
                Ok(())
            }
            Fact::QueueUp { .. } => match self.durable.pop_first() {
                Some((id, account)) => Err(format!("ticket {id} of account={account} is gone after a crash")),
                None => Ok(()),
            },
            Fact::TicketAsked { handover, ticket, wish, .. } => {
                if *wish != Wish::Leave {
                    self.asked.insert(*handover, *ticket);
                }
                match self.overdue(truth, now) {
                    Some(id) => Err(format!("ticket {id} is there long after its owner was heard")),
                    None => Ok(()),
                }
            }
            Fact::Answered { answer: Ok(placed), .. } => {
                let account = truth.accounts.get(&placed.handover);
                self.dropped.retain(|(.., owner)| Some(owner) != account);
                Ok(())
            }
            Fact::Answered { handover, answer, .. } => match (self.asked.remove(handover), answer) {
                (Some(ticket), Err(refused)) => match self.book.tickets.get(&ticket) {
                    Some(known) if refused.why == NoPlace::TicketUnknown && known.is_kept => {
                        Err(format!("h={} is told that ticket {ticket} is unknown", brief(*handover)))
                    }
                    _ => Ok(()),
                },
                _ => Ok(()),
            },
            Fact::TicketsDropped { tickets, .. } => {
                let known = tickets.iter().filter_map(|id| Some((id, self.book.tickets.get(id)?)));
                let dropped = known.filter(|(_, ticket)| !self.may_go(ticket, now));
                let dropped: Vec<_> = dropped.map(|(id, ticket)| (now, *id, ticket.account)).collect();
                self.dropped.extend(dropped);
                Ok(())
            }
            _ => Ok(()),
        };
        self.book.learn(fact, truth, now);
        judged
    }
}

/// §10.12: who waits is told a position no worse than the number of those who may be before it.
#[derive(Default)]
pub(super) struct PositionsHold {
    book: Book,
}

/// Positions are counted anew this late at most.
const RECOUNT_MS: Ms = 2_000;

impl Checker for PositionsHold {
    fn name(&self) -> &'static str {
        "positions-hold"
    }

    fn check(&mut self, fact: &Fact, truth: &Truth, now: Ms) -> Result<(), String> {
        self.book.learn(fact, truth, now);
        let Fact::TicketShown { node, view, .. } = fact else { return Ok(()) };
        let Some(own) = self.book.tickets.get(&view.ticket).filter(|own| own.party.is_none()) else {
            return Ok(());
        };
        if view.standing != Standing::Waiting {
            return Ok(());
        }
        let may_be_before =
            |other: &Ticket| other.party.is_some() || self.book.earliest(other) <= self.book.latest(own);
        let here = self.book.tickets.values().filter(|other| other.account != own.account);
        let gone = self.book.gone.values().filter(|(at, _)| now <= truth.latest(*node, at + RECOUNT_MS));
        let others = here.chain(gone.map(|(_, ticket)| ticket)).filter(|other| may_be_before(other)).count();
        if view.position as usize > others + 1 {
            let (id, position) = (view.ticket, view.position);
            return Err(format!("ticket {id} is told position {position}, with {others} before it at most"));
        }
        Ok(())
    }
}

/// §10.12: those of a party get their places on one server, and none of them before all have come.
#[derive(Default)]
pub(super) struct PartiesGoTogether {
    book: Book,
    /// Parties whose members are still coming, and who has come.
    forming: BTreeMap<[u8; 32], Vec<TicketId>>,
    party_of: BTreeMap<TicketId, TicketId>,
    servers: BTreeMap<TicketId, ServerId>,
    /// Grants that were given: what is sent again may be of an earlier place.
    granted: BTreeSet<TokenHash>,
    /// Handovers of players whom games move: they wait for nobody.
    moves: BTreeSet<HandoverId>,
}

impl PartiesGoTogether {
    fn join(&mut self, id: TicketId, key: [u8; 32], size: u8) {
        let members = self.forming.entry(key).or_default();
        members.push(id);
        self.party_of.insert(id, members[0]);
        if members.len() >= usize::from(size) {
            self.forming.remove(&key);
        }
    }

    fn leave(&mut self, id: TicketId) {
        self.forming.retain(|_, members| !members.contains(&id));
        self.party_of.remove(&id);
    }
}

impl Checker for PartiesGoTogether {
    fn name(&self) -> &'static str {
        "parties-go-together"
    }

    fn check(&mut self, fact: &Fact, truth: &Truth, now: Ms) -> Result<(), String> {
        let mut judged = Ok(());
        match fact {
            Fact::HubUp { .. } => {
                // Who is left of a party that was called in an earlier run gathers anew.
                self.forming.clear();
                self.party_of.clear();
                self.servers.clear();
            }
            Fact::TicketMade { row, .. } | Fact::TicketRestored { row, .. } => {
                if let Some(party) = row.party {
                    self.join(row.ticket, party.key, party.size);
                }
            }
            Fact::Carries { handover, .. } => {
                self.moves.insert(*handover);
            }
            Fact::TicketKept { ticket, is_kept: false, .. } => self.leave(*ticket),
            Fact::TicketsDropped { tickets, .. } => tickets.iter().for_each(|ticket| self.leave(*ticket)),
            Fact::Ordered { to, .. } => {
                if let Order::Grant(grant) = &to.order
                    && self.granted.insert(grant.hash)
                    && !self.moves.contains(&grant.handover)
                    && let Some((id, ticket)) = self.book.of_account(truth.owner(grant.player))
                    // Who asks anew and for itself alone needs no ticket.
                    && !self.book.asks_otherwise(ticket)
                    && let Some(party) = self.party_of.get(&id)
                {
                    let first = self.servers.entry(*party).or_insert_with(|| to.server.clone());
                    if *first != to.server {
                        judged = Err(format!("ticket {id} goes to {}, its party to {first}", to.server));
                    }
                    if self.forming.values().any(|members| members.contains(&id)) {
                        judged = Err(format!("ticket {id} goes to {} before its party is there", to.server));
                    }
                }
            }
            _ => {}
        }
        self.book.learn(fact, truth, now);
        judged
    }
}
