//! The login queue at the desk: how tickets come and go.
//!
//! The order is the room `queue`'s. `slots` keeps a freed slot for the first who can use it before anybody new is placed, and in `turns` a
//! ticket whose owner asks for it becomes a handover to that very server. Invariant: whoever finds no slot has a ticket or a refusal, and
//! a ticket that is no more can say why.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use shared_msgs::clock::{Mono, Now};
use shared_msgs::ids::{HandoverId, ServerId};
use tracing::info;

use super::{Alarm, Core, Effect, Handover};
use crate::accounts::AccountRow;
use crate::handover::journal::step;
use crate::handover::{HandoverRequest, NoPlace, Placed};
use crate::queue::{Class, Gone, Line, NoTicket, Queue, QueueSettings, TicketId, TicketRow};

/// Whose server died so lately is let in before others.
const RECONNECT_WINDOW: Duration = Duration::from_mins(5);
/// How long a ticket that is no more can say why.
const FAREWELL_TIME: Duration = Duration::from_mins(2);
/// How long a place is told again to the owner of the ticket that it was for: the answer may be lost.
const TOLD_AGAIN_FOR: Duration = Duration::from_mins(1);

/// A place, and the ticket that is used up for it.
#[derive(Debug)]
struct Told {
    ticket: TicketId,
    placed: Placed,
    until: Mono,
}

/// The queue, and what its owners want.
#[derive(Debug)]
pub(super) struct Tickets {
    pub(super) queue: Queue,
    pub(super) requests: BTreeMap<TicketId, HandoverRequest>,
    /// The newest wish of each ticket's owner for its place that is not answered yet.
    pub(super) polls: BTreeMap<TicketId, HandoverId>,
    pub(super) farewells: BTreeMap<TicketId, (NoPlace, Mono)>,
    /// The newest place of each account that had a ticket, as long as nothing newer counts.
    told: BTreeMap<AccountRow, Told>,
    /// What the store would not drop.
    undropped: BTreeSet<TicketId>,
    /// Accounts whose server died with them in game.
    pub(super) lost: BTreeMap<AccountRow, Mono>,
    max: usize,
}

impl Tickets {
    pub(super) fn new(settings: Option<QueueSettings>) -> Self {
        // Without a queue there is none that could take anybody.
        let settings = settings.unwrap_or(QueueSettings { tickets_max: 0, ..QueueSettings::default() });
        Self {
            max: settings.tickets_max,
            queue: Queue::new(settings),
            requests: BTreeMap::new(),
            polls: BTreeMap::new(),
            farewells: BTreeMap::new(),
            told: BTreeMap::new(),
            undropped: BTreeSet::new(),
            lost: BTreeMap::new(),
        }
    }

    pub(super) fn has(&self, account: AccountRow) -> bool {
        self.queue.ticket_of(account).is_some()
    }

    pub(super) fn next_deadline(&self) -> Option<Mono> {
        self.queue.next_deadline()
    }

    /// Slots of a server that are not for newcomers; `None` when none of them is.
    pub(super) fn kept(&self, server: &ServerId) -> Option<u32> {
        (!self.queue.is_gathering_at(server)).then(|| self.queue.kept(server))
    }

    pub(super) fn granted(&mut self, ticket: TicketId) {
        self.queue.granted(ticket);
    }

    /// Keeps a place for its ticket's owner, should it ask again.
    pub(super) fn keep_told(&mut self, account: AccountRow, ticket: TicketId, placed: Placed, now: Mono) {
        if self.told.len() < self.max {
            self.told.insert(account, Told { ticket, placed, until: now + TOLD_AGAIN_FOR });
        }
    }

    /// The place that a ticket was used up for.
    pub(super) fn told(&self, account: AccountRow, ticket: TicketId, now: Mono) -> Option<&Placed> {
        let told = self.told.get(&account)?;
        (told.ticket == ticket && now < told.until).then_some(&told.placed)
    }

    pub(super) fn on_dropped(&mut self, tickets: Vec<TicketId>, is_done: bool) {
        if !is_done {
            self.undropped.extend(tickets);
        }
    }

    pub(super) fn prune(&mut self, now: Now, fx: &mut Vec<Effect>) {
        self.farewells.retain(|_, (_, until)| now.mono < *until);
        self.told.retain(|_, told| now.mono < told.until);
        self.lost.retain(|_, at| now.mono.since(*at) < RECONNECT_WINDOW);
        if !self.undropped.is_empty() {
            fx.push(Effect::DropTickets(std::mem::take(&mut self.undropped).into_iter().collect()));
        }
    }
}

