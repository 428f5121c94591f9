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
//! # Saving
//!
//! [`Event::Kick`] asks to save and let a player go. What keeps a session that did not hear of it, or not in time, from writing over the
//! one that came after it, is the [fence](PlayerSlot::fence): write it into the record when loading, and save only where it
//! still stands. `docs/SAVES.md` shows it in SQL, and a small game that does it.
//!
//! # Broken connections
//!
//! Dropping a slot ends its session. A game that wants its players back calls [`PlayerSlot::lose`] instead when a connection breaks
//! without a goodbye, and keeps the player's state; the client shows the credential of [`PlayerSlot::reconnect`] on a new
//! connection, within [`Config::reconnect_grace`]:
//!
//! ```no_run
//! use game_server::{GameServer, LostOver, PlayerSlot, Resume};
//!
//! # fn save(_: &PlayerSlot) {}
//! # fn carry_over(_: game_server::SlotId, _: &PlayerSlot) {}
//! # async fn example(server: GameServer, slot: PlayerSlot, credential: String) -> Result<(), Box<dyn std::error::Error>> {
//! // The connection of `slot` broke.
//! let lost = slot.lose();
//! match lost.over().await {
//!     LostOver::Resumed => {}                    // it goes on in another slot, which has its state: save nothing
//!     LostOver::Ending(_) => save(lost.slot()), // kicked, or nobody came back; then drop it
//! }
//!
//! // Meanwhile a client comes back. Its new connection gets a new slot of the same session, with the same fence.
//! let back = server.resume(Resume { credential, ..Resume::default() }).await?;
//! if let Some(older) = back.resumes() {
//!     carry_over(older, &back);
//! }
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
pub use gate::{DrainReport, Reconnect, SlotId, Timing};
pub use moving::{MoveError, MoveRequest, MoveTarget, Moving};
pub use sdk::{Environment, GameServer, StartError, Undrained};
pub use shared_msgs::net::tls;
pub use slot::{Ending, Hello, Lost, LostOver, PlayerSlot, Progress, Redeeming, Refusal, Resume};
pub use stats::Snapshot;
