//! Where requests are let in, and what is measured to decide it.
//!
//! Feeds the core in `shed` with the password queue and the desk's lag, tells the log and the metrics. Invariant: every request that was
//! let in is counted until it is over, however it ends, or until it says that from now on it only waits.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::problem::{Kind, Problem};
use super::shed::{Change, Class, Shed, ShedLimits, Signals};
use super::state::HttpState;

/// How often the desk is asked, and how finely its lag is known.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// The state of it all.
#[derive(Debug)]
pub(super) struct Pressure(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    shed: Shed,
    desk_lag: Duration,
}

impl Pressure {
    pub(super) const fn new(requests_max: usize, limits: ShedLimits) -> Self {
        Self(Mutex::new(Inner { shed: Shed::new(requests_max, limits), desk_lag: Duration::ZERO }))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Two numbers, consistent between calls.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request under way.
#[derive(Debug)]
pub(super) struct Permit(HttpState);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.pressure().lock().shed.leave();
    }
}

/// A request's permit, where its handler finds it.
#[derive(Clone, Debug)]
pub(super) struct Held(Arc<Mutex<Option<Permit>>>);

impl Held {
    pub(super) fn new(permit: Permit) -> Self {
        Self(Arc::new(Mutex::new(Some(permit))))
    }

    /// From now on the request only waits, within a bound of its own: it counts no more.
    pub(super) fn give_up(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

impl HttpState {
    /// Lets a request in, or says when to come back.
    pub(super) fn enter(&self, class: Class) -> Result<Permit, Problem> {
        self.observe(None);
        if self.pressure().lock().shed.enter(class) {
            return Ok(Permit(self.clone()));
        }
        let metrics = &self.parts().metrics;
        metrics.shed(class.label());
        if class == Class::Login {
            // It does not come as far as where logins are counted.
            metrics.login(Kind::HubBusy.code());
        }
        Err(Problem::retry(Kind::HubBusy, class.retry_after()))
    }

    /// Looks at the password queue, and takes in how late the desk is if that is known anew.
    pub(super) fn observe(&self, desk_lag: Option<Duration>) {
        let gauges = self.parts().passwords.gauges();
        let full = gauges.queued.saturating_mul(100).checked_div(gauges.queue_max).unwrap_or(100);
        let now = self.mono();
        let mut inner = self.pressure().lock();
        inner.desk_lag = desk_lag.unwrap_or(inner.desk_lag);
        let desk_lag = inner.desk_lag;
        let signals = Signals { password_queue_percent: u64::try_from(full).unwrap_or(u64::MAX), desk_lag };
        let change = inner.shed.observe(signals, now);
        drop(inner);
        let Some(Change { from, to }) = change else { return };
        self.parts().metrics.overload_level(to);
        let desk_lag_ms = u64::try_from(desk_lag.as_millis()).unwrap_or(u64::MAX);
        if to > from {
            warn!(target: "http", from, to, queue_percent = full, desk_lag_ms, "overload.entered");
        } else {
            info!(target: "http", from, to, queue_percent = full, desk_lag_ms, "overload.left");
        }
    }
}

/// Measures the desk's lag until `stop`, and lets the level fall while nobody asks for anything.
///
/// The lag is the looks in vain, each after a time of our own, and not what the clock says: a process that was stopped for a while, or a
/// machine that slept, has no desk that is late.
pub async fn watch_desk(state: HttpState, stop: CancellationToken) {
    let watch = async {
        loop {
            let mut answer = state.parts().desk.snapshot();
            let mut lag = Duration::ZERO;
            while tokio::time::timeout(LOOK_EVERY, &mut answer).await.is_err() {
                lag = lag.saturating_add(LOOK_EVERY);
                state.observe(Some(lag));
            }
            state.observe(Some(lag));
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    stop.run_until_cancelled(watch).await;
}
