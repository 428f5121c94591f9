//! A device with a ticket: asks how it stands, takes its place, forgets it for a while, gives it back, or loses an answer.
//!
//! Once faults have stopped everybody who wants in is patient: asks when told to, and takes the place within the time it is kept.

use auth_hub::queue::{Standing, TicketId, TicketView};
use shared_msgs::ids::HandoverId;

use crate::device::{Attempt, State};
use crate::facts::{Ms, Phase};
use crate::tickets::Wish;
use crate::world::{Event, World};

/// The longest wait for a turn that is asked for.
const WAIT_MAX: Ms = 8_000;
/// From when on an answer does not come any more.
const PATIENCE: Ms = 16_000;

/// A ticket in hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hold {
    ticket: TicketId,
    /// Its turn has come, as of the last look.
    is_ready: bool,
}

impl World {
    /// The device has a ticket; it asks again when told to.
    pub(crate) fn wait_in_line(&mut self, attempt: Attempt, view: &TicketView) {
        let is_ready = view.standing == Standing::Ready;
        let told = u64::try_from(view.ask_again.as_millis()).unwrap_or(0);
        let late = if self.is_honest() {
            self.dice.below(1_000)
        } else {
            // It forgets, for longer than anything is kept now and then.
            self.dice.long_tailed(2_000, 30_000, 90_000)
        };
        let Some(device) = self.current(attempt) else { return };
        device.state = State::Waiting(Hold { ticket: view.ticket, is_ready });
        device.turn += 1;
        let turn = device.turn;
        self.after(told + late + 1, Event::Poll { attempt, turn });
    }

    fn wish_for(&mut self, hold: Hold) -> Wish {
        let wait = if self.dice.below(2) == 0 { 0 } else { self.dice.between(500, WAIT_MAX) };
        if !self.is_honest() && self.dice.below(4) == 0 {
            return Wish::Leave;
        }
        // Who has been told of its turn takes it.
        if !hold.is_ready && self.dice.below(3) == 0 { Wish::Look } else { Wish::Take(wait) }
    }

    /// Asks about the ticket; asks again when no answer comes.
    pub(crate) fn poll(&mut self, attempt: Attempt, turn: u32) {
        let is_over = self.phase.is_some();
        let is_patient = self.phase != Some(Phase::AllIn);
        let Some(device) = self.current(attempt).filter(|device| device.turn == turn) else { return };
        let State::Waiting(hold) = device.state else { return };
        if is_over && !(is_patient && device.comes_back() && !device.was_in) {
            // It has lost interest: its ticket must go by itself.
            return self.next_round(attempt, 0);
        }
        // A few start anew, though they have a ticket.
        if !is_over && self.dice.below(60) == 0 {
            let pause = self.pause();
            return self.next_round(attempt, pause);
        }
        let wish = self.wish_for(hold);
        let Some(device) = self.current(attempt) else { return };
        device.turn += 1;
        let turn = device.turn;
        let Some(node) = self.hubs.iter().find_map(|machine| machine.running) else {
            return self.after(500, Event::Poll { attempt, turn });
        };
        let handover = HandoverId::random(&*self.dice.fork());
        self.asks.insert(handover, attempt);
        let delay = self.dice.long_tailed(1, 10, 1_000);
        self.after(delay, Event::TicketAsk { node, handover, ticket: hold.ticket, wish });
        let wait = if let Wish::Take(wait) = wish { wait } else { 0 };
        // A look that got lost is repeated soon, so that its owner counts as present.
        let patience = if matches!(wish, Wish::Take(_)) { PATIENCE + wait } else { 2_000 };
        self.after(delay + patience, Event::Poll { attempt, turn });
    }
}
