//! Where granted tokens wait for their clients: the only place that names moka.
//!
//! Owns the grants' contents, by token hash. Decides nothing: moka is a cache, not a ledger. Its default policy may refuse an insert
//! or evict an entry once a capacity is set, and its expiry reads a clock of its own that nobody can inject (moka#522). So no
//! capacity and no time-to-live is set here; the gate counts what is held, refuses at the bound, expires by its own deadlines, and
//! looks at `expires_at` again after the look-up. Invariant: [`TokenCache::take`] gives each inserted grant out at most once, to one caller.

use std::sync::Arc;

use moka::sync::Cache;
use shared_msgs::ids::TokenHash;
use shared_msgs::messages::Grant;

/// Grants by token hash.
pub(crate) struct TokenCache(Cache<TokenHash, Arc<Grant>>);

impl TokenCache {
    /// An empty one, unbounded by itself: the gate is its bound.
    pub(crate) fn new() -> Self {
        Self(Cache::builder().name("granted tokens").build())
    }

    /// Keeps a grant until it is taken.
    pub(crate) fn insert(&self, grant: Grant) {
        self.0.insert(grant.hash, Arc::new(grant));
    }

    /// Gives the grant out and forgets it, exactly once.
    pub(crate) fn take(&self, hash: TokenHash) -> Option<Arc<Grant>> {
        self.0.remove(&hash)
    }

    /// A look without taking.
    #[cfg(test)]
    pub(crate) fn peek(&self, hash: TokenHash) -> Option<Arc<Grant>> {
        self.0.get(&hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared_msgs::clock::UnixMs;
    use shared_msgs::ids::{Fence, HandoverId, PlayerId};
    use std::sync::Barrier;

    fn grant(n: u8) -> Grant {
        Grant {
            handover: HandoverId([n; 16]),
            hash: TokenHash([n; 32]),
            player: PlayerId([n; 16]),
            fence: Fence { hlc: n.into(), hub: 0 },
            expires_at: UnixMs(1),
            name: "ann".into(),
            luggage: vec![n].into(),
        }
    }

    #[test]
    fn nothing_is_evicted_and_each_is_taken_once_whoever_races_for_it() {
        let cache = TokenCache::new();
        for n in 0..=255 {
            cache.insert(grant(n));
        }
        assert!(
            (0..=255).all(|n| cache.peek(TokenHash([n; 32])).is_some()),
            "a cache without capacity evicted"
        );
        let (threads, barrier) = (4, Barrier::new(4));
        let taken: usize = std::thread::scope(|scope| {
            let race = || {
                barrier.wait();
                (0..=255).filter(|n| cache.take(TokenHash([*n; 32])).is_some()).count()
            };
            let racers: Vec<_> = (0..threads).map(|_| scope.spawn(race)).collect();
            racers.into_iter().map(|racer| racer.join().unwrap()).sum()
        });
        assert_eq!(taken, 256);
    }
}
