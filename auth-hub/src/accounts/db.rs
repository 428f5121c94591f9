//! The database file: made private, opened durable, brought up to date.
//!
//! Knows SQLite's settings and the list of migrations; knows no table. Invariant: no connection leaves this file that is
//! not WAL, `synchronous=FULL`, with foreign keys enforced and a bounded wait for locks.

use std::fs;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use shared_msgs::process::io_remedy;
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _, SqlSafeStr as _, SqliteConnection, SqlitePool};

use super::db_fault::Fault;
use super::writer::WRITE_DEADLINE;

/// Readers at one time; SQLite readers don't block one another or the writer.
const READERS_MAX: u32 = 4;
/// Longest wait for another process's lock: shorter than who waits for a write does, so that they hear why.
const BUSY_TIMEOUT: Duration = Duration::from_secs(3);
/// Longest wait for a free reader.
pub(super) const READER_WAIT: Duration = Duration::from_secs(2);
/// A larger file is not read through at each start, which would take seconds; `auth-hub check` does it.
const CHECKED_BYTES_MAX: u64 = 64 << 20;
/// Forward-only, in order; a published one is never edited (its checksum is in the database).
const MIGRATIONS: [(i64, &str, &str); 5] = [
    (1, "accounts", include_str!("../../migrations/sqlite/0001_accounts.sql")),
    (2, "operators", include_str!("../../migrations/sqlite/0002_operators.sql")),
    (3, "queue", include_str!("../../migrations/sqlite/0003_queue.sql")),
    (4, "kept_answers", include_str!("../../migrations/sqlite/0004_kept_answers.sql")),
    (5, "last server", include_str!("../../migrations/sqlite/0005_last_server.sql")),
];
/// The newest migration.
pub(super) const SCHEMA_VERSION: i64 = MIGRATIONS[MIGRATIONS.len() - 1].0;

const _: () = assert!(BUSY_TIMEOUT.as_millis() < WRITE_DEADLINE.as_millis());

fn migrator() -> Migrator {
    Migrator::with_migrations(
        MIGRATIONS
            .into_iter()
            .map(|(version, description, sql)| {
                Migration::new(version, description.into(), MigrationType::Simple, sql.into_sql_str(), false)
            })
            .collect(),
    )
}

/// Why the database did not open.
#[derive(Debug, thiserror::Error)]
#[error("{}: {why}", path.display())]
pub struct OpenError {
    /// Which file.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub why: OpenFault,
}

/// What was wrong with it.
#[derive(Debug, thiserror::Error)]
pub enum OpenFault {
    /// The folder or the file could not be made.
    #[error("cannot make the database file: {source}; {}", io_remedy(source))]
    Create {
        /// Why.
        source: io::Error,
    },
    /// SQLite refused.
    #[error("{fault}")]
    Refused {
        /// The kind.
        fault: Fault,
        /// In SQLite's words.
        source: sqlx::Error,
    },
    /// The pages of the file contradict each other.
    #[error("{fault}: {0}", fault = Fault::Corrupt)]
    Damaged(String),
    /// A newer program has changed the schema.
    #[error(
        "the database is newer than this program: it has migration {found}, this program knows none above {known}; run the newer \
         program, or restore a backup from before its first run"
    )]
    Newer {
        /// In the database.
        found: i64,
        /// The newest of ours.
        known: i64,
    },
    /// The schema could not be brought up to date.
    #[error("cannot bring the database up to date; restore it from its backup")]
    Migrate(#[source] MigrateError),
}

impl OpenFault {
    pub(super) fn refused(source: sqlx::Error) -> Self {
        Self::Refused { fault: Fault::of(&source), source }
    }

    fn migrating(error: MigrateError) -> Self {
        match error {
            MigrateError::Execute(source) | MigrateError::ExecuteMigration(source, _) => {
                Self::refused(source)
            }
            MigrateError::VersionMissing(found) => Self::Newer { found, known: SCHEMA_VERSION },
            other => Self::Migrate(other),
        }
    }
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
    open_file(path).await.map_err(|why| OpenError { path: path.to_owned(), why })
}

async fn open_file(path: &Path) -> Result<Db, OpenFault> {
    create_private(path).map_err(|source| OpenFault::Create { source })?;
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(BUSY_TIMEOUT)
        .disable_statement_logging();
    let mut writer = options.connect().await.map_err(OpenFault::refused)?;
    migrator().run(&mut writer).await.map_err(OpenFault::migrating)?;
    if fs::metadata(path).is_ok_and(|file| file.len() <= CHECKED_BYTES_MAX) {
        quick_check(&mut writer).await?;
    }
    // What is up to date already was only read so far: a file that cannot be written is to be named now.
    let mut writing = writer.begin_with("BEGIN IMMEDIATE").await.map_err(OpenFault::refused)?;
    let nothing = sqlx::query("DELETE FROM _sqlx_migrations WHERE 1 = 0");
    nothing.execute(&mut *writing).await.map_err(OpenFault::refused)?;
    writing.rollback().await.map_err(OpenFault::refused)?;
    // None is opened yet: on a stalled machine that may take longer than a reader is waited for.
    let readers = SqlitePoolOptions::new()
        .max_connections(READERS_MAX)
        .acquire_timeout(READER_WAIT)
        .connect_lazy_with(options.clone().pragma("query_only", "on"));
    Ok(Db { writer, options, readers })
}

/// Reads every page and looks whether they agree.
pub(super) async fn quick_check(conn: &mut SqliteConnection) -> Result<(), OpenFault> {
    let found: String =
        sqlx::query_scalar("PRAGMA quick_check(1)").fetch_one(conn).await.map_err(OpenFault::refused)?;
    if found == "ok" { Ok(()) } else { Err(OpenFault::Damaged(found)) }
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
            assert_eq!(usize::try_from(ran).unwrap(), MIGRATIONS.len());
        }
        let Db { mut writer, .. } = open(&path).await.unwrap();
        sqlx::query("UPDATE _sqlx_migrations SET version = 999 WHERE version = 1")
            .execute(&mut writer)
            .await
            .unwrap();
        let refused = open(&path).await.err().unwrap();
        assert!(matches!(refused.why, OpenFault::Newer { found: 999, known: SCHEMA_VERSION }), "{refused}");
    }
}
