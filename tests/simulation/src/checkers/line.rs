//! Who waits for a slot at which hub, kept up from the facts alone: what the checkers of the login queue share.
//!
//! Knows nothing of how the product keeps its order. It is sure only of who waits at this moment: whose question for a place is open, and no
//! handover of whose account shows.

use std::collections::BTreeMap;

use auth_hub::queue::{Line, Party, QueueSettings, Standing, TicketId};
use shared_msgs::ids::{HandoverId, ServerId};
use shared_msgs::messages::Order;

use crate::facts::{Fact, Ms, NodeId};
use crate::tickets::Wish;
use crate::truth::Truth;

/// An owner who was heard so lately is not passed over, nor is its ticket one of the hub's last run.
const PRESENT_MS: Ms = 20_000;

/// The database says within this who a player is, or fails to.
const SEARCH_MS: Ms = 1_000;

/// A ticket, as the facts show it.
#[derive(Debug)]
pub(super) struct Ticket {
    pub(super) account: i64,
    pub(super) line: Line,
    pub(super) party: Option<Party>,
    pub(super) arrived_us: u64,
    has_priority: bool,
    /// It is on disk, and the hub knows.
    pub(super) is_kept: bool,
    /// Its owner was heard last.
    pub(super) heard: Ms,
    /// The open question for a place, and since when: as long as no handover shows it waits in line.
    open: Option<(HandoverId, Ms)>,
    /// When it was last told that it waits, and told in the same run that a slot is kept for it.
    waited: Option<Ms>,
    is_ready: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Book {
    pub(super) hub: Option<NodeId>,
    pub(super) settings: QueueSettings,
    pub(super) tickets: BTreeMap<TicketId, Ticket>,
    /// Tickets that count no more, with when they went.
    pub(super) gone: BTreeMap<TicketId, (Ms, Ticket)>,
    /// Open questions, and whose they are.
    questions: BTreeMap<HandoverId, i64>,
    /// Of these, those for another place, or to be out of the line.
    wishes: BTreeMap<HandoverId, i64>,
    /// Until when a handover of an account may be under way that no question shows: what it asks meanwhile stands behind that.
    under_way: BTreeMap<i64, Ms>,
}

impl Book {
    pub(super) fn of_account(&self, account: i64) -> Option<(TicketId, &Ticket)> {
        self.tickets.iter().find(|(_, ticket)| ticket.account == account).map(|(id, ticket)| (*id, ticket))
    }

    /// The earliest that a ticket may count from.
    pub(super) fn earliest(&self, ticket: &Ticket) -> u64 {
        let QueueSettings { reconnect_head_start, priority_head_start, .. } = self.settings;
        // Whether the hub has seen its server die, nobody else knows.
        let start = reconnect_head_start.max(priority_head_start);
        ticket.arrived_us.saturating_sub(u64::try_from(start.as_micros()).unwrap_or(u64::MAX))
    }

    /// The latest that a ticket may count from.
    pub(super) fn latest(&self, ticket: &Ticket) -> u64 {
        let start = if ticket.has_priority { self.settings.priority_head_start.as_micros() } else { 0 };
        ticket.arrived_us.saturating_sub(u64::try_from(start).unwrap_or(u64::MAX))
    }

    /// Whether a ticket surely waits in line, and has not only begun to. One of a party may gather.
    pub(super) fn waits(&self, ticket: &Ticket, now: Ms) -> bool {
        let of_account = self.questions.values().filter(|account| **account == ticket.account).count();
        let waits = |(_, since)| since < now && now - since < PRESENT_MS;
        let is_busy = self.under_way.get(&ticket.account).is_some_and(|until| now < *until);
        !is_busy
            && ticket.is_kept
            && ticket.party.is_none()
            && of_account == 1
            && ticket.open.is_some_and(waits)
    }

    /// Whether a slot is surely kept for a ticket on this server, which is the only one it can be on.
    pub(super) fn keeps(&self, hub: NodeId, server: &ServerId, is_alone: bool, now: Ms) -> usize {
        let hold = u64::try_from(self.settings.hold.as_millis()).unwrap_or(0);
        let kept = self.tickets.values().filter(|ticket| {
            let is_there = is_alone || matches!(&ticket.line, Line::Server(only) if only == server);
            is_there && ticket.is_ready && ticket.waited.is_some_and(|waited| now < waited + hold)
        });
        if self.hub == Some(hub) { kept.count() } else { 0 }
    }

