//! The owner's end of the link: puts messages into the outbox, never waits.
//!
//! Owns the lock around the outbox and the two wake-ups (something to send; everything before N is settled). Invariant: the lock is
//! never held across an await, nor while anything is sealed.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};

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
    settled: watch::Sender<u64>,
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
            settled: watch::Sender::new(0),
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

    /// Resolves when the broker has acknowledged everything sent so far, or the link went down; the caller bounds the wait. Do not
    /// await it where the link's events are taken: a link whose owner does not listen reads no acknowledgement.
    pub fn flush(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut settled = self.0.settled.subscribe();
        let outbox = self.outbox();
        let target = outbox.taken();
        let done = outbox.settled() >= target;
        drop(outbox);
        async move {
            if !done {
                // The sender lives in us, or the link is gone: then there is nothing to wait for either.
                let _ = settled.wait_for(|&settled| settled >= target).await;
            }
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
        let mut outbox = self.outbox();
        outbox.close();
        let settled = outbox.settled();
        drop(outbox);
        self.0.settled.send_replace(settled);
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

    /// See [`Outbox::acked`].
    pub(super) fn acked(&self, id: BatchId) -> bool {
        let mut outbox = self.outbox();
        let is_oldest = outbox.acked(id);
        // Finding the least number walks all lanes: only when somebody waits for it.
        let settled = (self.0.settled.receiver_count() > 0).then(|| outbox.settled());
        drop(outbox);
        if let Some(settled) = settled {
            self.0.settled.send_replace(settled);
        }
        is_oldest
    }
}
