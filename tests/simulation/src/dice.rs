//! The one source of chance in a run: every choice the simulated world makes is a draw from here, so that a seed is a history.

use std::sync::Arc;

use shared_msgs::rng::{Rng, SeededRng};

use crate::facts::Ms;

/// Draws from one seed.
#[derive(Debug)]
pub(crate) struct Dice {
    rng: Arc<dyn Rng>,
}

impl Dice {
    /// The sequence of `seed`.
    pub(crate) fn new(seed: u64) -> Self {
        Self { rng: Arc::new(SeededRng::new(seed)) }
    }

    /// `0..bound`; 0 when `bound` is 0.
    pub(crate) fn below(&self, bound: u64) -> u64 {
        self.rng.below(bound)
    }

    /// `low..=high`.
    pub(crate) fn between(&self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low) + 1)
    }

    /// True in so many of a thousand draws. Draws nothing when it cannot be true.
    pub(crate) fn per_mille(&self, share: u64) -> bool {
        share > 0 && self.below(1_000) < share
    }

    /// One of `items`; `None` when there is none.
    pub(crate) fn pick<'a, T>(&self, items: &'a [T]) -> Option<&'a T> {
        let at = self.below(u64::try_from(items.len()).unwrap_or(u64::MAX));
        items.get(usize::try_from(at).unwrap_or(usize::MAX))
    }

    /// Mostly `low..=high`, now and then up to `tail`.
    pub(crate) fn long_tailed(&self, low: Ms, high: Ms, tail: Ms) -> Ms {
        if self.per_mille(30) { self.between(high, tail.max(high)) } else { self.between(low, high) }
    }

    /// A generator for one process of the simulated world.
    pub(crate) fn fork(&self) -> Arc<dyn Rng> {
        Arc::new(SeededRng::new(self.below(u64::MAX)))
    }
}
