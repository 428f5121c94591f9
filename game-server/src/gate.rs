//! The gate: who may come in, who waits, who has a place, what the hub is told.
//!
//! The single owner of grants and of clients that wait for one, so that "look up, else park" cannot interleave with anything. A pure
//! state machine: [`Gate::handle`] takes an input and the time, and returns effects; sockets, tasks and clocks live elsewhere.
//!
//! Invariants: one redemption per token hash at most; every ticket gets exactly one verdict, by its deadline; one client per hash, none
//! without a genuine token; players + held ≤ max_players; one session per player; after an `Ended`, nothing it names lives here. They
//! hold however messages are repeated, lost or reordered, while our wall clock stays within [`limits::CLOCK_SKEW_MAX`] of itself.

mod arrivals;
mod closing;
mod deadlines;
mod delayed;
mod ends;
mod ledger;
mod marks;
mod moves;
mod orders;
mod pulse;
mod reconnect;
mod roster;
mod types;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use shared_msgs::clock::{Mono, Now};
use shared_msgs::codes::Code;
use shared_msgs::ids::{BootId, HandoverId, TokenHash};
#[cfg(doc)]
use shared_msgs::limits;
use shared_msgs::messages::{HubMessage, Occupancy, Order, ServerMessage, ServerState, Stamp, Status};

use deadlines::{Deadlines, Due};
use delayed::Delayed;
use ends::Ends;
use ledger::Ledger;
use marks::{Closed, Marks};
use moves::Moves;
use pulse::Pulse;
use reconnect::Ways;
pub use types::{
    DrainReport, Effect, GateConfig, Input, Reconnect, Refused, SlotId, Ticket, Timing, Welcome,
};

/// Notices that are remembered: the hub says each again for half a minute at most.
const NOTICES_MAX: usize = 64;

/// One transition, as tests and operators see it: always target `handover`, the server's id, and the event's name as message.
macro_rules! note {
    ($gate:expr, $level:ident, $name:literal $(, $($field:tt)+)?) => {
        tracing::$level!(target: "handover", server_id = %$gate.config.server, $($($field)+,)? $name)
    };
}
use note;

/// As `note!`, within a bound: for what anybody can cause again and again.
macro_rules! note_limited {
    ($gate:expr, $level:ident, $name:literal, $($field:tt)+) => {
        shared_msgs::limited!($level, target: "handover", server_id = %$gate.config.server, $($field)+, $name)
    };
}
use note_limited;

/// See the module's documentation.
pub struct Gate {
    config: GateConfig,
    state: ServerState,
    /// What the game last said; what holds again after a drain.
    wished: ServerState,
    load_percent: u8,
    message: String,
    /// Set while nobody new is taken: what those who come are told.
    closing: Option<Code>,
    drain: Option<Drain>,
    ledger: Ledger,
    marks: Marks,
    delayed: Delayed,
    ways: Ways,
    ends: Ends,
    moves: Moves,
    pulse: Pulse,
    deadlines: Deadlines,
    ignored: u64,
    /// Notices that the players have had, the oldest first.
    noticed: VecDeque<u64>,
    out: Vec<Effect>,
}

/// A drain that runs.
#[derive(Default)]
struct Drain {
    limit: Option<Mono>,
    /// The process is about to stop.
    is_final: bool,
    report: DrainReport,
}

/// Where a token hash stands.
enum Standing {
    Unknown,
    Held,
    Closed(Closed, Option<HandoverId>),
}

impl Gate {
    /// A gate with nobody in it.
    pub fn new(config: GateConfig) -> Self {
        Self {
            state: config.state,
            wished: config.state,
            load_percent: 0,
            message: config.message.clone(),
            closing: None,
            drain: None,
            ledger: Ledger::new(config.max_players),
            marks: Marks::new(config.marks_max),
            delayed: Delayed::new(config.parked_max),
            ways: Ways::default(),
            ends: Ends::default(),
            moves: Moves::default(),
            pulse: Pulse::new(config.timing.status_beat),
            deadlines: Deadlines::default(),
            ignored: 0,
            noticed: VecDeque::new(),
            out: Vec::new(),
            config,
        }
    }

    /// Takes one input. What fell due before comes first; effects are to be carried out in order.
    pub fn handle(&mut self, input: Input, now: Now) -> Vec<Effect> {
        self.run_due(now);
        match input {
            Input::Arrive { ticket, token } => self.on_arrive(ticket, &token, now),
            Input::Abandon(ticket) => self.on_abandon(ticket),
            Input::Leave(slot) => self.on_leave(slot, now),
            Input::Dropped(slot) => self.on_dropped(slot, now),
            Input::Resume { ticket, credential } => self.on_resume(ticket, &credential),
            Input::Kept(slot) => self.on_kept(slot),
            Input::Hub(HubMessage::Order { boot, order }) => self.on_order(boot, order, now),
            Input::SetState(state) => self.on_set_state(state, now),
            Input::SetLoad(percent) => self.on_set_load(percent),
            Input::SetMessage(message) => self.on_set_message(message),
            Input::Drain { within } => self.on_drain(within, now),
            Input::Retire { within } => self.on_retire(within, now),
            Input::Move { slot, target, luggage } => self.on_move(slot, target, luggage, now),
            Input::Link { up } => {
                self.pulse.link(up);
                if up {
                    self.ask_again(now);
                }
            }
            Input::Close => self.on_close(now),
            Input::Tick => {}
        }
        // A session with no time to save is over at once.
        self.run_due(now);
        self.start_moves(now);
        if self.pulse.is_due(now.mono) {
            self.send_status();
        }
        debug_assert!(self.delayed.len() <= self.config.parked_max, "more parked clients than allowed");
        std::mem::take(&mut self.out)
    }

