//! A session whose connection broke.
//!
//! Owns the wait for what becomes of it. Invariant: it ends in exactly one way: its client came back, or it is to be saved.

use super::{Ending, PlayerSlot, SlotState};

/// A player whose connection broke, and who may come back: its slot is kept. The game keeps the player's state meanwhile.
#[must_use = "dropping it ends the session and frees the slot"]
pub struct Lost(PlayerSlot);

/// What became of a lost session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LostOver {
    /// Its client came back: it goes on in another slot, which [names this one](PlayerSlot::resumes). Nothing is to be saved here.
    Resumed,
    /// It ends: save, then drop it. The reason is `reconnect-refused` when nobody came back in time.
    Ending(Ending),
}

impl Lost {
    pub(super) fn new(slot: PlayerSlot) -> Self {
        Self(slot)
    }

    /// Its slot: player, fence, and all else that the session is.
    pub fn slot(&self) -> &PlayerSlot {
        &self.0
    }

    /// Waits for what becomes of it. Cancel-safe.
    pub async fn over(&self) -> LostOver {
        let ending = self.0.kicked().await;
        self.over_with(ending)
    }

    /// What became of it, without waiting: once a tick of a game loop.
    pub fn poll(&self) -> Option<LostOver> {
        self.0.ending().map(|ending| self.over_with(ending))
    }

    fn over_with(&self, ending: Ending) -> LostOver {
        let has_moved = *self.0.place.state.borrow() == SlotState::Moved;
        if has_moved { LostOver::Resumed } else { LostOver::Ending(ending) }
    }
}

impl std::fmt::Debug for Lost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Lost({:?})", self.0)
    }
}
