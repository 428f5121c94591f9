//! The writer under gates: order is made by channels, never by waiting.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use sqlx::SqlitePool;

use super::super::db;
use super::super::fixture::within;
use super::*;

#[derive(Debug, PartialEq, Eq)]
enum TestError {
    Mine,
    Write(WriteError),
    Sql,
}

impl From<WriteError> for TestError {
    fn from(err: WriteError) -> Self {
        Self::Write(err)
    }
}

struct Fixture {
    _dir: tempfile::TempDir,
    writer: Writer,
    readers: SqlitePool,
    process: CancellationToken,
}

async fn fixture() -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let mut db = db::open(&dir.path().join("test.sqlite")).await.unwrap();
    sqlx::query("CREATE TABLE numbers (n BIGINT PRIMARY KEY)").execute(&mut db.writer).await.unwrap();
    let process = CancellationToken::new();
    let writer = Writer::start(db.writer, db.options, &TaskTracker::new(), &process);
    Fixture { _dir: dir, writer, readers: db.readers, process }
}

impl Fixture {
    fn insert(&self, n: i64) -> Pending<i64, TestError> {
        self.writer
            .submit(move |conn| {
                Box::pin(async move {
                    let insert = sqlx::query("INSERT INTO numbers (n) VALUES ($1)").bind(n).execute(conn);
                    insert.await.map(|_| n).map_err(|_| TestError::Sql)
                })
            })
            .unwrap()
    }

    /// A write that inserts `n`, tells that it runs, and ends as told.
    fn gated(&self, n: i64) -> (Pending<i64, TestError>, oneshot::Receiver<()>, oneshot::Sender<bool>) {
        let (running, runs) = oneshot::channel();
        let (end, ended) = oneshot::channel();
        let pending = self.writer.submit(move |conn: &mut SqliteConnection| {
            let write: Borrowing<'_, Result<i64, TestError>> = Box::pin(async move {
                sqlx::query("INSERT INTO numbers (n) VALUES ($1)").bind(n).execute(conn).await.unwrap();
                running.send(()).unwrap();
                if ended.await.unwrap() { Ok(n) } else { Err(TestError::Mine) }
            });
            write
        });
        (pending.unwrap(), runs, end)
    }

    async fn numbers(&self) -> Vec<i64> {
        sqlx::query_scalar("SELECT n FROM numbers ORDER BY n").fetch_all(&self.readers).await.unwrap()
    }
}

#[tokio::test]
async fn writes_that_wait_share_a_commit_and_are_answered_after_it() {
    let fixture = fixture().await;
    let (first, first_runs, first_end) = fixture.gated(1);
    first_runs.await.unwrap();
    // These wait behind the first, so they make one group; its last write holds the commit back.
    let second = fixture.insert(2);
    let (last, last_runs, last_end) = fixture.gated(3);
    first_end.send(true).unwrap();
    assert_eq!(first.committed().await, Ok(1));
    last_runs.await.unwrap();

    // The second write has run, but its commit has not.
    let mut second = pin!(second.committed());
    poll_fn(|cx| {
        assert!(second.as_mut().poll(cx).is_pending(), "answered before the commit");
        Poll::Ready(())
    })
    .await;
    assert_eq!(fixture.numbers().await, [1]);
    assert_eq!(fixture.writer.commits(), 1);

    last_end.send(true).unwrap();
    assert_eq!(second.await, Ok(2));
    assert_eq!(fixture.numbers().await, [1, 2, 3]);
    assert_eq!(last.committed().await, Ok(3));
    assert_eq!(fixture.writer.commits(), 2);
}

#[tokio::test]
async fn one_bad_write_leaves_its_neighbours_alone() {
    let fixture = fixture().await;
    let (gate, runs, end) = fixture.gated(1);
    runs.await.unwrap();
    let before = fixture.insert(2);
    let constraint = fixture.insert(2);
    let (refused, _runs, refuse) = fixture.gated(3); // inserts, then fails: its insert must go
    refuse.send(false).unwrap();
    let after = fixture.insert(4);
    end.send(true).unwrap();

    assert_eq!(gate.committed().await, Ok(1));
    assert_eq!(before.committed().await, Ok(2));
    assert_eq!(constraint.committed().await, Err(TestError::Sql));
    assert_eq!(refused.committed().await, Err(TestError::Mine));
    assert_eq!(after.committed().await, Ok(4));
    assert_eq!(fixture.numbers().await, [1, 2, 4]);
    assert_eq!(fixture.writer.commits(), 2, "the four shared a transaction");
}

