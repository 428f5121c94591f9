//! The login queue at the desk: which free slots there are, whose turn it is, and the questions of those who wait.
//!
//! The order is the room `queue`'s. Here a freed slot is kept for the first who can use it before anybody new is placed, and a ticket whose owner
//! asks for it becomes a handover to that very server. Invariants: a newcomer is placed only where nobody present waits for the slot; a
//! ticket's handover that comes to nothing gives the ticket its old place back; each question of a ticket's owner has one answer.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use shared_msgs::clock::{Mono, Now};
use shared_msgs::ids::{HandoverId, ServerId};
use shared_msgs::limits;
use shared_msgs::messages::ServerState;
use tracing::info;

use super::{Alarm, Core, Effect};
use crate::accounts::{AccountRow, PlayerRow};
use crate::fleet::ServerView;
use crate::handover::journal::step;
use crate::handover::{HandoverRequest, NoPlace, Placed, Refused};
use crate::queue::{Class, Gone, Line, NoTicket, Queue, QueueSettings, Standing, TicketId, TicketRow};

/// Whose server died so lately is let in before others.
const RECONNECT_WINDOW: Duration = Duration::from_mins(5);
/// How long a ticket that is no more can say why.
const FAREWELL_TIME: Duration = Duration::from_mins(2);

/// Who asks for a ticket.
pub(super) struct Asker {
    pub(super) account: AccountRow,
    pub(super) players: Vec<PlayerRow>,
    pub(super) name: String,
}

#[derive(Debug, Clone, Copy)]
struct Poll {
    ask: HandoverId,
    /// Whether the ticket's owner wants the place, or only to know.
    takes: bool,
}

/// The queue, and what its owners want.
#[derive(Debug)]
pub(super) struct Tickets {
    pub(super) queue: Queue,
    pub(super) requests: BTreeMap<TicketId, HandoverRequest>,
    /// The newest question of each ticket that is not answered yet.
    polls: BTreeMap<TicketId, Poll>,
    farewells: BTreeMap<TicketId, (NoPlace, Mono)>,
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

    pub(super) fn on_dropped(&mut self, tickets: Vec<TicketId>, is_done: bool) {
        if !is_done {
            self.undropped.extend(tickets);
        }
    }

    pub(super) fn prune(&mut self, now: Now, fx: &mut Vec<Effect>) {
        self.farewells.retain(|_, (_, until)| now.mono < *until);
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
            let (labels, of) = row.line.parts();
            let server = if let Line::Server(server) = of { Some(server.clone()) } else { None };
            let request = HandoverRequest {
                server,
                labels,
                regions: row.regions.clone(),
                party: row.party,
                ..HandoverRequest::anywhere(row.account, String::new())
            };
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
        let line = match &request.server {
            Some(server) => Line::Server(server.clone()),
            None if self.placement.region_fallback || request.regions.is_empty() => Line::Anywhere,
            None => Line::Regions(request.regions.iter().cloned().collect()),
        };
        let labels: BTreeSet<String> = request.labels.iter().cloned().collect();
        let line = if labels.is_empty() { line } else { Line::Labelled(labels, Box::new(line)) };
        if let Some(ticket) = self.queue.queue.ticket_of(account) {
            if self.queue.queue.is_for(ticket, &line, party) {
                let Some((_, next)) = self.finish(id) else { return };
                self.queue.queue.seen(ticket, now.mono);
                self.queue.requests.insert(ticket, request);
                self.ask_of(ticket, Poll { ask: id, takes: true }, now, fx);
                self.settle_poll(ticket, Duration::ZERO, now, fx);
                return self.go_on(next, now, fx);
            }
            self.drop_ticket(ticket, Gone::PartyBroken, now, fx);
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
        let Some((_, next)) = self.finish(id) else { return };
        step!(info, self, now, id, None, None, "ticket.issued", ticket = %ticket);
        self.queue.requests.insert(ticket, request);
        self.ask_of(ticket, Poll { ask: id, takes: true }, now, fx);
        self.timers.set(Alarm::Poll(ticket), now.mono + limits::LOGIN_DEADLINE);
        fx.push(Effect::SaveTicket(row));
        self.go_on(next, now, fx);
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
            let mut others = self.queue.queue.drop_with_party(ticket, Gone::PartyBroken);
            others.retain(|(other, ..)| *other != ticket);
            return self.on_gone(others, None, now, fx);
        };
        let is_lost = self.queue.lost.contains_key(&account);
        let class = if is_priority { Class::Priority } else { Class::Normal };
        self.queue.queue.saved(ticket, if is_lost { Class::Reconnect } else { class });
        self.pump(now, fx);
        self.settle_poll(ticket, Duration::ZERO, now, fx);
    }

