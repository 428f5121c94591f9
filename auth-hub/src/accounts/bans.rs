//! Who is shut out, until when, by whom and why.
//!
//! Knows the table of bans; who asks brings the time. Invariant: a ban whose time has passed shuts nobody out, whoever reads it.

use shared_msgs::clock::UnixMs;
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use super::account::{Account, AccountRow};
use super::store::{Store, StoreError};

/// A ban.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ban {
    /// When it ends by itself; `None`: never.
    pub until: Option<UnixMs>,
    /// What its owner is told.
    pub reason: String,
    /// The operator.
    pub by: String,
    /// When it was set, by the hub's clock.
    pub since: UnixMs,
}

impl Ban {
    /// Whether it still shuts out.
    pub fn holds_at(&self, now: UnixMs) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

impl Account {
    /// The ban that shuts it out now.
    pub fn ban_at(&self, now: UnixMs) -> Option<&Ban> {
        self.ban.as_ref().filter(|ban| ban.holds_at(now))
    }
}

impl Store {
    /// Shuts an account out; an older ban of it is replaced.
    ///
    /// # Errors
    /// [`StoreError::UnknownAccount`], or the store's own troubles.
    pub async fn ban(&self, account: AccountRow, ban: Ban) -> Result<(), StoreError> {
        let until = ban.until.map(stored).transpose()?;
        let since = stored(ban.since)?;
        self.writer
            .write(move |conn| {
                Box::pin(async move {
                    let sql = "INSERT INTO bans (account, until_ms, reason, banned_by, since_ms) \
                               VALUES ($1, $2, $3, $4, $5) ON CONFLICT (account) DO UPDATE SET \
                               until_ms = excluded.until_ms, reason = excluded.reason, \
                               banned_by = excluded.banned_by, since_ms = excluded.since_ms";
                    let set = sqlx::query(sql).bind(account.raw()).bind(until);
                    match set.bind(ban.reason).bind(ban.by).bind(since).execute(conn).await {
                        Ok(_) => Ok(()),
                        Err(sqlx::Error::Database(err)) if err.is_foreign_key_violation() => {
                            Err(StoreError::UnknownAccount)
                        }
                        Err(err) => Err(err.into()),
                    }
                })
            })
            .await
    }

    /// Lets an account in again. Gives whether it was shut out by a ban, over or not.
    ///
    /// # Errors
    /// The store's own troubles.
    pub async fn unban(&self, account: AccountRow) -> Result<bool, StoreError> {
        self.writer
            .write(move |conn| {
                Box::pin(async move {
                    let lifted = sqlx::query("DELETE FROM bans WHERE account = $1").bind(account.raw());
                    let lifted = lifted.execute(&mut *conn).await?.rows_affected() > 0;
                    // A state that no command of ours sets; whoever set it by hand means the same.
                    let sql = "UPDATE accounts SET state = 'active' WHERE id = $1 AND state = 'banned'";
                    let freed = sqlx::query(sql).bind(account.raw()).execute(&mut *conn).await?;
                    Ok(lifted || freed.rows_affected() > 0)
                })
            })
            .await
    }
}

/// Of the columns `until_ms`, `reason`, `banned_by` and `since_ms` of an outer join.
pub(super) fn ban(row: &SqliteRow) -> Result<Option<Ban>, StoreError> {
    let Some(since) = row.try_get::<Option<i64>, _>("since_ms")? else { return Ok(None) };
    let until: Option<i64> = row.try_get("until_ms")?;
    Ok(Some(Ban {
        until: until.map(time).transpose()?,
        reason: row.try_get("reason")?,
        by: row.try_get("banned_by")?,
        since: time(since)?,
    }))
}

pub(super) fn time(stored: i64) -> Result<UnixMs, StoreError> {
    Ok(UnixMs(stored.try_into().map_err(|_| StoreError::Corrupt("time"))?))
}

pub(super) fn stored(time: UnixMs) -> Result<i64, StoreError> {
    i64::try_from(time.0).map_err(|_| StoreError::Range)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounts::fixture::{TestStore, new_account};
    use crate::accounts::{AccountState, LoginName};

    fn of(until: Option<u64>, reason: &str) -> Ban {
        Ban { until: until.map(UnixMs), reason: reason.to_owned(), by: "grace".to_owned(), since: UnixMs(5) }
    }

    #[tokio::test]
    async fn a_ban_is_read_with_its_account_and_ends_by_itself() {
        let test = TestStore::open().await;
        let bob = test.store.register(new_account("bob")).await.unwrap();
        assert_eq!(bob.ban, None);
        test.store.ban(bob.row, of(None, "for ever")).await.unwrap();
        let name: LoginName = "bob".parse().unwrap();
        let read = test.store.by_login(&name).await.unwrap().unwrap();
        assert_eq!(read.ban_at(UnixMs(u64::MAX)), Some(&of(None, "for ever")));
        // The later word replaces the earlier.
        test.store.ban(bob.row, of(Some(1_000), "a while")).await.unwrap();
        let read = test.store.by_public(bob.id).await.unwrap().unwrap();
        assert_eq!(read.ban_at(UnixMs(999)), Some(&of(Some(1_000), "a while")));
        assert_eq!(read.ban_at(UnixMs(1_000)), None, "over");
        assert_eq!(test.store.list(None, 9).await.unwrap(), [read]);
    }

    #[tokio::test]
    async fn who_is_let_in_again_has_no_ban_and_nobody_else_is() {
        let test = TestStore::open().await;
        let [bob, eve] = ["bob", "eve"].map(new_account);
        let (bob, eve) = (test.store.register(bob).await.unwrap(), test.store.register(eve).await.unwrap());
        for row in [bob.row, eve.row] {
            test.store.ban(row, of(None, "x")).await.unwrap();
        }
        test.store.set_state(bob.row, AccountState::Banned).await.unwrap();
        assert!(test.store.unban(bob.row).await.unwrap());
        assert!(!test.store.unban(bob.row).await.unwrap(), "there is nothing left to lift");
        let read = test.store.by_public(bob.id).await.unwrap().unwrap();
        assert_eq!((read.ban, read.state), (None, AccountState::Active));
        assert!(test.store.by_public(eve.id).await.unwrap().unwrap().ban.is_some());
        let nobody = AccountRow::from_raw(99);
        let refused = test.store.ban(nobody, of(None, "x")).await;
        assert!(matches!(refused, Err(StoreError::UnknownAccount)), "{refused:?}");
    }
}
