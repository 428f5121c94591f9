//! Writes down where players were last, beside everybody's way.
//!
//! Owns what waits to be written. Knows the store, no fleet. Invariants: one write at a time, so that nobody's registration waits behind a
//! thousand of these; what does not fit is dropped, and noted again when the player is next in game elsewhere.

use shared_msgs::ids::{PlayerId, ServerId};
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;
use tracing::{Instrument as _, info_span, warn};

use crate::accounts::writer::WriteError;
use crate::accounts::{Store, StoreError};

/// Places that may wait to be written.
const WAITING_MAX: usize = 4_096;
/// Places in one write.
const WRITE_MAX: usize = 256;

/// Where places are handed in; the task behind it ends when this is dropped.
pub(super) struct LastServers(mpsc::Sender<(PlayerId, ServerId)>);

impl LastServers {
    pub(super) fn start(store: Store, tasks: &TaskTracker) -> Self {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        tasks.spawn(write(store, receiver).instrument(info_span!("last_servers")));
        Self(sender)
    }

    pub(super) fn note(&self, player: PlayerId, server: ServerId) {
        // Full or closed: a hint less.
        let _ = self.0.try_send((player, server));
    }
}

async fn write(store: Store, mut waiting: mpsc::Receiver<(PlayerId, ServerId)>) {
    let mut some = Vec::new();
    while waiting.recv_many(&mut some, WRITE_MAX).await > 0 {
        match store.set_last_servers(std::mem::take(&mut some)).await {
            Ok(()) => {}
            // The hub stops.
            Err(StoreError::Write(WriteError::Closed)) => return,
            Err(error) => warn!(target: "handover", %error, "store.failed"),
        }
    }
}
