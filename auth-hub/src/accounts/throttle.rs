//! How often a password may be tried: per login name, existing or not, and per client address. And how often an account may be
//! handed over.
//!
//! A sans-I/O core: takes `now`, answers at once. Knows neither accounts nor passwords; of a name it keeps a keyed hash
//! only. Called before hashing, so that a refused attempt costs nothing.
//! Invariant: of one name, and from one address, at most `burst` attempts plus one per `refill` are allowed in any span of
//! time, plus one for each that was given back in it; whatever else happens, and however full the tables are.
//!
//! A full table never forgets a key that still owes something, as that would hand its attempts back to whoever filled
//! the table. A fresh key takes the place of one that owes nothing, else it is refused. To bring that about one must start
//! more attempts than `keys_max` within `refill`: hundreds of times what the password pool can check anyway.
//!
//! A denied attempt costs no token, so hammering prolongs no lock-out. Whoever can try from many addresses can still keep
//! a known name's bucket empty; the short refill bounds the harm.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use ring::hmac;
use shared_msgs::clock::Mono;
use shared_msgs::ids::AccountId;
use shared_msgs::rng::Rng;

use super::account::LoginName;

/// A token bucket: full at first, one token back per `refill`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// Attempts that may be made at once; 0 counts as 1.
    pub burst: u32,
    /// Time until one more is allowed; below 1 ms counts as 1 ms.
    pub refill: Duration,
    /// Keys remembered; 0 counts as 1.
    pub keys_max: usize,
}

/// The limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThrottleConfig {
    /// Attempts on one login name.
    pub name: Bucket,
    /// Attempts from one IPv4 address or one IPv6 /64.
    pub address: Bucket,
}

impl Default for ThrottleConfig {
    /// Ten guesses of a name, then one per 12 s (7,200 a day); an address may serve a whole LAN party.
    fn default() -> Self {
        Self {
            name: Bucket { burst: 10, refill: Duration::from_secs(12), keys_max: 1 << 17 },
            address: Bucket { burst: 60, refill: Duration::from_secs(1), keys_max: 1 << 16 },
        }
    }
}

/// May this password be checked?
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a denied attempt must not reach the password pool"]
pub enum Verdict {
    /// Yes; one attempt of the name and the address is spent.
    Allowed(Attempt),
    /// No; nothing is spent.
    Denied {
        /// The earliest time at which it would be allowed.
        retry_after: Duration,
    },
}

/// An attempt that was spent. Hand it to [`Throttle::succeeded`] when the password was right; else drop it.
#[derive(Debug, PartialEq, Eq)]
pub struct Attempt(NameKey);

type NameKey = [u8; 16];
/// IP version, and the address or its upper half.
type AddressKey = (u8, u64);

/// The throttle.
#[derive(Debug)]
pub struct Throttle {
    key: hmac::Key,
    names: Table<NameKey>,
    addresses: Table<AddressKey>,
}

impl Throttle {
    /// Empty tables, and a fresh key for the names.
    pub fn new(config: ThrottleConfig, rng: &dyn Rng) -> Self {
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, &rng.array::<32>()),
            names: Table::new(config.name),
            addresses: Table::new(config.address),
        }
    }

    /// Counts an attempt, or refuses it.
    pub fn attempt(&mut self, name: &LoginName, from: IpAddr, now: Mono) -> Verdict {
        let (name, address) = (self.name_key(name), address_key(from));
        // Both are asked before either is charged: a refusal by one must not cost the other.
        match (self.names.wait(&name, now), self.addresses.wait(&address, now)) {
            (0, 0) => {
                self.names.charge(name, now);
                self.addresses.charge(address, now);
                Verdict::Allowed(Attempt(name))
            }
            (name_ms, address_ms) => {
                Verdict::Denied { retry_after: Duration::from_millis(name_ms.max(address_ms)) }
            }
        }
    }

    /// The password was right: the name gets its attempt back. The address does not, or one good account would make its
    /// address limitless.
    #[expect(clippy::needless_pass_by_value, reason = "an attempt can be given back once")]
    pub fn succeeded(&mut self, attempt: Attempt) {
        self.names.give_back(attempt.0);
    }

    /// Names and addresses remembered.
    pub fn remembered(&self) -> (usize, usize) {
        (self.names.paid_at.len(), self.addresses.paid_at.len())
    }

    fn name_key(&self, name: &LoginName) -> NameKey {
        let tag = hmac::sign(&self.key, name.as_str().as_bytes());
        let mut key = NameKey::default();
        key.copy_from_slice(&tag.as_ref()[..16]);
        key
    }
}

