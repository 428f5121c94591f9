//! Deadlines by key: each key has at most one, the earliest is found at once. A pure core's whole sense of the future.

use std::collections::{BTreeMap, BTreeSet};

use shared_msgs::clock::Mono;

/// At most one deadline per key.
#[derive(Debug)]
pub(crate) struct Timers<K> {
    by_key: BTreeMap<K, Mono>,
    by_time: BTreeSet<(Mono, K)>,
}

impl<K: Ord + Clone> Timers<K> {
    pub(crate) fn new() -> Self {
        Self { by_key: BTreeMap::new(), by_time: BTreeSet::new() }
    }

    /// Sets or moves the key's deadline.
    pub(crate) fn set(&mut self, key: K, at: Mono) {
        self.cancel(&key);
        self.by_time.insert((at, key.clone()));
        self.by_key.insert(key, at);
    }

    pub(crate) fn cancel(&mut self, key: &K) {
        if let Some(at) = self.by_key.remove(key) {
            self.by_time.remove(&(at, key.clone()));
        }
    }

    pub(crate) fn next(&self) -> Option<Mono> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// Takes the earliest key that is due.
    pub(crate) fn pop_due(&mut self, now: Mono) -> Option<K> {
        let (at, _) = self.by_time.first()?;
        if *at > now {
            return None;
        }
        let (_, key) = self.by_time.pop_first()?;
        self.by_key.remove(&key);
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_has_one_deadline_and_the_earliest_comes_first() {
        let mut timers = Timers::new();
        timers.set('a', Mono(30));
        timers.set('b', Mono(20));
        timers.set('a', Mono(10));
        timers.set('c', Mono(5));
        timers.cancel(&'c');
        assert_eq!(timers.next(), Some(Mono(10)));
        assert_eq!(timers.pop_due(Mono(9)), None);
        assert_eq!(timers.pop_due(Mono(20)), Some('a'));
        assert_eq!(timers.pop_due(Mono(20)), Some('b'));
        assert_eq!(timers.pop_due(Mono(99)), None);
    }
}
