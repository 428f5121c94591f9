//! The table at the end of a show: per step, how many, and how long at the median and near the worst. Knows no step.

use std::fmt;
use std::time::Duration;

/// Times by step, in the order the steps first came.
#[derive(Debug, Default)]
pub struct Table {
    rows: Vec<(&'static str, Vec<Duration>)>,
    notes: Vec<String>,
}

impl Table {
    /// One more of a step.
    pub fn add(&mut self, step: &'static str, took: Duration) {
        match self.rows.iter_mut().find(|(name, _)| *name == step) {
            Some((_, times)) => times.push(took),
            None => self.rows.push((step, vec![took])),
        }
    }

    /// A line under the table.
    pub fn note(&mut self, line: String) {
        self.notes.push(line);
    }
}

/// The value that `percent` of the sorted times do not exceed.
fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let rank = (sorted.len() * percent).div_ceil(100).max(1) - 1;
    sorted.get(rank).copied().unwrap_or_default()
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<44}{:>6}{:>12}{:>12}", "step", "count", "p50", "p99")?;
        for (step, times) in &self.rows {
            let mut sorted = times.clone();
            sorted.sort_unstable();
            let ms = |percent| format!("{:.2} ms", percentile(&sorted, percent).as_secs_f64() * 1000.0);
            writeln!(f, "{step:<44}{:>6}{:>12}{:>12}", sorted.len(), ms(50), ms(99))?;
        }
        self.notes.iter().try_for_each(|note| writeln!(f, "{note}"))
    }
}
