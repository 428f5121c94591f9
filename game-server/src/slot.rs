//! A player's place in the game, and the way to it.
//!
//! Owns the promises to the game: a slot is freed exactly once, by dropping it; a request that is dropped is abandoned. Knows nothing of
//! grants. Invariant: a welcome that nobody takes frees its slot by itself, wherever it got lost.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use shared_msgs::clock::{Clock, Mono};
use shared_msgs::codes::{Code, Retry};
use shared_msgs::ids::{Fence, HandoverId, PlayerId};
use tokio::sync::{mpsc, watch};

use crate::gate::{Refused, SlotId, Ticket, Welcome};
use crate::gate_task::Command;
use crate::moving::{MoveRequest, Moving};

/// What a client opens with, as far as the gate is concerned.
#[derive(Clone, Default)]
pub struct Hello {
    /// As the hub gave it to the client. Secret.
    pub token: String,
    /// The client's build, for the game.
    pub build: String,
    /// Anything else for the game.
    pub app_data: Vec<u8>,
}

impl std::fmt::Debug for Hello {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Hello(build {:?}, {} B app data)", self.build, self.app_data.len())
    }
}

/// Why a client is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("refused: {code}")]
pub struct Refusal {
    code: Code,
    handover: Option<HandoverId>,
}

impl Refusal {
    /// The reason; [`Code::as_str`] is what clients see.
    pub fn code(&self) -> Code {
        self.code
    }

    /// What the client does next.
    pub fn retry(&self) -> Retry {
        self.code.retry()
    }

    /// What support asks for, where it is known.
    pub fn handover_id(&self) -> Option<HandoverId> {
        self.handover
    }
}

impl From<Code> for Refusal {
    fn from(code: Code) -> Self {
        Self { code, handover: None }
    }
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        Self { code: refused.code, handover: refused.handover }
    }
}

/// What the gate's task hears of tickets and slots that are dropped. Its queue has no bound of its own: each ticket that the task was
/// given and each slot says at most one thing, and both are bounded.
#[derive(Clone, Copy)]
pub(crate) enum Departure {
    Abandoned(Ticket),
    Left(SlotId),
}

/// How a session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SlotState {
    Live,
    Ending { reason: Code, save_by: Mono },
    Voided { reason: Code },
}

/// What the gate's task answers a request with.
pub(crate) enum Answer {
    Delayed { within: Duration },
    Done(Result<Place, Refusal>),
}

/// A place taken in the gate: frees it when dropped.
pub(crate) struct Place {
    pub(crate) welcome: Welcome,
    pub(crate) state: watch::Receiver<SlotState>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) departures: mpsc::UnboundedSender<Departure>,
    pub(crate) commands: mpsc::WeakSender<Command>,
}

impl Drop for Place {
    fn drop(&mut self) {
        // A gate that is gone has freed everything.
        let _ = self.departures.send(Departure::Left(self.welcome.slot));
    }
}

/// A session that is coming to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ending {
    /// Why.
    pub reason: Code,
    /// What is left to save; zero when the slot is voided.
    pub save_within: Duration,
}

/// A player in game.
#[must_use = "dropping it frees the slot"]
pub struct PlayerSlot {
    place: Place,
    build: String,
    app_data: Vec<u8>,
}

impl std::fmt::Debug for PlayerSlot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Welcome { slot, player, fence, .. } = &self.place.welcome;
        write!(f, "PlayerSlot({slot:?}, {player}, fence {fence})")
    }
}

impl PlayerSlot {
    /// Which session, as [`Event`](crate::Event)s name it.
    pub fn id(&self) -> SlotId {
        self.place.welcome.slot
    }

    /// Who plays.
    pub fn player(&self) -> PlayerId {
        self.place.welcome.player
    }

    /// Write it into the player's record when loading it; a save with a lower one must fail.
    pub fn fence(&self) -> Fence {
        self.place.welcome.fence
    }

    /// What the player is called.
    pub fn name(&self) -> &str {
        &self.place.welcome.name
    }

    /// Names the session for support: the handover that opened it.
    pub fn session(&self) -> HandoverId {
        self.place.welcome.handover
    }

    /// The client's build.
    pub fn build(&self) -> &str {
        &self.build
    }

    /// What the client handed over with its hello.
    pub fn app_data(&self) -> &[u8] {
        &self.app_data
    }

    /// What the player took along from the server that moved it here; empty for all others. It came for this session alone, at most
    /// once: what must not be lost belongs into the player's record.
    pub fn luggage(&self) -> &[u8] {
        &self.place.welcome.luggage
    }

    /// Asks the hub to move the player to another server. On yes the session has been told to end with reason `moved`, or is about to
    /// be: save and leave, as for any kick. On an error it goes on as if nothing had been asked; but after `handover-timed-out`, when
    /// the hub could not be heard, it may still be told so.
    pub fn move_to(&self, request: MoveRequest) -> Moving {
        Moving::ask(&self.place.commands, self.id(), request)
    }

