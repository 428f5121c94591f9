//! The task around the gate.
//!
//! Owns the gate, the clients that wait for its verdicts, and the timer. Everything that changes who may come in passes through here, one
//! thing at a time. Invariants: effects are carried out in the order the gate gave them; whatever way the task ends, every client
//! it still knows gets an answer, because dropping a client's channel is one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use shared_msgs::clock::{Clock, Mono};
use shared_msgs::codes::Code;
use shared_msgs::link::LinkEvent;
use shared_msgs::messages::ServerState;
use shared_msgs::moves::{Luggage, MoveTarget};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::bus::{Inbox, Outbound};
use crate::events::{CloseReason, Event, EventSender, LinkState};
use crate::gate::{DrainReport, Effect, Gate, Input, Refused, SlotId, Ticket, Welcome};
use crate::moving::{MoveDone, MoveError};
use crate::slot::{Answer, Departure, Place, SlotState};
use crate::stats::{Snapshot, Stats};

/// Commands that may wait for the task; a client that finds it full is refused `server-busy`.
pub(crate) const COMMANDS_MAX: usize = 4096;
/// The clock is looked at this often at least: it may be stepped, or not be the machine's at all.
const LOOK_MAX: Duration = Duration::from_millis(100);
/// How long the link may take to say what is left and goodbye; it bounds itself below this.
const GOODBYE_TIME: Duration = Duration::from_secs(2);

/// The hub took the drain back before it was over: the server takes players again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the hub took the drain back; the server takes players again")]
pub struct Undrained;

/// Where the end of a drain is told.
pub(crate) type Drained = oneshot::Sender<Result<DrainReport, Undrained>>;

/// What the SDK's handles ask.
pub(crate) enum Command {
    Arrive {
        ticket: Ticket,
        token: String,
        answers: mpsc::Sender<Answer>,
    },
    Resume {
        ticket: Ticket,
        credential: String,
        answers: mpsc::Sender<Answer>,
    },
    Move {
        slot: SlotId,
        target: MoveTarget,
        luggage: Luggage,
        answer: oneshot::Sender<MoveDone>,
    },
    /// With a promise that is answered when it is over, or taken back.
    Drain {
        within: Option<Duration>,
        is_final: bool,
        done: Drained,
    },
    Shutdown,
}

/// What the game wants the hub to know; only the latest counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wishes {
    pub(crate) state: ServerState,
    pub(crate) load_percent: u8,
    pub(crate) message: String,
}

/// See the module.
pub(crate) struct GateTask {
    pub(crate) gate: Gate,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) commands: mpsc::Receiver<Command>,
    /// For the slots we hand out; weak, for we stop when nobody else holds one.
    pub(crate) commander: mpsc::WeakSender<Command>,
    pub(crate) wished: watch::Receiver<Wishes>,
    /// Ours to receive, and a copy for each slot we hand out.
    pub(crate) departures: (mpsc::UnboundedSender<Departure>, mpsc::UnboundedReceiver<Departure>),
    pub(crate) link: mpsc::Receiver<LinkEvent>,
    pub(crate) stop_link: CancellationToken,
    pub(crate) inbox: Inbox,
    pub(crate) outbound: Outbound,
    pub(crate) events: EventSender,
    pub(crate) stats: Arc<Stats>,
    pub(crate) waiting: Waiting,
}

/// Who waits for what the gate decides.
#[derive(Default)]
pub(crate) struct Waiting {
    clients: BTreeMap<Ticket, mpsc::Sender<Answer>>,
    slots: BTreeMap<SlotId, watch::Sender<SlotState>>,
    moves: BTreeMap<SlotId, oneshot::Sender<MoveDone>>,
    /// Who waits for the end of a drain.
    drains: Vec<Drained>,
    is_superseded: bool,
    is_link_gone: bool,
    is_link_up: bool,
}

impl GateTask {
    /// Runs until it is told to stop, nobody holds a handle any more, or it is superseded.
    pub(crate) async fn run(mut self) -> CloseReason {
        let reason = self.serve().await;
        self.handle(Input::Close);
        self.stop_link.cancel();
        // The link reads its acknowledgements only while somebody takes its events.
        let link_closed = async { while self.link.recv().await.is_some() {} };
        let _ = tokio::time::timeout(GOODBYE_TIME, link_closed).await;
        reason
    }

