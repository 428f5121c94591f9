//! The accounts themselves: made, found, listed, changed.
//!
//! Owns the tables and their SQL, together with `players`, `bans`, `entry_rules`, `audit` and `hub_state`; knows
//! neither passwords in the clear nor sessions. SQL keeps to what SQLite and PostgreSQL both speak.
//! Invariant: a call that changes something returns once the change is on disk; what was acknowledged survives power loss.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use shared_msgs::clock::{Clock, UnixMs};
use shared_msgs::ids::AccountId;
use shared_msgs::rng::Rng;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, SqliteConnection, SqlitePool};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::account::{Account, AccountRow, AccountState, LoginName, NewAccount};
use super::bans;
use super::db;
pub use super::db::{OpenError, OpenFault};
pub use super::db_fault::Fault;
use super::display_name::DisplayName;
use super::phc::Phc;
use super::writer::{Pending, WriteError, Writer};

/// Accounts with the bans they have.
macro_rules! select_accounts {
    ($which:literal) => {
        concat!(
            "SELECT id, public_id, login, display_name, phc, state, created_ms, until_ms, reason, banned_by, since_ms \
             FROM accounts LEFT JOIN bans ON bans.account = accounts.id ",
            $which
        )
    };
}
pub(super) use select_accounts;

/// Accounts on one page of [`Store::list`].
pub const PAGE_ACCOUNTS_MAX: u32 = 1000;

