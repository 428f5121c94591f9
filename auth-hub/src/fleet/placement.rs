//! Which server gets the next player. Pure: the same fleet and the same draws give the same answer.
//!
//! Owns the policies and what equals are; knows neither freshness nor whose slot is whose: only who may take the player comes in.
//! Invariant: healthy servers go before degraded ones, and among those an earlier region before a later one, under every policy. Where the player
//! was last counts among healthy equals of the first region alone.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};
use shared_msgs::ids::ServerId;
use shared_msgs::rng::Rng;

use super::overload::LoadLimits;

/// How one of several servers is chosen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// One of the emptiest, which are told from the rest by [`Placement::near_percent`].
    #[default]
    LeastLoaded,
    /// The fullest that has room: one fills before the next.
    Packed,
    /// Any, in proportion to its free slots.
    Weighted,
}

/// How players are spread over the fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placement {
    /// How one of several servers is chosen.
    pub policy: Policy,
    /// For [`Policy::LeastLoaded`], in percentage points. Servers are equals when no more of their slots are taken than this above the
    /// emptiest, and their load is no more than this above the least busy of those. One of them is drawn, so that a herd whose counts lag
    /// behind spreads. 0 draws nothing: the emptiest, then the least busy, then the first by id.
    pub near_percent: u8,
    /// Whether a player goes anywhere when no region asked for has a place.
    pub region_fallback: bool,
    /// Whether a player goes back to the server they were on last, where no better region has a healthy server with room.
    pub sticky: bool,
    /// Regions are equals while they are measured less than this slower than the nearest of them, in milliseconds.
    pub latency_band_ms: u32,
    /// From which load on servers get fewer players, and none.
    pub load: LoadLimits,
}

impl Default for Placement {
    fn default() -> Self {
        Self {
            policy: Policy::default(),
            near_percent: 5,
            region_fallback: true,
            sticky: true,
            latency_band_ms: 20,
            load: LoadLimits::default(),
        }
    }
}

/// A server that may take the player, with what orders it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Candidate<'a> {
    pub(crate) server: &'a ServerId,
    /// Whether it gets players only where no healthy server has a place.
    pub(crate) is_degraded: bool,
    /// See [`Regions::rank`](super::Regions::rank).
    pub(crate) region_rank: usize,
    /// Whether the player was there last.
    pub(crate) is_last: bool,
    /// Slots taken or promised.
    pub(crate) taken: u32,
    pub(crate) max_players: u32,
    pub(crate) load_percent: u8,
}

impl Candidate<'_> {
    /// What no policy looks past; lowest first.
    fn tier(&self) -> (bool, usize) {
        (self.is_degraded, self.region_rank)
    }

    /// By the share of slots taken, cross-multiplied.
    fn by_fill(&self, other: &Self) -> Ordering {
        let fill = u64::from(self.taken) * other.slots();
        fill.cmp(&(u64::from(other.taken) * self.slots()))
    }

    /// Whether its share of slots taken is so many percentage points above the other's, or less.
    fn is_filled_like(&self, other: &Self, points: u8) -> bool {
        let (slots, other_slots) = (u128::from(self.slots()), u128::from(other.slots()));
        let other_percent = u128::from(other.taken) * 100 + u128::from(points) * other_slots;
        u128::from(self.taken) * 100 * other_slots <= other_percent * slots
    }

    /// Of a server without any, one: it is here for a player who has a slot there.
    fn slots(&self) -> u64 {
        u64::from(self.max_players).max(1)
    }

    /// Likewise.
    fn free(&self) -> u64 {
        u64::from(self.max_players.saturating_sub(self.taken)).max(1)
    }
}

impl Placement {
    /// One of them, if there is any.
    pub(crate) fn choose<'a>(
        self,
        candidates: impl Iterator<Item = Candidate<'a>>,
        rng: &dyn Rng,
    ) -> Option<Candidate<'a>> {
        let mut best: Vec<Candidate<'a>> = Vec::new();
        for candidate in candidates {
            match best.first().map_or(Ordering::Less, |first| candidate.tier().cmp(&first.tier())) {
                Ordering::Less => best = vec![candidate],
                Ordering::Equal => best.push(candidate),
                Ordering::Greater => {}
            }
        }
        if best.iter().any(|candidate| candidate.is_last && !candidate.is_degraded) {
            // One in each realm at most.
            best.retain(|candidate| candidate.is_last);
        }
        match self.policy {
            Policy::LeastLoaded => self.least_loaded(best, rng),
            Policy::Packed => best.into_iter().max_by(|a, b| a.by_fill(b).then(b.server.cmp(a.server))),
            Policy::Weighted => weighted(best, rng),
        }
    }

    fn least_loaded<'a>(self, mut best: Vec<Candidate<'a>>, rng: &dyn Rng) -> Option<Candidate<'a>> {
        let emptiest = best.iter().min_by(|a, b| a.by_fill(b))?.clone();
        best.retain(|candidate| candidate.is_filled_like(&emptiest, self.near_percent));
        let idlest = best.iter().map(|candidate| candidate.load_percent).min()?;
        best.retain(|candidate| candidate.load_percent - idlest <= self.near_percent);
        if self.near_percent == 0 {
            return best.into_iter().min_by_key(|candidate| candidate.server);
        }
        let at = rng.below(best.len() as u64);
        usize::try_from(at).ok().map(|at| best.swap_remove(at))
    }
}

fn weighted<'a>(candidates: Vec<Candidate<'a>>, rng: &dyn Rng) -> Option<Candidate<'a>> {
    let mut drawn = rng.below(candidates.iter().map(Candidate::free).sum());
    candidates.into_iter().find(|candidate| {
        let is_it = drawn < candidate.free();
        drawn = drawn.saturating_sub(candidate.free());
        is_it
    })
}

#[cfg(test)]
mod tests;
