//! What hub and game servers say to each other, how it is sealed, and the link that carries it.
//!
//! Knows neither accounts nor games. Everything here is plain data and pure functions, except [`link`] (sockets) and
//! [`process`] (what every binary needs), which are features.

pub mod clock;
pub mod ids;
pub mod limits;
pub mod rng;
pub mod topics;
