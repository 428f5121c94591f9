//! The questions of tickets' owners, and their handovers once their turn has come.
//!
//! Invariants: each question has one answer; a wish for the place is answered by the ticket's handover while one runs; a handover that comes
//! to nothing gives the ticket its old place back; a ticket is used up for a place that its server has confirmed, and for nothing less.

use std::time::Duration;

use shared_msgs::clock::Now;
use shared_msgs::ids::HandoverId;

use super::{Alarm, Core, Effect};
use crate::accounts::{AccountRow, PlayerRow};
use crate::fleet::ServerView;
use crate::handover::journal::step;
use crate::handover::{NoPlace, Placed, Refused};
use crate::queue::{Standing, TicketId, TicketView};

/// Who asks for a ticket.
pub(super) struct Asker {
    pub(super) account: AccountRow,
    pub(super) players: Vec<PlayerRow>,
    pub(super) name: String,
}

impl Core {
    /// The owner wants its place, if its turn has come or comes within `wait`.
    pub(super) fn on_poll(
        &mut self,
        id: HandoverId,
        asker: Asker,
        ticket: TicketId,
        wait: Duration,
        now: Now,
        fx: &mut Vec<Effect>,
    ) {
        let Asker { account, players, name } = asker;
        if let Some(placed) = self.queue.told(account, ticket, now.mono) {
            return fx.push(Effect::Answer { handover: id, answer: Ok(placed.clone()) });
        }
        if let Err(why) = self.hear_owner(account, ticket, now, fx) {
            return self.refuse(id, why, now, fx);
        }
        self.learn(players);
        if let Some(request) = self.queue.requests.get_mut(&ticket) {
            request.name = name;
        }
        self.ask_of(ticket, id, now, fx);
        self.settle_poll(ticket, wait, now, fx);
    }

    /// How a ticket stands; its owner is still here. A wish for its place waits on.
    ///
    /// # Errors
    /// [`NoPlace`]: why it is no more; [`NoPlace::TicketUnknown`] also when it is not the account's.
    pub fn look(
        &mut self,
        account: AccountRow,
        ticket: TicketId,
        now: Now,
    ) -> (Result<TicketView, NoPlace>, Vec<Effect>) {
        let mut fx = Vec::new();
        let heard = self.hear_owner(account, ticket, now, &mut fx);
        self.settle_up(now, &mut fx);
        let view = heard.and_then(|()| self.queue.queue.view(ticket, now.mono).ok_or(NoPlace::TicketUnknown));
        (view, fx)
    }

    /// A ticket's owner is here, which may make it the next. The wait for a server that drains is over.
    fn hear_owner(
        &mut self,
        account: AccountRow,
        ticket: TicketId,
        now: Now,
        fx: &mut Vec<Effect>,
    ) -> Result<(), NoPlace> {
        if self.queue.queue.owner(ticket) != Some(account) {
            return Err(self.queue.farewells.get(&ticket).map_or(NoPlace::TicketUnknown, |(why, _)| *why));
        }
        let wanted = self.queue.requests.get(&ticket).and_then(|request| request.server.as_ref());
        if wanted.and_then(|server| self.fleet.get(server)).is_some_and(ServerView::is_draining) {
            self.drop_ticket(ticket, NoPlace::ServerDraining, now, fx);
            return Err(NoPlace::ServerDraining);
        }
        if self.queue.queue.seen(ticket, now.mono) {
            self.pump(now, fx);
        }
        Ok(())
    }

    /// Remembers the newest wish for a ticket's place; the one before is answered as things stand.
    pub(super) fn ask_of(&mut self, ticket: TicketId, ask: HandoverId, now: Now, fx: &mut Vec<Effect>) {
        self.answer_poll(ticket, now, fx);
        self.queue.polls.insert(ticket, ask);
    }

    /// Answers the question, takes the place it has come for, or lets it wait.
    pub(super) fn settle_poll(&mut self, ticket: TicketId, wait: Duration, now: Now, fx: &mut Vec<Effect>) {
        if !self.queue.polls.contains_key(&ticket) {
            return;
        }
        let view = self.queue.queue.view(ticket, now.mono);
        if view.is_some_and(|view| view.standing == Standing::Ready) {
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
        let Some(ask) = self.queue.polls.remove(&ticket) else { return };
        match self.queue.queue.view(ticket, now.mono) {
            Some(view) => fx.push(Effect::Queued { handover: ask, view }),
            None => self.refuse(ask, NoPlace::TicketUnknown, now, fx),
        }
    }

    /// The handover of a ticket whose slot is kept and whose owner asks for it.
    pub(super) fn start(&mut self, ticket: TicketId, now: Now, fx: &mut Vec<Effect>) {
        let (Some(id), Some(request)) = (self.queue.polls.get(&ticket), self.queue.requests.get(&ticket))
        else {
            return;
        };
        let (id, request) = (*id, request.clone());
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
        let Ok(placed) = &answer else {
            self.queue.queue.give_back(ticket);
            return self.answer_poll(ticket, now, fx);
        };
        if let Some(account) = self.queue.queue.owner(ticket) {
            self.queue.keep_told(account, ticket, placed.clone(), now.mono);
        }
        self.queue.queue.admitted(ticket, now.mono);
        self.queue.requests.remove(&ticket);
        fx.push(Effect::DropTickets(vec![ticket]));
        if let Some(ask) = self.queue.polls.remove(&ticket) {
            fx.push(Effect::Answer { handover: ask, answer });
        }
    }
}
