//! What operators ask of a running hub beside logins: who is where, ends, drains, words to players, and why a handover ended as it did.
//!
//! Plain types and one trait: [`super::Desk`] answers it, the admin API asks it, tests of either stand in for the other. Knows accounts by
//! their row, as the desk does; whoever asks has looked them up. Invariant: nothing here names a player id, a token or a token's hash.

use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use shared_msgs::clock::UnixMs;
use shared_msgs::codes::Code;
use shared_msgs::ids::{HandoverId, ServerId};
use shared_msgs::messages::Occupancy;

use crate::accounts::AccountRow;

/// An answer that is on its way.
pub type Report<'a, T> = Pin<Box<dyn Future<Output = Result<T, OperationError>> + Send + 'a>>;

/// Why an operator's wish came to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OperationError {
    /// No such server is known.
    #[error("no game server of this name has been heard")]
    ServerUnknown,
    /// It is known, and not heard any more.
    #[error("this game server is not online")]
    ServerOffline,
    /// The desk has too much to do, or has stopped.
    #[error("the hub is busy")]
    Busy,
    /// The database did not take it.
    #[error("the database failed")]
    Store,
}

/// One place that an account has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Whereabouts {
    /// Where.
    pub server: ServerId,
    /// In game, or only granted a slot.
    pub is_live: bool,
    /// The handover that led there, while the hub remembers it.
    pub handover: Option<HandoverId>,
}

/// What ending an account's places set in motion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndReport {
    /// Servers that were told to end something.
    pub servers: Vec<ServerId>,
    /// Handovers under way, and tickets in the queue, that were refused.
    pub refused: usize,
}

/// A server as operators see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerReport {
    /// Which.
    pub server: ServerId,
    /// For people.
    pub name: String,
    /// May be empty.
    pub region: String,
    /// May be empty.
    pub build: String,
    /// As in `GET /servers`.
    pub state: &'static str,
    /// Its slots as it last told them.
    pub occupancy: Occupancy,
    /// By its own measure.
    pub load_percent: u8,
    /// Grants and ends that it has not answered.
    pub unanswered: usize,
    /// Until when a drain that the hub ordered ends the last players; `None` without one, or with one that waits for them.
    pub drain_until: Option<UnixMs>,
    /// Whether the hub has ordered it to drain.
    pub is_drain_ordered: bool,
}

/// One step of a handover.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// By the hub's clock.
    pub at: UnixMs,
    /// The event, as it is called in the log.
    pub event: &'static str,
    /// Where, if it was at a server.
    pub server: Option<ServerId>,
    /// Why, if something was refused or ended.
    pub code: Option<&'static str>,
}

/// One handover, from its first step to its last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Story {
    /// Which.
    pub handover: HandoverId,
    /// The oldest first; of a long one the oldest are missing.
    pub steps: Vec<Step>,
    /// How it stands or ended, in words for people.
    pub outcome: String,
}

/// See the module.
pub trait Operations: fmt::Debug + Send + Sync + 'static {
    /// The whole fleet, by name.
    fn servers(&self) -> Report<'_, Vec<ServerReport>>;
    /// Where an account plays, or has a slot held.
    fn find(&self, account: AccountRow) -> Report<'_, Vec<Whereabouts>>;
    /// Ends all that an account has: sessions (with their time to save), grants not yet redeemed, handovers under way. `reason` is what
    /// the player is told: [`Code::Kicked`] or [`Code::Banned`].
    fn end(&self, account: AccountRow, reason: Code) -> Report<'_, EndReport>;
    /// A server takes nobody new from now on; with `within`, whoever is left then is ended in time to save. Ordered again until the server
    /// says that it drains, and after a reconnect.
    fn drain(&self, server: ServerId, within: Option<Duration>) -> Report<'_, ()>;
    /// Takes a drain back, whoever ordered it.
    fn undrain(&self, server: ServerId) -> Report<'_, ()>;
    /// No key of this server below this generation is believed any more: its connections are closed and nobody is placed there. The
    /// caller has stored the generation.
    fn revoke(&self, server: ServerId, lowest_generation: u32) -> Report<'_, ()>;
    /// Says something to every player, or to those of one server. Gives how many servers were told.
    fn broadcast(&self, text: String, server: Option<ServerId>) -> Report<'_, usize>;
    /// An account's last handovers, the newest first, at most ten, since the hub's start.
    fn explain(&self, account: AccountRow) -> Report<'_, Vec<Story>>;
}
