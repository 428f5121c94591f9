//! How hard pressed a server is, in three steps that a noisy number does not flip.
//!
//! Owns the steps and where each begins and ends. Knows numbers, no server. Invariants: a step ends lower than it began; who recovers
//! from the last step by a little is in the middle one, not free of it.

/// How hard pressed a server is, least first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pressure {
    /// As any other.
    #[default]
    Calm,
    /// Counts as degraded: it gets players where no healthier server has a place.
    Strained,
    /// Gets nobody.
    Overloaded,
}

/// Where each step begins and ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Steps {
    /// From here on it is strained.
    pub(crate) strained_from: u32,
    /// From here on it is overloaded.
    pub(crate) overloaded_from: u32,
    /// Down here it is overloaded no more.
    pub(crate) eased_at: u32,
    /// Down here it is calm again.
    pub(crate) calm_at: u32,
}

/// Grants that a server has not answered. A healthy one answers within a round trip; the broker holds about a hundred messages and a little more
/// for a server, and what is beyond is lost and has to be sent again.
pub(crate) const BACKLOG_GRANTS: Steps =
    Steps { strained_from: 16, overloaded_from: 64, eased_at: 32, calm_at: 8 };
const _: () = assert!(BACKLOG_GRANTS.is_sound());

impl Steps {
    /// Whether each step ends below where it begins.
    pub(crate) const fn is_sound(self) -> bool {
        let Self { strained_from, overloaded_from, eased_at, calm_at } = self;
        calm_at < strained_from
            && strained_from <= overloaded_from
            && eased_at < overloaded_from
            && calm_at <= eased_at
    }

    /// The step after `was`, now that the number is this.
    pub(crate) const fn next(self, was: Pressure, number: u32) -> Pressure {
        let stays = match was {
            Pressure::Calm => false,
            Pressure::Strained => number > self.calm_at,
            Pressure::Overloaded => number > self.eased_at,
        };
        if number >= self.overloaded_from {
            Pressure::Overloaded
        } else if stays {
            was
        } else if number >= self.strained_from || (number > self.calm_at && !matches!(was, Pressure::Calm)) {
            Pressure::Strained
        } else {
            Pressure::Calm
        }
    }
}

/// Where the load that servers report counts, in percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoadLimits {
    /// Below this a strained server is calm again.
    pub low_percent: u8,
    /// From this on a server is strained; below it an overloaded one is strained again.
    pub high_percent: u8,
    /// From this on it is overloaded.
    pub full_percent: u8,
}

impl Default for LoadLimits {
    fn default() -> Self {
        Self { low_percent: 75, high_percent: 90, full_percent: 100 }
    }
}

impl LoadLimits {
    /// The same as steps.
    pub(crate) fn steps(self) -> Steps {
        Steps {
            strained_from: self.high_percent.into(),
            overloaded_from: self.full_percent.into(),
            eased_at: self.high_percent.saturating_sub(1).into(),
            calm_at: self.low_percent.saturating_sub(1).into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Pressure::{Calm, Overloaded, Strained};
    use super::*;

    /// The steps on the way through these numbers.
    fn walk(steps: Steps, numbers: &[u32]) -> Vec<Pressure> {
        let mut at = Calm;
        let mut step = |number: &u32| {
            at = steps.next(at, *number);
            at
        };
        numbers.iter().map(&mut step).collect()
    }

    #[test]
    fn each_step_begins_and_ends_where_it_says() {
        let numbers = [15, 16, 9, 8, 63, 64, 33, 32, 9, 8, 64, 8, 64, 20];
        let steps = [
            Calm, Strained, Strained, Calm, Strained, Overloaded, Overloaded, Strained, Strained, Calm,
            Overloaded, Calm, Overloaded, Strained,
        ];
        assert_eq!(walk(BACKLOG_GRANTS, &numbers), steps);
    }

    #[test]
    fn load_is_taken_as_the_settings_say() {
        let steps = LoadLimits::default().steps();
        assert!(steps.is_sound());
        let loads = [89, 90, 75, 74, 99, 100, 90, 89, 75, 74];
        let expected =
            [Calm, Strained, Strained, Calm, Strained, Overloaded, Overloaded, Strained, Strained, Calm];
        assert_eq!(walk(steps, &loads), expected);
        let never = LoadLimits { low_percent: 75, high_percent: 101, full_percent: 101 }.steps();
        assert!(never.is_sound());
        assert_eq!(walk(never, &[100]), [Calm], "101 is never reached");
    }

    fn sound_steps() -> impl Strategy<Value = Steps> {
        let numbers = (0..50_u32, 1..50_u32, 0..50_u32, 0..50_u32);
        numbers.prop_map(|(calm_at, up, more, back)| {
            let strained_from = calm_at + up;
            let overloaded_from = strained_from + more;
            let eased_at = (overloaded_from - 1).saturating_sub(back).max(calm_at);
            Steps { strained_from, overloaded_from, eased_at, calm_at }
        })
    }

    proptest! {
        /// A number that swings by less than a step's width changes the step once, however long it swings.
        #[test]
        fn noise_does_not_flap(
            steps in sound_steps(),
            middle in 0..200_u32,
            noise in prop::collection::vec(0..50_u32, 1..200),
        ) {
            prop_assert!(steps.is_sound());
            let gap = (steps.strained_from - steps.calm_at).min(steps.overloaded_from - steps.eased_at);
            let numbers: Vec<u32> = noise.iter().map(|n| middle + n % gap).collect();
            let walked = walk(steps, &numbers);
            let turns = walked.windows(2).filter(|pair| pair[0] != pair[1]).count();
            prop_assert!(turns <= 2, "{turns} turns: {walked:?}");
            // Up to the worst of the noise, and never back.
            prop_assert!(walked.is_sorted(), "{walked:?}");
        }

        #[test]
        fn more_is_never_better(steps in sound_steps(), number in 0..200_u32, more in 0..200_u32) {
            for was in [Calm, Strained, Overloaded] {
                prop_assert!(steps.next(was, number) <= steps.next(was, number + more));
                prop_assert!(was <= steps.next(was, number) || number <= steps.eased_at.max(steps.calm_at));
            }
        }
    }
}