    pub(super) fn on_poll(
        &mut self,
        id: HandoverId,
        asker: Asker,
        ticket: TicketId,
        takes: Option<Duration>,
        now: Now,
        fx: &mut Vec<Effect>,
    ) {
        let Asker { account, players, name } = asker;
        if self.queue.queue.owner(ticket) != Some(account) {
            let why = self.queue.farewells.get(&ticket).map_or(NoPlace::TicketUnknown, |(why, _)| *why);
            return self.refuse(id, why, now, fx);
        }
        self.learn(players);
        let wanted = self.queue.requests.get_mut(&ticket).and_then(|request| {
            request.name = name;
            request.server.clone()
        });
        let is_draining = |view: &ServerView| view.state == ServerState::Draining;
        if wanted.and_then(|server| self.fleet.get(&server)).is_some_and(is_draining) {
            self.drop_ticket(ticket, Gone::PartyBroken, now, fx);
            return self.refuse(id, NoPlace::ServerDraining, now, fx);
        }
        self.ask_of(ticket, Poll { ask: id, takes: takes.is_some() }, now, fx);
        if self.queue.queue.seen(ticket, now.mono) {
            self.pump(now, fx);
        }
        self.settle_poll(ticket, takes.unwrap_or_default(), now, fx);
    }

    pub(super) fn on_leave(
        &mut self,
        id: HandoverId,
        account: AccountRow,
        ticket: TicketId,
        now: Now,
        fx: &mut Vec<Effect>,
    ) {
        if self.queue.queue.owner(ticket) != Some(account) {
            return self.refuse(id, NoPlace::TicketUnknown, now, fx);
        }
        info!(target: "handover", handover_id = %id, ticket = %ticket, "ticket.given_back");
        self.drop_ticket(ticket, Gone::PartyBroken, now, fx);
        fx.push(Effect::HasLeft { handover: id });
        self.pump(now, fx);
    }

    /// Remembers a ticket's newest question; the one before is answered as things stand.
    fn ask_of(&mut self, ticket: TicketId, poll: Poll, now: Now, fx: &mut Vec<Effect>) {
        self.answer_poll(ticket, now, fx);
        self.queue.polls.insert(ticket, poll);
    }

    /// Answers the question, takes the place it has come for, or lets it wait.
    fn settle_poll(&mut self, ticket: TicketId, wait: Duration, now: Now, fx: &mut Vec<Effect>) {
        let Some(poll) = self.queue.polls.get(&ticket).copied() else { return };
        let is_ready = self.queue.queue.view(ticket, now.mono).is_some_and(|v| v.standing == Standing::Ready);
        if is_ready && poll.takes {
            // Else its handover runs, and answers.
            self.start(ticket, now, fx);
        } else if wait.is_zero() {
            self.answer_poll(ticket, now, fx);
        } else {
            self.timers.set(Alarm::Poll(ticket), now.mono + wait);
        }
    }

    /// Answers a ticket's question as things stand.
    pub(super) fn answer_poll(&mut self, ticket: TicketId, now: Now, fx: &mut Vec<Effect>) {
        self.timers.cancel(&Alarm::Poll(ticket));
        let Some(Poll { ask, .. }) = self.queue.polls.remove(&ticket) else { return };
        match self.queue.queue.view(ticket, now.mono) {
            Some(view) => fx.push(Effect::Queued { handover: ask, view }),
            None => self.refuse(ask, NoPlace::TicketUnknown, now, fx),
        }
    }

