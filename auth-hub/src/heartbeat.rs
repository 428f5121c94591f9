//! Does the desk still turn? A thread of its own looks, because what hangs the desk may hang every thread of the runtime.
//!
//! rumqttd's router takes packets through a bounded channel and a send to it blocks its thread: a router that lives but no longer
//! reads stops the whole runtime, and with it the canary that should have told. Invariant: a process that was merely stopped for a
//! while (SIGSTOP, a suspended machine) is not taken for dead: two looks in a row must find nothing, each after time of our own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use shared_msgs::limits;

/// Between two looks; the desk turns at least once per status beat.
pub const LOOK_EVERY: Duration = Duration::from_secs(5);
const _: () = assert!(LOOK_EVERY.as_millis() > 2 * limits::STATUS_BEAT.as_millis());
/// So many looks in a row without a beat mean that it is dead.
const STILL_MAX: u32 = 2;

/// Counted by the desk, read by the watch.
#[derive(Clone, Debug, Default)]
pub struct Heartbeat(Arc<AtomicU64>);

impl Heartbeat {
    /// Another turn.
    pub(crate) fn beat(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Ends the watch when dropped.
#[derive(Debug)]
#[must_use = "dropping it ends the watch"]
pub struct Watch(#[expect(dead_code, reason = "its drop is the signal")] Sender<()>);

/// Calls `on_dead`, once, when the heart has stood still; on a thread of its own.
///
/// # Errors
/// When the system gives no thread.
pub fn watch(
    heart: Heartbeat,
    look_every: Duration,
    on_dead: impl FnOnce() + Send + 'static,
) -> std::io::Result<Watch> {
    let (end, ended) = channel();
    thread::Builder::new().name("heartbeat".into()).spawn(move || {
        if stands_still(&heart, look_every, &ended) {
            on_dead();
        }
    })?;
    Ok(Watch(end))
}

/// Looks until the heart stands still (true) or the watch is ended (false).
fn stands_still(heart: &Heartbeat, look_every: Duration, ended: &Receiver<()>) -> bool {
    let mut looks = Looks { last: heart.count(), still: 0 };
    while ended.recv_timeout(look_every) == Err(RecvTimeoutError::Timeout) {
        if looks.look(heart.count()) {
            return true;
        }
    }
    false
}

struct Looks {
    last: u64,
    still: u32,
}

impl Looks {
    /// Whether it has stood still for long enough.
    fn look(&mut self, count: u64) -> bool {
        self.still = if count == self.last { self.still + 1 } else { 0 };
        self.last = count;
        self.still >= STILL_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_looks_in_a_row_without_a_beat_mean_death() {
        let mut looks = Looks { last: 0, still: 0 };
        let dead: Vec<bool> = [1, 1, 2, 2, 3, 3, 3].map(|count| looks.look(count)).into();
        assert_eq!(dead, [false, false, false, false, false, false, true]);
    }

    #[test]
    fn the_watch_calls_once_for_a_dead_heart_and_never_after_its_end() {
        let (called, calls) = channel();
        let watched = watch(Heartbeat::default(), Duration::from_millis(1), move || called.send(()).unwrap());
        assert_eq!(calls.recv(), Ok(()));
        drop(watched.unwrap());

        let (called, calls) = channel::<()>();
        let watched = watch(Heartbeat::default(), Duration::from_hours(1), move || called.send(()).unwrap());
        drop(watched.unwrap());
        assert!(calls.recv().is_err(), "the thread ends with its watch");
    }
}
