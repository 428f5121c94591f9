//! What operators did: who, what, to whom, why, when, and what came of it.
//!
//! Knows the table, no action. Invariants: a row is on disk before its action begins; rows are neither changed, but for their outcome, nor
//! deleted.

use shared_msgs::clock::UnixMs;
use sqlx::Row as _;

use super::bans::{stored, time};
use super::store::{Store, StoreError};

/// Rows that are shown at one time.
pub const AUDIT_ROWS_MAX: u32 = 500;
/// Longest reason of an action.
pub const REASON_BYTES_MAX: usize = 200;

/// An action that is about to begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deed {
    /// Who says to be doing it.
    pub operator: String,
    /// What.
    pub action: &'static str,
    /// To whom or to what: a login name, a server's id, a rule's new text, or nothing.
    pub target: String,
    /// Why, in the operator's words.
    pub reason: String,
}

/// An action as it is remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRow {
    /// In the order they began.
    pub id: i64,
    /// When it began, by the hub's clock.
    pub at: UnixMs,
    /// Who.
    pub operator: String,
    /// What.
    pub action: String,
    /// To whom.
    pub target: String,
    /// Why.
    pub reason: String,
    /// What came of it; `None` for one that runs, or that a hub died over.
    pub outcome: Option<String>,
}

impl Store {
    /// Writes down that an action begins now. Gives its number.
    ///
    /// # Errors
    /// The store's own troubles: the action must not begin then.
    pub async fn audit_begin(&self, deed: Deed, now: UnixMs) -> Result<i64, StoreError> {
        let at = stored(now)?;
        self.writer
            .write(move |conn| {
                Box::pin(async move {
                    let sql = "INSERT INTO audit (at_ms, operator, action, target, reason) \
                               VALUES ($1, $2, $3, $4, $5) RETURNING id";
                    let row = sqlx::query_scalar(sql).bind(at).bind(deed.operator).bind(deed.action);
                    row.bind(deed.target).bind(deed.reason).fetch_one(conn).await.map_err(StoreError::from)
                })
            })
            .await
    }

    /// Writes down what came of it.
    ///
    /// # Errors
    /// The store's own troubles.
    pub async fn audit_end(&self, id: i64, outcome: String) -> Result<(), StoreError> {
        self.writer
            .write(move |conn| {
                Box::pin(async move {
                    let sql = "UPDATE audit SET outcome = $2 WHERE id = $1";
                    sqlx::query(sql).bind(id).bind(outcome).execute(conn).await?;
                    Ok(())
                })
            })
            .await
    }

    /// The last actions, the newest first; at most [`AUDIT_ROWS_MAX`].
    ///
    /// # Errors
    /// The store's own troubles.
    pub async fn audit_last(&self, count: u32) -> Result<Vec<AuditRow>, StoreError> {
        let sql = "SELECT id, at_ms, operator, action, target, reason, outcome FROM audit ORDER BY id DESC LIMIT $1";
        let rows = sqlx::query(sql).bind(i64::from(count.min(AUDIT_ROWS_MAX)));
        let rows = rows.fetch_all(&self.readers).await?;
        let read = |row: &sqlx::sqlite::SqliteRow| {
            Ok(AuditRow {
                id: row.try_get("id")?,
                at: time(row.try_get("at_ms")?)?,
                operator: row.try_get("operator")?,
                action: row.try_get("action")?,
                target: row.try_get("target")?,
                reason: row.try_get("reason")?,
                outcome: row.try_get("outcome")?,
            })
        };
        rows.iter().map(read).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounts::fixture::TestStore;

    #[tokio::test]
    async fn what_began_is_there_before_it_ended() {
        let test = TestStore::open().await;
        let deed = |target: &str| Deed {
            operator: "grace".to_owned(),
            action: "kick",
            target: target.to_owned(),
            reason: "language".to_owned(),
        };
        let first = test.store.audit_begin(deed("bob"), UnixMs(7)).await.unwrap();
        let second = test.store.audit_begin(deed("eve"), UnixMs(8)).await.unwrap();
        test.store.audit_end(first, "done".to_owned()).await.unwrap();
        let rows = test.store.audit_last(9).await.unwrap();
        let told: Vec<_> =
            rows.iter().map(|row| (row.id, row.target.as_str(), row.outcome.as_deref())).collect();
        assert_eq!(told, [(second, "eve", None), (first, "bob", Some("done"))]);
        assert_eq!(
            (rows[1].at, rows[1].operator.as_str(), rows[1].reason.as_str()),
            (UnixMs(7), "grace", "language")
        );
        assert_eq!(test.store.audit_last(1).await.unwrap().len(), 1);
    }
}
