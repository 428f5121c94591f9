//! The hub's hybrid logical clock: fences that only grow, over restarts and clock steps.
//!
//! Its physical part is the wall clock of the start, carried on by the monotonic one: a clock that jumps while the hub runs neither
//! drags fences into a future that game servers refuse, nor a ceiling that the next start would have to begin above.
//! Invariant: no fence is issued above the ceiling that the database holds, and a restarted hub starts above that ceiling.

use std::time::Duration;

use shared_msgs::clock::{Mono, Now, UnixMs};
use shared_msgs::ids::Fence;
use shared_msgs::limits;

const COUNTER_BITS: u32 = 16;
/// How far ahead of our clock a fence may be that we are to issue above: a server whose clock lags must still accept ours.
const BELIEVED_AHEAD_MAX: Duration = limits::FENCE_AHEAD_MAX
    .checked_sub(limits::CLOCK_SKEW_MAX.saturating_mul(2))
    .expect("ahead exceeds skew");

/// The reserve above fences that are ahead of our clock already, as after a restart: two million. Short, because each restart adds it, and
/// restarts must not run away from the clock.
const RESERVE_AHEAD: Duration = Duration::from_millis(32);

/// Issues fences.
#[derive(Debug)]
pub(crate) struct Fences {
    hub: u16,
    /// The first reading of both clocks.
    anchor: Option<Now>,
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
        Self { hub, anchor: None, last: stored, ceiling: stored, asked: stored, ask_from: Mono::default() }
    }

    /// Whether a hub may start above this ceiling: its fences would be within what game servers accept.
    pub(crate) fn is_startable(stored: u64, now: UnixMs) -> bool {
        UnixMs(stored >> COUNTER_BITS) <= now + BELIEVED_AHEAD_MAX
    }

    /// The wall clock as of the start, carried on.
    fn physical(&mut self, now: Now) -> UnixMs {
        let anchor = *self.anchor.get_or_insert(now);
        anchor.unix + now.mono.since(anchor.mono)
    }

    /// Whether a fence seen elsewhere can be true.
    pub(crate) fn is_plausible(&mut self, fence: Fence, now: Now) -> bool {
        fence.unix() <= self.physical(now).max(now.unix) + BELIEVED_AHEAD_MAX
    }

    /// The next fence; `None` until a higher ceiling is stored.
    pub(crate) fn issue(&mut self, now: Now) -> Option<Fence> {
        let hlc = (self.physical(now).0 << COUNTER_BITS).max(self.last.checked_add(1)?);
        if hlc > self.ceiling {
            return None;
        }
        self.last = hlc;
        Some(Fence { hlc, hub: self.hub })
    }

    /// Starts above a fence seen elsewhere, if it can be true.
    pub(crate) fn observe(&mut self, fence: Fence, now: Now) {
        if self.is_plausible(fence, now) {
            self.last = self.last.max(fence.hlc);
        }
    }

    /// A ceiling to store now, when less than half of the reserve is left; each is asked for once.
    pub(crate) fn ceiling_to_store(&mut self, now: Now) -> Option<u64> {
        let (clock, last) = (self.physical(now).0 << COUNTER_BITS, self.last);
        let (of_clock, of_last) = (ahead(limits::FENCE_CEILING_AHEAD), ahead(RESERVE_AHEAD));
        let above =
            |part: u64| clock.saturating_add(of_clock / part).max(last.saturating_add(of_last / part));
        if now.mono < self.ask_from || above(2) <= self.asked {
            return None;
        }
        self.asked = above(1);
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

    /// `ms` after the start, the wall clock never having been touched.
    fn at(ms: u64) -> Now {
        Now { mono: Mono(ms), unix: UnixMs(ms) }
    }

    fn ready() -> Fences {
        let mut fences = Fences::new(0, 0);
        let ceiling = fences.ceiling_to_store(at(1_000)).unwrap();
        fences.on_stored(ceiling);
        fences
    }

    #[test]
    fn nothing_is_issued_above_what_is_stored() {
        let mut fences = Fences::new(0, 0);
        assert_eq!(fences.issue(at(1_000)), None);
        let ceiling = fences.ceiling_to_store(at(1_000)).unwrap();
        assert_eq!(fences.ceiling_to_store(at(1_000)), None, "asked for once");
        fences.on_store_failed(at(1_000));
        assert_eq!(fences.ceiling_to_store(at(1_000)), None, "a failing store is not hammered");
        assert!(fences.ceiling_to_store(at(1_500)).is_some_and(|again| again >= ceiling));
        fences.on_stored(ceiling);
        assert!(fences.issue(at(1_000)).is_some());
        assert_eq!(fences.issue(at(1_000 + 30_001)), None);
    }

    #[test]
    fn the_ceiling_itself_may_be_issued_and_nothing_above_it() {
        let mut fences = Fences::new(0, 0);
        fences.on_stored(1_000 << COUNTER_BITS);
        assert_eq!(fences.issue(at(1_000)), Some(Fence { hlc: 1_000 << COUNTER_BITS, hub: 0 }));
        assert_eq!(fences.issue(at(1_000)), None);
    }

    #[test]
    fn a_higher_ceiling_is_asked_for_once_less_than_half_of_the_reserve_is_left() {
        let mut fences = ready();
        assert_eq!(fences.ceiling_to_store(at(1_000 + 15_000)), None);
        assert_eq!(fences.ceiling_to_store(at(1_000 + 15_001)), Some(46_001 << COUNTER_BITS));
    }

    #[test]
    fn a_fence_from_a_far_future_is_not_believed() {
        let far = |ms: u64| Fence { hlc: ms << 16, hub: 0 };
        for (ms, believed) in [(1_000 + 540_000, true), (1_000 + 540_001, false)] {
            let mut fences = Fences::new(0, 0);
            fences.observe(far(ms), at(1_000));
            fences.on_stored(u64::MAX);
            assert_eq!(fences.issue(at(1_000)) > Some(far(ms)), believed, "{ms}");
        }
    }

    #[test]
    fn a_wall_clock_that_jumps_moves_no_fence_and_no_ceiling() {
        let mut fences = ready();
        let day = 86_400_000;
        let jumped = Now { unix: UnixMs(day), ..at(2_000) };
        assert_eq!(fences.ceiling_to_store(jumped), None);
        assert_eq!(fences.issue(jumped).unwrap().unix(), UnixMs(2_000));
        let back = Now { unix: UnixMs(0), ..at(3_000) };
        assert_eq!(fences.issue(back).unwrap().unix(), UnixMs(3_000));
    }

    #[test]
    fn a_hub_that_is_restarted_again_and_again_keeps_to_its_clock() {
        let (mut stored, mut last) = (0, Fence::ZERO);
        for n in 0..5_000 {
            // A run of 100 ms that answers as much as it can.
            let now = at(1_000 + n * 100);
            assert!(Fences::is_startable(stored, now.unix), "restart {n}");
            let mut fences = Fences::new(0, stored);
            stored = fences.ceiling_to_store(now).expect("a start leaves no reserve");
            fences.on_stored(stored);
            for _ in 0..3 {
                let fence = fences.issue(now).expect("the ceiling was just raised");
                assert!(fence > last);
                last = fence;
            }
            let most = now.unix + limits::FENCE_CEILING_AHEAD + RESERVE_AHEAD;
            assert!(last.unix() <= most, "restart {n}: {} runs ahead of {}", last.unix(), now.unix);
        }
    }

    #[test]
    fn a_hub_does_not_start_where_no_server_would_follow() {
        let ceiling = |ms: u64| ms << COUNTER_BITS;
        assert!(Fences::is_startable(ceiling(1_000 + 540_000), UnixMs(1_000)));
        assert!(!Fences::is_startable(ceiling(1_000 + 540_001), UnixMs(1_000)));
    }

    proptest! {
        #[test]
        fn they_grow_over_restarts_and_clock_steps(
            steps in prop::collection::vec((0_u64..200_000, 0_u64..5_000, any::<bool>()), 1..200)
        ) {
            let (mut fences, mut stored, mut last, mut mono) = (Fences::new(0, 0), 0, Fence::ZERO, 0);
            for (unix, passed, restart) in steps {
                mono += passed;
                let now = Now { mono: Mono(mono), unix: UnixMs(unix) };
                if restart {
                    fences = Fences::new(0, stored);
                }
                if let Some(ceiling) = fences.ceiling_to_store(now) {
                    prop_assert!(ceiling > stored);
                    stored = ceiling;
                    fences.on_stored(stored);
                }
                let fence = fences.issue(now).expect("the ceiling was just raised");
                prop_assert!(fence > last);
                last = fence;
            }
        }
    }
}