impl Core {
    /// Tickets of the hub's last run, as stored: their owners have a little while to come back.
    pub fn restore_tickets(&mut self, rows: Vec<TicketRow>, now: Now) {
        for row in rows {
            let (labels, _) = row.line.parts();
            let request = HandoverRequest {
                server: row.line.server().cloned(),
                labels,
                regions: row.regions.clone(),
                party: row.party,
                ..HandoverRequest::anywhere(row.account, String::new())
            };
            // As this hub is set: whether players go to other regions may have changed.
            let row = TicketRow { line: self.line_of(&request), ..row };
            self.queue.queue.restore(&row, now);
            if self.queue.queue.ticket_of(row.account) == Some(row.ticket) {
                self.queue.requests.insert(row.ticket, request);
            }
        }
    }

    /// Tickets in the queue.
    pub fn tickets(&self) -> usize {
        self.queue.queue.len()
    }

    /// Gives a handover that found no slot a ticket; `why` is the answer where there can be none.
    pub(super) fn enqueue(&mut self, id: HandoverId, why: NoPlace, now: Now, fx: &mut Vec<Effect>) {
        let Some(handover) = self.running.get(&id) else { return };
        let request = handover.request.clone();
        let (account, party) = (request.account, request.party);
        let line = self.line_of(&request);
        if let Some(ticket) = self.queue.queue.ticket_of(account) {
            if self.queue.queue.is_for(ticket, &line, party) {
                let Some((_, next)) = self.finish(id) else { return };
                self.queue.queue.seen(ticket, now.mono);
                self.queue.requests.insert(ticket, request);
                self.ask_of(ticket, id, now, fx);
                self.settle_poll(ticket, Duration::ZERO, now, fx);
                return self.go_on(next, now, fx);
            }
            self.drop_ticket(ticket, NoPlace::TicketUnknown, now, fx);
        }
        let ticket = TicketId::random(&*self.rng);
        let is_lost = self.queue.lost.get(&account).is_some_and(|at| now.mono.since(*at) < RECONNECT_WINDOW);
        let class = if is_lost { Class::Reconnect } else { Class::Normal };
        let mut row = match self.queue.queue.join(ticket, account, line, party, class, now) {
            Ok(row) => row,
            Err(NoTicket::Full) => return self.answer(id, Err(why), now, fx),
            Err(NoTicket::OtherParty) => return self.answer(id, Err(NoPlace::PartyMismatch), now, fx),
        };
        row.regions.clone_from(&request.regions);
        let Some((Handover { deadline, .. }, next)) = self.finish(id) else { return };
        step!(info, self, now, id, None, None, "ticket.issued", ticket = %ticket);
        self.queue.requests.insert(ticket, request);
        self.ask_of(ticket, id, now, fx);
        self.timers.set(Alarm::Poll(ticket), deadline);
        fx.push(Effect::SaveTicket(row));
        self.go_on(next, now, fx);
    }

    /// Which slots a request waits for.
    fn line_of(&self, request: &HandoverRequest) -> Line {
        let line = match &request.server {
            Some(server) => Line::Server(server.clone()),
            None if self.placement.region_fallback || request.regions.is_empty() => Line::Anywhere,
            None => Line::Regions(request.regions.iter().cloned().collect()),
        };
        let labels: BTreeSet<String> = request.labels.iter().cloned().collect();
        if labels.is_empty() { line } else { Line::Labelled(labels, Box::new(line)) }
    }

    fn go_on(&mut self, next: Option<HandoverId>, now: Now, fx: &mut Vec<Effect>) {
        if let Some(next) = next {
            self.place(next, now, fx);
        }
    }

    pub(super) fn on_saved(
        &mut self,
        ticket: TicketId,
        is_priority: Option<bool>,
        now: Now,
        fx: &mut Vec<Effect>,
    ) {
        let Some(account) = self.queue.queue.owner(ticket) else { return };
        let Some(is_priority) = is_priority else {
            self.say_goodbye(ticket, NoPlace::HubBusy, now, fx);
            // Those of its party may be on disk.
            let others = self.queue.queue.remove(ticket).into_iter();
            return self.on_gone(others.map(|other| (other, NoPlace::PartyBroken)).collect(), now, fx);
        };
        let is_lost = self.queue.lost.contains_key(&account);
        let class = if is_priority { Class::Priority } else { Class::Normal };
        self.queue.queue.saved(ticket, if is_lost { Class::Reconnect } else { class });
        self.pump(now, fx);
        self.settle_poll(ticket, Duration::ZERO, now, fx);
    }

