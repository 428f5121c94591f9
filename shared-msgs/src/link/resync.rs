//! The connection's life: Idle → Connecting → Subscribing → Up → Backoff, and what time makes of it.
//!
//! Pure: takes `now` and jitter, says what to do next; knows no socket and no topic. Invariants: Up only after every subscription
//! was granted; no state waits for the broker without a deadline; after a failure the next attempt is at the next broker.

use std::time::Duration;

use crate::clock::Mono;
use crate::limits::{RECONNECT_FIRST, RECONNECT_MAX};

/// A connection that stayed up this long has earned a short back-off again; a flapping one has not.
const STABLE: Duration = RECONNECT_MAX;
/// rumqttc has a connect timeout of its own; ours only catches it hanging.
const CONNECT_SLACK: Duration = Duration::from_secs(1);

/// Where a connection is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing was tried yet.
    Idle,
    /// An attempt is under way: no CONNACK yet.
    Connecting {
        /// Its start.
        since: Mono,
    },
    /// No SUBACK yet.
    Subscribing {
        /// When CONNACK came.
        since: Mono,
        /// Filters asked for.
        left: usize,
    },
    /// Everything is granted.
    Up {
        /// From when on.
        since: Mono,
    },
    /// Waits before the next attempt.
    Backoff {
        /// Its start.
        until: Mono,
    },
}

/// What to do when the broker said yes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Subscribe now.
    Subscribe,
    /// All is granted.
    Up,
}

/// A SUBACK that does not let us up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubackError {
    /// Nobody asked, or it answers another number of filters.
    Unexpected,
    /// The filter of this index was refused.
    Refused(usize),
}

/// How bad a failure is for the next attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// May be over in a moment.
    Passing,
    /// Needs somebody to change something: do not hurry.
    Lasting,
}

/// What the broker owed us and did not do in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overdue {
    /// CONNACK.
    Connect,
    /// SUBACK.
    Suback,
    /// Anything at all.
    Sound,
    /// An acknowledgement of a publish.
    Puback,
}

/// See the module.
#[derive(Debug)]
pub struct Resync {
    state: State,
    brokers: usize,
    broker: usize,
    failures: u32,
    silence_max: Duration,
    answer_max: Duration,
    heard: Mono,
    /// Since when a PUBACK is owed: the last one, or the first publish after none was.
    puback_owed: Option<Mono>,
}

impl Resync {
    /// `silence_max` bounds the silence of an established connection, `answer_max` the wait for CONNACK and SUBACK.
    pub fn new(brokers: usize, silence_max: Duration, answer_max: Duration) -> Self {
        Self {
            state: State::Idle,
            brokers: brokers.max(1),
            broker: 0,
            failures: 0,
            silence_max,
            answer_max,
            heard: Mono(0),
            puback_owed: None,
        }
    }

    /// Where the connection is in its life.
    pub fn state(&self) -> State {
        self.state
    }

    /// Starts an attempt: at the broker of this index.
    pub fn connect(&mut self, now: Mono) -> usize {
        self.state = State::Connecting { since: now };
        self.heard = now;
        self.puback_owed = None;
        self.broker
    }

    /// CONNACK came; so many filters are to be subscribed.
    pub fn connected(&mut self, now: Mono, filters: usize) -> Step {
        if filters == 0 {
            self.state = State::Up { since: now };
            Step::Up
        } else {
            self.state = State::Subscribing { since: now, left: filters };
            Step::Subscribe
        }
    }

    /// SUBACK came, a verdict per filter.
    ///
    /// # Errors
    /// [`SubackError`]: the connection is to be given up.
    pub fn suback(&mut self, now: Mono, granted: &[bool]) -> Result<Step, SubackError> {
        match self.state {
            State::Subscribing { left, .. } if left == granted.len() => {
                if let Some(refused) = granted.iter().position(|granted| !granted) {
                    return Err(SubackError::Refused(refused));
                }
                self.state = State::Up { since: now };
                Ok(Step::Up)
            }
            State::Subscribing { .. }
            | State::Idle
            | State::Connecting { .. }
            | State::Up { .. }
            | State::Backoff { .. } => Err(SubackError::Unexpected),
        }
    }

    /// Anything came from the broker.
    pub fn heard(&mut self, now: Mono) {
        self.heard = now;
    }

    /// A publish went out.
    pub fn published(&mut self, now: Mono) {
        self.puback_owed.get_or_insert(now);
    }

    /// The PUBACK of the oldest publish under way came; `more` when others are still owed. One that comes out of turn does not count: those
    /// it passed over are owed still.
    pub fn acked(&mut self, now: Mono, more: bool) {
        self.puback_owed = more.then_some(now);
    }

    /// We ourselves did not listen for a while (the owner was slow): that is no silence of the broker's.
    pub fn resumed(&mut self, now: Mono) {
        self.heard = now;
        if let Some(since) = &mut self.puback_owed {
            *since = now;
        }
    }

    fn deadlines(&self) -> impl Iterator<Item = (Mono, Overdue)> {
        let silence = (self.heard + self.silence_max, Overdue::Sound);
        let all = match self.state {
            State::Idle | State::Backoff { .. } => [None, None],
            State::Connecting { since } => {
                [Some((since + self.answer_max + CONNECT_SLACK, Overdue::Connect)), None]
            }
            State::Subscribing { since, .. } => {
                [Some((since + self.answer_max, Overdue::Suback)), Some(silence)]
            }
            State::Up { .. } => {
                [Some(silence), self.puback_owed.map(|since| (since + self.silence_max, Overdue::Puback))]
            }
        };
        all.into_iter().flatten()
    }

    /// When to look at [`Resync::overdue`] next. Asked anew on every change of state; otherwise deadlines only move away.
    pub fn next_look(&self, now: Mono) -> Duration {
        let next = self.deadlines().map(|(at, _)| at).min();
        // Never zero: a look at a deadline that just passed is not repeated in a spin.
        next.map_or(self.silence_max, |at| at.since(now)).max(Duration::from_millis(1))
    }

    /// What is overdue; the connection is to be given up then.
    pub fn overdue(&self, now: Mono) -> Option<Overdue> {
        self.deadlines().filter(|&(at, _)| at <= now).min_by_key(|&(at, _)| at).map(|(_, what)| what)
    }

    /// The attempt or connection failed. `below(n)` draws from `0..n`. Says how long to wait.
    pub fn failed(&mut self, now: Mono, severity: Severity, below: impl FnOnce(u64) -> u64) -> Duration {
        if let State::Up { since } = self.state
            && now.since(since) >= STABLE
        {
            self.failures = 0;
        }
        let ceiling = RECONNECT_FIRST.saturating_mul(1 << self.failures.min(16)).min(RECONNECT_MAX);
        let wait = match severity {
            Severity::Passing => jitter(ceiling, below),
            Severity::Lasting => RECONNECT_MAX / 2 + jitter(RECONNECT_MAX / 2, below),
        };
        self.failures = self.failures.saturating_add(1);
        self.broker = (self.broker + 1) % self.brokers;
        self.state = State::Backoff { until: now + wait };
        wait
    }
}

/// Anything up to `ceiling`.
fn jitter(ceiling: Duration, below: impl FnOnce(u64) -> u64) -> Duration {
    let ceiling_ms = u64::try_from(ceiling.as_millis()).unwrap_or(u64::MAX);
    Duration::from_millis(below(ceiling_ms.saturating_add(1)).min(ceiling_ms))
}

#[cfg(test)]
mod tests;
