//! `[placement]`: how players are spread over the fleet.
//!
//! Owns the keys and their defaults, which are those of the room that places. Invariant: what it says is what the desk is told.

use serde::{Deserialize, Serialize};

use crate::fleet::{LoadLimits, Placement, Policy};

/// `[placement]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PlacementSettings {
    /// How one of several servers is chosen.
    pub policy: Policy,
    /// How alike servers are that least-loaded draws from, in percentage points.
    pub near_percent: u8,
    /// Whether a player goes anywhere when no region asked for has a place.
    pub region_fallback: bool,
    /// Whether players go back to the server they were on last.
    pub sticky: bool,
    /// How alike measured latencies are, in milliseconds.
    pub latency_band_ms: u32,
    /// Reported load below which a server is as any other again.
    pub load_low_percent: u8,
    /// Reported load from which a server counts as degraded.
    pub load_high_percent: u8,
    /// Reported load from which a server gets nobody.
    pub load_full_percent: u8,
}

/// Longest band: whoever wants all regions to be equals sends no latencies.
pub(super) const LATENCY_BAND_MS_MAX: u32 = 1_000;
/// A load that no server reports: set to this, it never counts.
pub(super) const LOAD_NEVER_PERCENT: u8 = 101;

impl Default for PlacementSettings {
    fn default() -> Self {
        let Placement { policy, near_percent, region_fallback, sticky, latency_band_ms, load } =
            Placement::default();
        let LoadLimits { low_percent, high_percent, full_percent } = load;
        Self {
            policy,
            near_percent,
            region_fallback,
            sticky,
            latency_band_ms,
            load_low_percent: low_percent,
            load_high_percent: high_percent,
            load_full_percent: full_percent,
        }
    }
}

impl PlacementSettings {
    /// For the desk.
    pub fn placement(&self) -> Placement {
        let Self { policy, near_percent, region_fallback, sticky, latency_band_ms, .. } = *self;
        let load = LoadLimits {
            low_percent: self.load_low_percent,
            high_percent: self.load_high_percent,
            full_percent: self.load_full_percent,
        };
        Placement { policy, near_percent, region_fallback, sticky, latency_band_ms, load }
    }

    /// Whether a load that counts less counts from lower on.
    pub(super) fn load_is_in_order(&self) -> bool {
        self.load_low_percent < self.load_high_percent && self.load_high_percent <= self.load_full_percent
    }
}
