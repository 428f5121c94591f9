//! A look at the database that changes nothing: whether its pages agree, how old its schema is, what it makes a hub remember.
//!
//! Works beside a running hub. Invariant: the connection only reads; where nobody else has the file and all of it is in one place, it
//! takes no lock and makes no file either.

use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection};

use super::db::{OpenFault, SCHEMA_VERSION, quick_check};

/// Longest wait for another process's lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(3);

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// The newest migration it has had; `None` for an empty database.
    pub schema: Option<i64>,
    /// The newest that this program knows.
    pub known: i64,
    /// See [`Store::clock_ceiling`](super::Store::clock_ceiling).
    pub ceiling: u64,
}

/// Looks at the file, reading all of it.
///
/// # Errors
/// What is the matter with it, a schema that is too new included.
pub async fn inspect(path: &Path) -> Result<Inspection, OpenFault> {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    // With a log beside it a hub runs, or was killed: then the log counts, too.
    let alone = !Path::new(&log).exists();
    let options = SqliteConnectOptions::new()
        .filename(path)
        .read_only(true)
        .immutable(alone)
        .busy_timeout(BUSY_TIMEOUT)
        .pragma("query_only", "on")
        .disable_statement_logging();
    let mut conn = options.connect().await.map_err(OpenFault::refused)?;
    let found = look(&mut conn).await;
    // What matters has been read.
    let _ = conn.close().await;
    found
}

async fn look(conn: &mut SqliteConnection) -> Result<Inspection, OpenFault> {
    quick_check(conn).await?;
    let has = "SELECT count(*) FROM sqlite_master WHERE name = $1";
    let mut found = Inspection { schema: None, known: SCHEMA_VERSION, ceiling: 0 };
    let count: i64 = sqlx::query_scalar(has)
        .bind("_sqlx_migrations")
        .fetch_one(&mut *conn)
        .await
        .map_err(OpenFault::refused)?;
    if count == 0 {
        return Ok(found);
    }
    let newest = "SELECT max(version) FROM _sqlx_migrations";
    found.schema = sqlx::query_scalar(newest).fetch_one(&mut *conn).await.map_err(OpenFault::refused)?;
    if let Some(newer) = found.schema.filter(|&version| version > SCHEMA_VERSION) {
        return Err(OpenFault::Newer { found: newer, known: SCHEMA_VERSION });
    }
    let ceiling: Option<i64> = sqlx::query_scalar("SELECT ceiling FROM hub_clock")
        .fetch_optional(&mut *conn)
        .await
        .map_err(OpenFault::refused)?;
    found.ceiling = ceiling.and_then(|ceiling| u64::try_from(ceiling).ok()).unwrap_or(0);
    Ok(found)
}
