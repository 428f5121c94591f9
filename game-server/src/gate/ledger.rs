//! Who has a place here: grants held and sessions live, counted.
//!
//! Owns entries, occupancy, roster digest and revision. Knows neither clients nor time. Invariants: distinct players with an entry
//! never exceed `max_players`; a player has at most one session; digest and counts equal a recount; `rev` grows by one with
//! each change of the roster. A grant's contents lie in the token cache; that a grant is held is said here alone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use shared_msgs::clock::{Mono, UnixMs};
use shared_msgs::codes::Code;
use shared_msgs::ids::{Fence, HandoverId, PlayerId, TokenHash};
use shared_msgs::messages::{EntryKind, Grant, Occupancy, RosterDigest, RosterEntry};

use super::types::SlotId;
use crate::token_cache::TokenCache;

/// A promise.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    pub(super) handover: HandoverId,
    pub(super) player: PlayerId,
    pub(super) fence: Fence,
    pub(super) expires_at: UnixMs,
    /// It is over by then, however the wall clock steps.
    pub(super) bound: Mono,
    luggage_bytes: usize,
}

/// A session that has been told to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kicked {
    pub(super) reason: Code,
    pub(super) save_by: Mono,
}

/// A session.
#[derive(Clone, Copy, Debug)]
pub(super) struct Live {
    pub(super) hash: TokenHash,
    pub(super) handover: HandoverId,
    pub(super) player: PlayerId,
    pub(super) fence: Fence,
    pub(super) kicked: Option<Kicked>,
}

impl Held {
    pub(super) fn entry(&self, hash: TokenHash) -> RosterEntry {
        RosterEntry { hash, player: self.player, fence: self.fence, kind: EntryKind::Held }
    }
}

impl Live {
    pub(super) fn entry(&self) -> RosterEntry {
        RosterEntry { hash: self.hash, player: self.player, fence: self.fence, kind: EntryKind::Live }
    }
}

/// One player's place: one slot, whatever is in it.
#[derive(Default)]
struct Place {
    live: Option<SlotId>,
    held: BTreeSet<(Fence, TokenHash)>,
}

/// All places.
pub(super) struct Ledger {
    max_players: u32,
    rev: u64,
    digest: RosterDigest,
    cache: TokenCache,
    held: BTreeMap<TokenHash, Held>,
    live: BTreeMap<SlotId, Live>,
    live_by_hash: BTreeMap<TokenHash, SlotId>,
    places: BTreeMap<PlayerId, Place>,
    slots_made: u64,
    luggage_bytes: usize,
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

impl Ledger {
    pub(super) fn new(max_players: u32) -> Self {
        Self {
            max_players,
            rev: 0,
            digest: RosterDigest::default(),
            cache: TokenCache::new(),
            held: BTreeMap::new(),
            live: BTreeMap::new(),
            live_by_hash: BTreeMap::new(),
            places: BTreeMap::new(),
            slots_made: 0,
            luggage_bytes: 0,
        }
    }

    pub(super) fn rev(&self) -> u64 {
        self.rev
    }

    pub(super) fn digest(&self) -> RosterDigest {
        self.digest
    }

    pub(super) fn occupancy(&self, parked: u32) -> Occupancy {
        let players = count(self.live.len());
        let held = count(self.places.len()).saturating_sub(players);
        Occupancy { players, held, parked, max_players: self.max_players }
    }

    /// Whether this player has a place or could get one.
    pub(super) fn has_room_for(&self, player: PlayerId) -> bool {
        self.places.contains_key(&player) || count(self.places.len()) < self.max_players
    }

    /// The highest fence this player is here with.
    pub(super) fn highest_fence(&self, player: PlayerId) -> Fence {
        let held = self.places.get(&player).and_then(|place| place.held.last()).map(|(fence, _)| *fence);
        let live = self.session_of(player).map(|(_, live)| live.fence);
        held.max(live).unwrap_or(Fence::ZERO)
    }

    pub(super) fn held(&self, hash: TokenHash) -> Option<Held> {
        self.held.get(&hash).copied()
    }

    pub(super) fn held_len(&self) -> usize {
        self.held.len()
    }

    /// What held grants bring along.
    pub(super) fn luggage_bytes(&self) -> usize {
        self.luggage_bytes
    }

    pub(super) fn held_hashes(&self) -> Vec<TokenHash> {
        self.held.keys().copied().collect()
    }

    /// This player's held grants, the highest fence first.
    pub(super) fn held_of(&self, player: PlayerId) -> Vec<(Fence, TokenHash)> {
        self.places.get(&player).map(|place| place.held.iter().rev().copied().collect()).unwrap_or_default()
    }

    pub(super) fn session(&self, slot: SlotId) -> Option<&Live> {
        self.live.get(&slot)
    }

    pub(super) fn session_of(&self, player: PlayerId) -> Option<(SlotId, &Live)> {
        let slot = self.places.get(&player)?.live?;
        self.live.get(&slot).map(|live| (slot, live))
    }

    pub(super) fn session_by_hash(&self, hash: TokenHash) -> Option<&Live> {
        self.live_by_hash.get(&hash).and_then(|slot| self.live.get(slot))
    }

    pub(super) fn slots(&self) -> Vec<SlotId> {
        self.live.keys().copied().collect()
    }

    pub(super) fn is_empty_of_sessions(&self) -> bool {
        self.live.is_empty()
    }

