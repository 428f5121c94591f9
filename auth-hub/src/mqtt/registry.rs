//! Which connection speaks for a client id: the newest.
//!
//! Knows neither sockets nor MQTT. Invariant: of the connections that claim one client id, each goes on only after its
//! predecessor is gone, its router link closed and its will published; so the router never sees a client id twice, and
//! wills come in the order of their connections.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::stats::CloseReason;

/// All client ids that are connected or about to be. Bounded by the listeners' permits.
#[derive(Default)]
pub(crate) struct Registry {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    holders: HashMap<String, Holder>,
    /// Of client ids that had a key revoked while the broker ran.
    lowest: HashMap<String, u32>,
    next: u64,
}

struct Holder {
    number: u64,
    generation: u32,
    evict: Option<oneshot::Sender<CloseReason>>,
    gone: CancellationToken,
}

/// A connection's claim. Dropping it says that the connection is gone: drop it last.
pub(crate) struct Seat {
    registry: Arc<Registry>,
    client_id: String,
    number: u64,
    gone: CancellationToken,
    predecessor: Option<CancellationToken>,
    evicted: oneshot::Receiver<CloseReason>,
}

impl Registry {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing in here can panic half-way through a change.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Claims `client_id` with a key of this generation, and asks whoever has it to go. A claim with a key that was revoked since it was
    /// checked is evicted before it begins.
    pub(crate) fn claim(self: &Arc<Self>, client_id: &str, generation: u32) -> Seat {
        let (evict, evicted) = oneshot::channel();
        let gone = CancellationToken::new();
        let mut inner = self.lock();
        let number = inner.next;
        inner.next += 1;
        let mut holder = Holder { number, generation, evict: Some(evict), gone: gone.clone() };
        if inner.lowest.get(client_id).is_some_and(|lowest| generation < *lowest) {
            holder.evict(CloseReason::Evicted);
        }
        let predecessor = inner.holders.insert(client_id.to_owned(), holder).map(|mut old| {
            old.evict(CloseReason::TakenOver);
            old.gone
        });
        drop(inner);
        Seat {
            registry: Arc::clone(self),
            client_id: client_id.to_owned(),
            number,
            gone,
            predecessor,
            evicted,
        }
    }

    /// Asks the connection of `client_id` to go if its key is of a lower generation, and every later one like it. False if there was none.
    pub(crate) fn evict_below(&self, client_id: &str, lowest_generation: u32) -> bool {
        let mut inner = self.lock();
        let lowest = inner.lowest.entry(client_id.to_owned()).or_default();
        *lowest = lowest_generation.max(*lowest);
        let holder = inner.holders.get_mut(client_id).filter(|holder| holder.generation < lowest_generation);
        holder.is_some_and(|holder| holder.evict(CloseReason::Evicted))
    }

    /// Asks the connection of `client_id` to go; false if there is none, or it was asked before.
    pub(crate) fn evict(&self, client_id: &str) -> bool {
        self.lock().holders.get_mut(client_id).is_some_and(|holder| holder.evict(CloseReason::Evicted))
    }
}

impl Holder {
    fn evict(&mut self, reason: CloseReason) -> bool {
        self.evict.take().is_some_and(|evict| evict.send(reason).is_ok())
    }
}

impl Seat {
    /// Waits until the predecessor is gone. Also to be awaited by a claim that was itself evicted meanwhile: its successor
    /// relies on it.
    pub(crate) async fn predecessor_gone(&mut self) {
        if let Some(predecessor) = &self.predecessor {
            predecessor.cancelled().await;
            self.predecessor = None;
        }
    }

    /// Resolves once, when this connection must go.
    pub(crate) async fn evicted(&mut self) -> CloseReason {
        // The sender lives in the registry until it is used or this seat, or a successor that used it, is gone.
        (&mut self.evicted).await.unwrap_or(CloseReason::TakenOver)
    }

    /// Was it told to go already?
    pub(crate) fn is_evicted(&mut self) -> bool {
        self.evicted.try_recv().is_ok()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut inner = self.registry.lock();
        if inner.holders.get(&self.client_id).is_some_and(|holder| holder.number == self.number) {
            inner.holders.remove(&self.client_id);
        }
        drop(inner);
        self.gone.cancel();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_ready(future: impl Future<Output = ()>) -> bool {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        std::pin::pin!(future).poll(&mut context).is_ready()
    }

    #[tokio::test]
    async fn the_newest_wins_and_waits_for_the_older() {
        let registry = Arc::new(Registry::default());
        let mut first = registry.claim("gs-a", 1);
        assert!(is_ready(first.predecessor_gone()));
        let mut second = registry.claim("gs-a", 1);
        assert_eq!(first.evicted().await, CloseReason::TakenOver);
        assert!(!is_ready(second.predecessor_gone()));
        drop(first);
        assert!(is_ready(second.predecessor_gone()));
        assert!(!second.is_evicted());
    }

    #[tokio::test]
    async fn one_overtaken_while_waiting_still_holds_its_successor_back() {
        let registry = Arc::new(Registry::default());
        let first = registry.claim("gs-a", 1);
        let mut second = registry.claim("gs-a", 1);
        let mut third = registry.claim("gs-a", 1);
        assert!(second.is_evicted());
        assert!(!is_ready(second.predecessor_gone()));
        assert!(!is_ready(third.predecessor_gone()));
        drop(first);
        assert!(is_ready(second.predecessor_gone()));
        assert!(!is_ready(third.predecessor_gone()));
        drop(second);
        assert!(is_ready(third.predecessor_gone()));
        assert!(!third.is_evicted());
    }

    #[tokio::test]
    async fn a_revoked_generation_goes_and_does_not_come_back_and_a_newer_one_stays() {
        let registry = Arc::new(Registry::default());
        let mut old = registry.claim("gs-a", 1);
        let mut new = registry.claim("gs-b", 2);
        assert!(registry.evict_below("gs-a", 2));
        assert!(!registry.evict_below("gs-b", 2));
        assert_eq!(old.evicted().await, CloseReason::Evicted);
        assert!(!new.is_evicted());
        // Its password was checked before the revocation.
        assert!(registry.claim("gs-a", 1).is_evicted());
        assert!(!registry.claim("gs-a", 2).is_evicted());
    }

    #[tokio::test]
    async fn eviction_hits_the_named_client_once() {
        let registry = Arc::new(Registry::default());
        let mut a = registry.claim("gs-a", 1);
        let mut b = registry.claim("gs-b", 1);
        assert!(registry.evict("gs-a"));
        assert!(!registry.evict("gs-a"));
        assert!(!registry.evict("gs-c"));
        assert_eq!(a.evicted().await, CloseReason::Evicted);
        assert!(!b.is_evicted());
        drop((a, b));
        assert!(registry.lock().holders.is_empty());
        assert!(!registry.evict("gs-b"));
    }
}
