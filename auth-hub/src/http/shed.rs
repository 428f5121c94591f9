//! Which requests are refused first when there are too many: registrations, then logins and lists, handovers last.
//!
//! A sans-I/O core: takes `now` and signals, knows no request. Two things refuse. A class may fill a share of the bound on requests and no
//! more, so that what matters less leaves room for what matters more. And there is a level of pressure, raised at once by a signal and
//! lowered one step at a time, after the signal was calm for a while. Invariants: a class is never refused while one that matters less
//! is let in; between two falls of the level lies at least the calm time; a signal that stays between half its threshold and the threshold
//! changes nothing.
//!
//! The password queue raises the first level only. It refuses logins by itself when it is full, and knows best when it will have drained;
//! handovers do not need it.

use std::time::Duration;

use shared_msgs::clock::Mono;

/// What a request is for, the first to be refused first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Class {
    /// A new account can wait.
    Registration,
    /// Costs a password check; also whoever comes in anew.
    Login,
    /// What anybody may ask, and a client can do without.
    List,
    /// Whoever has logged in already, and moves or comes back.
    Handover,
}

impl Class {
    /// Every one of them; whoever is refused last comes last.
    pub(super) const ALL: [Self; 4] = [Self::Registration, Self::Login, Self::List, Self::Handover];

    /// For metrics.
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Registration => "registration",
            Self::Login => "login",
            Self::List => "list",
            Self::Handover => "handover",
        }
    }

    /// The level from which on it is refused.
    const fn refused_from(self) -> u8 {
        match self {
            Self::Registration => 1,
            Self::Login | Self::List => 2,
            Self::Handover => 3,
        }
    }

    /// When to come back: the sooner the more it matters.
    pub(super) const fn retry_after(self) -> Duration {
        match self {
            Self::Registration => Duration::from_secs(5),
            Self::Login => Duration::from_secs(2),
            Self::List | Self::Handover => Duration::from_secs(1),
        }
    }
}

/// When what is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShedLimits {
    /// Requests under way beyond which no registration is let in, in percent of all that may be.
    pub registrations_percent: u8,
    /// The same for logins and lists.
    pub logins_percent: u8,
    /// How full the password queue is at the first level.
    pub password_queue_percent: u8,
    /// How late the desk is at the first level; twice as late at the second, four times at the third.
    pub desk_lag: Duration,
    /// How long all must be calm before the level falls by one.
    pub calm: Duration,
}

/// What is measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Signals {
    /// How full the password queue is.
    pub(super) password_queue_percent: u64,
    /// How long the desk has made somebody wait.
    pub(super) desk_lag: Duration,
}

/// The level was another before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) from: u8,
    pub(super) to: u8,
}

/// Who is in, and how great the pressure is.
#[derive(Debug)]
pub(super) struct Shed {
    requests_max: usize,
    limits: ShedLimits,
    running: usize,
    level: u8,
    calm_since: Option<Mono>,
}

impl Shed {
    pub(super) const fn new(requests_max: usize, limits: ShedLimits) -> Self {
        Self { requests_max, limits, running: 0, level: 0, calm_since: None }
    }

    /// Lets a request in, or not. Each that was let in ends with [`Shed::leave`].
    #[must_use]
    pub(super) fn enter(&mut self, class: Class) -> bool {
        let is_let_in = self.level < class.refused_from() && self.running < self.room_of(class);
        self.running += usize::from(is_let_in);
        is_let_in
    }

    pub(super) fn leave(&mut self) {
        self.running = self.running.saturating_sub(1);
    }

    /// Requests under way at which this class is refused. Of a bound that is not zero each class has some.
    fn room_of(&self, class: Class) -> usize {
        let percent = match class {
            Class::Registration => self.limits.registrations_percent,
            Class::Login | Class::List => self.limits.logins_percent,
            Class::Handover => 100,
        };
        self.requests_max.saturating_mul(percent.into()).div_ceil(100)
    }

    /// Takes the signals in.
    pub(super) fn observe(&mut self, signals: Signals, now: Mono) -> Option<Change> {
        let from = self.level;
        let raised = self.level_at(signals, 1);
        // What it takes to stay is half of what it took to come.
        if raised > from {
            self.level = raised;
            self.calm_since = None;
        } else if self.level_at(signals, 2) >= from {
            self.calm_since = None;
        } else if now.since(*self.calm_since.get_or_insert(now)) >= self.limits.calm {
            self.level -= 1;
            self.calm_since = Some(now);
        }
        (self.level != from).then_some(Change { from, to: self.level })
    }

    /// The level of these signals, against thresholds divided by this.
    fn level_at(&self, Signals { password_queue_percent, desk_lag }: Signals, part: u32) -> u8 {
        let late = self.limits.desk_lag / part;
        let is_late = [late, late * 2, late * 4].into_iter().filter(|at| desk_lag >= *at).count();
        let full_percent = u64::from(self.limits.password_queue_percent).div_ceil(part.into());
        u8::try_from(is_late).unwrap_or(u8::MAX).max(u8::from(password_queue_percent >= full_percent))
    }
}

#[cfg(test)]
mod tests;
