//! What clients ask and what they are answered.
//!
//! Invariant: each question has one answer, and one handover of an account runs at a time.

use std::collections::BTreeSet;

use shared_msgs::clock::Now;
use shared_msgs::ids::{HandoverId, PlayerId, Realm};
use shared_msgs::limits;

use super::{Alarm, Core, Effect, Handover, RUNNING_MAX, Stage};
use crate::accounts::{AccountRow, PlayerRow};
use crate::handover::journal::step;
use crate::handover::{HandoverRequest, NoPlace, Placed, Refused};
use crate::queue::TicketId;

impl Core {
    pub(super) fn on_ask(
        &mut self,
        id: HandoverId,
        request: HandoverRequest,
        players: Vec<PlayerRow>,
        now: Now,
        fx: &mut Vec<Effect>,
    ) {
        let account = request.account;
        self.learn(players);
        self.journal.open(account, id, now.unix);
        if !self.begin(id, request, None, now, fx) {
            self.refuse(id, NoPlace::HubBusy, now, fx);
        }
    }

    /// An answer to who has no handover under way.
    pub(super) fn refuse(&mut self, id: HandoverId, why: NoPlace, now: Now, fx: &mut Vec<Effect>) {
        step!(info, self, now, id, None, Some(why.code()), "handover.refused");
        fx.push(Effect::Answer { handover: id, answer: Err(Refused { handover: id, why }) });
    }

    /// Puts a handover into its account's line. False when there is no room for it.
    pub(super) fn begin(
        &mut self,
        id: HandoverId,
        request: HandoverRequest,
        ticket: Option<TicketId>,
        now: Now,
        fx: &mut Vec<Effect>,
    ) -> bool {
        let account = request.account;
        let line = self.lines.entry(account).or_default();
        if line.len() > limits::WAITING_PER_ACCOUNT_MAX || self.running.len() >= RUNNING_MAX {
            if line.is_empty() {
                self.lines.remove(&account);
            }
            return false;
        }
        line.push_back(id);
        let is_first = line.len() == 1;
        let deadline = now.mono + limits::LOGIN_DEADLINE;
        let hold_until = now.mono + limits::COLD_HOLD;
        let handover = Handover {
            request,
            number: self.asked,
            tried: BTreeSet::new(),
            was_refused_oddly: false,
            deadline,
            hold_until,
            ticket,
            stage: Stage::InLine,
            carries: None,
        };
        self.asked += 1;
        self.running.insert(id, handover);
        self.timers.set(Alarm::Handover(id), deadline);
        step!(debug, self, now, id, None, None, "handover.asked", is_first);
        if is_first {
            self.place(id, now, fx);
        }
        true
    }

    pub(super) fn on_player(
        &mut self,
        id: HandoverId,
        account: AccountRow,
        realm: Realm,
        player: Option<PlayerId>,
        now: Now,
        fx: &mut Vec<Effect>,
    ) {
        if let Some(player) = player {
            self.people.learn(account, realm, player);
        }
        let waits = self.running.get(&id).is_some_and(|h| matches!(h.stage, Stage::FindingPlayer));
        match (waits, player) {
            (false, _) => {}
            (true, Some(_)) => self.place(id, now, fx),
            (true, None) => self.answer(id, Err(NoPlace::HubBusy), now, fx),
        }
    }

    /// Answers the client and lets the next in line go.
    pub(super) fn answer(
        &mut self,
        id: HandoverId,
        answer: Result<Placed, NoPlace>,
        now: Now,
        fx: &mut Vec<Effect>,
    ) {
        let Some((handover, next)) = self.finish(id) else { return };
        match &answer {
            Ok(placed) => {
                let confirmed = placed.confirmed;
                step!(info, self, now, id, Some(&placed.server), None, "handover.answered", confirmed);
            }
            Err(why) => step!(info, self, now, id, None, Some(why.code()), "handover.refused"),
        }
        let refused = |why| Refused { handover: id, why };
        if handover.carries.is_some() {
            self.settle_move(id, handover, answer, now, fx);
        } else if let Some(ticket) = handover.ticket {
            self.conclude(ticket, answer.map_err(refused), now, fx);
        } else {
            let answer = answer.map_err(refused);
            if answer.is_ok() {
                self.forget_ticket(handover.request.account, now, fx);
            }
            fx.push(Effect::Answer { handover: id, answer });
        }
        if let Some(next) = next {
            self.place(next, now, fx);
        }
    }

    /// Takes a handover out. Gives it, and whose turn it is now.
    pub(super) fn finish(&mut self, id: HandoverId) -> Option<(Handover, Option<HandoverId>)> {
        let handover = self.running.remove(&id)?;
        self.timers.cancel(&Alarm::Handover(id));
        self.holding.remove(&id);
        self.pressed.remove(&handover.number);
        let account = handover.request.account;
        let Some(line) = self.lines.get_mut(&account) else { return Some((handover, None)) };
        let was_first = line.front() == Some(&id);
        line.retain(|other| *other != id);
        let next = line.front().copied().filter(|_| was_first);
        if line.is_empty() {
            self.lines.remove(&account);
        }
        Some((handover, next))
    }
}
