//! Admits players handed over by an auth-hub: the SDK a game links, and the reference server built on it.
//!
//! A game starts a [`GameServer`], shows it what clients say ([`GameServer::redeem`]), and holds a [`PlayerSlot`] per player in game. It
//! writes the slot's fence into the player's record when loading it and refuses saves with a lower one; it listens to
//! [`Events`] or to its slots to learn who has to leave, and by when. Players in game do not notice a hub that restarts.
//!
//! Inside, all that is decided is decided in [`gate`]; [`server`] is the reference server.

mod bus;
mod config;
mod events;
pub mod gate;
mod gate_task;
mod sdk;
pub mod server;
mod slot;
mod stats;
#[cfg(test)]
mod testing;
mod token_cache;

pub use config::{BrokerLogin, Config, ConfigError};
pub use events::{CloseReason, EVENTS_MAX, Event, Events, LinkState};
pub use gate::{DrainReport, SlotId, Timing};
pub use sdk::{Environment, GameServer, StartError};
pub use slot::{Ending, Hello, PlayerSlot, Progress, Redeeming, Refusal};
pub use stats::Snapshot;
