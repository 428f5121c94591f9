//! Password checks, priced: a fixed set of threads, each with its own argon2 memory, behind a bounded queue.
//!
//! Memory is taken at a thread's first hash and given back when it had nothing to do for a while: a hub that nobody logs in to holds
//! none. The first hash after that finds its memory cold.
//!
//! Knows neither accounts nor the throttle before it. Invariants: at most `threads` hashes run at one time; a check that
//! finds the queue full is refused at once; a check against no account at all costs what one against a fresh account does.
//!
//! The last point has a limit: a hash imported with other costs takes another time than the decoy, and tells a patient
//! stop-watch that its account exists, until a login upgrades it. Hashes stronger than the setting stay so on purpose.
//!
//! Passwords are wiped when dropped.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use shared_msgs::clock::Clock;
use shared_msgs::rng::Rng;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tracing::error;

use super::account::Password;
use super::hasher::{Hasher, Refused};
use super::phc::{Cost, Phc};

/// Bounds of the advice when to come back.
const RETRY_AFTER_MIN: Duration = Duration::from_secs(1);
const RETRY_AFTER_MAX: Duration = Duration::from_secs(30);

/// A thread that had nothing to do for so long gives its memory back. Long enough that a steady trickle of logins finds it warm.
const COOL_AFTER: Duration = Duration::from_secs(10);

/// How the pool is sized.
#[derive(Clone, Copy, Debug)]
pub struct PoolConfig {
    /// Hashes at one time.
    pub threads: NonZeroUsize,
    /// Checks that may wait; one more is refused.
    pub queue_checks_max: NonZeroUsize,
    /// What a new hash costs.
    pub cost: Cost,
    /// A thread that has nothing to do gives its memory back after this.
    pub cool_after: Duration,
}

impl Default for PoolConfig {
    /// As many threads as cores, and a queue that each drains in about a second.
    fn default() -> Self {
        let threads = thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        Self {
            threads,
            queue_checks_max: threads.saturating_mul(const { NonZeroUsize::new(64).unwrap() }),
            cost: Cost::DEFAULT,
            cool_after: COOL_AFTER,
        }
    }
}

/// Why the pool did not start.
#[derive(Debug, thiserror::Error)]
pub enum PoolStartError {
    /// argon2 refused the configured cost.
    #[error("argon2 refused its parameters")]
    Cost,
    /// The system gave no thread.
    #[error("cannot start a password thread")]
    Thread(#[source] std::io::Error),
}

/// Why a password was not checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PoolError {
    /// The queue is full.
    #[error("too many password checks are waiting")]
    Busy {
        /// When the queue should have drained.
        retry_after: Duration,
    },
    /// argon2 refused, which a valid hash cannot cause.
    #[error("argon2 refused the hash")]
    Hash,
    /// The pool has ended.
    #[error("the password pool has ended")]
    Closed,
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The account exists and the password is its own.
    pub ok: bool,
    /// The same password at the configured cost, to replace a weaker hash
    /// ([`Store::upgrade_phc`](super::store::Store::upgrade_phc)).
    pub upgraded: Option<Phc>,
}

/// What the pool is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gauges {
    /// Checks that wait.
    pub queued: usize,
    /// How many may.
    pub queue_max: usize,
    /// Checks that run.
    pub in_flight: usize,
    /// Hashes computed since the start.
    pub hashes: u64,
    /// What the threads hold for argon2.
    pub memory_bytes: u64,
}

/// What a thread is to do next.
enum Next {
    Perform(Task),
    /// Nothing for a while: give the memory back.
    Cool,
    /// The pool is closed.
    End,
}

enum Task {
    Verify {
        password: Password,
        phc: Option<Phc>,
        reply: oneshot::Sender<Result<Verified, PoolError>>,
    },
    Hash {
        password: Password,
        reply: oneshot::Sender<Result<Phc, PoolError>>,
    },
    #[cfg(test)]
    Run(Box<dyn FnOnce() + Send>),
}

impl Task {
    fn is_abandoned(&self) -> bool {
        match self {
            Self::Verify { reply, .. } => reply.is_closed(),
            Self::Hash { reply, .. } => reply.is_closed(),
            #[cfg(test)]
            Self::Run(_) => false,
        }
    }
}

