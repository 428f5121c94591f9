//! Time as a value: cores take [`Now`], edges ask a [`Clock`].
//!
//! Two readings, never mixed: [`Mono`] orders things inside one process and never steps; [`UnixMs`] is what
//! two machines can compare, and may step. Leases, re-sends and deadlines live on `Mono`; expiries that travel live on `UnixMs`.

use std::fmt;
use std::ops::{Add, Sub};
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Serialize};

/// Milliseconds since this process's clock was made. Meaningless outside the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mono(pub u64);

/// Milliseconds since 1970-01-01 UTC, as some machine's clock saw it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct UnixMs(pub u64);

/// One reading of both clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Never steps back.
    pub mono: Mono,
    /// May step.
    pub unix: UnixMs,
}

impl Mono {
    /// Time passed since `earlier`; zero when `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl UnixMs {
    /// Distance between two clocks' readings, whichever is ahead.
    pub fn abs_diff(self, other: Self) -> Duration {
        Duration::from_millis(self.0.abs_diff(other.0))
    }
}

fn millis(by: Duration) -> u64 {
    u64::try_from(by.as_millis()).unwrap_or(u64::MAX)
}

impl Add<Duration> for Mono {
    type Output = Self;
    fn add(self, by: Duration) -> Self {
        Self(self.0.saturating_add(millis(by)))
    }
}

impl Add<Duration> for UnixMs {
    type Output = Self;
    fn add(self, by: Duration) -> Self {
        Self(self.0.saturating_add(millis(by)))
    }
}

impl Sub<Duration> for UnixMs {
    type Output = Self;
    fn sub(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(millis(by)))
    }
}

impl fmt::Display for UnixMs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Where the edges read the time.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// Both clocks, read together.
    fn now(&self) -> Now;
}

/// The machine's clocks, with a settable error on the wall clock so that tests can step it or let it drift.
#[derive(Debug)]
pub struct SystemClock {
    started: Instant,
    wall_offset_ms: AtomicI64,
    wall_drift_ppm: AtomicI64,
}

impl SystemClock {
    /// Starts the monotonic clock at zero.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the machine's clocks")]
    pub fn new() -> Self {
        Self { started: Instant::now(), wall_offset_ms: AtomicI64::new(0), wall_drift_ppm: AtomicI64::new(0) }
    }

    /// Makes the wall clock read `offset_ms` away from the machine's: a step, for tests.
    pub fn step_wall_to(&self, offset_ms: i64) {
        self.wall_offset_ms.store(offset_ms, Ordering::Relaxed);
    }

    /// Lets the wall clock gain (or lose) this many microseconds a second from the start on, for tests.
    pub fn drift_wall(&self, ppm: i64) {
        self.wall_drift_ppm.store(ppm, Ordering::Relaxed);
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the machine's clocks")]
    fn now(&self) -> Now {
        let mono = millis(self.started.elapsed());
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let drift = i64::try_from(mono)
            .unwrap_or(i64::MAX)
            .saturating_mul(self.wall_drift_ppm.load(Ordering::Relaxed))
            / 1_000_000;
        let error = self.wall_offset_ms.load(Ordering::Relaxed).saturating_add(drift);
        Now { mono: Mono(mono), unix: UnixMs(millis(wall).saturating_add_signed(error)) }
    }
}
