//! How full a server is, in one word for a server-select screen.
//!
//! Owns the levels and where they begin. Knows counts, no server. Invariant: `full` is said exactly where no slot is free.

use serde::Serialize;

/// From this share of its slots on, in percent, a server is no longer `low`.
pub const MEDIUM_FROM_PERCENT: u32 = 50;
/// From this share of its slots on, in percent, a server is `high`.
pub const HIGH_FROM_PERCENT: u32 = 80;
const _: () = assert!(MEDIUM_FROM_PERCENT < HIGH_FROM_PERCENT && HIGH_FROM_PERCENT < 100);

/// A level, emptiest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Population {
    /// Plenty of room.
    Low,
    /// From [`MEDIUM_FROM_PERCENT`] on.
    Medium,
    /// From [`HIGH_FROM_PERCENT`] on.
    High,
    /// No slot is free.
    Full,
}

impl Population {
    /// Of so many slots in use, whether by players or held for them.
    pub(crate) fn of(taken: u64, max_players: u32) -> Self {
        let max = u64::from(max_players);
        let is_from = |percent: u32| taken.saturating_mul(100) >= max * u64::from(percent);
        if taken >= max {
            Self::Full
        } else if is_from(HIGH_FROM_PERCENT) {
            Self::High
        } else if is_from(MEDIUM_FROM_PERCENT) {
            Self::Medium
        } else {
            Self::Low
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Population::{Full, High, Low, Medium};
    use super::*;

    #[test]
    fn each_level_begins_where_it_says() {
        let levels = [0, 49, 50, 79, 80, 99, 100, 101].map(|taken| Population::of(taken, 100));
        assert_eq!(levels, [Low, Low, Medium, Medium, High, High, Full, Full]);
        // Few slots: the share counts, not the number that is left.
        assert_eq!([0, 1, 2, 3].map(|taken| Population::of(taken, 3)), [Low, Low, Medium, Full]);
        assert_eq!(Population::of(0, 0), Full, "no slots at all");
        assert_eq!(Population::of(u64::MAX, u32::MAX), Full);
        assert_eq!(Population::of(u64::from(u32::MAX) - 1, u32::MAX), High);
    }
}
