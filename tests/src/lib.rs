//! Fixtures for races on real sockets and processes, and the player's client that the binaries are made of.

pub mod client;
pub mod events;
pub mod hub;
pub mod pki;
pub mod process;
pub mod proxy;
pub mod rogue;
pub mod saving;
pub mod server;
pub mod setup;
pub mod site;
pub mod times;
pub mod torture;
