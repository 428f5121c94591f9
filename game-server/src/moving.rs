//! Moving a player to another server, as the game asks for it.
//!
//! Owns the question and its one answer; knows nothing of how it travels. Invariant: until the answer is yes the session goes on.

use std::pin::Pin;
use std::task::{Context, Poll};

use shared_msgs::codes::Code;
use shared_msgs::ids::ServerId;
use shared_msgs::limits;
use shared_msgs::moves::Luggage;
pub use shared_msgs::moves::MoveTarget;
use tokio::sync::{mpsc, oneshot};

use crate::gate::SlotId;
use crate::gate_task::Command;

/// Where a player is to go, and what it takes along.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MoveRequest {
    /// Where to.
    pub target: MoveTarget,
    /// For the next server alone: [`PlayerSlot::luggage`](crate::PlayerSlot::luggage) shows it there. At most
    /// [`limits::LUGGAGE_BYTES_MAX`].
    pub luggage: Luggage,
}

impl MoveRequest {
    /// To this server or nowhere.
    pub fn to(server: ServerId, luggage: Vec<u8>) -> Self {
        Self { target: MoveTarget::Server(server), luggage: luggage.into() }
    }

    /// To any other server, those of `regions` first, the first one before the next.
    pub fn to_regions(regions: Vec<String>, luggage: Vec<u8>) -> Self {
        Self { target: MoveTarget::Regions(regions), luggage: luggage.into() }
    }

    /// To any other server.
    pub fn anywhere(luggage: Vec<u8>) -> Self {
        Self { target: MoveTarget::Anywhere, luggage: luggage.into() }
    }
}

/// Why a player stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MoveError {
    /// The luggage is too big: save it, and let the next server load it.
    #[error(
        "{bytes} bytes of luggage are more than {} can be taken along: save them instead",
        limits::LUGGAGE_BYTES_MAX
    )]
    LuggageTooBig {
        /// As given.
        bytes: usize,
    },
    /// Too many regions, or one whose name is too long.
    #[error(
        "at most {} regions may be named, of at most {} bytes each",
        limits::MOVE_REGIONS_MAX,
        limits::DISPLAY_NAME_BYTES_MAX
    )]
    RegionsTooLong,
    /// It is being moved already: wait for that answer.
    #[error("the player is being moved already: wait for that answer")]
    UnderWay,
    /// The session is over, or the server has stopped.
    #[error("the session is over")]
    SessionOver,
    /// No place, or no answer.
    #[error("not moved: {0}")]
    Refused(Code),
}

impl MoveError {
    /// The stable code, where the hub or this server gave one.
    pub fn code(&self) -> Option<Code> {
        if let Self::Refused(code) = self { Some(*code) } else { None }
    }
}

impl From<Code> for MoveError {
    fn from(code: Code) -> Self {
        // What the gate says of a session that is no more.
        if code == Code::ServerClosed { Self::SessionOver } else { Self::Refused(code) }
    }
}

pub(crate) type MoveDone = Result<(), MoveError>;

/// The answer to come. Dropping it does not take the wish back.
#[derive(Debug)]
#[must_use = "it says whether the player moves"]
pub struct Moving(oneshot::Receiver<MoveDone>);

impl Moving {
    pub(crate) fn ask(commands: &mpsc::WeakSender<Command>, slot: SlotId, request: MoveRequest) -> Self {
        let (answer, answered) = oneshot::channel();
        let MoveRequest { target, luggage } = request;
        let refusal = if !luggage.is_within_limits() {
            Some(MoveError::LuggageTooBig { bytes: luggage.len() })
        } else if !target.is_within_limits() {
            Some(MoveError::RegionsTooLong)
        } else {
            None
        };
        if let Some(refusal) = refusal {
            let _ = answer.send(Err(refusal));
            return Self(answered);
        }
        // Where nobody takes the command, the answer's channel is dropped with it, and that says so.
        let full = commands.upgrade().and_then(|commands| {
            match commands.try_send(Command::Move { slot, target, luggage, answer }) {
                Err(mpsc::error::TrySendError::Full(Command::Move { answer, .. })) => Some(answer),
                Ok(()) | Err(_) => None,
            }
        });
        if let Some(answer) = full {
            let _ = answer.send(Err(MoveError::Refused(Code::ServerBusy)));
        }
        Self(answered)
    }

    /// The answer if there is one, without waiting: once a tick of a game loop.
    pub fn poll(&mut self) -> Option<Result<(), MoveError>> {
        match self.0.try_recv() {
            Ok(done) => Some(done),
            Err(oneshot::error::TryRecvError::Empty) => None,
            Err(oneshot::error::TryRecvError::Closed) => Some(Err(MoveError::SessionOver)),
        }
    }
}

impl Future for Moving {
    type Output = Result<(), MoveError>;
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx).map(|done| done.unwrap_or(Err(MoveError::SessionOver)))
    }
}

#[cfg(test)]
mod tests;
