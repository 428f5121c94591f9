//! How long a ticket will wait, from how fast others were let in.
//!
//! Pure. Admissions are taken as they come, a Poisson process whose rate was measured over `n` of them; the `k`-th from now comes after
//! `k / rate`, give or take the spread of `k` waits and of the measurement: relative variances `1/k` and `1/n` add up. The range is two standard
//! deviations to each side. Invariant: without enough admissions nothing is said.

use std::collections::VecDeque;
use std::time::Duration;

use shared_msgs::clock::Mono;

/// Admissions remembered of a line.
const REMEMBERED_MAX: usize = 64;
/// Older ones tell of another hour.
const MEMORY: Duration = Duration::from_mins(15);
/// Fewer say nothing.
const NEEDED: f64 = 3.0;
/// Longest wait that is told; what is beyond is "at least".
const TOLD_S_MAX: f64 = 86_400.0;

/// A wait in whole seconds, from the least to the most that is likely.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitRange {
    /// At least, most likely.
    pub low_s: u64,
    /// At most, most likely.
    pub high_s: u64,
}

/// When those before were let in.
#[derive(Clone, Debug, Default)]
pub(crate) struct Admissions(VecDeque<Mono>);

impl Admissions {
    pub(crate) fn note(&mut self, now: Mono) {
        if self.0.len() == REMEMBERED_MAX {
            self.0.pop_front();
        }
        self.0.push_back(now);
    }

    /// How many, and over how long; the first one only starts the watch.
    fn measured(&self, now: Mono) -> (f64, f64) {
        let recent = self.0.iter().filter(|at| now.since(**at) <= MEMORY);
        let (Some(first), count) = (recent.clone().next(), recent.count()) else { return (0.0, 0.0) };
        #[expect(clippy::cast_precision_loss, reason = "at most REMEMBERED_MAX")]
        let between = count.saturating_sub(1) as f64;
        (between, now.since(*first).as_secs_f64())
    }
}

/// The wait of whoever has `position - 1` before it, in lines with these admissions.
pub(crate) fn wait<'a>(
    position: u32,
    lines: impl Iterator<Item = &'a Admissions>,
    now: Mono,
) -> Option<WaitRange> {
    let (mut seen, mut rate) = (0.0, 0.0);
    for (count, seconds) in lines.map(|line| line.measured(now)).filter(|(count, _)| *count > 0.0) {
        seen += count;
        rate += count / seconds.max(0.001);
    }
    if seen < NEEDED {
        return None;
    }
    let ahead = f64::from(position.max(1));
    let mean = ahead / rate;
    let spread = 2.0 * (1.0 / ahead + 1.0 / seen).sqrt();
    let low = (mean * (1.0 - spread)).clamp(0.0, TOLD_S_MAX);
    let high = (mean * (1.0 + spread)).min(TOLD_S_MAX);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and a day")]
    let seconds = |of: f64| of as u64;
    Some(WaitRange { low_s: seconds(low.floor()), high_s: seconds(high.ceil()) })
}

#[cfg(test)]
mod tests {
    use shared_msgs::rng::{Rng, SeededRng};

    use super::*;

    fn every(ms: u64, count: u64) -> Admissions {
        let mut admissions = Admissions::default();
        for n in 0..count {
            admissions.note(Mono(n * ms));
        }
        admissions
    }

    #[test]
    fn nothing_is_said_before_anything_is_known() {
        assert_eq!(wait(1, [&every(1_000, 3)].into_iter(), Mono(3_000)), None, "two waits were measured");
        assert!(wait(1, [&every(1_000, 4)].into_iter(), Mono(4_000)).is_some());
        let old = Mono(u64::try_from(MEMORY.as_millis()).unwrap() + 100_000);
        assert_eq!(wait(1, [&every(1_000, 64)].into_iter(), old), None, "that was another hour");
    }

    #[test]
    fn the_range_narrows_with_what_was_seen_and_lines_add_up() {
        let width = |range: WaitRange| range.high_s - range.low_s;
        let few = wait(100, [&every(1_000, 5)].into_iter(), Mono(4_000)).unwrap();
        let many = wait(100, [&every(1_000, 64)].into_iter(), Mono(63_000)).unwrap();
        assert!(few.low_s < 100 && 100 < few.high_s && width(many) < width(few), "{few:?} {many:?}");
        let line = every(1_000, 64);
        let two = wait(100, [&line, &line].into_iter(), Mono(63_000)).unwrap();
        assert!(two.low_s < 50 && two.high_s < many.high_s, "{two:?}");
        assert!(wait(u32::MAX, [&line].into_iter(), Mono(63_000)).unwrap().high_s <= 86_400);
    }

    #[test]
    fn a_line_that_comes_to_a_halt_is_told_longer_and_longer_waits() {
        let line = every(1_000, 10);
        let told: Vec<u64> = [10_000, 60_000, 600_000]
            .map(|now| wait(5, [&line].into_iter(), Mono(now)).unwrap().high_s)
            .into();
        assert!(told.is_sorted() && told[0] < told[2], "{told:?}");
    }

    /// Of a thousand waits of a process like the one that was measured, most lie in the range told before.
    #[test]
    fn most_waits_lie_in_the_range_that_was_told() {
        let rng: &dyn Rng = &SeededRng::new(7);
        let pause = || {
            #[expect(clippy::cast_precision_loss, reason = "a draw")]
            let drawn = (rng.below(1_000_000) + 1) as f64 / 1_000_001.0;
            -drawn.ln()
        };
        let mut inside = 0;
        for round in 0..1_000_u32 {
            let (mut now, mut line) = (0.0, Admissions::default());
            let at = |seconds: f64| {
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small")]
                let ms = (seconds * 1_000.0) as u64;
                Mono(ms)
            };
            for _ in 0..20 {
                line.note(at(now));
                now += pause();
            }
            let position = round % 40 + 1;
            let told = wait(position, [&line].into_iter(), at(now)).unwrap();
            let really: f64 = (0..position).map(|_| pause()).sum();
            #[expect(clippy::cast_precision_loss, reason = "seconds")]
            let (low, high) = (told.low_s as f64, told.high_s as f64);
            inside += u32::from(low <= really && really <= high);
        }
        assert!(inside > 900, "{inside} of 1000");
    }
}
