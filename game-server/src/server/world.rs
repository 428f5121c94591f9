//! The smallest world: it echoes, says who is here, and moves players who ask for it.
//!
//! Owns the list of who is in game. Knows no sockets and no tokens: it meets players with their slots in hand. A game puts its own
//! [`PlayerHandler`] in its place.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use shared_msgs::limits;

use crate::{MoveRequest, PlayerSlot, SlotId};

/// Asks who is here.
pub const WHO: &[u8] = b"who";
/// Asks for a move: `move SERVER TEXT`, the text being the luggage; `move` alone goes anywhere else.
pub const MOVE: &[u8] = b"move";
/// Asks what the player brought along.
pub const LUGGAGE: &[u8] = b"luggage";
/// What fits a frame, its tag and length taken off.
const REPLY_BYTES_MAX: usize = limits::FRAME_BYTES_MAX - 8;

/// What happens to players in game. Called from connections' tasks, so it must not block.
pub trait PlayerHandler: Send + Sync + 'static {
    /// A player is in; the slot tells its build and what it brought.
    fn joined(&self, slot: &PlayerSlot);
    /// A player says something; what it is answered, if anything.
    fn said(&self, slot: &PlayerSlot, data: &[u8]) -> Option<Vec<u8>>;
    /// Whether what a player says asks for another server; `said` does not hear it then. Moving is the game's to decide: this is where.
    fn moves(&self, _slot: &PlayerSlot, _data: &[u8]) -> Option<MoveRequest> {
        None
    }
    /// A player's connection broke. Its slot is kept, and so should its state be: it comes back in another slot, or is leaving.
    fn lost(&self, slot: &PlayerSlot) {
        let _ = slot;
    }
    /// A player is back: what was the `older` slot's is this one's now. The older one may never have been lost, where the client knew
    /// before we did that its connection was broken.
    fn resumed(&self, older: SlotId, slot: &PlayerSlot);
    /// A player is leaving, or has to: save now, with the slot's fence.
    fn leaving(&self, slot: &PlayerSlot);
}

/// See the module.
#[derive(Default)]
pub struct EchoWorld {
    here: Mutex<BTreeMap<SlotId, String>>,
}

impl EchoWorld {
    fn with<T>(&self, f: impl FnOnce(&mut BTreeMap<SlotId, String>) -> T) -> T {
        f(&mut self.here.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl PlayerHandler for EchoWorld {
    fn joined(&self, slot: &PlayerSlot) {
        self.with(|here| here.insert(slot.id(), slot.name().to_owned()));
    }

    fn moves(&self, _: &PlayerSlot, data: &[u8]) -> Option<MoveRequest> {
        if data == MOVE {
            return Some(MoveRequest::anywhere(Vec::new()));
        }
        let (command, rest) = std::str::from_utf8(data).ok()?.split_once(' ')?;
        let (server, luggage) = rest.split_once(' ').unwrap_or((rest, ""));
        let server = server.parse().ok().filter(|_| command.as_bytes() == MOVE)?;
        Some(MoveRequest::to(server, luggage.into()))
    }

    fn said(&self, slot: &PlayerSlot, data: &[u8]) -> Option<Vec<u8>> {
        if data == LUGGAGE {
            let luggage = slot.luggage();
            return Some(luggage[..luggage.len().min(REPLY_BYTES_MAX)].to_vec());
        }
        if data != WHO {
            return Some(data.to_vec());
        }
        let mut names = self.with(|here| here.values().cloned().collect::<Vec<_>>().join("\n"));
        while names.len() > REPLY_BYTES_MAX {
            let cut = names.rfind('\n').unwrap_or(0);
            names.truncate(cut);
        }
        Some(names.into_bytes())
    }

    fn resumed(&self, older: SlotId, slot: &PlayerSlot) {
        self.with(|here| {
            here.remove(&older);
            here.insert(slot.id(), slot.name().to_owned());
        });
    }

    fn leaving(&self, slot: &PlayerSlot) {
        self.with(|here| here.remove(&slot.id()));
    }
}