#[derive(Default)]
struct State {
    queue: VecDeque<Task>,
    in_flight: usize,
    hashes: u64,
    /// Threads that hold memory.
    warm: u64,
    /// A moving average of how long a task takes.
    task_ms: u64,
    closed: bool,
}

struct Shared {
    state: Mutex<State>,
    wake: Condvar,
    config: PoolConfig,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No code that can panic runs under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, task: Task) -> Result<(), PoolError> {
        let mut state = self.lock();
        if state.closed {
            return Err(PoolError::Closed);
        }
        if state.queue.len() >= self.config.queue_checks_max.get() {
            let waiting = u64::try_from(state.queue.len() / self.config.threads).unwrap_or(u64::MAX);
            let drained = Duration::from_millis(waiting.saturating_mul(state.task_ms));
            return Err(PoolError::Busy { retry_after: drained.clamp(RETRY_AFTER_MIN, RETRY_AFTER_MAX) });
        }
        state.queue.push_back(task);
        self.wake.notify_one();
        Ok(())
    }

    /// The next task whose caller still waits. Only who is warm is told to cool.
    fn take(&self, warm: bool) -> Next {
        let mut state = self.lock();
        let mut waited = false;
        loop {
            if state.closed {
                return Next::End;
            }
            match state.queue.pop_front() {
                Some(task) if task.is_abandoned() => {}
                Some(task) => {
                    state.in_flight += 1;
                    return Next::Perform(task);
                }
                None if waited => return Next::Cool,
                None if warm => {
                    let woken = self.wake.wait_timeout(state, self.config.cool_after);
                    let timeout;
                    (state, timeout) = woken.unwrap_or_else(PoisonError::into_inner);
                    waited = timeout.timed_out();
                }
                None => state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    fn done(&self, hashes: u64, warmed: bool, took: Duration) {
        let mut state = self.lock();
        state.in_flight -= 1;
        state.hashes += hashes;
        state.warm += u64::from(warmed);
        let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        state.task_ms = (state.task_ms.saturating_mul(7).saturating_add(took_ms)) / 8;
    }

    /// Ends the threads and refuses whoever waits. True when it was open.
    fn close(&self) -> bool {
        let mut state = self.lock();
        let was_open = !std::mem::replace(&mut state.closed, true);
        state.queue.clear();
        self.wake.notify_all();
        was_open
    }
}

/// The pool. Its threads end when it is dropped, each after the hash it is computing.
pub struct PasswordPool {
    shared: Arc<Shared>,
    /// Never joined: dropping must not wait for a hash.
    threads: Vec<JoinHandle<()>>,
}

impl std::fmt::Debug for PasswordPool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PasswordPool").field("gauges", &self.gauges()).finish_non_exhaustive()
    }
}

