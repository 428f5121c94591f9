//! Answers that are kept for a while, so that a request sent again is not carried out again.
//!
//! Owns the table `kept_answers`; knows names, digests and sealed bytes, none of what they stand for. Whether a row still counts is its
//! reader's to say. Invariants: at most [`ROWS_MAX`] rows; each claim clears away at least as many rows that have ended as it adds.

use shared_msgs::clock::UnixMs;
use sqlx::{Row as _, SqliteConnection};

use super::store::{Store, StoreError};
use super::writer::Pending;

/// Rows at one time; one more is refused.
pub const ROWS_MAX: u32 = 1 << 16;
/// Rows that have ended and that one claim, or one write of the timer, clears away, the oldest first.
const PRUNED_ROWS_MAX: u32 = 32;

/// Which request, as a keyed hash of whose it is and how the client named it.
pub type Name = [u8; 32];
/// What it asks for, as a keyed hash of its body.
pub type Digest = [u8; 32];

/// A row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// What was asked for.
    pub request: Digest,
    /// When it was begun.
    pub claimed: UnixMs,
    /// When the row may go.
    pub ends: UnixMs,
    /// The answer, empty where only that there was one is kept; none while the request runs, or when the hub died over it.
    pub sealed: Option<Vec<u8>>,
}

impl Store {
    /// What is known of a request.
    ///
    /// # Errors
    /// The store's own troubles.
    pub async fn kept(&self, name: &Name) -> Result<Option<Kept>, StoreError> {
        let sql = "SELECT request, claimed_ms, ends_ms, sealed FROM kept_answers WHERE name = $1";
        let row = sqlx::query(sql).bind(&name[..]).fetch_optional(&self.readers).await?;
        row.map(|row| {
            let request = row.try_get::<&[u8], _>("request")?.try_into();
            Ok(Kept {
                request: request.map_err(|_| StoreError::Corrupt("request digest"))?,
                claimed: time(row.try_get("claimed_ms")?)?,
                ends: time(row.try_get("ends_ms")?)?,
                sealed: row.try_get("sealed")?,
            })
        })
        .transpose()
    }

    /// Says that a request is about to be carried out; whatever stood there of an earlier one is gone. Returns once that is on disk.
    ///
    /// # Errors
    /// [`StoreError::Busy`] when there are [`ROWS_MAX`] already, or the store's own troubles.
    pub async fn claim(
        &self,
        name: Name,
        request: Digest,
        now: UnixMs,
        ends: UnixMs,
    ) -> Result<(), StoreError> {
        let (now_ms, ends_ms) = (stored(now)?, stored(ends)?);
        self.writer.write(move |conn| Box::pin(claim(conn, name, request, now_ms, ends_ms, ROWS_MAX))).await
    }

    /// Clears away rows that have ended, some at a time; true when there may be more. Without one it writes nothing.
    ///
    /// # Errors
    /// The store's own troubles.
    pub async fn prune_answers(&self, now: UnixMs) -> Result<bool, StoreError> {
        let now_ms = stored(now)?;
        let sql = "SELECT EXISTS (SELECT 1 FROM kept_answers WHERE ends_ms <= $1)";
        if !sqlx::query_scalar::<_, bool>(sql).bind(now_ms).fetch_one(&self.readers).await? {
            return Ok(false);
        }
        self.writer.write(move |conn| Box::pin(async move { Ok(prune(conn, now_ms).await?) })).await
    }

    /// Queues the answer of a request that was claimed.
    ///
    /// # Errors
    /// When the queue is full or closed.
    pub fn submit_answer(
        &self,
        name: Name,
        sealed: Vec<u8>,
        ends: UnixMs,
    ) -> Result<Pending<(), StoreError>, StoreError> {
        let ends_ms = stored(ends)?;
        Ok(self.writer.submit(move |conn| {
            Box::pin(async move {
                let sql = "UPDATE kept_answers SET sealed = $2, ends_ms = $3 WHERE name = $1";
                sqlx::query(sql).bind(&name[..]).bind(sealed).bind(ends_ms).execute(conn).await?;
                Ok(())
            })
        })?)
    }

    /// Queues the end of a claim: nothing was done, and the request may be sent again.
    ///
    /// # Errors
    /// When the queue is full or closed.
    pub fn submit_release(&self, name: Name) -> Result<Pending<(), StoreError>, StoreError> {
        Ok(self.writer.submit(move |conn| {
            Box::pin(async move {
                let sql = "DELETE FROM kept_answers WHERE name = $1";
                sqlx::query(sql).bind(&name[..]).execute(conn).await?;
                Ok(())
            })
        })?)
    }
}

async fn claim(
    conn: &mut SqliteConnection,
    name: Name,
    request: Digest,
    now_ms: i64,
    ends_ms: i64,
    rows_max: u32,
) -> Result<(), StoreError> {
    prune(conn, now_ms).await?;
    let count = "SELECT count(*) FROM kept_answers WHERE name <> $1";
    let rows: i64 = sqlx::query_scalar(count).bind(&name[..]).fetch_one(&mut *conn).await?;
    if rows >= i64::from(rows_max) {
        return Err(StoreError::Busy);
    }
    let sql = "INSERT INTO kept_answers (name, request, claimed_ms, ends_ms, sealed) VALUES ($1, $2, $3, $4, NULL) \
               ON CONFLICT (name) DO UPDATE SET request = excluded.request, claimed_ms = excluded.claimed_ms, \
               ends_ms = excluded.ends_ms, sealed = NULL";
    let claim = sqlx::query(sql).bind(&name[..]).bind(&request[..]).bind(now_ms).bind(ends_ms);
    claim.execute(conn).await?;
    Ok(())
}

