//! The hub's hybrid logical clock: fences that only grow, over restarts and clock steps.
//!
//! Invariant: no fence is issued above the ceiling that the database holds, and a restarted hub starts above that ceiling.

use std::time::Duration;

use shared_msgs::clock::{Mono, Now};
use shared_msgs::ids::Fence;
use shared_msgs::limits;

const COUNTER_BITS: u32 = 16;

/// Issues fences.
#[derive(Debug)]
pub(crate) struct Fences {
    hub: u16,
    last: u64,
    /// Stored: nothing above it is issued.
    ceiling: u64,
    /// Being stored.
    asked: u64,
    /// After a failure the store is left alone until then.
    ask_from: Mono,
}

fn ahead(by: Duration) -> u64 {
    u64::try_from(by.as_millis()).unwrap_or(u64::MAX) << COUNTER_BITS
}

impl Fences {
    /// `stored` is the highest ceiling any earlier run has stored.
    pub(crate) fn new(hub: u16, stored: u64) -> Self {
        Self { hub, last: stored, ceiling: stored, asked: stored, ask_from: Mono::default() }
    }

    fn base(&self, now: Now) -> u64 {
        (now.unix.0 << COUNTER_BITS).max(self.last)
    }

    /// The next fence; `None` until a higher ceiling is stored.
    pub(crate) fn issue(&mut self, now: Now) -> Option<Fence> {
        let hlc = (now.unix.0 << COUNTER_BITS).max(self.last.checked_add(1)?);
        if hlc > self.ceiling {
            return None;
        }
        self.last = hlc;
        Some(Fence { hlc, hub: self.hub })
    }

    /// Starts above a fence seen elsewhere. False when it is too far ahead of our clock to be true.
    pub(crate) fn observe(&mut self, fence: Fence, now: Now) -> bool {
        let plausible = fence.unix() <= now.unix + limits::FENCE_AHEAD_MAX;
        if plausible {
            self.last = self.last.max(fence.hlc);
        }
        plausible
    }

    /// A ceiling to store now, when less than half of the reserve is left; each is asked for once.
    pub(crate) fn ceiling_to_store(&mut self, now: Now) -> Option<u64> {
        let base = self.base(now);
        let reserve = ahead(limits::FENCE_CEILING_AHEAD);
        if now.mono < self.ask_from || base.saturating_add(reserve / 2) <= self.asked {
            return None;
        }
        self.asked = base.saturating_add(reserve);
        Some(self.asked)
    }

    /// The database holds it.
    pub(crate) fn on_stored(&mut self, ceiling: u64) {
        self.ceiling = self.ceiling.max(ceiling);
    }

    /// The database did not take it: ask again, a little later.
    pub(crate) fn on_store_failed(&mut self, now: Now) {
        self.asked = self.ceiling;
        self.ask_from = now.mono + limits::RESEND_FIRST;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use shared_msgs::clock::UnixMs;

    fn at(unix: u64) -> Now {
        Now { mono: Mono(0), unix: UnixMs(unix) }
    }

    #[test]
    fn nothing_is_issued_above_what_is_stored() {
        let mut fences = Fences::new(0, 0);
        assert_eq!(fences.issue(at(1_000)), None);
        let ceiling = fences.ceiling_to_store(at(1_000)).unwrap();
        assert_eq!(fences.ceiling_to_store(at(1_000)), None, "asked for once");
        fences.on_store_failed(at(1_000));
        assert_eq!(fences.ceiling_to_store(at(1_000)), None, "a failing store is not hammered");
        let later = Now { mono: Mono(500), ..at(1_000) };
        assert_eq!(fences.ceiling_to_store(later), Some(ceiling));
        fences.on_stored(ceiling);
        assert!(fences.issue(at(1_000)).is_some());
        assert_eq!(fences.issue(at(1_000 + 30_001)), None);
    }

    #[test]
    fn a_fence_from_a_far_future_is_not_believed() {
        let mut fences = Fences::new(0, u64::MAX >> 1);
        let far = |ms: u64| Fence { hlc: ms << 16, hub: 0 };
        assert!(!fences.observe(far(600_001 + 1_000), at(1_000)));
        assert!(fences.observe(far(600_000 + 1_000), at(1_000)));
    }

    proptest! {
        #[test]
        fn they_grow_over_restarts_and_clock_steps(steps in prop::collection::vec((0_u64..200_000, any::<bool>()), 1..200)) {
            let (mut fences, mut stored, mut last) = (Fences::new(0, 0), 0, Fence::ZERO);
            for (unix, restart) in steps {
                if restart {
                    fences = Fences::new(0, stored);
                }
                if let Some(ceiling) = fences.ceiling_to_store(at(unix)) {
                    prop_assert!(ceiling > stored || restart);
                    stored = stored.max(ceiling);
                    fences.on_stored(stored);
                }
                let fence = fences.issue(at(unix)).expect("the ceiling was just raised");
                prop_assert!(fence > last);
                last = fence;
            }
        }
    }
}
