//! The one task that writes to the database, with group commit.
//!
//! Owns the writing connection and the queue before it; knows no table: a write is a closure over the connection.
//! Invariant: a write is answered only after the transaction it ran in has been committed (or has failed), and one
//! write's failure undoes that write alone.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument as _, error, info_span};

use super::db_fault::Fault;

/// Writes that may wait; one more is refused.
pub const QUEUE_WRITES_MAX: usize = 1024;
/// Writes that share one transaction.
pub const GROUP_WRITES_MAX: usize = 64;
/// How long a caller waits for its commit.
pub const WRITE_DEADLINE: Duration = Duration::from_secs(5);

/// Why a write was not confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// The queue or the disk is full, or another process holds the database; nothing was done.
    #[error("too many writes are waiting for the database, another process holds it, or its disk is full")]
    Busy,
    /// No commit within the deadline; it may still come.
    #[error("the database did not commit in time")]
    Deadline,
    /// The transaction failed, or the writer ended before it answered.
    #[error("the database could not commit")]
    Failed,
    /// The writer has ended; nothing was done.
    #[error("the database is closed")]
    Closed,
}

/// A future that borrows the connection.
pub type Borrowing<'c, T> = Pin<Box<dyn Future<Output = T> + Send + 'c>>;
type Answer = Box<dyn FnOnce(Result<(), WriteError>) + Send>;
/// Where a write is to run, or why it cannot.
type Place<'c> = Result<&'c mut SqliteConnection, WriteError>;
/// Runs one write; `None` when its caller is gone or was answered, else whether to keep it and how to answer.
type Job = Box<dyn for<'c> FnOnce(Place<'c>) -> Borrowing<'c, Option<(bool, Answer)>> + Send>;

/// Hands writes to the writer task. Clones share it; the task ends when the last one is dropped.
#[derive(Clone)]
pub struct Writer {
    jobs: mpsc::Sender<Job>,
    closing: CancellationToken,
    ended: CancellationToken,
    commits: Arc<AtomicU64>,
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("queued", &self.queued()).finish_non_exhaustive()
    }
}

/// A write on its way.
#[must_use = "a write is confirmed only by waiting for it"]
#[derive(Debug)]
pub struct Pending<T, E>(oneshot::Receiver<Result<T, E>>);

impl<T, E: From<WriteError>> Pending<T, E> {
    /// Waits for the commit, at most [`WRITE_DEADLINE`].
    ///
    /// # Errors
    /// The write's own, or that of the transaction.
    pub async fn committed(self) -> Result<T, E> {
        self.committed_within(WRITE_DEADLINE).await
    }

    async fn committed_within(self, limit: Duration) -> Result<T, E> {
        match tokio::time::timeout(limit, self.0).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_gone)) => Err(WriteError::Failed.into()),
            Err(_elapsed) => Err(WriteError::Deadline.into()),
        }
    }
}

impl Writer {
    /// Starts the task on a connection and the options it was made with. It cancels `process` when it dies, not when it
    /// is closed.
    pub fn start(
        conn: SqliteConnection,
        options: SqliteConnectOptions,
        tasks: &TaskTracker,
        process: &CancellationToken,
    ) -> Self {
        let (sender, receiver) = mpsc::channel(QUEUE_WRITES_MAX);
        let closing = CancellationToken::new();
        let ended = CancellationToken::new();
        let commits = Arc::<AtomicU64>::default();
        let task = Task {
            conn,
            options,
            jobs: receiver,
            closing: closing.clone(),
            ended: ended.clone(),
            commits: Arc::clone(&commits),
        };
        let writer = Self { jobs: sender, closing, ended, commits };
        tasks.spawn(task.run(process.clone()).instrument(info_span!("db_writer")));
        writer
    }

