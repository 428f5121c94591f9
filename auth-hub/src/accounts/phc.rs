//! Password hashes as text: the PHC string format, and what we accept of it.
//!
//! Knows the argon2 crate's types; does not hash. Invariant: a [`Phc`] names an algorithm we can run, with costs inside
//! the bounds below, so that no stored or imported hash can exhaust memory or hold a worker for long.

use std::fmt;
use std::str::FromStr;

use argon2::{Algorithm, Argon2, Params, PasswordHash, Version};

/// Most memory that one hash may ask for.
pub const MEMORY_KIB_MAX: u32 = 128 * 1024;
/// Most passes over the memory.
pub const PASSES_MAX: u32 = 16;
/// Most lanes; they run one after the other, so they cost nothing extra.
pub const LANES_MAX: u32 = 16;
/// Most memory × passes: bounds how long one hash holds a worker (about 14 times the default).
pub const WORK_KIB_MAX: u32 = 512 * 1024;
/// Longest PHC string: the format's own bounds on salt and output stay well below.
pub const PHC_BYTES_MAX: usize = 512;
/// Shortest output accepted: below, guessing the hash is easier than guessing a good password.
pub const OUTPUT_BYTES_MIN: usize = 16;

const _: () = {
    assert!(Cost::DEFAULT.m_kib <= MEMORY_KIB_MAX && Cost::DEFAULT.t <= PASSES_MAX);
    assert!(Cost::DEFAULT.m_kib * Cost::DEFAULT.t <= WORK_KIB_MAX);
};

/// Why a text is not a hash that we verify. The text itself is never part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PhcError {
    /// Not the PHC format, or incomplete.
    #[error("not a complete PHC string")]
    Format,
    /// Neither argon2id nor argon2i.
    #[error("only argon2id and argon2i are supported")]
    Algorithm,
    /// An unknown version of argon2.
    #[error("only versions 16 and 19 of argon2 are supported")]
    Version,
    /// Costs that argon2 itself does not allow.
    #[error("the cost parameters are not valid")]
    Cost,
    /// Costs above our bounds.
    #[error(
        "the cost is too high: at most m={MEMORY_KIB_MAX}, t={PASSES_MAX}, p={LANES_MAX} and m*t={WORK_KIB_MAX}"
    )]
    TooCostly,
    /// An output too short to be worth anything.
    #[error("the hash is shorter than {OUTPUT_BYTES_MIN} bytes")]
    OutputTooShort,
}

/// What one argon2id hash costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    m_kib: u32,
    t: u32,
    p: u32,
}

impl Cost {
    /// OWASP's recommendation for argon2id: 19 MiB, two passes, one lane.
    pub const DEFAULT: Self = Self { m_kib: 19_456, t: 2, p: 1 };

    /// Memory in KiB, passes, lanes.
    ///
    /// # Errors
    /// When argon2 or our bounds don't allow them.
    pub const fn new(m_kib: u32, t: u32, p: u32) -> Result<Self, PhcError> {
        if m_kib > MEMORY_KIB_MAX || t > PASSES_MAX || p > LANES_MAX || m_kib * t > WORK_KIB_MAX {
            return Err(PhcError::TooCostly);
        }
        if Params::new(m_kib, t, p, None).is_err() {
            return Err(PhcError::Cost);
        }
        Ok(Self { m_kib, t, p })
    }

    pub(super) fn params(self) -> Result<Params, argon2::Error> {
        Params::new(self.m_kib, self.t, self.p, Some(Params::DEFAULT_OUTPUT_LEN))
    }

    /// What one hash fills.
    pub(super) const fn memory_bytes(self) -> u64 {
        self.m_kib as u64 * 1024
    }

    const fn work(self) -> u32 {
        self.m_kib * self.t
    }
}

impl Default for Cost {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// A PHC string that we can verify passwords against.
#[derive(Clone, PartialEq, Eq)]
pub struct Phc(String);

impl Phc {
    /// The text, for the database only.
    pub(super) fn expose(&self) -> &str {
        &self.0
    }

    pub(super) fn parsed(&self) -> Result<Parsed, PhcError> {
        Parsed::new(&self.0)
    }

    pub(super) fn from_hash(hash: &PasswordHash) -> Self {
        Self(hash.to_string())
    }
}

impl FromStr for Phc {
    type Err = PhcError;
    fn from_str(text: &str) -> Result<Self, PhcError> {
        Parsed::new(text)?;
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for Phc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Phc(..)")
    }
}

/// A PHC string taken apart and checked.
pub(super) struct Parsed {
    pub(super) hash: PasswordHash,
    pub(super) algorithm: Algorithm,
    pub(super) version: Version,
    pub(super) params: Params,
    cost: Cost,
}

impl Parsed {
    fn new(text: &str) -> Result<Self, PhcError> {
        if text.len() > PHC_BYTES_MAX {
            return Err(PhcError::Format);
        }
        let hash = PasswordHash::new(text).map_err(|_| PhcError::Format)?;
        let output = hash.hash.as_ref().ok_or(PhcError::Format)?;
        if hash.salt.is_none() {
            return Err(PhcError::Format);
        }
        let algorithm = match hash.algorithm.as_str() {
            "argon2id" => Algorithm::Argon2id,
            "argon2i" => Algorithm::Argon2i,
            _ => return Err(PhcError::Algorithm),
        };
        // A string without a version is one of before there were versions: 16.
        let version = Version::try_from(hash.version.unwrap_or(0x10)).map_err(|_| PhcError::Version)?;
        let params = Params::try_from(&hash).map_err(|_| PhcError::Cost)?;
        let cost = Cost::new(params.m_cost(), params.t_cost(), params.p_cost())?;
        if output.len() < OUTPUT_BYTES_MIN {
            return Err(PhcError::OutputTooShort);
        }
        Ok(Self { hash, algorithm, version, params, cost })
    }

