//! The owner's end of the link: puts messages into the outbox, never waits.
//!
//! Owns the lock around the outbox and the wake-up of its driver. Invariant: the lock is never held across an await, nor while anything is
//! sealed.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::outbox::{Batch, BatchId, Outbox};
use super::{Lane, LinkConfig};
use crate::clock::Clock;

/// Why a message was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The link is down; the owner re-syncs when it is up again.
    #[error("the link to the broker is down")]
    NotConnected,
    /// The outbox is at its bound.
    #[error("the link's outbox is full")]
    Full,
    /// Longer than one encoded message may be.
    #[error("a message of {0} bytes is too long for the link")]
    TooLarge(usize),
}

struct Shared {
    outbox: Mutex<Outbox>,
    clock: Arc<dyn Clock>,
    work: Notify,
}

/// Puts messages into the link's outbox. Clones share it.
#[derive(Clone)]
pub struct LinkSender(Arc<Shared>);

impl LinkSender {
    pub(super) fn new(config: &LinkConfig, clock: Arc<dyn Clock>) -> Self {
        Self(Arc::new(Shared {
            outbox: Mutex::new(Outbox::new(config.outbox_messages_max, config.outbox_bytes_max)),
            clock,
            work: Notify::new(),
        }))
    }

    fn outbox(&self) -> MutexGuard<'_, Outbox> {
        // Every method of the outbox leaves it whole, so a panic elsewhere does not spoil it.
        self.0.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes one encoded message ([`crate::codec::encode`]) for `lane`. Never blocks.
    ///
    /// # Errors
    /// [`SendError`]; the message was not taken then.
    pub fn send(&self, lane: Lane, message: Vec<u8>) -> Result<(), SendError> {
        let mut outbox = self.outbox();
        match outbox.push(lane, message) {
            Ok(wake) => {
                drop(outbox);
                if wake {
                    self.0.work.notify_one();
                }
                Ok(())
            }
            Err(SendError::Full) => {
                let log = outbox.may_log_full(self.0.clock.now().mono).then(|| outbox.refused_full());
                drop(outbox);
                if let Some(refused) = log {
                    tracing::warn!(target: "link", refused, "link.outbox_full");
                }
                Err(SendError::Full)
            }
            Err(error) => Err(error),
        }
    }

    /// Messages that wait unsent, for metrics.
    pub fn waiting(&self) -> usize {
        self.outbox().waiting()
    }

    /// Messages ever refused with [`SendError::Full`], for metrics.
    pub fn refused_full(&self) -> u64 {
        self.outbox().refused_full()
    }

    pub(super) fn open(&self) {
        self.outbox().open();
    }

    pub(super) fn drain(&self) {
        self.outbox().drain();
    }

    pub(super) fn close(&self) {
        self.outbox().close();
    }

    pub(super) fn is_idle(&self) -> bool {
        self.outbox().is_idle()
    }

    /// Resolves when [`LinkSender::next_batch`] may have something.
    pub(super) async fn work(&self) {
        self.0.work.notified().await;
    }

    pub(super) fn next_batch(&self) -> Option<Batch> {
        self.outbox().next_batch()
    }

    pub(super) fn acked(&self, id: BatchId) {
        self.outbox().acked(id);
    }
}