/// Why the store did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another account has this login name.
    #[error("the login name is taken")]
    NameTaken,
    /// There is no such account.
    #[error("there is no such account")]
    UnknownAccount,
    /// Too many writes or readers wait, another process holds the database, or its disk is full; nothing was done.
    #[error("the database is busy: too much waits for it, another process holds it, or its disk is full")]
    Busy,
    /// The write was not confirmed.
    #[error(transparent)]
    Write(WriteError),
    /// The number does not fit the database's integers.
    #[error("the number is out of the database's range")]
    Range,
    /// A row that this program did not write.
    #[error("the database holds an invalid {0}")]
    Corrupt(&'static str),
    /// The database refused.
    #[error("the database failed")]
    Database(#[source] sqlx::Error),
}

impl From<WriteError> for StoreError {
    fn from(err: WriteError) -> Self {
        match err {
            WriteError::Busy => Self::Busy,
            WriteError::Deadline | WriteError::Failed | WriteError::Closed => Self::Write(err),
        }
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(err: sqlx::Error) -> Self {
        let is_busy = matches!(err, sqlx::Error::PoolTimedOut) || Fault::of(&err).passes();
        if is_busy { Self::Busy } else { Self::Database(err) }
    }
}

/// The database of accounts. Clones share it.
#[derive(Clone)]
pub struct Store {
    pub(super) writer: Writer,
    pub(super) readers: SqlitePool,
    pub(super) rng: Arc<dyn Rng>,
    pub(super) clock: Arc<dyn Clock>,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("writer", &self.writer).finish_non_exhaustive()
    }
}

impl Store {
    /// Opens the file, made private where it is missing, and brings its schema up to date. The writer runs on `tasks`,
    /// and cancels `process` if it dies.
    ///
    /// # Errors
    /// When the file cannot be made, opened or migrated.
    pub async fn open(
        path: &Path,
        tasks: &TaskTracker,
        process: &CancellationToken,
        rng: Arc<dyn Rng>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, OpenError> {
        let db = db::open(path).await?;
        let writer = Writer::start(db.writer, db.options, tasks, process);
        Ok(Self { writer, readers: db.readers, rng, clock })
    }

    /// For what it counts.
    #[cfg(test)]
    pub(crate) fn writer(&self) -> &Writer {
        &self.writer
    }

    /// Takes no more writes, while reading goes on: a database that cannot be written.
    #[cfg(test)]
    pub(crate) async fn close_writer(&self) {
        self.writer.close().await;
    }

    /// Takes no more writes, finishes those that wait, closes the file. The last step of a shutdown.
    pub async fn close(&self) {
        self.writer.close().await;
        self.readers.close().await;
    }

    /// Makes an active account.
    ///
    /// # Errors
    /// [`StoreError::NameTaken`], or the store's own troubles.
    pub async fn register(&self, new: NewAccount) -> Result<Account, StoreError> {
        self.submit_register(new)?.committed().await
    }

    /// Queues [`Store::register`]: several queued together share a commit.
    ///
    /// # Errors
    /// When the queue is full or closed.
    pub fn submit_register(&self, new: NewAccount) -> Result<Pending<Account, StoreError>, StoreError> {
        let id = AccountId::random(&*self.rng);
        let created = self.clock.now().unix;
        Ok(self.writer.submit(move |conn| Box::pin(insert(conn, new, id, created)))?)
    }

    /// The account of a login name.
    ///
    /// # Errors
    /// The store's own troubles.
    pub async fn by_login(&self, login: &LoginName) -> Result<Option<Account>, StoreError> {
        let sql = select_accounts!("WHERE login = $1");
        let row = sqlx::query(sql).bind(login.as_str()).fetch_optional(&self.readers).await?;
        row.map(|row| account(&row)).transpose()
    }

    /// The account of a public id.
    ///
    /// # Errors
    /// The store's own troubles.
    pub async fn by_public(&self, id: AccountId) -> Result<Option<Account>, StoreError> {
        let sql = select_accounts!("WHERE public_id = $1");
        let row = sqlx::query(sql).bind(&id.0[..]).fetch_optional(&self.readers).await?;
        row.map(|row| account(&row)).transpose()
    }

    /// The account of a row.
    ///
    /// # Errors
    /// The store's own troubles.
    pub async fn by_row(&self, row: AccountRow) -> Result<Option<Account>, StoreError> {
        let sql = select_accounts!("WHERE id = $1");
        let row = sqlx::query(sql).bind(row.raw()).fetch_optional(&self.readers).await?;
        row.map(|row| account(&row)).transpose()
    }

    /// Accounts in the order of their login names, from the first one after `after` on; at most
    /// [`PAGE_ACCOUNTS_MAX`].
    ///
    /// # Errors
    /// The store's own troubles.
    pub async fn list(&self, after: Option<&LoginName>, limit: u32) -> Result<Vec<Account>, StoreError> {
        let sql = select_accounts!("WHERE login > $1 ORDER BY login LIMIT $2");
        let rows = sqlx::query(sql)
            .bind(after.map_or("", LoginName::as_str))
            .bind(i64::from(limit.min(PAGE_ACCOUNTS_MAX)))
            .fetch_all(&self.readers)
            .await?;
        rows.iter().map(account).collect()
    }

    /// Sets a new password's hash, whatever stood there.
    ///
    /// # Errors
    /// [`StoreError::UnknownAccount`], or the store's own troubles.
    pub async fn set_phc(&self, row: AccountRow, phc: Phc) -> Result<(), StoreError> {
        let set = self.writer.write(move |conn| {
            Box::pin(async move {
                let sql = "UPDATE accounts SET phc = $2 WHERE id = $1";
                changed(sqlx::query(sql).bind(row.raw()).bind(phc.expose()).execute(conn).await)
            })
        });
        if set.await? { Ok(()) } else { Err(StoreError::UnknownAccount) }
    }

    /// Replaces `old` by the same password's stronger hash. False when `old` no longer stands there: the password was
    /// changed meanwhile, and must not come back.
    ///
    /// # Errors
    /// The store's own troubles.
    pub async fn upgrade_phc(&self, row: AccountRow, old: Phc, new: Phc) -> Result<bool, StoreError> {
        let upgrade = self.writer.write(move |conn| {
            Box::pin(async move {
                let sql = "UPDATE accounts SET phc = $3 WHERE id = $1 AND phc = $2";
                let upgrade = sqlx::query(sql).bind(row.raw()).bind(old.expose()).bind(new.expose());
                changed(upgrade.execute(conn).await)
            })
        });
        upgrade.await
    }

    /// Enables, disables or bans.
    ///
    /// # Errors
    /// [`StoreError::UnknownAccount`], or the store's own troubles.
    pub async fn set_state(&self, row: AccountRow, state: AccountState) -> Result<(), StoreError> {
        let set = self.writer.write(move |conn| {
            Box::pin(async move {
                let sql = "UPDATE accounts SET state = $2 WHERE id = $1";
                changed(sqlx::query(sql).bind(row.raw()).bind(state.as_str()).execute(conn).await)
            })
        });
        if set.await? { Ok(()) } else { Err(StoreError::UnknownAccount) }
    }
}

fn changed(done: Result<sqlx::sqlite::SqliteQueryResult, sqlx::Error>) -> Result<bool, StoreError> {
    Ok(done?.rows_affected() > 0)
}

async fn insert(
    conn: &mut SqliteConnection,
    new: NewAccount,
    id: AccountId,
    created: UnixMs,
) -> Result<Account, StoreError> {
    let created_ms = i64::try_from(created.0).map_err(|_| StoreError::Range)?;
    let state = AccountState::Active;
    // Only the name may be taken; a public id that is would be a broken generator, and an error.
    let sql = "INSERT INTO accounts (public_id, login, display_name, phc, state, created_ms) \
               VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (login) DO NOTHING RETURNING id";
    let made: Option<i64> = sqlx::query_scalar(sql)
        .bind(&id.0[..])
        .bind(new.login.as_str())
        .bind(new.display_name.as_str())
        .bind(new.phc.expose())
        .bind(state.as_str())
        .bind(created_ms)
        .fetch_optional(conn)
        .await?;
    let row = AccountRow::from_raw(made.ok_or(StoreError::NameTaken)?);
    let NewAccount { login, display_name, phc } = new;
    Ok(Account { row, id, login, display_name, phc, state, created, ban: None })
}

pub(super) fn account(row: &SqliteRow) -> Result<Account, StoreError> {
    let text = |column| row.try_get::<&str, _>(column);
    Ok(Account {
        row: AccountRow::from_raw(row.try_get("id")?),
        id: AccountId(id_bytes(row.try_get("public_id")?, "public id")?),
        login: text("login")?.parse().map_err(|_| StoreError::Corrupt("login name"))?,
        display_name: DisplayName::from_stored(text("display_name")?)
            .ok_or(StoreError::Corrupt("display name"))?,
        phc: text("phc")?.parse().map_err(|_| StoreError::Corrupt("password hash"))?,
        state: AccountState::from_stored(text("state")?).ok_or(StoreError::Corrupt("account state"))?,
        created: bans::time(row.try_get("created_ms")?)?,
        ban: bans::ban(row)?,
    })
}

pub(super) fn id_bytes(stored: &[u8], what: &'static str) -> Result<[u8; 16], StoreError> {
    stored.try_into().map_err(|_| StoreError::Corrupt(what))
}

#[cfg(test)]
mod tests;
