//! A hub's login queue in the simulated world: its tickets on disk, and what their owners ask and are told.
//!
//! Owns what a seed draws for the queue. One writer carries the database's writes out in their order, as the real store's does. Invariant: a
//! seed without a queue has the history it would have if there were none in the product.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use auth_hub::accounts::AccountRow;
use auth_hub::handover::core::{Effect, Input};
use auth_hub::handover::{Answered, NoPlace, Refused};
use auth_hub::queue::{Class, Party, QueueSettings, TicketId, TicketRow, TicketView};
use shared_msgs::ids::HandoverId;

use crate::dice::Dice;
use crate::facts::{Fact, Ms, NodeId};
use crate::hub::Question;
use crate::world::World;

/// One seed in so many has a queue, where it has one hub.
const ONE_IN: u64 = 3;
/// Draws of the queue are not those of the rest.
const APART: u64 = 0x7175_6575_6500_0000;

/// The queue of a seed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct QueuePlan {
    /// What operators set.
    pub(crate) settings: QueueSettings,
    /// Members of parties; 0 where everybody goes alone.
    pub(crate) party: u8,
    /// Whether every fourth account has priority.
    has_priorities: bool,
}

impl QueuePlan {
    /// What the seed has, if it has one.
    pub(crate) fn of(seed: u64, hubs: u16) -> Option<(Self, Dice)> {
        let dice = Dice::new(seed ^ APART);
        if hubs != 1 || dice.below(ONE_IN) > 0 {
            return None;
        }
        let priority = Duration::from_secs(dice.below(2) * dice.between(1, 20));
        let settings = QueueSettings {
            tickets_max: 1_000,
            reconnect_head_start: priority * u32::try_from(1 + dice.below(2)).unwrap_or(1),
            priority_head_start: priority,
            hold: Duration::from_secs(dice.between(5, 30)),
            abandon_after: Duration::from_secs(dice.between(30, 60)),
        };
        let party = if dice.below(3) == 0 { dice.between(2, 4) } else { 0 };
        let party = u8::try_from(party).unwrap_or(0);
        Some((Self { settings, party, has_priorities: dice.below(2) == 0 }, dice))
    }

    /// Whether an operator has given the account priority.
    fn has_priority(&self, account: i64) -> bool {
        self.has_priorities && account % 4 == 1
    }

    /// With whom an account goes, if it goes with others now.
    pub(crate) fn party_of(&self, account: i64, now: Ms) -> Option<Party> {
        let size = i64::from(self.party);
        if size == 0 || account % (2 * size) >= size {
            return None;
        }
        let mut key = [0; 32];
        key[..8].copy_from_slice(&(account / size).to_be_bytes());
        key[8..16].copy_from_slice(&(now / 20_000).to_be_bytes());
        Some(Party { key, size: self.party })
    }
}

/// What an owner asks of its ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// A place, if its turn comes within so long.
    Take(Ms),
    /// How it stands.
    Look,
    /// To be out of it.
    Leave,
}

/// Tickets that survive a crash, by account.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    of: BTreeMap<AccountRow, TicketRow>,
    /// Written, perhaps, though their hub was told that they were not: they go with the account's next, or soon after the next start.
    unsure: BTreeSet<TicketId>,
    /// When the writer is done with what it was given last.
    pub(crate) busy_until: Ms,
}

impl Rows {
    pub(crate) fn save(&mut self, row: TicketRow) {
        self.of.insert(row.account, row);
    }

    pub(crate) fn remove(&mut self, tickets: &[TicketId]) {
        self.of.retain(|_, row| !tickets.contains(&row.ticket));
    }

    pub(crate) fn len(&self) -> usize {
        self.of.values().filter(|row| !self.unsure.contains(&row.ticket)).count()
    }

    /// As a hub reads them when it starts.
    fn in_order(&self) -> Vec<TicketRow> {
        let mut rows: Vec<TicketRow> = self.of.values().cloned().collect();
        rows.sort_by_key(|row| row.arrived_us);
        rows
    }
}

impl World {
    /// A hub that starts has the tickets of the one before it.
    pub(crate) fn restore_tickets(&mut self, id: NodeId) {
        let Some(plan) = self.scenario.queue else { return };
        let mut rows = self.store.tickets.in_order();
        for row in &mut rows {
            let account = self.number_of(row.account);
            let has_priority = plan.has_priority(account);
            if has_priority {
                row.class = row.class.max(Class::Priority);
            }
            self.state(&Fact::TicketRestored { node: id, row, account, has_priority });
        }
        if let Some((hub, now)) = self.hub(id) {
            hub.core.restore_tickets(rows, now);
        }
        self.state(&Fact::QueueUp { node: id, settings: plan.settings });
    }