    /// The account gives its ticket back, and its party goes with it.
    ///
    /// # Errors
    /// [`NoPlace::TicketUnknown`]: it is not the account's, or is no more.
    pub fn leave(
        &mut self,
        account: AccountRow,
        ticket: TicketId,
        now: Now,
    ) -> (Result<(), NoPlace>, Vec<Effect>) {
        let mut fx = Vec::new();
        if self.queue.queue.owner(ticket) != Some(account) {
            return (Err(NoPlace::TicketUnknown), fx);
        }
        info!(target: "handover", ticket = %ticket, "ticket.given_back");
        self.drop_ticket(ticket, NoPlace::TicketUnknown, now, &mut fx);
        self.pump(now, &mut fx);
        self.settle_up(now, &mut fx);
        (Ok(()), fx)
    }

    /// The account has a place by another way: its ticket counts no more.
    pub(super) fn forget_ticket(&mut self, account: AccountRow, now: Now, fx: &mut Vec<Effect>) {
        self.queue.lost.remove(&account);
        self.queue.told.remove(&account);
        if let Some(ticket) = self.queue.queue.ticket_of(account) {
            self.drop_ticket(ticket, NoPlace::TicketUnknown, now, fx);
        }
    }

    /// An operator ended what the account has under way: its ticket is void, and says why. Gives how many were.
    pub(super) fn bar_ticket(
        &mut self,
        account: AccountRow,
        why: NoPlace,
        now: Now,
        fx: &mut Vec<Effect>,
    ) -> usize {
        self.queue.told.remove(&account);
        let Some(ticket) = self.queue.queue.ticket_of(account) else { return 0 };
        self.drop_ticket(ticket, why, now, fx);
        self.pump(now, fx);
        1
    }

    /// Takes a ticket out, whose owner is told why, and its party with it. A handover of it is over: nothing ends for what nobody wants.
    pub(super) fn drop_ticket(&mut self, ticket: TicketId, why: NoPlace, now: Now, fx: &mut Vec<Effect>) {
        let owner = self.queue.queue.owner(ticket);
        let line = owner.and_then(|account| self.lines.get(&account)).into_iter().flatten();
        let mut own = line.filter(|id| self.running.get(id).is_some_and(|h| h.ticket == Some(ticket)));
        let next = own.next().copied().and_then(|id| {
            self.cancel_attempt(id, now, fx);
            step!(info, self, now, id, None, Some(why.code()), "handover.refused");
            self.finish(id)?.1
        });
        let others = self.queue.queue.remove(ticket).into_iter().map(|other| (other, NoPlace::PartyBroken));
        self.on_gone([(ticket, why)].into_iter().chain(others).collect(), now, fx);
        // Behind the ticket's end, or what comes next would be taken for its owner's question.
        self.go_on(next, now, fx);
    }

    /// Tickets are no more.
    fn on_gone(&mut self, gone: Vec<(TicketId, NoPlace)>, now: Now, fx: &mut Vec<Effect>) {
        if !gone.is_empty() {
            fx.push(Effect::DropTickets(gone.iter().map(|(ticket, _)| *ticket).collect()));
        }
        for (ticket, why) in gone {
            self.say_goodbye(ticket, why, now, fx);
        }
    }

    fn say_goodbye(&mut self, ticket: TicketId, why: NoPlace, now: Now, fx: &mut Vec<Effect>) {
        self.timers.cancel(&Alarm::Poll(ticket));
        self.queue.requests.remove(&ticket);
        if why != NoPlace::TicketUnknown && self.queue.farewells.len() < self.queue.max {
            self.queue.farewells.insert(ticket, (why, now.mono + FAREWELL_TIME));
        }
        info!(target: "handover", ticket = %ticket, code = why.code(), "ticket.void");
        if let Some(ask) = self.queue.polls.remove(&ticket) {
            self.refuse(ask, why, now, fx);
        }
    }

    pub(super) fn tick_queue(&mut self, now: Now, fx: &mut Vec<Effect>) {
        if self.queue.next_deadline().is_none_or(|at| now.mono < at) {
            return;
        }
        let gone = self.queue.queue.tick(now.mono).into_iter().map(|(ticket, why)| {
            let why = match why {
                Gone::Abandoned => NoPlace::TicketUnknown,
                Gone::PartyIncomplete => NoPlace::PartyIncomplete,
                Gone::PartyBroken => NoPlace::PartyBroken,
            };
            (ticket, why)
        });
        self.on_gone(gone.collect(), now, fx);
        self.pump(now, fx);
    }
}
