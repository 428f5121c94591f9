//! A bound on log lines that strangers can cause.
//!
//! Owns one allowance per place in the code; what exceeds it is counted, and told with the next line that passes. Not for what an
//! authenticated peer does within its own bounds: those lines are never dropped. Invariant: one place writes at most
//! [`BURST`] lines at once and [`PER_SECOND`] a second.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

/// Lines at once after a quiet time.
pub const BURST: u32 = 50;
/// Lines a second after that: at 300 bytes a line, five places in a flood write less than 1 MB a minute.
pub const PER_SECOND: u32 = 5;

static LIFTED: AtomicBool = AtomicBool::new(false);
static DROPPED: AtomicU64 = AtomicU64::new(0);

/// Lines that this process has not written since its start, of all places together.
pub fn dropped() -> u64 {
    DROPPED.load(Ordering::Relaxed)
}

/// From now on this process drops no line. For tests, which wait for lines by name.
pub fn lift() {
    LIFTED.store(true, Ordering::Relaxed);
}

/// What one place may still write.
#[derive(Debug, Default)]
pub struct LogLimit(Mutex<Option<Allowance>>);

#[derive(Debug)]
struct Allowance {
    lines: u32,
    /// Since when `lines` has not grown.
    since: Instant,
    dropped: u64,
}

impl LogLimit {
    /// Nothing written yet.
    pub const fn new() -> Self {
        Self(Mutex::new(None))
    }

    /// Whether a line may be written; if so, how many were dropped since the last.
    pub fn pass(&self) -> Option<u64> {
        if LIFTED.load(Ordering::Relaxed) {
            return Some(0);
        }
        let passed = self.pass_at(Instant::now());
        if passed.is_none() {
            DROPPED.fetch_add(1, Ordering::Relaxed);
        }
        passed
    }

    fn pass_at(&self, now: Instant) -> Option<u64> {
        let mut allowance = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let allowance = allowance.get_or_insert(Allowance { lines: BURST, since: now, dropped: 0 });
        let seconds = now.saturating_duration_since(allowance.since).as_secs();
        if seconds > 0 {
            let back = u32::try_from(seconds).unwrap_or(u32::MAX).saturating_mul(PER_SECOND);
            allowance.lines = allowance.lines.saturating_add(back).min(BURST);
            allowance.since = now;
        }
        if allowance.lines == 0 {
            allowance.dropped += 1;
            return None;
        }
        allowance.lines -= 1;
        Some(std::mem::take(&mut allowance.dropped))
    }
}

/// Logs as `tracing` does, with the level as its first argument and `target:` as its second, within this place's own [`LogLimit`].
#[macro_export]
macro_rules! limited {
    ($level:ident, target: $target:literal, $($rest:tt)+) => {{
        static LIMIT: $crate::log_limit::LogLimit = $crate::log_limit::LogLimit::new();
        if let Some(dropped) = LIMIT.pass() {
            let dropped = (dropped > 0).then_some(dropped);
            ::tracing::$level!(target: $target, dropped, $($rest)+);
        }
    }};
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_is_dropped_is_counted_for_the_whole_process() {
        let (limit, before) = (LogLimit::new(), dropped());
        let tries: u64 = 1_000;
        let passed = (0..tries).filter_map(|_| limit.pass()).count() as u64;
        assert!(passed >= u64::from(BURST) && passed < tries, "{passed}");
        assert!(dropped() - before >= tries - passed);
    }

    #[test]
    fn a_flood_is_cut_down_and_what_was_dropped_is_told() {
        let (limit, start) = (LogLimit::new(), Instant::now());
        let passed = |after_ms: u64, tries: usize| {
            let now = start + Duration::from_millis(after_ms);
            (0..tries).filter_map(|_| limit.pass_at(now)).collect::<Vec<_>>()
        };
        let burst = BURST as usize;
        assert_eq!(passed(0, burst + 7), vec![0; burst]);
        assert_eq!(passed(999, 3), Vec::<u64>::new());
        assert_eq!(passed(1_000, 100), [10, 0, 0, 0, 0]);
        assert_eq!(passed(3_600_000, burst + 1).len(), burst, "a quiet hour saves up no more than the burst");
    }
}
