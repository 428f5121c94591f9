//! argon2 on memory that is kept from one hash to the next: fresh pages each time would cost a third more.
//!
//! Knows one thread's worth of it; the pool knows how many there are. Invariant: the memory a hash leaves behind after it
//! is never larger than the configured cost, whatever an imported hash asked for.
//!
//! The kept memory holds the last hash's inner state until the next one overwrites it: wiping 19 MiB each time would
//! cost about a tenth of the hash.

use std::sync::Arc;

use argon2::password_hash::phc::{Output, ParamsString, Salt};
use argon2::{Algorithm, Argon2, Block, Params, PasswordHash, Version};
use shared_msgs::rng::Rng;

use super::phc::{Cost, Parsed, Phc};

/// argon2 did not take its parameters; a parsed [`Phc`] gives it no reason to.
#[derive(Debug)]
pub(super) struct Refused;

pub(super) struct Hasher {
    cost: Cost,
    params: Params,
    memory: Vec<Block>,
    rng: Arc<dyn Rng>,
    hashes: u64,
}

impl Hasher {
    pub(super) fn new(cost: Cost, rng: Arc<dyn Rng>) -> Result<Self, Refused> {
        let params = cost.params().map_err(|_| Refused)?;
        let memory = vec![Block::new(); params.block_count()];
        Ok(Self { cost, params, memory, rng, hashes: 0 })
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
        let done = if blocks <= self.memory.len() {
            argon2.hash_password_into_with_memory(password, salt.as_ref(), out, &mut self.memory)
        } else {
            // An imported hash that asks for more than our setting; its bounds were checked when it was parsed.
            argon2.hash_password_into_with_memory(password, salt.as_ref(), out, vec![Block::new(); blocks])
        };
        done.map_err(|_| Refused)?;
        Output::new(out).map_err(|_| Refused)
    }
}