    /// When to call [`Gate::handle`] again at the latest.
    pub fn next_deadline(&self, now: Now) -> Option<Mono> {
        self.deadlines.next(now).into_iter().chain(self.pulse.next()).min()
    }

    /// Its slots.
    pub fn occupancy(&self) -> Occupancy {
        self.ledger.occupancy(self.delayed.len())
    }

    /// Whether it takes players.
    pub fn state(&self) -> ServerState {
        self.state
    }

    /// Which run of the server this is.
    pub fn boot(&self) -> BootId {
        self.config.boot
    }

    /// Orders for another boot, seen and ignored.
    pub fn ignored(&self) -> u64 {
        self.ignored
    }

    fn run_due(&mut self, now: Now) {
        while let Some(due) = self.deadlines.pop(now) {
            match due {
                Due::Unpark(ticket) => self.on_waited_enough(ticket),
                Due::Expire(hash) => self.close_held(hash, Code::TokenExpired, now),
                Due::ForgetMark(hash) => self.marks.forget(hash),
                Due::ForgetFloor(player) => {
                    if let Some(at) = self.marks.forget_floor(player, now) {
                        self.deadlines.at(at, due);
                    }
                }
                Due::Void(slot) => self.void(slot, now),
                Due::AskToMove(slot) => self.ask_to_move(slot, now),
                Due::GraceOver(slot) => self.on_grace_over(slot, now),
                Due::ForgetWay(key) => self.forget_way(key),
                Due::DrainKick(limit) => self.on_drain_kick(limit),
            }
        }
    }

    fn on_order(&mut self, boot: BootId, order: Order, now: Now) {
        if boot != self.config.boot {
            self.ignored += 1;
            note!(self, debug, "order.ignored", boot = %boot);
            return;
        }
        match order {
            Order::Probe { hub, n } => self.pulse.probe(hub, n, now.mono),
            Order::Grant(grant) => self.on_grant(grant, now),
            Order::End(end) => self.on_end(end, now),
            Order::Drain { within_ms: 0 } => self.on_drain(None, now),
            Order::Drain { within_ms } => {
                self.on_drain(Some(std::time::Duration::from_millis(within_ms.into())), now);
            }
            Order::Roster { request } => self.on_roster(request),
            Order::MoveAnswer(answer) => self.on_move_answer(answer, now),
            Order::Superseded { by } => self.on_superseded(by, now),
            Order::Undrain => self.on_undrain(),
            Order::Notice { id, text } => self.on_notice(id, text),
        }
    }

    fn on_set_state(&mut self, state: ServerState, now: Now) {
        // Said again, as with each new load, it is no new wish: a drain that was taken back does not begin anew.
        if std::mem::replace(&mut self.wished, state) == state || self.closing.is_some() {
            return;
        }
        if state == ServerState::Draining {
            self.on_drain(None, now);
        } else {
            self.state = state;
            self.pulse.want();
        }
    }

    /// Each notice is shown once, however often it comes.
    fn on_notice(&mut self, id: u64, text: String) {
        if !self.noticed.contains(&id) {
            if self.noticed.len() == NOTICES_MAX {
                self.noticed.pop_front();
            }
            self.noticed.push_back(id);
            note!(self, info, "notice.shown", notice = id);
            self.out.push(Effect::Notice { text });
        }
        let stamp = self.stamp(false);
        self.send(ServerMessage::Noticed { stamp, id });
    }

    fn on_set_load(&mut self, percent: u8) {
        let percent = percent.min(100);
        if self.load_percent != percent {
            self.load_percent = percent;
            self.pulse.want();
        }
    }

    fn on_set_message(&mut self, message: String) {
        if self.message != message {
            self.message = message;
            self.pulse.want();
        }
    }

    /// What those who come now are told, when nobody is taken.
    fn shut(&self) -> Option<Code> {
        self.closing.or(match self.state {
            ServerState::Starting => Some(Code::ServerStarting),
            ServerState::Draining => Some(Code::ServerDraining),
            ServerState::Online | ServerState::Degraded => None,
        })
    }

    fn standing(&self, hash: TokenHash) -> Standing {
        if let Some(mark) = self.marks.get(hash) {
            return Standing::Closed(mark.closed, mark.handover);
        }
        // A session may outlast its token's mark.
        if let Some(live) = self.ledger.session_by_hash(hash) {
            return Standing::Closed(Closed::Spent, Some(live.handover));
        }
        if self.ledger.held(hash).is_some() { Standing::Held } else { Standing::Unknown }
    }

    fn stamp(&self, is_change: bool) -> Stamp {
        Stamp { boot: self.config.boot, rev: self.ledger.rev(), is_change, occupancy: self.occupancy() }
    }

    fn send(&mut self, message: ServerMessage) {
        self.out.push(Effect::Send(message));
    }

    /// Tells the hub of a change that has just been made to the roster.
    fn send_change(&mut self, message: impl FnOnce(Stamp) -> ServerMessage) {
        let message = message(self.stamp(true));
        self.send(message);
        self.pulse.want();
    }

    fn send_status(&mut self) {
        let stamp = self.stamp(false);
        note!(self, debug, "status.sent", rev = stamp.rev);
        self.out.push(Effect::Status(Box::new(Status {
            stamp,
            profile: self.config.profile.clone(),
            state: self.state,
            load_percent: self.load_percent,
            digest: self.ledger.digest(),
            echoes: self.pulse.echoes(),
            message: self.message.clone(),
        })));
    }
}