    /// Whether hashing anew at `wanted` would make it stronger. A hash that is dearer than wanted stays as it is: a
    /// lowered setting must not weaken what is stored.
    pub(super) fn is_weaker_than(&self, wanted: Cost) -> bool {
        self.algorithm != Algorithm::Argon2id
            || self.version != Version::V0x13
            || self.cost.m_kib < wanted.m_kib
            || self.cost.work() < wanted.work()
            || self.params.output_len().is_some_and(|len| len < Params::DEFAULT_OUTPUT_LEN)
    }

    /// The context that computes this hash.
    pub(super) fn argon2(&self) -> Argon2<'static> {
        Argon2::new(self.algorithm, self.version, self.params.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SALT_AND_HASH: &str = "c2FsdHNhbHRzYWx0$tWFcYQmAOQ9hQLGBMXMxDh7V4vBhBd8n9n2eBMd1hZ0";

    fn phc(head: &str) -> Result<Phc, PhcError> {
        format!("{head}${SALT_AND_HASH}").parse()
    }

    #[test]
    fn debug_shows_no_hash() {
        let phc = phc("$argon2id$v=19$m=8,t=1,p=1").unwrap();
        assert_eq!(format!("{phc:?}"), "Phc(..)");
    }

    #[test]
    fn costs_of_a_hash_are_bounded() {
        assert!(phc("$argon2id$v=19$m=131072,t=4,p=16").is_ok());
        assert!(phc("$argon2i$v=16$m=8,t=16,p=1").is_ok());
        for dear in [
            "m=131073,t=1,p=1",
            "m=8,t=17,p=1",
            "m=1024,t=1,p=17",
            "m=131072,t=5,p=1",
            "m=4294967295,t=1,p=1",
            "m=8,t=4294967295,p=1",
        ] {
            assert_eq!(phc(&format!("$argon2id$v=19${dear}")), Err(PhcError::TooCostly), "{dear}");
        }
    }

    #[test]
    fn what_we_cannot_verify_is_named() {
        for (head, why) in [
            ("$argon2d$v=19$m=8,t=1,p=1", PhcError::Algorithm),
            ("$pbkdf2-sha256$i=1000", PhcError::Algorithm),
            ("$argon2id$v=18$m=8,t=1,p=1", PhcError::Version),
            ("$argon2id$v=19$m=7,t=1,p=1", PhcError::Cost),
            ("$argon2id$v=19$m=8,t=0,p=1", PhcError::Cost),
            ("$argon2id$v=19$m=8,t=1,p=0", PhcError::Cost),
            ("$argon2id$v=19$m=8,t=1,p=4294967295", PhcError::Cost),
            ("$argon2id$v=19$m=8,t=1,p=1,x=2", PhcError::Cost),
            ("argon2id", PhcError::Format),
        ] {
            assert_eq!(phc(head), Err(why), "{head}");
        }
        for (text, why) in [
            ("", PhcError::Format),
            ("$argon2id$v=19$m=8,t=1,p=1", PhcError::Format),
            ("$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHRzYWx0", PhcError::Format),
            ("$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHRzYWx0$tWFcYQmAOQ9hQLGBMXM", PhcError::OutputTooShort),
            ("hunter2hunter2", PhcError::Format),
        ] {
            assert_eq!(text.parse::<Phc>(), Err(why), "{text}");
        }
        assert_eq!("$".repeat(PHC_BYTES_MAX + 1).parse::<Phc>(), Err(PhcError::Format));
    }

    #[test]
    fn only_a_stronger_setting_upgrades() {
        let wanted = Cost::new(1024, 2, 1).unwrap();
        for (head, weaker) in [
            ("$argon2id$v=19$m=1024,t=2,p=1", false),
            ("$argon2id$v=19$m=1024,t=2,p=4", false),
            ("$argon2id$v=19$m=4096,t=1,p=1", false), // more memory, and more work in all
            ("$argon2id$v=19$m=1024,t=1,p=1", true),
            ("$argon2id$v=19$m=512,t=8,p=1", true),
            ("$argon2id$v=16$m=1024,t=2,p=1", true),
            ("$argon2id$m=1024,t=2,p=1", true),
            ("$argon2i$v=19$m=1024,t=2,p=1", true),
        ] {
            assert_eq!(phc(head).unwrap().parsed().unwrap().is_weaker_than(wanted), weaker, "{head}");
        }
    }
}