    /// Every entry, in order of kind and key.
    pub(super) fn entries(&self) -> Vec<RosterEntry> {
        let held = self.held.iter().map(|(hash, held)| held.entry(*hash));
        held.chain(self.live.values().map(Live::entry)).collect()
    }

    /// Gives a grant its place. The caller has checked that there is one.
    pub(super) fn hold(&mut self, grant: Grant, bound: Mono) {
        let hash = grant.hash;
        let held = Held {
            handover: grant.handover,
            player: grant.player,
            fence: grant.fence,
            expires_at: grant.expires_at,
            bound,
            luggage_bytes: grant.luggage.len(),
        };
        self.luggage_bytes += held.luggage_bytes;
        self.places.entry(held.player).or_default().held.insert((held.fence, hash));
        self.digest.add(&held.entry(hash));
        self.held.insert(hash, held);
        self.cache.insert(grant);
        self.changed();
    }

    /// Takes a held grant's place away.
    pub(super) fn release(&mut self, hash: TokenHash) -> Option<Held> {
        let held = self.held.remove(&hash)?;
        self.luggage_bytes -= held.luggage_bytes;
        self.cache.take(hash);
        self.digest.remove(&held.entry(hash));
        if let Some(place) = self.places.get_mut(&held.player) {
            place.held.remove(&(held.fence, hash));
        }
        self.tidy(held.player);
        self.changed();
        Some(held)
    }

    /// Turns a held grant into a session, in the same place. `None` when there is no such grant or the player has a session
    /// already; a grant that the cache lost is no grant.
    pub(super) fn redeem(&mut self, hash: TokenHash) -> Option<(SlotId, Arc<Grant>)> {
        let held = self.held(hash)?;
        let place = self.places.get_mut(&held.player)?;
        if place.live.is_some() {
            return None;
        }
        let grant = self.cache.take(hash)?;
        let slot = SlotId(self.slots_made);
        self.slots_made += 1;
        place.held.remove(&(held.fence, hash));
        place.live = Some(slot);
        self.held.remove(&hash);
        self.luggage_bytes -= held.luggage_bytes;
        let Held { handover, player, fence, .. } = held;
        let live = Live { hash, handover, player, fence, kicked: None };
        self.digest.remove(&held.entry(hash));
        self.digest.add(&live.entry());
        self.live.insert(slot, live);
        self.live_by_hash.insert(hash, slot);
        self.changed();
        Some((slot, grant))
    }

    /// Frees a session's place.
    pub(super) fn leave(&mut self, slot: SlotId) -> Option<Live> {
        let live = self.live.remove(&slot)?;
        self.live_by_hash.remove(&live.hash);
        self.digest.remove(&live.entry());
        if let Some(place) = self.places.get_mut(&live.player) {
            place.live = None;
        }
        self.tidy(live.player);
        self.changed();
        Some(live)
    }

    /// Gives a session a slot of a new number; of the old one nothing is known any more. To the roster it is the same.
    pub(super) fn move_session(&mut self, from: SlotId) -> Option<(SlotId, Live)> {
        let live = self.live.remove(&from)?;
        let to = SlotId(self.slots_made);
        self.slots_made += 1;
        self.live.insert(to, live);
        self.live_by_hash.insert(live.hash, to);
        if let Some(place) = self.places.get_mut(&live.player) {
            place.live = Some(to);
        }
        Some((to, live))
    }

    /// Notes that a session was told to end; false when it had been told before, or is gone.
    pub(super) fn kick(&mut self, slot: SlotId, kicked: Kicked) -> bool {
        self.live
            .get_mut(&slot)
            .is_some_and(|live| live.kicked.is_none() && live.kicked.replace(kicked).is_none())
    }

    fn tidy(&mut self, player: PlayerId) {
        if self.places.get(&player).is_some_and(|place| place.live.is_none() && place.held.is_empty()) {
            self.places.remove(&player);
        }
    }

    fn changed(&mut self) {
        self.rev += 1;
        debug_assert!(self.places.len() <= self.max_players as usize, "more places than slots");
    }

    /// Digest and occupancy counted from scratch.
    #[cfg(test)]
    pub(super) fn recount(&self, parked: u32) -> (RosterDigest, Occupancy) {
        let mut digest = RosterDigest::default();
        self.entries().iter().for_each(|entry| digest.add(entry));
        let players: BTreeSet<_> = self.live.values().map(|live| live.player).collect();
        let held: BTreeSet<_> = self.held.values().map(|held| held.player).collect();
        let held = count(held.difference(&players).count());
        let occupancy =
            Occupancy { players: count(players.len()), held, parked, max_players: self.max_players };
        assert_eq!(players.len(), self.live.len(), "a player with two sessions");
        assert_eq!(self.live_by_hash.len(), self.live.len());
        let luggage =
            self.held.keys().filter_map(|hash| self.cache.peek(*hash)).map(|grant| grant.luggage.len());
        assert_eq!(self.luggage_bytes, luggage.sum::<usize>(), "luggage");
        assert!(self.held.keys().all(|hash| self.cache.peek(*hash).is_some()), "held, but not in the cache");
        (digest, occupancy)
    }

    /// What a cache that forgets would do.
    #[cfg(test)]
    pub(super) fn lose_from_cache(&self, hash: TokenHash) {
        self.cache.take(hash);
    }
}
