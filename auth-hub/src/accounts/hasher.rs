//! argon2 on memory that is kept from one hash to the next: fresh pages each time would cost a third more.
//!
//! Knows one thread's worth of it; the pool knows how many there are, and when it is time to give it back. Invariants: the memory a
//! hash leaves behind after it is never larger than the configured cost, whatever an imported hash asked for; memory given back is
//! the system's at once.
//!
//! The kept memory holds the last hash's inner state until the next one overwrites it or it is given back: wiping 19 MiB each time
//! would cost about a tenth of the hash.

use std::sync::Arc;

use argon2::password_hash::phc::{Output, ParamsString, Salt};
use argon2::{Algorithm, Argon2, Block, Params, PasswordHash, Version};
use shared_msgs::rng::Rng;

use super::phc::{Cost, Parsed, Phc};

/// An allocation as large as this is a mapping of its own on every C library, and leaves the process when it is freed. glibc keeps
/// smaller ones for later once it has seen a few, and its largest threshold for that is 32 MiB. What is not touched costs nothing.
const MAPPED_BYTES_MIN: usize = 33 * 1024 * 1024;

/// Memory for so many blocks.
fn map(blocks: usize) -> Vec<Block> {
    let mut memory = Vec::with_capacity(blocks.max(MAPPED_BYTES_MIN / Block::SIZE));
    memory.resize(blocks, Block::new());
    memory
}

/// argon2 did not take its parameters; a parsed [`Phc`] gives it no reason to.
#[derive(Debug)]
pub(super) struct Refused;

pub(super) struct Hasher {
    cost: Cost,
    params: Params,
    /// Empty until the first hash, and once given back.
    memory: Vec<Block>,
    rng: Arc<dyn Rng>,
    hashes: u64,
}

impl Hasher {
    pub(super) fn new(cost: Cost, rng: Arc<dyn Rng>) -> Result<Self, Refused> {
        let params = cost.params().map_err(|_| Refused)?;
        Ok(Self { cost, params, memory: Vec::new(), rng, hashes: 0 })
    }

    /// Whether it holds memory.
    pub(super) fn is_warm(&self) -> bool {
        !self.memory.is_empty()
    }

    /// Gives its memory back to the system.
    pub(super) fn cool(&mut self) {
        self.memory = Vec::new();
    }

    /// What [`Self::hash`] costs.
    pub(super) fn cost(&self) -> Cost {
        self.cost
    }

    /// Hashes computed so far.
    pub(super) fn hashes(&self) -> u64 {
        self.hashes
    }

    /// Hashes at the configured cost, with a fresh salt.
    pub(super) fn hash(&mut self, password: &[u8]) -> Result<Phc, Refused> {
        let salt = Salt::new(&self.rng.array::<16>()).map_err(|_| Refused)?;
        let params = ParamsString::try_from(&self.params).map_err(|_| Refused)?;
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, self.params.clone());
        let output = self.output(&argon2, password, &salt, Params::DEFAULT_OUTPUT_LEN)?;
        Ok(Phc::from_hash(&PasswordHash {
            algorithm: Algorithm::Argon2id.ident(),
            version: Some(Version::V0x13.into()),
            params,
            salt: Some(salt),
            hash: Some(output),
        }))
    }

    /// Whether the password has this hash; compared in constant time.
    pub(super) fn matches(&mut self, password: &[u8], against: &Parsed) -> Result<bool, Refused> {
        let (Some(salt), Some(expected)) = (&against.hash.salt, &against.hash.hash) else {
            return Err(Refused);
        };
        Ok(self.output(&against.argon2(), password, salt, expected.len())? == *expected)
    }

    fn output(
        &mut self,
        argon2: &Argon2<'_>,
        password: &[u8],
        salt: &Salt,
        len: usize,
    ) -> Result<Output, Refused> {
        self.hashes += 1;
        let mut bytes = [0; Output::MAX_LENGTH];
        let out = bytes.get_mut(..len).ok_or(Refused)?;
        let blocks = argon2.params().block_count();
        let done = if blocks <= self.params.block_count() {
            if self.memory.is_empty() {
                self.memory = map(self.params.block_count());
            }
            argon2.hash_password_into_with_memory(password, salt.as_ref(), out, &mut self.memory)
        } else {
            // An imported hash that asks for more than our setting; its bounds were checked when it was parsed.
            argon2.hash_password_into_with_memory(password, salt.as_ref(), out, map(blocks))
        };
        done.map_err(|_| Refused)?;
        Output::new(out).map_err(|_| Refused)
    }
}
