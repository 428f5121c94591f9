//! Who watches a run: truth, checkers, tally, and the history when somebody wants to read it.

use std::any::Any;

use crate::checkers::{self, Checker};
use crate::facts::{Fact, Ms, Phase};
use crate::tally::Tally;
use crate::truth::Truth;

/// An invariant that did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which checker says so.
    pub checker: &'static str,
    /// When, in milliseconds from the start of the run.
    pub at_ms: Ms,
    /// What was seen.
    pub what: String,
}

/// See the module.
pub(crate) struct Watch {
    truth: Truth,
    checkers: Vec<Box<dyn Checker>>,
    pub(crate) tally: Tally,
    pub(crate) violation: Option<Violation>,
    /// One line a fact, when asked for.
    pub(crate) history: Option<Vec<String>>,
}

/// Facts of bookkeeping that would only lengthen a history.
fn is_worth_a_line(fact: &Fact) -> bool {
    !matches!(fact, Fact::Sealed { .. } | Fact::Ticked { .. } | Fact::Stands { .. })
}

impl Watch {
    pub(crate) fn new(keeps_history: bool) -> Self {
        Self {
            truth: Truth::default(),
            checkers: checkers::all(),
            tally: Tally::default(),
            violation: None,
            history: keeps_history.then(Vec::new),
        }
    }

    pub(crate) fn truth(&self) -> &Truth {
        &self.truth
    }

    pub(crate) fn is_violated(&self) -> bool {
        self.violation.is_some()
    }

    pub(crate) fn see(&mut self, now: Ms, fact: &Fact) {
        if let Some(history) = self.history.as_mut().filter(|_| is_worth_a_line(fact)) {
            history.push(format!("{:>7}.{:03} {fact}", now / 1_000, now % 1_000));
        }
        self.tally.count(now, fact);
        self.truth.learn(now, fact);
        for checker in &mut self.checkers {
            let checked = checker.check(fact, &self.truth, now);
            if let (Err(what), None) = (checked, &self.violation) {
                self.violation = Some(Violation { checker: checker.name(), at_ms: now, what });
            }
        }
    }

    /// A core panicked, by an assertion of its own as a rule: the run ends there.
    pub(crate) fn panicked(&mut self, now: Ms, panic: &(dyn Any + Send)) {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let what = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message").to_owned();
        self.violation = Some(Violation { checker: "no-core-panics", at_ms: now, what });
    }

    /// The run is over: one that came to nothing is a violation too.
    pub(crate) fn end(&mut self, now: Ms) {
        self.tally.runs = 1;
        if self.violation.is_none() && self.tally.last_phase != Some(Phase::AllOut) {
            let what = "nothing was left to happen before the run's end".to_owned();
            self.violation = Some(Violation { checker: "the-world-goes-on", at_ms: now, what });
        }
        self.tally.violations = u64::from(self.violation.is_some());
    }
}
