//! A game server's wish to move one of its players, what the player takes along, and the hub's answer.
//!
//! Owns the luggage, which nobody but the two games ever looks into. Invariant: its bytes are in no log, `Debug` shows their number alone.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::codes::Code;
use crate::ids::{Fence, PlayerId, ServerId};
use crate::limits;
use crate::messages::Stamp;

/// What a player takes along to the next server: opaque bytes of the game. Clones share them.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Luggage(Arc<[u8]>);

impl fmt::Debug for Luggage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Luggage({} B)", self.0.len())
    }
}

impl Deref for Luggage {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl From<Vec<u8>> for Luggage {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }
}

impl Serialize for Luggage {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Luggage {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::<u8>::deserialize(deserializer).map(Self::from)
    }
}

impl Luggage {
    /// Whether it fits a message.
    pub fn is_within_limits(&self) -> bool {
        self.len() <= limits::LUGGAGE_BYTES_MAX
    }
}

/// Where a player is to go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MoveTarget {
    /// To this server or nowhere.
    Server(ServerId),
    /// To another server, those of these regions first, the first one before the next.
    Regions(Vec<String>),
    /// To any other server.
    Anywhere,
}

impl MoveTarget {
    /// Whether it fits a message.
    pub fn is_within_limits(&self) -> bool {
        match self {
            Self::Server(_) | Self::Anywhere => true,
            Self::Regions(regions) => {
                regions.len() <= limits::MOVE_REGIONS_MAX
                    && regions.iter().all(|region| region.len() <= limits::DISPLAY_NAME_BYTES_MAX)
            }
        }
    }
}

/// Move this player of mine. Sent again, the same, until the answer comes or the time is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Move {
    /// How the server stands.
    pub stamp: Stamp,
    /// Fresh in this boot; a repeated one is answered again and moves nobody.
    pub request: u64,
    /// Who.
    pub player: PlayerId,
    /// Of the session that is to move.
    pub fence: Fence,
    /// Where to.
    pub target: MoveTarget,
    /// For the next server.
    pub luggage: Luggage,
    /// The server gives up after this, from receipt: no clocks compared.
    pub within_ms: u32,
}

impl Move {
    /// Whether every list and text inside is within its limit.
    pub fn is_within_limits(&self) -> bool {
        self.target.is_within_limits() && self.luggage.is_within_limits()
    }
}

/// The hub's word on a [`Move`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MoveAnswer {
    /// As in the request.
    pub request: u64,
    /// As in the request.
    pub player: PlayerId,
    /// `None`: there is a place, and the session's `end` follows. Else why it stays.
    pub code: Option<Code>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn luggage_shows_its_length_alone_and_travels_as_bytes() {
        let luggage = Luggage::from(b"sesame".to_vec());
        assert_eq!(format!("{luggage:?}"), "Luggage(6 B)");
        let bytes = postcard::to_stdvec(&luggage).unwrap();
        assert_eq!(bytes, b"\x06sesame");
        assert_eq!(postcard::from_bytes::<Luggage>(&bytes).unwrap(), luggage);
        assert!(Luggage::from(vec![0; limits::LUGGAGE_BYTES_MAX]).is_within_limits());
        assert!(!Luggage::from(vec![0; limits::LUGGAGE_BYTES_MAX + 1]).is_within_limits());
    }
}