    async fn serve(&mut self) -> CloseReason {
        loop {
            let now = self.clock.now();
            let next = self.gate.next_deadline(now).map_or(LOOK_MAX, |at| at.since(now.mono));
            tokio::select! {
                Some(departure) = self.departures.1.recv() => self.on_departure(departure),
                event = self.link.recv(), if !self.waiting.is_link_gone => match event {
                    Some(event) => self.on_link(event),
                    // Superseded, we closed it ourselves.
                    None if self.waiting.is_superseded => self.waiting.is_link_gone = true,
                    None => return CloseReason::TaskDied,
                },
                Ok(()) = self.wished.changed() => self.follow_wishes(),
                command = self.commands.recv() => match command {
                    Some(Command::Shutdown) | None => return CloseReason::Shutdown,
                    Some(command) => self.on_command(command),
                },
                () = tokio::time::sleep(next.min(LOOK_MAX)) => self.handle(Input::Tick),
            }
            if self.waiting.is_superseded && self.gate.occupancy().players == 0 {
                return CloseReason::Superseded;
            }
        }
    }

    fn on_departure(&mut self, departure: Departure) {
        match departure {
            Departure::Abandoned(ticket) => {
                self.waiting.clients.remove(&ticket);
                self.handle(Input::Abandon(ticket));
            }
            Departure::Kept(slot) => self.handle(Input::Kept(slot)),
            Departure::Dropped(slot) => self.handle(Input::Dropped(slot)),
            Departure::Left(slot) => {
                self.handle(Input::Leave(slot));
                // Whoever waits for the slot to be counted as free hears it now.
                self.waiting.slots.remove(&slot);
            }
        }
    }

    fn follow_wishes(&mut self) {
        let Wishes { state, load_percent, message } = self.wished.borrow_and_update().clone();
        self.handle(Input::SetState(state));
        self.handle(Input::SetLoad(load_percent));
        self.handle(Input::SetMessage(message));
    }

    fn on_command(&mut self, command: Command) {
        // Whoever first sets the state and then shows a token has said so in this order.
        if self.wished.has_changed().unwrap_or(false) {
            self.follow_wishes();
        }
        // Likewise whoever says that a credential is spent, and then shows it.
        while let Ok(departure) = self.departures.1.try_recv() {
            self.on_departure(departure);
        }
        match command {
            // An abandoned request may be overtaken by its own end.
            Command::Arrive { answers, .. } | Command::Resume { answers, .. } if answers.is_closed() => {}
            Command::Arrive { ticket, token, answers } => {
                self.waiting.clients.insert(ticket, answers);
                self.handle(Input::Arrive { ticket, token });
            }
            Command::Resume { ticket, credential, answers } => {
                self.waiting.clients.insert(ticket, answers);
                self.handle(Input::Resume { ticket, credential });
            }
            Command::Move { slot, answer, .. } if self.waiting.moves.contains_key(&slot) => {
                let _ = answer.send(Err(MoveError::UnderWay));
            }
            Command::Move { slot, target, luggage, answer } => {
                self.waiting.moves.insert(slot, answer);
                self.handle(Input::Move { slot, target, luggage });
            }
            Command::Drain { within, is_final, done } => {
                self.waiting.drains.retain(|waiting| !waiting.is_closed());
                self.waiting.drains.push(done);
                self.handle(if is_final { Input::Retire { within } } else { Input::Drain { within } });
            }
            Command::Shutdown => {}
        }
    }

    fn on_link(&mut self, event: LinkEvent) {
        match event {
            LinkEvent::Up { .. } => self.set_link(LinkState::Up),
            LinkEvent::Down { .. } => self.set_link(LinkState::Down),
            LinkEvent::Message { topic, payload } => {
                let received = self.inbox.receive(&topic, &payload, self.clock.now());
                if let Some(notice) = received.skew {
                    self.outbound.skew(&notice);
                }
                for message in received.messages {
                    self.handle(Input::Hub(message));
                }
            }
        }
    }

    fn set_link(&mut self, link: LinkState) {
        let up = link == LinkState::Up;
        // Each failed attempt says `Down` again.
        let is_new = std::mem::replace(&mut self.waiting.is_link_up, up) != up;
        self.handle(Input::Link { up });
        if is_new {
            self.events.tell(Event::Link(link));
        }
    }