    /// Whether the session was told to end, and how long is left.
    pub fn ending(&self) -> Option<Ending> {
        let state = *self.place.state.borrow();
        self.ending_in(state)
    }

    fn ending_in(&self, state: SlotState) -> Option<Ending> {
        match state {
            // The gate is gone.
            SlotState::Live if self.place.state.has_changed().is_err() => {
                Some(Ending { reason: Code::ServerClosed, save_within: Duration::ZERO })
            }
            SlotState::Live => None,
            SlotState::Ending { reason, save_by } => {
                Some(Ending { reason, save_within: save_by.since(self.place.clock.now().mono) })
            }
            SlotState::Voided { reason } => Some(Ending { reason, save_within: Duration::ZERO }),
        }
    }

    /// Whether the slot is not ours any more.
    pub fn is_voided(&self) -> bool {
        let is_voided = matches!(*self.place.state.borrow(), SlotState::Voided { .. });
        is_voided || self.place.state.has_changed().is_err()
    }

    /// Resolves when the session is told to end.
    pub async fn kicked(&self) -> Ending {
        let mut state = self.place.state.clone();
        let seen = state.wait_for(|state| *state != SlotState::Live).await.map(|state| *state);
        let closed = Ending { reason: Code::ServerClosed, save_within: Duration::ZERO };
        seen.ok().and_then(|state| self.ending_in(state)).unwrap_or(closed)
    }

    /// Resolves when the slot is not ours any more.
    pub async fn voided(&self) {
        let mut state = self.place.state.clone();
        let _ = state.wait_for(|state| matches!(state, SlotState::Voided { .. })).await;
    }

    /// Frees the slot and waits until the gate has counted it.
    pub async fn leave(self) {
        let mut state = self.place.state.clone();
        drop(self);
        while state.changed().await.is_ok() {}
    }
}

/// How a request stands.
#[derive(Debug)]
pub enum Progress {
    /// Nothing new.
    Waiting,
    /// The token is genuine, the grant has not come yet: said once.
    Delayed {
        /// The answer comes within this.
        within: Duration,
    },
    /// The answer, once; after that only [`Progress::Waiting`].
    Done(Result<PlayerSlot, Refusal>),
}

/// A client's request to be let in. Dropping it abandons the request.
///
/// Also a future of the answer.
#[must_use = "dropping it abandons the request"]
pub struct Redeeming {
    ticket: Ticket,
    answers: mpsc::Receiver<Answer>,
    /// `None` when the gate's task never got the request, and so need not hear of its end.
    departures: Option<mpsc::UnboundedSender<Departure>>,
    /// Taken with the answer.
    hello: Option<Hello>,
}

impl Redeeming {
    /// `hello` without its token, which went to the gate.
    pub(crate) fn new(
        ticket: Ticket,
        hello: Hello,
        answers: mpsc::Receiver<Answer>,
        departures: Option<mpsc::UnboundedSender<Departure>>,
    ) -> Self {
        Self { ticket, answers, departures, hello: Some(hello) }
    }

    /// What is new, without waiting: once a tick of a game loop.
    pub fn poll(&mut self) -> Progress {
        match self.answers.try_recv() {
            Ok(answer) => self.progress_of(Some(answer)),
            Err(mpsc::error::TryRecvError::Empty) => Progress::Waiting,
            Err(mpsc::error::TryRecvError::Disconnected) => self.progress_of(None),
        }
    }

    /// Waits for what is new. Never [`Progress::Waiting`] before the answer. Cancel-safe.
    pub async fn progress(&mut self) -> Progress {
        let answer = self.answers.recv().await;
        self.progress_of(answer)
    }

    fn progress_of(&mut self, answer: Option<Answer>) -> Progress {
        let done = match answer {
            Some(Answer::Delayed { within }) => return Progress::Delayed { within },
            Some(Answer::Done(done)) => done,
            None => Err(Code::ServerClosed.into()),
        };
        let Some(Hello { build, app_data, .. }) = self.hello.take() else { return Progress::Waiting };
        Progress::Done(done.map(|place| PlayerSlot { place, build, app_data }))
    }
}

impl Future for Redeeming {
    type Output = Result<PlayerSlot, Refusal>;
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let answer = ready!(self.answers.poll_recv(cx));
            match self.progress_of(answer) {
                Progress::Delayed { .. } => {}
                Progress::Done(done) => return Poll::Ready(done),
                // Polled again after its end.
                Progress::Waiting => return Poll::Pending,
            }
        }
    }
}

impl Drop for Redeeming {
    fn drop(&mut self) {
        if self.hello.is_some()
            && let Some(departures) = &self.departures
        {
            let _ = departures.send(Departure::Abandoned(self.ticket));
        }
    }
}
