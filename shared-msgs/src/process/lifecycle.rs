//! Stopping, in one vocabulary: soft (finish what is under way), hard (drop it), and the tasks that are waited for.
//!
//! Owns the tokens and the tracker; knows no task. Installs signal handlers only when `main` asks. Invariant: a critical task that
//! ends before it was asked to stops the whole process, with a failure exit; nothing limps.

use std::process::ExitCode;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

/// What a soft stop may take before it turns hard.
pub const STOP_GRACE: Duration = Duration::from_secs(30);
/// What tasks get to notice a hard stop.
const HARD_GRACE: Duration = Duration::from_secs(1);

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitReason {
    /// Asked to stop, and all tasks ended.
    Clean,
    /// This critical task ended unasked or panicked. Outranks [`ExitReason::Forced`].
    TaskDied(&'static str),
    /// Tasks did not end in time, or a second signal cut the stop short.
    Forced,
}

impl ExitReason {
    /// 0 clean, 70 a task died (a bug: `EX_SOFTWARE`), 75 forced (`EX_TEMPFAIL`). `main` itself uses 1 for a failed start.
    pub fn code(self) -> u8 {
        match self {
            Self::Clean => 0,
            Self::TaskDied(_) => 70,
            Self::Forced => 75,
        }
    }
}

impl From<ExitReason> for ExitCode {
    fn from(reason: ExitReason) -> Self {
        Self::from(reason.code())
    }
}

/// The stopping of one process, or of one in-process instance in a test. Clones share it.
#[derive(Clone, Debug)]
pub struct Lifecycle {
    /// A child of `hard`: a hard stop is a soft one too.
    soft: CancellationToken,
    hard: CancellationToken,
    tasks: TaskTracker,
    /// Not waited for: they end with the process.
    watchers: TaskTracker,
    died: Arc<OnceLock<&'static str>>,
}

impl Default for Lifecycle {
    fn default() -> Self {
        Self::new()
    }
}

impl Lifecycle {
    /// Running.
    pub fn new() -> Self {
        let hard = CancellationToken::new();
        Self {
            soft: hard.child_token(),
            hard,
            tasks: TaskTracker::new(),
            watchers: TaskTracker::new(),
            died: Arc::default(),
        }
    }

    /// Cancelled when it is time to finish what is under way and end.
    pub fn soft(&self) -> &CancellationToken {
        &self.soft
    }

    /// Cancelled when it is time to drop everything and end.
    pub fn hard(&self) -> &CancellationToken {
        &self.hard
    }

    /// For tasks that may end whenever they like, but must have ended before the process does.
    pub fn tasks(&self) -> &TaskTracker {
        &self.tasks
    }

    /// Spawns a critical task, in a span of its name. It must not end before [`Lifecycle::soft`] is cancelled.
    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let watch = DeathWatch { name, soft: self.soft.clone(), died: Arc::clone(&self.died) };
        let task = async move {
            let _watch = watch;
            task.await;
        };
        self.tasks.spawn(task.instrument(tracing::info_span!(target: "process", "task", task = name)));
    }

    /// SIGTERM or SIGINT stops softly, a second one hard. For `main` only: a library leaves signals alone. SIGHUP, which ends a process
    /// that does not listen for it, is kept for [`Lifecycle::on_hangup`].
    ///
    /// # Errors
    /// When the handlers cannot be installed.
    pub fn listen_for_signals(&self) -> std::io::Result<Hangups> {
        let mut signals = Signals::new()?;
        let lifecycle = self.clone();
        let watch = async move {
            let mut seen = 0;
            loop {
                let name = signals.next().await;
                seen += 1;
                lifecycle.on_signal(name, seen);
            }
        };
        self.watchers.spawn(watch.instrument(tracing::info_span!(target: "process", "signals")));
        Hangups::new()
    }

    /// Does this at each SIGHUP, one that came earlier too, on a thread that may block. For `main` only.
    pub fn on_hangup(&self, mut hangups: Hangups, act: impl Fn() + Send + Sync + 'static) {
        let act = Arc::new(act);
        let watch = async move {
            while hangups.next().await.is_some() {
                let act = Arc::clone(&act);
                // One after the other; what it panics with has been printed.
                let _ = tokio::task::spawn_blocking(move || act()).await;
            }
        };
        self.watchers.spawn(watch.instrument(tracing::info_span!(target: "process", "hangups")));
    }

    fn on_signal(&self, name: &'static str, seen: u32) {
        if seen <= 1 {
            tracing::info!(target: "process", signal = name, "process.stopping");
            self.soft.cancel();
        } else {
            tracing::warn!(target: "process", signal = name, "process.forced");
            self.hard.cancel();
        }
    }

    /// Waits until a stop is asked for and all tasks have ended; after `grace` ([`STOP_GRACE`]) the stop turns hard.
    pub async fn run_to_end(self, grace: Duration) -> ExitReason {
        self.soft.cancelled().await;
        self.tasks.close();
        let ended = tokio::select! {
            biased;
            () = self.tasks.wait() => true,
            () = self.hard.cancelled() => false,
            () = tokio::time::sleep(grace) => false,
        };
        if !ended {
            tracing::warn!(target: "process", tasks = self.tasks.len(), "process.forced");
            self.hard.cancel();
            let _ = tokio::time::timeout(HARD_GRACE, self.tasks.wait()).await;
        }
        match self.died.get() {
            Some(name) => ExitReason::TaskDied(name),
            None if ended => ExitReason::Clean,
            None => ExitReason::Forced,
        }
    }
}