    fn handle(&mut self, input: Input) {
        let now = self.clock.now();
        let effects = self.gate.handle(input, now);
        // Before the effects, so that who has been told something sees it in the snapshot too; behind them for the link's state.
        self.publish();
        for effect in effects {
            self.carry_out(effect, now.mono);
        }
        self.publish();
    }

    fn publish(&self) {
        let link = if self.waiting.is_link_up { LinkState::Up } else { LinkState::Down };
        let (occupancy, lost) = (self.gate.occupancy(), self.gate.lost());
        self.stats.set(Snapshot { occupancy, lost, state: self.gate.state(), link });
    }

    fn carry_out(&mut self, effect: Effect, now: Mono) {
        match effect {
            Effect::Verdict { ticket, verdict } => {
                self.count(&verdict);
                let done = verdict.map(|welcome| self.place(welcome)).map_err(Into::into);
                if let Some(client) = self.waiting.clients.remove(&ticket) {
                    // A client that is gone drops its place, and so frees it.
                    let _ = client.try_send(Answer::Done(done));
                }
            }
            Effect::Delayed { ticket, deadline } => {
                if let Some(client) = self.waiting.clients.get(&ticket) {
                    let _ = client.try_send(Answer::Delayed { within: deadline.since(now) });
                }
            }
            Effect::Send(message) => self.outbound.event(&message),
            Effect::Status(status) => self.outbound.status(status),
            Effect::Kick { slot, player, reason, save_by } => {
                self.set_slot(slot, SlotState::Ending { reason, save_by });
                self.events.tell(Event::Kick { slot, player, reason, save_within: save_by.since(now) });
            }
            Effect::Moved { slot, answer } => {
                if let Some(waiting) = self.waiting.moves.remove(&slot) {
                    // The game may have lost interest.
                    let _ = waiting.send(answer.map_err(MoveError::from));
                }
            }
            Effect::Void { slot, player } => {
                let state = self.waiting.slots.remove(&slot);
                if let Some(state) = state {
                    state.send_modify(void);
                }
                self.events.tell(Event::Voided { slot, player });
            }
            Effect::Draining { deadline } => {
                self.events.tell(Event::Drain { within: deadline.map(|deadline| deadline.since(now)) });
            }
            Effect::Drained(report) => {
                self.tell_drained(Ok(report));
            }
            Effect::Undrained => {
                self.tell_drained(Err(Undrained));
                self.events.tell(Event::Undrain);
            }
            Effect::Notice { text } => self.events.tell(Event::Notice { text }),
            Effect::Superseded { by } => {
                self.waiting.is_superseded = true;
                self.waiting.is_link_up = false;
                self.publish();
                self.stop_link.cancel();
                self.events.tell(Event::Superseded { by });
            }
        }
    }

    /// Each of them may have stopped waiting.
    fn tell_drained(&mut self, how: Result<DrainReport, Undrained>) {
        for waiting in self.waiting.drains.drain(..) {
            let _ = waiting.send(how);
        }
    }

    fn count(&self, verdict: &Result<Welcome, Refused>) {
        match verdict {
            Ok(welcome) if welcome.resumes.is_some() => self.stats.count_resumed(),
            Ok(_) => self.stats.count(Ok(())),
            Err(refused) => self.stats.count(Err(refused.code)),
        }
    }

    fn place(&mut self, welcome: Welcome) -> Box<Place> {
        let older = welcome.resumes.and_then(|slot| self.waiting.slots.remove(&slot));
        // Its move goes on with it.
        let moves = welcome.resumes.and_then(|slot| self.waiting.moves.remove(&slot));
        self.waiting.moves.extend(moves.map(|waiting| (welcome.slot, waiting)));
        let (sender, state) = watch::channel(SlotState::Live);
        self.waiting.slots.insert(welcome.slot, sender);
        let (clock, departures) = (Arc::clone(&self.clock), self.departures.0.clone());
        Box::new(Place { welcome, state, clock, departures, commands: self.commander.clone(), older })
    }

    fn set_slot(&mut self, slot: SlotId, to: SlotState) {
        if let Some(state) = self.waiting.slots.get(&slot) {
            state.send_replace(to);
        }
    }
}

fn void(state: &mut SlotState) {
    let reason = match *state {
        SlotState::Live | SlotState::Moved => Code::ServerClosed,
        SlotState::Ending { reason, .. } | SlotState::Voided { reason } => reason,
    };
    *state = SlotState::Voided { reason };
}