    /// The handover of a ticket whose slot is kept and whose owner asks for it.
    pub(super) fn start(&mut self, ticket: TicketId, now: Now, fx: &mut Vec<Effect>) {
        let poll = self.queue.polls.get(&ticket).filter(|poll| poll.takes);
        let (Some(poll), Some(request)) = (poll, self.queue.requests.get(&ticket)) else { return };
        let (id, request) = (poll.ask, request.clone());
        let Some(server) = self.queue.queue.claim(ticket) else { return };
        self.timers.cancel(&Alarm::Poll(ticket));
        self.journal.open(request.account, id, now.unix);
        step!(info, self, now, id, Some(&server), None, "ticket.called", ticket = %ticket);
        if !self.begin(id, request, Some(ticket), now, fx) {
            self.queue.queue.give_back(ticket);
            self.answer_poll(ticket, now, fx);
        }
    }

    /// Places a ticket's handover where a slot is kept for it, and nowhere else.
    pub(super) fn place_ticket(&mut self, id: HandoverId, ticket: TicketId, now: Now, fx: &mut Vec<Effect>) {
        let server = self.queue.queue.claimed(ticket);
        let view = server.and_then(|server| self.fleet.get(server).map(|view| (server.clone(), view)));
        match view.filter(|(_, view)| view.is_eligible(now)) {
            Some((server, view)) => {
                let realm = view.profile.realm.clone();
                self.grant_in(id, &server, realm, now, fx);
            }
            None => self.answer(id, Err(NoPlace::ServerFull), now, fx),
        }
    }

    /// The end of a ticket's handover.
    pub(super) fn conclude(
        &mut self,
        ticket: TicketId,
        answer: Result<Placed, Refused>,
        now: Now,
        fx: &mut Vec<Effect>,
    ) {
        if answer.is_err() {
            self.queue.queue.give_back(ticket);
            return self.answer_poll(ticket, now, fx);
        }
        self.queue.queue.admitted(ticket, now.mono);
        self.queue.requests.remove(&ticket);
        fx.push(Effect::DropTickets(vec![ticket]));
        if let Some(Poll { ask, .. }) = self.queue.polls.remove(&ticket) {
            fx.push(Effect::Answer { handover: ask, answer });
        }
    }

    /// The account has a place by another way: its ticket counts no more.
    pub(super) fn forget_ticket(&mut self, account: AccountRow, now: Now, fx: &mut Vec<Effect>) {
        self.queue.lost.remove(&account);
        if let Some(ticket) = self.queue.queue.ticket_of(account) {
            self.drop_ticket(ticket, Gone::PartyBroken, now, fx);
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
        let Some(ticket) = self.queue.queue.ticket_of(account) else { return 0 };
        self.say_goodbye(ticket, why, now, fx);
        self.drop_ticket(ticket, Gone::PartyBroken, now, fx);
        self.pump(now, fx);
        1
    }

    /// Takes a ticket out, and its party with it.
    fn drop_ticket(&mut self, ticket: TicketId, why: Gone, now: Now, fx: &mut Vec<Effect>) {
        let gone = self.queue.queue.drop_with_party(ticket, why);
        self.on_gone(gone, Some(ticket), now, fx);
    }

    /// Tickets are no more; `own` by its owner's doing.
    fn on_gone(
        &mut self,
        gone: Vec<(TicketId, AccountRow, Gone)>,
        own: Option<TicketId>,
        now: Now,
        fx: &mut Vec<Effect>,
    ) {
        if !gone.is_empty() {
            fx.push(Effect::DropTickets(gone.iter().map(|(ticket, ..)| *ticket).collect()));
        }
        for (ticket, _, why) in gone {
            if self.queue.farewells.contains_key(&ticket) {
                continue;
            }
            let why = match why {
                Gone::Abandoned => NoPlace::TicketUnknown,
                _ if own == Some(ticket) => NoPlace::TicketUnknown,
                Gone::PartyIncomplete => NoPlace::PartyIncomplete,
                Gone::PartyBroken => NoPlace::PartyBroken,
            };
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
        if let Some(Poll { ask, .. }) = self.queue.polls.remove(&ticket) {
            self.refuse(ask, why, now, fx);
        }
    }

    pub(super) fn tick_queue(&mut self, now: Now, fx: &mut Vec<Effect>) {
        if self.queue.next_deadline().is_none_or(|at| now.mono < at) {
            return;
        }
        let gone = self.queue.queue.tick(now.mono);
        self.on_gone(gone, None, now, fx);
        self.pump(now, fx);
    }
}
