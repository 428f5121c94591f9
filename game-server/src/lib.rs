//! Admits players handed over by an auth-hub: the SDK a game links, and the reference server built on it.
//!
//! A game starts a [`GameServer`], shows it what clients say ([`GameServer::redeem`]), and holds a [`PlayerSlot`] per player in game. It
//! writes the slot's fence into the player's record when loading it and refuses saves with a lower one; it listens to
//! [`Events`] or to its slots to learn who has to leave, and by when. Players in game do not notice a hub that restarts.
//!
//! ```no_run
//! use game_server::{Config, Event, GameServer, Hello};
//! use shared_msgs::messages::Endpoint;
//!
//! # fn load(_: shared_msgs::ids::PlayerId, _: shared_msgs::ids::Fence) {}
//! # async fn example(key_line: &str, token: String) -> Result<(), Box<dyn std::error::Error>> {
//! let endpoint = Endpoint { transport: "tcp".into(), address: "play.example.org:7000".into() };
//! let config = Config::new(key_line.parse()?, vec!["127.0.0.1:1883".parse()?], vec![endpoint]);
//! let (server, mut events) = GameServer::start(config)?; // succeeds while the hub is away
//!
//! // A client has connected, over whatever transport the game has, and shown its token.
//! let slot = server.redeem(Hello { token, ..Hello::default() }).await?; // exactly once, early or late
//! load(slot.player(), slot.fence());
//!
//! // Beside the game: who has to leave, and within what time.
//! while let Some(event) = events.recv().await {
//!     if let Event::Kick { player, save_within, .. } = event {
//!         println!("{player} has {save_within:?} to save");
//!     }
//! }
//! slot.leave().await; // or drop it: either frees the slot
//! # Ok(())
//! # }
//! ```
//!
//! Inside, all that is decided is decided in [`gate`]; [`server`] is the reference server.

#[cfg(test)]
#[path = "../../shared-msgs/src/properties/altered.rs"]
mod altered;
pub mod bus;
mod config;
mod events;
pub mod gate;
mod gate_task;
mod moving;
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
pub use moving::{MoveError, MoveRequest, MoveTarget, Moving};
pub use sdk::{Environment, GameServer, StartError, Undrained};
pub use shared_msgs::net::tls;
pub use slot::{Ending, Hello, PlayerSlot, Progress, Redeeming, Refusal};
pub use stats::Snapshot;