impl PasswordPool {
    /// Computes the decoy (one hash's time) and starts the threads. One that dies cancels `process`.
    ///
    /// # Errors
    /// When the cost is refused or the system gives no thread.
    pub fn start(
        config: PoolConfig,
        process: &CancellationToken,
        rng: &Arc<dyn Rng>,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, PoolStartError> {
        let new_hasher = || Hasher::new(config.cost, Arc::clone(rng)).map_err(|_| PoolStartError::Cost);
        let mut hasher = new_hasher()?;
        let started = clock.now().mono;
        let decoy = hasher.hash(&rng.array::<32>()).map_err(|_| PoolStartError::Cost)?;
        let task_ms = u64::try_from(clock.now().mono.since(started).as_millis()).unwrap_or(u64::MAX);
        let shared =
            Shared { state: Mutex::new(State { task_ms, ..State::default() }), wake: Condvar::new(), config };
        let mut pool = Self { shared: Arc::new(shared), threads: Vec::new() };
        for n in 0..config.threads.get() {
            let worker = Worker {
                alarm: Alarm { shared: Arc::clone(&pool.shared), process: process.clone() },
                hasher: new_hasher()?,
                decoy: decoy.clone(),
                clock: Arc::clone(clock),
            };
            let thread = thread::Builder::new().name(format!("argon2-{n}")).spawn(move || worker.run());
            pool.threads.push(thread.map_err(PoolStartError::Thread)?);
        }
        Ok(pool)
    }

    /// Checks a password; `None` for an account that does not exist, which costs the same and is never right.
    /// A check whose caller has gone before its turn is not made.
    ///
    /// # Errors
    /// [`PoolError::Busy`] at once when the queue is full.
    pub async fn verify(&self, password: Password, phc: Option<Phc>) -> Result<Verified, PoolError> {
        let (reply, answer) = oneshot::channel();
        self.shared.push(Task::Verify { password, phc, reply })?;
        answer.await.unwrap_or(Err(PoolError::Closed))
    }

    /// Hashes a password that is being set.
    ///
    /// # Errors
    /// [`PoolError::Busy`] at once when the queue is full.
    pub async fn hash(&self, password: Password) -> Result<Phc, PoolError> {
        let (reply, answer) = oneshot::channel();
        self.shared.push(Task::Hash { password, reply })?;
        answer.await.unwrap_or(Err(PoolError::Closed))
    }

    /// What the pool is doing now.
    pub fn gauges(&self) -> Gauges {
        let state = self.shared.lock();
        Gauges {
            queued: state.queue.len(),
            queue_max: self.shared.config.queue_checks_max.get(),
            in_flight: state.in_flight,
            hashes: state.hashes,
            memory_bytes: state.warm * self.shared.config.cost.memory_bytes(),
        }
    }
}

impl Drop for PasswordPool {
    fn drop(&mut self) {
        self.shared.close();
    }
}

/// Dropped by a thread that ends. While the pool is open, that is a death: it takes pool and process with it.
struct Alarm {
    shared: Arc<Shared>,
    process: CancellationToken,
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if self.shared.close() {
            error!("password.thread_died");
            self.process.cancel();
        }
    }
}

struct Worker {
    alarm: Alarm,
    hasher: Hasher,
    decoy: Phc,
    clock: Arc<dyn Clock>,
}

impl Worker {
    fn run(mut self) {
        loop {
            let was_warm = self.hasher.is_warm();
            let task = match self.alarm.shared.take(was_warm) {
                Next::Perform(task) => task,
                Next::Cool => {
                    self.hasher.cool();
                    self.alarm.shared.lock().warm -= 1;
                    continue;
                }
                Next::End => return,
            };
            let started = self.clock.now().mono;
            let hashes_before = self.hasher.hashes();
            let answer = self.perform(task);
            let took = self.clock.now().mono.since(started);
            let warmed = self.hasher.is_warm() && !was_warm;
            self.alarm.shared.done(self.hasher.hashes() - hashes_before, warmed, took);
            // Whoever was answered finds the gauges up to date.
            answer();
        }
    }

    /// Does the work, wipes the password, and returns the answering of it.
    fn perform(&mut self, task: Task) -> Box<dyn FnOnce()> {
        match task {
            Task::Verify { password, phc, reply } => {
                let result = self.verify(&password, phc.as_ref());
                drop(password);
                Box::new(move || drop(reply.send(result.map_err(|Refused| PoolError::Hash))))
            }
            Task::Hash { password, reply } => {
                let result = self.hasher.hash(password.as_bytes());
                drop(password);
                Box::new(move || drop(reply.send(result.map_err(|Refused| PoolError::Hash))))
            }
            #[cfg(test)]
            Task::Run(run) => {
                run();
                Box::new(|| {})
            }
        }
    }

    fn verify(&mut self, password: &Password, phc: Option<&Phc>) -> Result<Verified, Refused> {
        let against = phc.unwrap_or(&self.decoy).parsed().map_err(|_| Refused)?;
        let ok = self.hasher.matches(password.as_bytes(), &against)? & phc.is_some();
        let upgraded = if ok && against.is_weaker_than(self.hasher.cost()) {
            Some(self.hasher.hash(password.as_bytes())?)
        } else {
            None
        };
        Ok(Verified { ok, upgraded })
    }
}

#[cfg(test)]
mod tests;