/// True when there may be more.
async fn prune(conn: &mut SqliteConnection, now_ms: i64) -> Result<bool, sqlx::Error> {
    let sql = "DELETE FROM kept_answers WHERE name IN \
               (SELECT name FROM kept_answers WHERE ends_ms <= $1 ORDER BY ends_ms LIMIT $2)";
    let pruned = sqlx::query(sql).bind(now_ms).bind(i64::from(PRUNED_ROWS_MAX)).execute(conn).await?;
    Ok(pruned.rows_affected() >= u64::from(PRUNED_ROWS_MAX))
}

fn stored(time: UnixMs) -> Result<i64, StoreError> {
    i64::try_from(time.0).map_err(|_| StoreError::Range)
}

fn time(stored: i64) -> Result<UnixMs, StoreError> {
    stored.try_into().map(UnixMs).map_err(|_| StoreError::Corrupt("time"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounts::fixture::{TestStore, within};

    const fn at(ms: u64) -> UnixMs {
        UnixMs(ms)
    }

    async fn names(test: &TestStore) -> Vec<u8> {
        let sql = "SELECT name FROM kept_answers ORDER BY name";
        let names: Vec<Vec<u8>> = sqlx::query_scalar(sql).fetch_all(&test.store.readers).await.unwrap();
        names.into_iter().map(|name| name[0]).collect()
    }

    #[tokio::test]
    async fn a_claim_is_answered_or_released_and_outlives_the_process() {
        let test = TestStore::open().await;
        let store = &test.store;
        assert_eq!(store.kept(&[1; 32]).await.unwrap(), None);
        for name in [1, 2] {
            store.claim([name; 32], [7; 32], at(1_000), at(2_000)).await.unwrap();
        }
        let claimed = Kept { request: [7; 32], claimed: at(1_000), ends: at(2_000), sealed: None };
        assert_eq!(store.kept(&[1; 32]).await.unwrap(), Some(claimed.clone()));
        let answer = store.submit_answer([1; 32], b"sealed".to_vec(), at(3_000)).unwrap();
        within(answer.committed()).await.unwrap();
        within(store.submit_release([2; 32]).unwrap().committed()).await.unwrap();
        let copy = test.copy_files();
        drop(test);
        let again = TestStore::open_in(copy).await;
        let answered = Kept { sealed: Some(b"sealed".to_vec()), ends: at(3_000), ..claimed };
        assert_eq!(again.store.kept(&[1; 32]).await.unwrap(), Some(answered));
        assert_eq!(names(&again).await, [1]);
    }

    #[tokio::test]
    async fn a_claim_takes_the_place_of_what_stood_there() {
        let test = TestStore::open().await;
        test.store.claim([1; 32], [7; 32], at(1_000), at(2_000)).await.unwrap();
        let answer = test.store.submit_answer([1; 32], b"sealed".to_vec(), at(2_000)).unwrap();
        within(answer.committed()).await.unwrap();
        test.store.claim([1; 32], [8; 32], at(1_500), at(2_500)).await.unwrap();
        let expected = Kept { request: [8; 32], claimed: at(1_500), ends: at(2_500), sealed: None };
        assert_eq!(test.store.kept(&[1; 32]).await.unwrap(), Some(expected));
    }

    #[tokio::test]
    async fn rows_that_have_ended_go_in_batches_the_oldest_first() {
        let test = TestStore::open().await;
        for name in 0..40 {
            let ends = 1_000 + u64::from(name);
            test.store.claim([name; 32], [0; 32], at(0), at(ends)).await.unwrap();
        }
        test.store.claim([100; 32], [0; 32], at(1_035), at(9_000)).await.unwrap();
        assert_eq!(names(&test).await, [&(32..40).collect::<Vec<_>>()[..], &[100]].concat());
        test.store.claim([101; 32], [0; 32], at(1_035), at(9_000)).await.unwrap();
        assert_eq!(names(&test).await, [36, 37, 38, 39, 100, 101], "only what has ended");
    }

    #[tokio::test]
    async fn what_has_ended_is_cleared_away_though_nobody_claims() {
        let test = TestStore::open().await;
        for name in 0..40 {
            test.store.claim([name; 32], [0; 32], at(0), at(1_000)).await.unwrap();
        }
        test.store.claim([100; 32], [0; 32], at(0), at(1_001)).await.unwrap();
        assert!(!test.store.prune_answers(at(999)).await.unwrap());
        assert!(test.store.prune_answers(at(1_000)).await.unwrap(), "there may be more");
        assert!(!test.store.prune_answers(at(1_000)).await.unwrap());
        assert_eq!(names(&test).await, [100]);
    }

    #[tokio::test]
    async fn a_full_table_takes_no_more_but_who_is_in_it() {
        let test = TestStore::open().await;
        let take = async |name: u8, now: i64| {
            let claim = test
                .store
                .writer()
                .write(move |conn| Box::pin(claim(conn, [name; 32], [0; 32], now, 100, 2)));
            within(claim).await
        };
        take(1, 0).await.unwrap();
        take(2, 0).await.unwrap();
        assert!(matches!(take(3, 99).await, Err(StoreError::Busy)));
        take(2, 99).await.unwrap();
        take(3, 100).await.unwrap();
        assert_eq!(names(&test).await, [3]);
    }
}