    /// Queues a write. One whose `Pending` is dropped before its turn is not run.
    ///
    /// # Errors
    /// [`WriteError::Busy`] when too many wait, [`WriteError::Closed`] when the writer has ended.
    pub fn submit<T, E, F>(&self, write: F) -> Result<Pending<T, E>, WriteError>
    where
        T: Send + 'static,
        E: From<WriteError> + Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> Borrowing<'c, Result<T, E>> + Send + 'static,
    {
        let (sender, receiver) = oneshot::channel();
        let job: Job = Box::new(move |place| {
            Box::pin(async move {
                if sender.is_closed() {
                    return None;
                }
                let conn = match place {
                    Ok(conn) => conn,
                    Err(refused) => {
                        let _ = sender.send(Err(refused.into()));
                        return None;
                    }
                };
                let result = write(conn).await;
                let keep = result.is_ok();
                let answer: Answer = Box::new(move |committed| {
                    // An error is told only once the commit stands, too: it may rest on a neighbour's write.
                    let _ = sender.send(committed.map_err(E::from).and(result));
                });
                Some((keep, answer))
            })
        });
        match self.jobs.try_send(job) {
            Ok(()) => Ok(Pending(receiver)),
            Err(mpsc::error::TrySendError::Full(_)) => Err(WriteError::Busy),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(WriteError::Closed),
        }
    }

    /// Queues a write and waits for its commit.
    ///
    /// # Errors
    /// Those of [`Writer::submit`] and [`Pending::committed`].
    pub async fn write<T, E, F>(&self, write: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<WriteError> + Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> Borrowing<'c, Result<T, E>> + Send + 'static,
    {
        self.submit(write)?.committed().await
    }

    /// Takes no more writes; those that wait are still done. Returns when the connection is closed.
    pub async fn close(&self) {
        self.closing.cancel();
        self.ended.cancelled().await;
    }

    /// Writes that wait.
    pub fn queued(&self) -> usize {
        self.jobs.max_capacity() - self.jobs.capacity()
    }

    /// Transactions committed so far.
    pub fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }
}

struct Task {
    conn: SqliteConnection,
    options: SqliteConnectOptions,
    jobs: mpsc::Receiver<Job>,
    closing: CancellationToken,
    ended: CancellationToken,
    commits: Arc<AtomicU64>,
}

impl Task {
    async fn run(mut self, process: CancellationToken) {
        let guard = process.drop_guard();
        let _ended = self.ended.clone().drop_guard();
        let mut group = Vec::with_capacity(GROUP_WRITES_MAX);
        loop {
            let taken = tokio::select! {
                taken = self.jobs.recv_many(&mut group, GROUP_WRITES_MAX) => taken,
                () = self.closing.cancelled(), if !self.jobs.is_closed() => {
                    self.jobs.close();
                    continue;
                }
            };
            if taken == 0 {
                break;
            }
            let mut answers = Vec::with_capacity(group.len());
            let mut waiting = group.drain(..);
            let committed = commit_group(&mut self.conn, waiting.by_ref(), &mut answers).await;
            let told = match &committed {
                Ok(()) => {
                    self.commits.fetch_add(1, Ordering::Relaxed);
                    Ok(())
                }
                Err(err) => {
                    let fault = Fault::of(err);
                    error!(error = %err, %fault, writes = taken, "database.commit_failed");
                    Err(if fault.passes() { WriteError::Busy } else { WriteError::Failed })
                }
            };
            for answer in answers {
                answer(told);
            }
            if let Err(refused) = told {
                for job in waiting {
                    job(Err(refused)).await;
                }
            }
            // SQLite itself may have rolled back (a full disk does that), which sqlx's count of open transactions does
            // not see: that connection would refuse every later one. So it is replaced; if it cannot be, we die.
            // Behind another process's lock nothing was begun, and no other connection would get further.
            if committed.as_ref().is_err_and(|err| Fault::of(err) != Fault::Locked) {
                match self.options.connect().await {
                    Ok(fresh) => self.conn = fresh,
                    Err(err) => {
                        error!(error = %err, "database.reopen_failed");
                        return;
                    }
                }
            }
        }
        if let Err(err) = self.conn.close().await {
            error!(error = %err, "database.close_failed");
        }
        guard.disarm();
    }
}

/// Runs the writes in one transaction, each in a savepoint of its own. Those not reached before an error stay in `group`.
async fn commit_group(
    conn: &mut SqliteConnection,
    group: impl Iterator<Item = Job>,
    answers: &mut Vec<Answer>,
) -> Result<(), sqlx::Error> {
    let mut transaction = conn.begin_with("BEGIN IMMEDIATE").await?;
    for job in group {
        let mut savepoint = transaction.begin().await?;
        match job(Ok(&mut savepoint)).await {
            Some((keep, answer)) => {
                answers.push(answer);
                if keep { savepoint.commit().await? } else { savepoint.rollback().await? }
            }
            None => savepoint.rollback().await?,
        }
    }
    transaction.commit().await
}

#[cfg(test)]
mod tests;