/// Dropped with its task, however that ends.
struct DeathWatch {
    name: &'static str,
    soft: CancellationToken,
    died: Arc<OnceLock<&'static str>>,
}

impl Drop for DeathWatch {
    fn drop(&mut self) {
        if self.soft.is_cancelled() && !std::thread::panicking() {
            return;
        }
        // The first death is the cause; those it drags along are not.
        let _ = self.died.set(self.name);
        tracing::error!(target: "process", task = self.name, "process.task_died");
        self.soft.cancel();
    }
}

/// SIGHUPs; there are none where there are no such signals.
#[derive(Debug)]
pub struct Hangups(#[cfg(unix)] tokio::signal::unix::Signal);

impl Hangups {
    #[cfg(unix)]
    fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        signal(SignalKind::hangup()).map(Self)
    }

    #[cfg(unix)]
    async fn next(&mut self) -> Option<()> {
        self.0.recv().await
    }

    #[cfg(not(unix))]
    #[expect(clippy::unnecessary_wraps, reason = "as on unix")]
    fn new() -> std::io::Result<Self> {
        Ok(Self())
    }

    #[cfg(not(unix))]
    async fn next(&mut self) -> Option<()> {
        None
    }
}

#[cfg(unix)]
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    #[expect(clippy::unnecessary_wraps, reason = "as on unix")]
    fn new() -> std::io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) -> &'static str {
        // An error means that no signal will ever come.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
        "ctrl-c"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_soft_stop_that_all_tasks_follow_is_clean() {
        let lifecycle = Lifecycle::new();
        let soft = lifecycle.soft().clone();
        lifecycle.spawn("good", async move { soft.cancelled().await });
        lifecycle.tasks().spawn(async {});
        lifecycle.on_signal("test", 1);
        let hard = lifecycle.hard().clone();
        assert_eq!(lifecycle.run_to_end(STOP_GRACE).await, ExitReason::Clean);
        assert!(!hard.is_cancelled());
    }

    #[tokio::test]
    async fn a_task_that_returns_unasked_stops_the_rest_and_is_named() {
        let lifecycle = Lifecycle::new();
        let soft = lifecycle.soft().clone();
        lifecycle.spawn("good", async move { soft.cancelled().await });
        lifecycle.spawn("gone", async {});
        let reason = lifecycle.run_to_end(STOP_GRACE).await;
        assert_eq!((reason, reason.code()), (ExitReason::TaskDied("gone"), 70));
    }

    #[tokio::test]
    async fn a_panic_counts_even_while_stopping() {
        let lifecycle = Lifecycle::new();
        let soft = lifecycle.soft().clone();
        lifecycle.spawn("clumsy", async move {
            soft.cancelled().await;
            panic!("expected by the test");
        });
        lifecycle.soft().cancel();
        assert_eq!(lifecycle.run_to_end(STOP_GRACE).await, ExitReason::TaskDied("clumsy"));
    }

    #[tokio::test]
    async fn a_second_signal_or_the_end_of_the_grace_forces() {
        for (signals, grace) in [(1, Duration::from_millis(20)), (2, Duration::from_hours(1))] {
            let lifecycle = Lifecycle::new();
            let hard = lifecycle.hard().clone();
            lifecycle.spawn("stubborn", async move { hard.cancelled().await });
            for seen in 1..=signals {
                lifecycle.on_signal("test", seen);
            }
            let end = tokio::time::timeout(Duration::from_secs(10), lifecycle.run_to_end(grace));
            let reason = end.await.expect("the second signal does not wait for the grace");
            assert_eq!((reason, reason.code()), (ExitReason::Forced, 75));
        }
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_hangup_that_comes_before_anybody_can_act_on_it_is_kept() {
        let lifecycle = Lifecycle::new();
        let hangups = lifecycle.listen_for_signals().unwrap();
        let own = std::process::id().to_string();
        assert!(std::process::Command::new("kill").args(["-HUP", &own]).status().unwrap().success());
        let (acted, mut has_acted) = tokio::sync::mpsc::unbounded_channel();
        lifecycle.on_hangup(hangups, move || {
            let _ = acted.send(());
        });
        assert_eq!(has_acted.recv().await, Some(()));
    }

    #[tokio::test]
    async fn a_task_deaf_even_to_hard_does_not_hold_the_process() {
        let lifecycle = Lifecycle::new();
        lifecycle.spawn("deaf", std::future::pending());
        lifecycle.hard().cancel();
        assert!(lifecycle.soft().is_cancelled(), "hard is soft too");
        assert_eq!(lifecycle.run_to_end(STOP_GRACE).await, ExitReason::Forced);
    }
}