#[tokio::test]
async fn groups_are_bounded_and_a_full_queue_is_refused() {
    let fixture = fixture().await;
    let (gate, runs, end) = fixture.gated(0);
    runs.await.unwrap();
    let pending: Vec<_> = (1..=QUEUE_WRITES_MAX).map(|n| fixture.insert(i64::try_from(n).unwrap())).collect();
    assert_eq!(fixture.writer.queued(), QUEUE_WRITES_MAX);
    let one_more = fixture.writer.submit(|_| Box::pin(async { Ok::<(), TestError>(()) }));
    assert_eq!(one_more.err(), Some(WriteError::Busy));
    end.send(true).unwrap();
    gate.committed().await.unwrap();
    for write in pending {
        write.committed().await.unwrap();
    }
    assert_eq!(fixture.numbers().await.len(), QUEUE_WRITES_MAX + 1);
    let groups = QUEUE_WRITES_MAX.div_ceil(GROUP_WRITES_MAX);
    assert_eq!(fixture.writer.commits(), u64::try_from(groups).unwrap() + 1);
}

#[tokio::test]
async fn an_abandoned_write_is_not_run() {
    let fixture = fixture().await;
    let (gate, runs, end) = fixture.gated(1);
    runs.await.unwrap();
    drop(fixture.insert(2));
    let kept = fixture.insert(3);
    end.send(true).unwrap();
    gate.committed().await.unwrap();
    kept.committed().await.unwrap();
    assert_eq!(fixture.numbers().await, [1, 3]);
}

#[tokio::test]
async fn a_failed_transaction_answers_all_and_the_next_one_works() {
    let fixture = fixture().await;
    let (gate, runs, end) = fixture.gated(1);
    runs.await.unwrap();
    let innocent = fixture.insert(2);
    // Ends the transaction behind the writer's back, as a full disk does.
    let rude = fixture.writer.submit(|conn| {
        Box::pin(async move {
            sqlx::query("ROLLBACK").execute(conn).await.unwrap();
            Ok::<(), TestError>(())
        })
    });
    let unreached = fixture.insert(3);
    end.send(true).unwrap();
    gate.committed().await.unwrap();
    let failed = TestError::Write(WriteError::Failed);
    assert_eq!(innocent.committed().await, Err(TestError::Write(WriteError::Failed)));
    assert_eq!(rude.unwrap().committed().await, Err(TestError::Write(WriteError::Failed)));
    assert_eq!(unreached.committed().await, Err(failed));
    assert_eq!(fixture.insert(4).committed().await, Ok(4));
    assert_eq!(fixture.numbers().await, [1, 4]);
    assert!(!fixture.process.is_cancelled());
}

#[tokio::test]
async fn a_commit_that_does_not_come_is_named() {
    let fixture = fixture().await;
    let (gate, runs, _end) = fixture.gated(1);
    runs.await.unwrap();
    assert_eq!(gate.committed_within(Duration::ZERO).await, Err(TestError::Write(WriteError::Deadline)));
}

#[tokio::test]
async fn closing_finishes_what_waits_and_takes_no_more() {
    let fixture = fixture().await;
    let (gate, runs, end) = fixture.gated(1);
    runs.await.unwrap();
    let waits = fixture.insert(2);
    let mut closing = pin!(fixture.writer.close());
    poll_fn(|cx| {
        assert!(closing.as_mut().poll(cx).is_pending());
        Poll::Ready(())
    })
    .await;
    end.send(true).unwrap();
    within(closing).await;
    assert_eq!(gate.committed().await, Ok(1));
    assert_eq!(waits.committed().await, Ok(2));
    let late = fixture.writer.write(|_| Box::pin(async { Ok::<(), TestError>(()) })).await;
    assert_eq!(late, Err(TestError::Write(WriteError::Closed)));
    assert!(!fixture.process.is_cancelled(), "closing is not dying");
}

#[tokio::test]
async fn a_writer_that_dies_takes_the_process_down() {
    let fixture = fixture().await;
    let dies = fixture.writer.write(|_| Box::pin(async { panic!("a bug in a write") }));
    let answer: Result<(), TestError> = dies.await;
    assert_eq!(answer, Err(TestError::Write(WriteError::Failed)));
    within(fixture.process.cancelled()).await;
    let late = fixture.writer.write(|_| Box::pin(async { Ok::<(), TestError>(()) })).await;
    assert_eq!(late, Err(TestError::Write(WriteError::Closed)));
}
