//! A small game that saves as `docs/SAVES.md` says: it writes the session's fence into the record when it loads it, and saves only
//! where that fence still stands.
//!
//! Owns records and who plays with what. Knows no sockets and no hub. Invariant: once a session has loaded a record, no session of a lower
//! fence changes it, whatever each of them believes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use game_server::server::world::PlayerHandler;
use game_server::{PlayerSlot, SlotId};
use shared_msgs::ids::{Fence, PlayerId};

/// What a player owns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Record {
    /// Of the session that loaded it last.
    pub fence: Fence,
    /// What there is to lose.
    pub gold: u64,
}

/// A session that is not the newest of its player wants the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a newer session has this player's record (fence {theirs}, ours {ours}): drop what this session holds, and let it end"
)]
pub struct Overtaken {
    /// Of who wanted it.
    pub ours: Fence,
    /// In the record.
    pub theirs: Fence,
}

/// The game's database, which all servers of a realm share. Each call is one step, as a statement of SQL is.
#[derive(Debug, Default)]
pub struct Records(Mutex<BTreeMap<PlayerId, Record>>);

impl Records {
    fn rows(&self) -> MutexGuard<'_, BTreeMap<PlayerId, Record>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `UPDATE … SET fence = mine WHERE player = … AND fence <= mine`, and what it finds there. A player without a record gets one.
    ///
    /// # Errors
    /// A newer session has loaded it.
    pub fn load(&self, player: PlayerId, ours: Fence) -> Result<Record, Overtaken> {
        let mut rows = self.rows();
        let record = rows.entry(player).or_default();
        if record.fence > ours {
            return Err(Overtaken { ours, theirs: record.fence });
        }
        record.fence = ours;
        Ok(*record)
    }

    /// `UPDATE … SET gold = … WHERE player = … AND fence = mine`.
    ///
    /// # Errors
    /// Another session has loaded it since.
    pub fn save(&self, player: PlayerId, ours: Fence, gold: u64) -> Result<(), Overtaken> {
        let mut rows = self.rows();
        let record = rows.entry(player).or_default();
        if record.fence != ours {
            return Err(Overtaken { ours, theirs: record.fence });
        }
        record.gold = gold;
        Ok(())
    }

    /// All players' gold and fences.
    pub fn all(&self) -> Vec<(PlayerId, Record)> {
        self.rows().iter().map(|(player, record)| (*player, *record)).collect()
    }
}

/// The world of one server: `dig` finds gold, `save` saves it. Whoever leaves is saved as well.
#[derive(Debug)]
pub struct Mine {
    records: Arc<Records>,
    here: Mutex<BTreeMap<SlotId, Result<u64, Overtaken>>>,
    last_words: Mutex<Vec<Result<(), Overtaken>>>,
}

impl Mine {
    /// A world over these records.
    pub fn new(records: Arc<Records>) -> Arc<Self> {
        Arc::new(Self { records, here: Mutex::default(), last_words: Mutex::default() })
    }

    fn here(&self) -> MutexGuard<'_, BTreeMap<SlotId, Result<u64, Overtaken>>> {
        self.here.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How the saves of those who left went, in order.
    pub fn last_words(&self) -> Vec<Result<(), Overtaken>> {
        self.last_words.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn save(&self, slot: &PlayerSlot, carried: Result<u64, Overtaken>) -> Result<(), Overtaken> {
        self.records.save(slot.player(), slot.fence(), carried?)
    }
}

impl PlayerHandler for Mine {
    fn joined(&self, slot: &PlayerSlot) {
        let loaded = self.records.load(slot.player(), slot.fence());
        self.here().insert(slot.id(), loaded.map(|record| record.gold));
    }

    fn said(&self, slot: &PlayerSlot, data: &[u8]) -> Option<Vec<u8>> {
        let mut here = self.here();
        // Of a slot whose session goes on in another one: too late.
        let carried = here.get_mut(&slot.id())?;
        if data == b"dig" {
            *carried = carried.map(|gold| gold + 1);
        }
        let carried = *carried;
        let saved = if data == b"save" { self.save(slot, carried) } else { Ok(()) };
        Some(match saved.and(carried) {
            Ok(gold) => gold.to_string().into_bytes(),
            Err(Overtaken { .. }) => b"overtaken".to_vec(),
        })
    }

    /// The session is the same and so is its fence: what it carries goes on, nothing is loaded.
    fn resumed(&self, older: SlotId, slot: &PlayerSlot) {
        let carried = self.here().remove(&older);
        match carried {
            Some(carried) => drop(self.here().insert(slot.id(), carried)),
            // Its end had been told before its return was.
            None => self.joined(slot),
        }
    }

    fn leaving(&self, slot: &PlayerSlot) {
        let Some(carried) = self.here().remove(&slot.id()) else { return };
        let saved = self.save(slot, carried);
        self.last_words.lock().unwrap_or_else(PoisonError::into_inner).push(saved);
    }
}
