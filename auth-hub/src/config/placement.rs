//! `[placement]`: how players are spread over the fleet.
//!
//! Owns the keys and their defaults, which are those of the room that places. Invariant: what it says is what the desk is told.

use serde::{Deserialize, Serialize};

use crate::fleet::{Placement, Policy};

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
}

impl Default for PlacementSettings {
    fn default() -> Self {
        let Placement { policy, near_percent, region_fallback } = Placement::default();
        Self { policy, near_percent, region_fallback }
    }
}

impl PlacementSettings {
    /// For the desk.
    pub fn placement(&self) -> Placement {
        let Self { policy, near_percent, region_fallback } = *self;
        Placement { policy, near_percent, region_fallback }
    }
}
