//! Names and numbers that travel. None of them is a database id.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::clock::UnixMs;
use crate::limits;
use crate::rng::Rng;

/// Why a text is not the id it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Not `[a-z0-9-]{1,32}`.
    #[error("a name is 1 to 32 characters of a-z, 0-9 and '-'")]
    Name,
    /// Not the text form of a 128-bit id.
    #[error("an id is 32 hexadecimal digits, with or without the dashes of a UUID")]
    Hex,
}

/// A name of `[a-z0-9-]{1,32}`; the common form of server ids and realms.
fn is_name(text: &str) -> bool {
    (1..=limits::NAME_BYTES_MAX).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The text itself.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                is_name(text).then(|| Self(text.to_owned())).ok_or(IdError::Name)
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name_type! {
    /// Operator-chosen name of a game server, stable over restarts.
    ServerId
}
name_type! {
    /// Game servers that share one game database. A player has one id in each.
    Realm
}
name_type! {
    /// `hub-` and random letters: one run of a hub.
    HubId
}

impl HubId {
    /// A fresh name for this run.
    pub fn random(rng: &dyn Rng) -> Self {
        Self(format!("hub-{:016x}", u64::from_be_bytes(rng.array())))
    }
}

macro_rules! random_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub [u8; 16]);

        impl $name {
            /// A fresh one: an RFC 9562 version 4 UUID.
            pub fn random(rng: &dyn Rng) -> Self {
                let mut bytes: [u8; 16] = rng.array();
                bytes[6] = (bytes[6] & 0x0f) | 0x40;
                bytes[8] = (bytes[8] & 0x3f) | 0x80;
                Self(bytes)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                for (i, byte) in self.0.iter().enumerate() {
                    if matches!(i, 4 | 6 | 8 | 10) {
                        f.write_str("-")?;
                    }
                    write!(f, "{byte:02x}")?;
                }
                Ok(())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                parse_uuid(text).map(Self)
            }
        }
    };
}

fn parse_uuid(text: &str) -> Result<[u8; 16], IdError> {
    let mut digits = text.bytes().filter(|b| *b != b'-').map(|b| char::from(b).to_digit(16));
    let mut out = [0; 16];
    for byte in &mut out {
        let mut nibble = || digits.next().flatten().and_then(|d| u8::try_from(d).ok()).ok_or(IdError::Hex);
        *byte = nibble()? << 4 | nibble()?;
    }
    if digits.next().is_some() { Err(IdError::Hex) } else { Ok(out) }
}

random_id! {
    /// Who plays, as game servers know it: random, one per (account, realm).
    PlayerId
}
random_id! {
    /// One attempt to hand a player over: what support asks for. Public.
    HandoverId
}
random_id! {
    /// An account as clients may know it: random, and not what the database keys on.
    AccountId
}

/// One MQTT connection of either side: the nonce domain of envelopes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StreamId(pub [u8; 16]);

impl StreamId {
    /// A fresh one.
    pub fn random(rng: &dyn Rng) -> Self {
        Self(rng.array())
    }
}

/// One run of a game-server process; the later one is the greater one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BootId {
    /// When the process started, by its own clock.
    pub started: UnixMs,
    /// Tells two runs of the same millisecond apart.
    pub random: u64,
}

impl BootId {
    /// A fresh one for a process that starts now.
    pub fn new(started: UnixMs, rng: &dyn Rng) -> Self {
        Self { started, random: u64::from_be_bytes(rng.array()) }
    }
}

impl fmt::Display for BootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:016x}", self.started.0, self.random)
    }
}

/// SHA-256 of a token: all that ever travels or is logged of it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TokenHash(pub [u8; 32]);

impl fmt::Display for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(&self.0[..9]))
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenHash({self}…)")
    }
}

/// Stamped on every handover, above any earlier one of the account: the order in which sessions supersede each other,
/// and what a game writes into its save so that an older session cannot overwrite a newer one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Fence {
    /// Hybrid logical clock: milliseconds since 1970 in the upper 48 bits, a counter in the lower 16.
    pub hlc: u64,
    /// The issuing hub's number; 0 with an embedded broker.
    pub hub: u16,
}

impl Fence {
    /// Below every fence that a hub issues.
    pub const ZERO: Self = Self { hlc: 0, hub: 0 };

    /// As ten bytes, for a database's column: compared byte by byte they are in the order of the fences.
    pub fn to_bytes(self) -> [u8; 10] {
        let mut out = [0; 10];
        out[..8].copy_from_slice(&self.hlc.to_be_bytes());
        out[8..].copy_from_slice(&self.hub.to_be_bytes());
        out
    }

    /// What [`Fence::to_bytes`] wrote.
    pub fn from_bytes(bytes: [u8; 10]) -> Self {
        let (mut hlc, mut hub) = ([0; 8], [0; 2]);
        hlc.copy_from_slice(&bytes[..8]);
        hub.copy_from_slice(&bytes[8..]);
        Self { hlc: u64::from_be_bytes(hlc), hub: u16::from_be_bytes(hub) }
    }

    /// The wall-clock part.
    pub fn unix(self) -> UnixMs {
        UnixMs(self.hlc >> 16)
    }
}

impl fmt::Display for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.hlc >> 16, self.hlc & 0xffff, self.hub)
    }
}