/// How often each account may be handed over: every handover leaves a mark on a game server for minutes, so that a few accounts in
/// a loop would fill the room that all others need.
#[derive(Debug)]
pub struct AccountThrottle(Table<AccountId>);

impl AccountThrottle {
    /// Empty.
    pub fn new(bucket: Bucket) -> Self {
        Self(Table::new(bucket))
    }

    /// Counts a handover.
    ///
    /// # Errors
    /// The time until one would be allowed; nothing is spent then.
    pub fn attempt(&mut self, account: AccountId, now: Mono) -> Result<(), Duration> {
        match self.0.wait(&account, now) {
            0 => {
                self.0.charge(account, now);
                Ok(())
            }
            ms => Err(Duration::from_millis(ms)),
        }
    }
}

/// How often an address may show a wrong key before it is told to wait.
#[derive(Debug)]
pub struct AddressThrottle(Table<AddressKey>);

impl AddressThrottle {
    /// Empty.
    pub fn new(bucket: Bucket) -> Self {
        Self(Table::new(bucket))
    }

    /// Counts a failure.
    ///
    /// # Errors
    /// When to come back, if there were too many; nothing is spent then.
    pub fn attempt(&mut self, from: IpAddr, now: Mono) -> Result<(), Duration> {
        let address = address_key(from);
        match self.0.wait(&address, now) {
            0 => {
                self.0.charge(address, now);
                Ok(())
            }
            ms => Err(Duration::from_millis(ms)),
        }
    }
}

/// An IPv6 client commonly owns its whole /64, so that is what counts as one.
fn address_key(address: IpAddr) -> AddressKey {
    match address.to_canonical() {
        IpAddr::V4(v4) => (4, u64::from(v4.to_bits())),
        // The shift leaves 64 bits.
        IpAddr::V6(v6) => (6, u64::try_from(v6.to_bits() >> 64).unwrap_or(u64::MAX)),
    }
}

/// Token buckets, each kept as one number: when it will be full again. A bucket that is full needs no entry.
#[derive(Debug)]
struct Table<K> {
    burst: u64,
    refill_ms: u64,
    keys_max: usize,
    paid_at: BTreeMap<K, Mono>,
    /// The same, by time: its first entry is the first that may be forgotten.
    by_time: BTreeSet<(Mono, K)>,
}

impl<K: Copy + Ord> Table<K> {
    fn new(bucket: Bucket) -> Self {
        Self {
            burst: u64::from(bucket.burst.max(1)),
            refill_ms: u64::try_from(bucket.refill.as_millis()).unwrap_or(u64::MAX).max(1),
            keys_max: bucket.keys_max.max(1),
            paid_at: BTreeMap::new(),
            by_time: BTreeSet::new(),
        }
    }

    /// Milliseconds until `key` may be charged.
    fn wait(&self, key: &K, now: Mono) -> u64 {
        match self.paid_at.get(key) {
            Some(paid_at) => {
                let debt_max_ms = (self.burst - 1).saturating_mul(self.refill_ms);
                paid_at.0.saturating_sub(now.0).saturating_sub(debt_max_ms)
            }
            None if self.paid_at.len() < self.keys_max => 0,
            None => self.by_time.first().map_or(0, |(paid_at, _)| paid_at.0.saturating_sub(now.0)),
        }
    }

    /// Spends a token. The caller has asked [`Self::wait`].
    fn charge(&mut self, key: K, now: Mono) {
        let paid_at = self.paid_at.get(&key).map_or(now, |paid_at| (*paid_at).max(now));
        if !self.paid_at.contains_key(&key) && self.paid_at.len() >= self.keys_max {
            self.forget_first();
        }
        self.set(key, Mono(paid_at.0.saturating_add(self.refill_ms)));
    }

    fn give_back(&mut self, key: K) {
        // Forgotten keys owe nothing, so there is nothing to give back.
        if let Some(paid_at) = self.paid_at.get(&key) {
            self.set(key, Mono(paid_at.0.saturating_sub(self.refill_ms)));
        }
    }

    fn set(&mut self, key: K, paid_at: Mono) {
        if let Some(before) = self.paid_at.insert(key, paid_at) {
            self.by_time.remove(&(before, key));
        }
        self.by_time.insert((paid_at, key));
    }

    fn forget_first(&mut self) {
        if let Some((_, key)) = self.by_time.pop_first() {
            self.paid_at.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests;