    /// An owner's question is at the hub.
    pub(crate) fn on_ticket_ask(&mut self, id: NodeId, handover: HandoverId, ticket: TicketId, wish: Wish) {
        let Some(attempt) = self.asks.get(&handover).copied() else { return };
        let account = self.devices[attempt.device].account;
        if self.hub(id).is_none() {
            return;
        }
        let owner = AccountRow::from_raw(account);
        let wait = if let Wish::Take(wait) = wish { wait } else { 0 };
        self.state(&Fact::Asked { node: id, handover, account, wait });
        self.state(&Fact::TicketAsked { node: id, handover, ticket, account, wish });
        match wish {
            Wish::Look => self.look_at(id, handover, owner, ticket),
            Wish::Leave => self.leave_queue(id, handover, owner, ticket),
            Wish::Take(wait) => {
                let is_out = self.store.out_until > self.now;
                if !is_out && self.is_turned_away(id, handover, owner) {
                    return;
                }
                let players = if is_out { Vec::new() } else { self.store.players_of(owner) };
                let (name, wait) = (format!("player {account}"), Duration::from_millis(wait));
                self.hub_input(id, Input::Poll { handover, account: owner, players, name, ticket, wait });
            }
        }
    }

    fn look_at(&mut self, id: NodeId, handover: HandoverId, account: AccountRow, ticket: TicketId) {
        self.catch_up(id);
        let Some((hub, now)) = self.hub(id) else { return };
        let (view, effects) = hub.core.look(account, ticket, now);
        self.carry_out(id, effects);
        match view {
            Ok(view) => self.show_ticket(id, handover, view),
            Err(why) => self.refuse_ticket(id, handover, why),
        }
        self.settle(id);
    }

    fn leave_queue(&mut self, id: NodeId, handover: HandoverId, account: AccountRow, ticket: TicketId) {
        self.catch_up(id);
        let Some((hub, now)) = self.hub(id) else { return };
        let (left, effects) = hub.core.leave(account, ticket, now);
        self.carry_out(id, effects);
        match left {
            Ok(()) => {
                self.state(&Fact::TicketGivenBack { node: id, handover });
                // To its owner it is as for one whose ticket is no more.
                self.tell_client(handover, Err(Refused { handover, why: NoPlace::TicketUnknown }));
            }
            Err(why) => self.refuse_ticket(id, handover, why),
        }
        self.settle(id);
    }

    fn show_ticket(&mut self, id: NodeId, handover: HandoverId, view: TicketView) {
        self.state(&Fact::TicketShown { node: id, handover, view: &view });
        self.tell_client(handover, Ok(Answered::Queued(view)));
    }

    fn refuse_ticket(&mut self, id: NodeId, handover: HandoverId, why: NoPlace) {
        let answer = Err(Refused { handover, why });
        self.state(&Fact::Answered { node: id, handover, answer: &answer });
        self.tell_client(handover, answer.map(Answered::Placed));
    }

    pub(crate) fn carry_out_ticket(&mut self, id: NodeId, effect: Effect) {
        match effect {
            Effect::Queued { handover, view } => self.show_ticket(id, handover, view),
            Effect::SaveTicket(row) => {
                let account = self.number_of(row.account);
                let has_priority = self.has_priority(account);
                self.state(&Fact::TicketMade { node: id, row: &row, account, has_priority });
                self.ask_store(id, Question::Save(row));
            }
            Effect::DropTickets(tickets) => {
                self.state(&Fact::TicketsDropped { node: id, tickets: &tickets });
                self.ask_store(id, Question::Drop(tickets));
            }
            _ => {}
        }
    }

    /// The number of an account, whose key does not tell it.
    pub(crate) fn number_of(&self, row: AccountRow) -> i64 {
        (0..self.scenario.accounts).find(|account| AccountRow::from_raw(*account) == row).unwrap_or(-1)
    }

    fn has_priority(&self, account: i64) -> bool {
        self.scenario.queue.is_some_and(|plan| plan.has_priority(account))
    }

    /// The store's answer to a ticket that it was to keep.
    pub(crate) fn save_ticket(&mut self, row: TicketRow, is_out: bool, is_answered: bool) -> Input {
        let (ticket, account) = (row.ticket, self.number_of(row.account));
        if !is_out {
            self.store.tickets.save(row);
        }
        if !is_answered {
            self.store.tickets.unsure.insert(ticket);
        }
        Input::TicketSaved { ticket, is_priority: is_answered.then(|| self.has_priority(account)) }
    }

    /// When the writer gets to it. It does one thing after the other.
    pub(crate) fn written_after(&mut self, delay: Ms, question: &Question) -> Ms {
        if !matches!(question, Question::Save(_) | Question::Drop(_)) {
            return delay;
        }
        let at = (self.now + delay).max(self.store.tickets.busy_until);
        self.store.tickets.busy_until = at;
        at - self.now
    }

    /// Two hubs never write tickets to one database: what a dead one had under way is not written once the next has read them.
    pub(crate) fn is_written_by_its_heir(&self, question: &Question) -> bool {
        matches!(question, Question::Save(_) | Question::Drop(_))
            && self.hubs.iter().any(|machine| machine.running.is_some())
    }

    /// The hubs' tickets at the end of a run: in memory, and on disk.
    pub(crate) fn report_tickets(&mut self) {
        let tickets = self.waiting_tickets();
        let rows = self.store.tickets.len();
        if self.scenario.queue.is_some() {
            self.state(&Fact::TicketsLeft { tickets, rows });
        }
    }
}
