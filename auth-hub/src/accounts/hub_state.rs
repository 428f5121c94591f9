//! The little that a hub itself must not forget: how high its fence clock may have gone, and which server keys are
//! revoked.
//!
//! Knows neither fences nor keys, only their numbers. Invariant: a stored number never goes down.

use std::time::Duration;

use shared_msgs::ids::ServerId;
use sqlx::Row as _;

use super::store::{Store, StoreError};

/// How long a start waits for the database to answer.
const START_PATIENCE: Duration = Duration::from_secs(30);

impl Store {
    /// What a hub starts with: [`Store::clock_ceiling`] and [`Store::lowest_generations`]. On a machine that stalls, a reader may
    /// take longer than a request would wait for one; a start has more patience.
    ///
    /// # Errors
    /// The store's own troubles.
    pub async fn remembered(&self) -> Result<(u64, Vec<(ServerId, u32)>), StoreError> {
        let until = tokio::time::Instant::now() + START_PATIENCE;
        loop {
            let read = async { Ok((self.clock_ceiling().await?, self.lowest_generations().await?)) };
            match read.await {
                // Each attempt has waited for a reader, so this does not spin.
                Err(StoreError::Busy) if tokio::time::Instant::now() < until => {}
                read => return read,
            }
        }
    }

    /// Above every fence clock ever issued; 0 at first.
    ///
    /// # Errors
    /// The store's own troubles.
    pub async fn clock_ceiling(&self) -> Result<u64, StoreError> {
        let stored: Option<i64> =
            sqlx::query_scalar("SELECT ceiling FROM hub_clock").fetch_optional(&self.readers).await?;
        u64::try_from(stored.unwrap_or(0)).map_err(|_| StoreError::Corrupt("clock ceiling"))
    }

    /// Raises the ceiling to at least `to`, and returns where it stands. Nothing may be issued above it before this
    /// returns.
    ///
    /// # Errors
    /// [`StoreError::Range`] above 2⁶³, or the store's own troubles.
    pub async fn raise_clock_ceiling(&self, to: u64) -> Result<u64, StoreError> {
        let to = i64::try_from(to).map_err(|_| StoreError::Range)?;
        let stands: i64 = self
            .writer
            .write(move |conn| {
                Box::pin(async move {
                    let sql = "INSERT INTO hub_clock (id, ceiling) VALUES (1, $1) ON CONFLICT (id) DO UPDATE SET \
                               ceiling = CASE WHEN excluded.ceiling > hub_clock.ceiling \
                               THEN excluded.ceiling ELSE hub_clock.ceiling END RETURNING ceiling";
                    sqlx::query_scalar(sql).bind(to).fetch_one(conn).await.map_err(StoreError::from)
                })
            })
            .await?;
        u64::try_from(stands).map_err(|_| StoreError::Corrupt("clock ceiling"))
    }

    /// The lowest accepted key generation of each server that has one, in the order of the ids.
    ///
    /// # Errors
    /// The store's own troubles.
    pub async fn lowest_generations(&self) -> Result<Vec<(ServerId, u32)>, StoreError> {
        let sql = "SELECT server_id, lowest_generation FROM key_generations ORDER BY server_id";
        let rows = sqlx::query(sql).fetch_all(&self.readers).await?;
        rows.iter()
            .map(|row| {
                let server = row.try_get::<&str, _>("server_id")?.parse();
                let server = server.map_err(|_| StoreError::Corrupt("server id"))?;
                Ok((server, generation(row.try_get("lowest_generation")?)?))
            })
            .collect()
    }

    /// Revokes a server's keys below `to`, and returns the generation that stands.
    ///
    /// # Errors
    /// The store's own troubles.
    pub async fn raise_lowest_generation(&self, server: &ServerId, to: u32) -> Result<u32, StoreError> {
        let server = server.clone();
        let stands = self
            .writer
            .write(move |conn| {
                Box::pin(async move {
                    let sql = "INSERT INTO key_generations (server_id, lowest_generation) VALUES ($1, $2) \
                               ON CONFLICT (server_id) DO UPDATE SET lowest_generation = \
                               CASE WHEN excluded.lowest_generation > key_generations.lowest_generation \
                               THEN excluded.lowest_generation ELSE key_generations.lowest_generation END \
                               RETURNING lowest_generation";
                    let raise = sqlx::query_scalar(sql).bind(server.as_str()).bind(i64::from(to));
                    raise.fetch_one(conn).await.map_err(StoreError::from)
                })
            })
            .await?;
        generation(stands)
    }
}

fn generation(stored: i64) -> Result<u32, StoreError> {
    u32::try_from(stored).map_err(|_| StoreError::Corrupt("key generation"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use shared_msgs::clock::SystemClock;
    use shared_msgs::rng::SystemRng;
    use tokio_util::sync::CancellationToken;
    use tokio_util::task::TaskTracker;

    use super::*;
    use crate::accounts::db::READER_WAIT;

    #[tokio::test]
    async fn a_start_outwaits_a_database_that_no_request_would_wait_for() {
        let dir = tempfile::tempdir().unwrap();
        let (rng, clock) = (Arc::new(SystemRng::new()), Arc::new(SystemClock::new()));
        let path = dir.path().join("hub.sqlite");
        let store =
            Store::open(&path, &TaskTracker::new(), &CancellationToken::new(), rng, clock).await.unwrap();
        let mut held = Vec::new();
        for _ in 0..4 {
            held.push(store.readers.acquire().await.unwrap());
        }
        let start = store.remembered();
        tokio::pin!(start);
        let request = tokio::time::timeout(READER_WAIT * 2, store.clock_ceiling());
        let (request, waited) = tokio::join!(request, tokio::time::timeout(READER_WAIT * 5 / 4, &mut start));
        assert!(matches!(request, Ok(Err(StoreError::Busy))), "a request gives up");
        assert!(waited.is_err(), "the start does not");
        drop(held);
        assert_eq!(start.await.unwrap(), (0, Vec::new()));
    }
}
