//! What the tests of this room share: a store on a file of its own, and the makings of an account.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use shared_msgs::clock::SystemClock;
use shared_msgs::rng::SystemRng;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::account::NewAccount;
use super::phc::Phc;
use super::store::Store;

pub(super) struct TestStore {
    pub(super) dir: TempDir,
    pub(super) store: Store,
    pub(super) process: CancellationToken,
}

impl TestStore {
    pub(super) async fn open() -> Self {
        Self::open_in(TempDir::new().unwrap()).await
    }

    pub(super) async fn open_in(dir: TempDir) -> Self {
        let process = CancellationToken::new();
        let (rng, clock) = (Arc::new(SystemRng::new()), Arc::new(SystemClock::new()));
        let path = dir.path().join("hub.sqlite");
        let store = Store::open(&path, &TaskTracker::new(), &process, rng, clock).await.unwrap();
        Self { dir, store, process }
    }

    /// What a power cut would leave on disk now: the files as they are, nothing closed or checkpointed.
    pub(super) fn copy_files(&self) -> TempDir {
        let copy = TempDir::new().unwrap();
        for name in ["hub.sqlite", "hub.sqlite-wal"] {
            let from: PathBuf = self.dir.path().join(name);
            std::fs::copy(from, copy.path().join(name)).unwrap();
        }
        copy
    }
}

/// Fails a test that would hang.
pub(super) async fn within<T>(wait: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(10), wait).await.expect("waited in vain")
}

pub(super) fn phc() -> Phc {
    "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHRzYWx0$tWFcYQmAOQ9hQLGBMXMxDh7V4vBhBd8n9n2eBMd1hZ0".parse().unwrap()
}

pub(super) fn other_phc() -> Phc {
    "$argon2id$v=19$m=8,t=1,p=1$b3RoZXJzYWx0$tWFcYQmAOQ9hQLGBMXMxDh7V4vBhBd8n9n2eBMd1hZ0".parse().unwrap()
}

pub(super) fn new_account(login: &str) -> NewAccount {
    NewAccount {
        login: login.parse().unwrap(),
        display_name: format!("The {login}").parse().unwrap(),
        phc: phc(),
    }
}
