//! The database file: made private, opened durable, brought up to date.
//!
//! Knows SQLite's settings and the list of migrations; knows no table. Invariant: no connection leaves this file that is
//! not WAL, `synchronous=FULL`, with foreign keys enforced and a bounded wait for locks.

use std::fs;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions as _, SqlSafeStr as _, SqliteConnection, SqlitePool};

/// Readers at one time; SQLite readers don't block one another or the writer.
const READERS_MAX: u32 = 4;
/// Longest wait for another process's lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest wait for a free reader.
const READER_WAIT: Duration = Duration::from_secs(2);

/// Forward-only, in order; a published one is never edited (its checksum is in the database).
fn migrator() -> Migrator {
    let migrations = [(1, "accounts", include_str!("../../migrations/sqlite/0001_accounts.sql"))];
    Migrator::with_migrations(
        migrations
            .into_iter()
            .map(|(version, description, sql)| {
                Migration::new(version, description.into(), MigrationType::Simple, sql.into_sql_str(), false)
            })
            .collect(),
    )
}

/// Why the database did not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder or the file could not be made.
    #[error("cannot create the database file")]
    Create(#[source] io::Error),
    /// SQLite refused.
    #[error("cannot open the database")]
    Connect(#[source] sqlx::Error),
    /// The schema could not be brought up to date, or is of a newer program.
    #[error("cannot migrate the database")]
    Migrate(#[source] sqlx::migrate::MigrateError),
}

/// Makes folder (0700) and file (0600) where they are missing. SQLite gives its -wal and -shm files the file's mode,
/// and puts the file's name on disk with that of its first journal.
fn create_private(path: &Path) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        crate::folder::create_private(folder)?;
    }
    match fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(_) => Ok(()),
        Err(err) if err.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(err) => Err(err),
    }
}

/// An open database.
pub(super) struct Db {
    /// The one connection that writes.
    pub(super) writer: SqliteConnection,
    /// How to make another one.
    pub(super) options: SqliteConnectOptions,
    /// The connections that read.
    pub(super) readers: SqlitePool,
}

/// Opens the file, made where it is missing, and brings its schema up to date.
pub(super) async fn open(path: &Path) -> Result<Db, OpenError> {
    create_private(path).map_err(OpenError::Create)?;
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(BUSY_TIMEOUT)
        .disable_statement_logging();
    let mut writer = options.connect().await.map_err(OpenError::Connect)?;
    migrator().run(&mut writer).await.map_err(OpenError::Migrate)?;
    let readers = SqlitePoolOptions::new()
        .max_connections(READERS_MAX)
        .acquire_timeout(READER_WAIT)
        .connect_with(options.clone().pragma("query_only", "on"))
        .await
        .map_err(OpenError::Connect)?;
    Ok(Db { writer, options, readers })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use sqlx::Row as _;

    use super::*;

    #[tokio::test]
    async fn the_file_is_private_and_the_settings_hold() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("made/by/us/hub.sqlite");
        let Db { mut writer, readers, .. } = open(&path).await.unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(&path.with_file_name("hub.sqlite-wal")), 0o600);
        assert_eq!(mode(path.parent().unwrap()), 0o700);
        for (pragma, expected) in [("PRAGMA synchronous", 2_i64), ("PRAGMA foreign_keys", 1)] {
            assert_eq!(sqlx::query_scalar::<_, i64>(pragma).fetch_one(&mut writer).await.unwrap(), expected);
        }
        let mode = sqlx::query("PRAGMA journal_mode").fetch_one(&mut writer).await.unwrap();
        assert_eq!(mode.get::<String, _>(0), "wal");
        assert!(sqlx::query("DELETE FROM accounts").execute(&readers).await.is_err(), "readers only read");
    }

    #[tokio::test]
    async fn migrations_run_once_and_a_newer_schema_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hub.sqlite");
        for _ in 0..2 {
            let Db { mut writer, .. } = open(&path).await.unwrap();
            let ran: i64 = sqlx::query_scalar("SELECT count(*) FROM _sqlx_migrations")
                .fetch_one(&mut writer)
                .await
                .unwrap();
            assert_eq!(ran, 1);
        }
        let Db { mut writer, .. } = open(&path).await.unwrap();
        sqlx::query("UPDATE _sqlx_migrations SET version = 999").execute(&mut writer).await.unwrap();
        assert!(matches!(open(&path).await, Err(OpenError::Migrate(_))));
    }
}
