//! A player's place in the game, and the way to it.
//!
//! Owns the promises to the game: a slot is freed exactly once, by dropping it; a request that is dropped is abandoned; of a session that
//! moves, the older slot hears only once the newer one is in the game's hands. Knows nothing of grants. Invariant: a welcome that
//! nobody takes frees its slot by itself, wherever it got lost.

mod lost;
mod redeeming;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use shared_msgs::clock::{Clock, Mono};
use shared_msgs::codes::{Code, Retry};
use shared_msgs::ids::{Fence, HandoverId, PlayerId};
use tokio::sync::{mpsc, watch};

use crate::gate::{Reconnect, Refused, SlotId, Ticket, Welcome};
use crate::gate_task::Command;
use crate::moving::{MoveRequest, Moving};
pub use lost::{Lost, LostOver};
pub use redeeming::{Progress, Redeeming};

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

/// What a client opens with that comes back, as far as the gate is concerned.
#[derive(Clone, Default)]
pub struct Resume {
    /// As [`PlayerSlot::reconnect`] gave it for the client. Secret.
    pub credential: String,
    /// The client's build, for the game.
    pub build: String,
    /// Anything else for the game.
    pub app_data: Vec<u8>,
}

impl std::fmt::Debug for Resume {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Resume(build {:?}, {} B app data)", self.build, self.app_data.len())
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

/// What the gate's task hears of tickets and slots. Its queue has no bound of its own: each ticket that the task was given says one
/// thing at most, each slot three, and both are bounded.
#[derive(Clone, Copy)]
pub(crate) enum Departure {
    Abandoned(Ticket),
    Kept(SlotId),
    Dropped(SlotId),
    Left(SlotId),
}

/// How a session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SlotState {
    Live,
    Ending {
        reason: Code,
        save_by: Mono,
    },
    Voided {
        reason: Code,
    },
    /// The session goes on in another slot.
    Moved,
}

/// What the gate's task answers a request with.
pub(crate) enum Answer {
    Delayed { within: Duration },
    Done(Result<Box<Place>, Refusal>),
}

/// A place taken in the gate: frees it when dropped.
pub(crate) struct Place {
    pub(crate) welcome: Welcome,
    pub(crate) state: watch::Receiver<SlotState>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) departures: mpsc::UnboundedSender<Departure>,
    pub(crate) commands: mpsc::WeakSender<Command>,
    /// Who has the slot that this one goes on from, to be told when the game has this one.
    pub(crate) older: Option<watch::Sender<SlotState>>,
}

impl Place {
    /// In the game's hands.
    fn take(&mut self) {
        if let Some(older) = self.older.take() {
            older.send_replace(SlotState::Moved);
        }
    }

    fn say(&self, departure: Departure) {
        // A gate that is gone has freed everything.
        let _ = self.departures.send(departure);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.say(Departure::Left(self.welcome.slot));
        if let Some(older) = self.older.take() {
            // Nobody took the session over, and it is over: who had it has to save it.
            older.send_replace(SlotState::Voided { reason: Code::ConnectedElsewhere });
        }
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
    place: Box<Place>,
    build: String,
    app_data: Vec<u8>,
    /// Whether the gate was told that the client has its credential.
    kept: AtomicBool,
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

    /// What the player took along from the server that moved it here; empty for all others, and in the slot
    /// that a session goes on in after a break. It came for this session alone, at most
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

    /// What the client comes back with if its connection breaks; none where nobody comes back.
    pub fn reconnect(&self) -> Option<&Reconnect> {
        self.place.welcome.reconnect.as_ref()
    }

    /// The client has said that it has the credential of [`PlayerSlot::reconnect`]: older ones are of no use from now on.
    pub fn credential_kept(&self) {
        if self.reconnect().is_some() && !self.kept.swap(true, Ordering::Relaxed) {
            self.place.say(Departure::Kept(self.id()));
        }
    }

    /// The slot that this one goes on from, whose player, fence and session it has; none for a session that begins.
    pub fn resumes(&self) -> Option<SlotId> {
        self.place.welcome.resumes
    }

    /// Whether its client came back to a session that was there.
    pub fn is_resumed(&self) -> bool {
        self.resumes().is_some()
    }

    /// The client's connection broke and it did not say that it leaves: keeps the slot for the time of the way back.
    pub fn lose(self) -> Lost {
        self.place.say(Departure::Dropped(self.id()));
        Lost::new(self)
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
            SlotState::Moved => {
                Some(Ending { reason: Code::ConnectedElsewhere, save_within: Duration::ZERO })
            }
        }
    }

    /// Whether the slot is not ours any more.
    pub fn is_voided(&self) -> bool {
        let is_voided = matches!(*self.place.state.borrow(), SlotState::Voided { .. } | SlotState::Moved);
        is_voided || self.place.state.has_changed().is_err()
    }

    /// Whether the session goes on in another slot, to which its client has come back: that one saves it, this one must not.
    pub fn has_moved(&self) -> bool {
        *self.place.state.borrow() == SlotState::Moved
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
        let is_over = |state: &SlotState| matches!(state, SlotState::Voided { .. } | SlotState::Moved);
        let _ = state.wait_for(is_over).await;
    }

    /// Frees the slot and waits until the gate has counted it.
    pub async fn leave(self) {
        let mut state = self.place.state.clone();
        drop(self);
        while state.changed().await.is_ok() {}
    }
}
