//! What hub and game servers say to each other, how it is sealed, and the link that carries it.
//!
//! Knows neither accounts nor games. Everything here is plain data and pure functions, except listeners and TLS
//! (feature `net`), the MQTT link (feature `link`) and what every binary needs around its work (feature `process`).

pub mod clock;
pub mod codec;
pub mod codes;
pub mod envelope;
pub mod environment;
pub mod frames;
pub mod ids;
pub mod keys;
pub mod limits;
#[cfg(feature = "link")]
pub mod link;
#[cfg(feature = "net")]
pub mod log_limit;
pub mod messages;
pub mod moves;
#[cfg(feature = "net")]
pub mod net;
#[cfg(feature = "process")]
pub mod process;
#[cfg(any(test, fuzzing))]
pub mod properties;
pub mod reconnect;
pub mod replay;
pub mod rng;
pub mod skew;
pub mod text;
pub mod token;
pub mod topics;
