//! A player in the world, whether its connection holds or not.
//!
//! Owns who tells the world of joining, leaving and coming back. Knows no sockets. Invariants: however a session ends, the world hears of
//! it before its slot is free; of a session that goes on in another slot it hears no end.

use std::sync::Arc;

use super::world::PlayerHandler;
use crate::{Lost, LostOver, PlayerSlot};

/// A session that the world knows of.
pub(super) struct Presence {
    handler: Arc<dyn PlayerHandler>,
    /// Taken at its end.
    held: Option<Held>,
}

enum Held {
    Playing(PlayerSlot),
    Lost(Lost),
}

impl Held {
    fn slot(&self) -> &PlayerSlot {
        match self {
            Self::Playing(slot) => slot,
            Self::Lost(lost) => lost.slot(),
        }
    }
}

impl Presence {
    /// A player is in, or in again.
    pub(super) fn begin(handler: Arc<dyn PlayerHandler>, slot: PlayerSlot) -> Self {
        match slot.resumes() {
            Some(older) => handler.resumed(older, &slot),
            None => handler.joined(&slot),
        }
        Self { handler, held: Some(Held::Playing(slot)) }
    }

    /// The slot of whoever plays.
    pub(super) fn slot(&self) -> &PlayerSlot {
        let held = self.held.as_ref().unwrap_or_else(|| unreachable!("taken at the end only"));
        held.slot()
    }

    /// The session is over, and so counted when this is done.
    pub(super) async fn leave(mut self) {
        if let Some(Held::Playing(slot)) = self.end() {
            slot.leave().await;
        }
    }

    /// The connection broke. Waits until the player is back on another one, or the session is over.
    pub(super) async fn outlast(mut self) {
        let Some(Held::Playing(slot)) = self.held.take() else { return };
        self.handler.lost(&slot);
        let lost = self.held.insert(Held::Lost(slot.lose()));
        if let Held::Lost(lost) = lost {
            // Which it is, its end looks for itself.
            let (LostOver::Resumed | LostOver::Ending(_)) = lost.over().await;
        }
    }

    fn end(&mut self) -> Option<Held> {
        let held = self.held.take()?;
        if !held.slot().has_moved() {
            self.handler.leaving(held.slot());
        }
        Some(held)
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.end();
    }
}
