//! One hub on one database: a lock beside it, held as long as the hub runs.
//!
//! Knows the lock's file, nothing of what the database holds; commands other than `serve` don't take it. Not SQLite's own locks, which
//! let any number of processes in. Invariant: the lock goes with its process, however that ends; no stale one is ever to be removed.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use shared_msgs::process::io_remedy;

/// How long a hub that is ending may keep its successor waiting.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often to look whether it has ended.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Why a hub may not have the database for itself.
#[derive(Debug, thiserror::Error)]
pub enum SoleError {
    /// Another hub runs.
    #[error(
        "another hub runs on the database {}: stop it first, or give this one a database.path of its own",
        database.display()
    )]
    Taken {
        /// The database.
        database: PathBuf,
    },
    /// No lock to be had.
    #[error("lock file {}: {source}; {}", path.display(), io_remedy(source))]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// The lock; dropping it lets the next hub in.
#[derive(Debug)]
pub(crate) struct Sole {
    _file: File,
}

/// Where the lock of a database is: beside the file itself, whatever symbolic links lead there. Hard links are not seen through; SQLite
/// itself is not safe with them.
fn lock_path(database: &Path) -> PathBuf {
    let mut name = real_path(database).into_os_string();
    name.push("-hub");
    name.into()
}

fn real_path(database: &Path) -> PathBuf {
    if let Ok(path) = database.canonicalize() {
        return path;
    }
    // The first start: there is a folder at most.
    let folder = crate::folder::of(database).canonicalize();
    match (folder, database.file_name()) {
        (Ok(folder), Some(name)) => folder.join(name),
        _ => database.to_owned(),
    }
}

/// Takes the lock, made with its folder where it is missing. Waits a little for a hub that is just ending.
///
/// # Errors
/// [`SoleError`].
pub(crate) async fn take(database: &Path) -> Result<Sole, SoleError> {
    take_within(database, PATIENCE).await
}

async fn take_within(database: &Path, patience: Duration) -> Result<Sole, SoleError> {
    let path = lock_path(database);
    let failed = |source| SoleError::Io { path: path.clone(), source };
    crate::folder::create_private(crate::folder::of(&path)).map_err(failed)?;
    // `append` asks for writing, which some file systems want for an exclusive lock, and changes nothing.
    let file = fs::OpenOptions::new().append(true).create(true).mode(0o600).open(&path).map_err(failed)?;
    let until = tokio::time::Instant::now() + patience;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Sole { _file: file }),
            Err(TryLockError::WouldBlock) if tokio::time::Instant::now() < until => {
                tokio::time::sleep(LOOK_EVERY).await;
            }
            Err(TryLockError::WouldBlock) => return Err(SoleError::Taken { database: database.to_owned() }),
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
    }
}

/// Whether a hub runs on this database. Makes nothing.
pub(crate) fn is_taken(database: &Path) -> bool {
    // A shared lock, given back at once: the most it can do is to keep a starting hub waiting for a moment.
    let held = File::open(lock_path(database)).map(|file| file.try_lock_shared());
    matches!(held, Ok(Err(TryLockError::WouldBlock)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_second_hub_is_refused_until_the_first_has_ended() {
        let dir = tempfile::tempdir().unwrap();
        let database = dir.path().join("var/hub.sqlite");
        assert!(!is_taken(&database) && !dir.path().join("var").exists(), "looking makes nothing");
        let first = take(&database).await.unwrap();
        assert!(is_taken(&database));
        let refused = take_within(&database, Duration::ZERO).await.unwrap_err();
        assert!(matches!(refused, SoleError::Taken { .. }), "{refused}");
        let second = take(&database);
        tokio::pin!(second);
        assert!(tokio::time::timeout(LOOK_EVERY * 3, &mut second).await.is_err(), "it waits");
        drop(first);
        let second = second.await.unwrap();
        drop(second);
        assert!(!is_taken(&database));
    }

    #[tokio::test]
    async fn a_database_is_the_same_by_every_link_to_it() {
        let dir = tempfile::tempdir().unwrap();
        let (database, folder) = (dir.path().join("var/hub.sqlite"), dir.path().join("folder"));
        std::os::unix::fs::symlink(dir.path().join("var"), &folder).unwrap();
        let first = take(&database).await.unwrap();
        assert!(is_taken(&folder.join("hub.sqlite")), "by its folder, before there is a database");
        fs::write(&database, "").unwrap();
        let alias = dir.path().join("alias.sqlite");
        std::os::unix::fs::symlink(&database, &alias).unwrap();
        assert!(is_taken(&alias));
        drop(first);
        let second = take(&alias).await.unwrap();
        assert!(is_taken(&database));
        drop(second);
    }
}