    /// Something of an account is or may be under way: whether its ticket waits is not sure.
    fn stirs(&mut self, account: i64) {
        for ticket in self.tickets.values_mut().filter(|ticket| ticket.account == account) {
            (ticket.open, ticket.is_ready, ticket.waited) = (None, false, None);
        }
    }

    /// Whether its owner asks for something else than that it waits: a place by another way, or to be out of it.
    pub(super) fn asks_otherwise(&self, ticket: &Ticket) -> bool {
        self.wishes.values().any(|account| *account == ticket.account)
    }

    fn answered(&mut self, handover: HandoverId) -> Option<i64> {
        for ticket in self.tickets.values_mut() {
            ticket.open = ticket.open.filter(|(open, _)| *open != handover);
        }
        self.wishes.remove(&handover);
        self.questions.remove(&handover)
    }

    fn ask(&mut self, handover: HandoverId, id: TicketId, account: i64, wish: Wish, now: Ms) {
        if wish != Wish::Look {
            self.stirs(account);
        }
        if wish != Wish::Leave {
            self.wishes.remove(&handover);
        }
        let Some(ticket) = self.tickets.get_mut(&id).filter(|ticket| ticket.account == account) else {
            return;
        };
        ticket.heard = now;
        if let Wish::Take(_) = wish {
            ticket.open = Some((handover, now));
        }
    }

    pub(super) fn learn(&mut self, fact: &Fact, truth: &Truth, now: Ms) {
        match fact {
            Fact::HubUp { node, .. } => {
                let settings = self.settings;
                *self = Self { hub: Some(*node), settings, ..Self::default() };
            }
            Fact::QueueUp { settings, .. } => self.settings = *settings,
            Fact::TicketMade { row, account, has_priority, .. }
            | Fact::TicketRestored { row, account, has_priority, .. } => {
                let ticket = Ticket {
                    account: *account,
                    line: row.line.clone(),
                    party: row.party,
                    arrived_us: row.arrived_us,
                    has_priority: *has_priority,
                    is_kept: matches!(fact, Fact::TicketRestored { .. }),
                    heard: now,
                    open: None,
                    waited: None,
                    is_ready: false,
                };
                self.tickets.insert(row.ticket, ticket);
            }
            Fact::TicketKept { ticket, is_kept, .. } => match self.tickets.get_mut(ticket) {
                Some(ticket) if *is_kept => ticket.is_kept = true,
                Some(_) => self.drop(*ticket, now),
                None => {}
            },
            Fact::TicketsDropped { tickets, .. } => {
                for ticket in *tickets {
                    self.drop(*ticket, now);
                }
            }
            Fact::Asked { handover, account, .. } => {
                self.questions.insert(*handover, *account);
                self.wishes.insert(*handover, *account);
            }
            Fact::Searched { handover, .. } => {
                if let Some(account) = truth.accounts.get(handover) {
                    let until = self.under_way.entry(*account).or_default();
                    *until = (*until).max(now + SEARCH_MS);
                    self.stirs(*account);
                }
            }
            Fact::Ordered { to, .. } => {
                if let Order::Grant(grant) = &to.order {
                    self.stirs(truth.owner(grant.player));
                }
            }
            Fact::MoveAsked { node, slot, .. } => {
                let session = truth.processes.get(node).and_then(|process| process.live.get(slot));
                self.under_way.extend(session.map(|session| (session.account, now + PRESENT_MS)));
            }
            Fact::TicketAsked { handover, ticket, account, wish, .. } => {
                self.ask(*handover, *ticket, *account, *wish, now);
            }
            Fact::TicketShown { handover, view, .. } => {
                self.answered(*handover);
                if let Some(ticket) = self.tickets.get_mut(&view.ticket) {
                    let is_ready = view.standing == Standing::Ready;
                    ticket.is_ready = is_ready && ticket.waited.is_some();
                    ticket.waited = if is_ready { ticket.waited } else { Some(now) };
                }
            }
            Fact::Answered { handover, .. } | Fact::TicketGivenBack { handover, .. } => {
                if let Some(account) = self.answered(*handover) {
                    self.stirs(account);
                }
            }
            _ => {}
        }
    }

    fn drop(&mut self, id: TicketId, now: Ms) {
        if let Some(ticket) = self.tickets.remove(&id) {
            self.gone.insert(id, (now, ticket));
        }
    }
}
