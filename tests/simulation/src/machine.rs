//! A machine: a wall clock that is off, and the process that runs on it at the moment.

use shared_msgs::clock::{Mono, Now, UnixMs};

use crate::dice::Dice;
use crate::facts::{Ms, NodeId};
use crate::scenario::Scenario;

/// True time zero, by a clock that is right.
const EPOCH_MS: u64 = 1_900_000_000_000;

/// A place where processes run, one after the other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Machine {
    offset_ms: i64,
    drift_ppm: i64,
    /// Who is reached at its address.
    pub(crate) running: Option<NodeId>,
}

/// Either way, up to `most`.
fn either_way(dice: &Dice, most: u64) -> i64 {
    let by = i64::try_from(dice.below(most + 1)).unwrap_or(0);
    if dice.below(2) == 0 { by } else { -by }
}

impl Machine {
    pub(crate) fn new(dice: &Dice, scenario: &Scenario) -> Self {
        let mut machine = Self { offset_ms: 0, drift_ppm: 0, running: None };
        machine.misset(dice, scenario);
        machine
    }

    /// Somebody or something sets the clock anew.
    pub(crate) fn misset(&mut self, dice: &Dice, scenario: &Scenario) {
        self.offset_ms = either_way(dice, scenario.offset);
        self.drift_ppm = either_way(dice, scenario.drift_ppm);
    }

    /// The wall clock is set right, as far as clocks ever are.
    pub(crate) fn set_right(&mut self, most_ms: i64) {
        self.offset_ms = self.offset_ms.clamp(-most_ms, most_ms);
    }

    /// The clock of a process that starts now.
    pub(crate) fn clock(&self, now: Ms) -> ProcessClock {
        ProcessClock { born: now, offset_ms: self.offset_ms, drift_ppm: self.drift_ppm }
    }
}

/// Both clocks of one process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProcessClock {
    born: Ms,
    offset_ms: i64,
    drift_ppm: i64,
}

impl ProcessClock {
    /// The wall clock jumps, to somewhere within `most_ms` of the true time.
    pub(crate) fn step(&mut self, dice: &Dice, most_ms: u64) {
        self.offset_ms = either_way(dice, most_ms);
    }

    pub(crate) fn at(&self, now: Ms) -> Now {
        let drift = i64::try_from(now).unwrap_or(i64::MAX).saturating_mul(self.drift_ppm) / 1_000_000;
        let error = self.offset_ms + drift;
        Now { mono: Mono(now - self.born), unix: UnixMs((EPOCH_MS + now).saturating_add_signed(error)) }
    }

    /// The true time of a moment of the process's monotonic clock.
    pub(crate) fn true_time(&self, at: Mono) -> Ms {
        self.born.saturating_add(at.0)
    }

    /// The wall clock is set right, as far as clocks ever are.
    pub(crate) fn set_right(&mut self, most_ms: i64) {
        self.offset_ms = self.offset_ms.clamp(-most_ms, most_ms);
    }
}
