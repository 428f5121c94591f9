//! What the torture found, and its table.
//!
//! Owns the wording. Counts what it is given and judges nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::faults::Cycle;
use super::journal::Handover;

/// What must not be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Somebody was promised something and did not get it.
    Lost,
    /// Something was given twice, or is there twice.
    Doubled,
    /// Something does not come to its end.
    Stuck,
}

/// One thing that must not be.
#[derive(Debug, Clone)]
pub struct Finding {
    /// Which.
    pub kind: Kind,
    /// For people.
    pub words: String,
    /// Whose lines in the logs tell more.
    pub handovers: Vec<Handover>,
    /// Those lines, in order.
    pub lines: Vec<String>,
}

impl Finding {
    /// Without a handover.
    pub fn new(kind: Kind, words: String) -> Self {
        Self { kind, words, handovers: Vec::new(), lines: Vec::new() }
    }

    /// Of one handover.
    pub fn of(kind: Kind, handover: &str, words: String) -> Self {
        Self { handovers: vec![handover.to_owned()], ..Self::new(kind, words) }
    }
}

/// Everything that is told at the end.
#[derive(Debug, Default)]
pub struct Report {
    /// For a repetition of the same decisions.
    pub seed: u64,
    /// In all.
    pub took: Duration,
    /// From the calm until all agreed.
    pub agreed_in: Duration,
    /// In order of their ends.
    pub cycles: Vec<Cycle>,
    /// Handovers by what became of them: `welcome`, `refused …`, `excused …`, `not shown`, `lost`, `doubled`.
    pub fates: BTreeMap<String, u64>,
    /// Handovers answered with 200 before the server's yes.
    pub unconfirmed: u64,
    /// Shows that were told to wait.
    pub parked: u64,
    /// Shows that were refused, by code.
    pub refusals: BTreeMap<String, u64>,
    /// Requests to the hub that ended otherwise than by 200, by code.
    pub problems: BTreeMap<String, u64>,
    /// Requests without an answer.
    pub unanswered: u64,
    /// Sessions that were ended, by the word on it.
    pub ends: BTreeMap<String, u64>,
    /// Request to 200, milliseconds.
    pub asked_ms: Vec<u64>,
    /// Hello to welcome, milliseconds.
    pub entered_ms: Vec<u64>,
    /// Roll-call to welcome, milliseconds.
    pub rolled_ms: Vec<u64>,
    /// What must not be.
    pub findings: Vec<Finding>,
}

impl Report {
    /// How many findings of a kind.
    pub fn count(&self, kind: Kind) -> usize {
        self.findings.iter().filter(|finding| finding.kind == kind).count()
    }
}

/// p50, p99 and the longest.
fn times(f: &mut fmt::Formatter<'_>, name: &str, ms: &[u64]) -> fmt::Result {
    let mut sorted = ms.to_vec();
    sorted.sort_unstable();
    let at = |percent: usize| {
        let rank = (sorted.len() * percent).div_ceil(100).max(1) - 1;
        sorted.get(rank).map_or("-".to_owned(), u64::to_string)
    };
    writeln!(f, "{name:<34}{:>7}{:>9}{:>9}{:>9}", sorted.len(), at(50), at(99), at(100))
}

fn counts(f: &mut fmt::Formatter<'_>, title: &str, counts: &BTreeMap<String, u64>) -> fmt::Result {
    writeln!(f, "\n{title}")?;
    counts.iter().try_for_each(|(name, count)| writeln!(f, "  {name:<39}{count:>7}"))
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}: {} cycles in {} s", self.seed, self.cycles.len(), self.took.as_secs())?;
        writeln!(f, "\n{:<34}{:>7}{:>9}{:>9}{:>9}", "", "count", "p50 ms", "p99 ms", "max ms")?;
        let mut kinds: BTreeMap<&str, (Vec<u64>, usize)> = BTreeMap::new();
        for cycle in &self.cycles {
            let (times, hindered) = kinds.entry(cycle.kind).or_default();
            match cycle.recovered_in {
                Some(took) => times.push(u64::try_from(took.as_millis()).unwrap_or(u64::MAX)),
                None => *hindered += 1,
            }
        }
        for (kind, (ms, _)) in &kinds {
            times(f, &format!("{kind}: recovery"), ms)?;
        }
        times(f, "login or handover: request to 200", &self.asked_ms)?;
        times(f, "hello to welcome", &self.entered_ms)?;
        times(f, "last roll-call: to welcome", &self.rolled_ms)?;
        let hindered: usize = kinds.values().map(|(_, hindered)| hindered).sum();
        writeln!(f, "\ncycles whose recovery the end or other faults cut short: {hindered}")?;
        writeln!(f, "all agreed on who is where {} ms after the last fault", self.agreed_in.as_millis())?;
        counts(f, "handovers answered with 200", &self.fates)?;
        writeln!(f, "  {:<39}{:>7}", "(of these unconfirmed)", self.unconfirmed)?;
        counts(f, "requests answered otherwise", &self.problems)?;
        writeln!(f, "  {:<39}{:>7}", "(not at all, the way being disturbed)", self.unanswered)?;
        counts(f, "tokens refused when shown", &self.refusals)?;
        writeln!(f, "  {:<39}{:>7}", "(told to wait first: parked)", self.parked)?;
        counts(f, "sessions ended not by their players", &self.ends)?;
        writeln!(
            f,
            "\nlost {}   doubled {}   stuck {}",
            self.count(Kind::Lost),
            self.count(Kind::Doubled),
            self.count(Kind::Stuck)
        )?;
        for finding in &self.findings {
            writeln!(f, "\n{:?}: {} {}", finding.kind, finding.handovers.join(" "), finding.words)?;
            finding.lines.iter().try_for_each(|line| writeln!(f, "    {line}"))?;
        }
        Ok(())
    }
}
