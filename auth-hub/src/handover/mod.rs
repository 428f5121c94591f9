//! The use case: hand a player of an account over to a game server.
//!
//! `Core` is the sans-I/O state machine (placement, grants, ends, fences, one handover per account at a time); [`Desk`] is
//! the task around it with the link, the store and the clock. Imports the rooms `fleet` and `accounts`; knows nothing of HTTP.
//! Invariants: a client is answered after the server's yes, or unconfirmed only when nothing older of the account exists; every
//! request is answered once, by its deadline; nothing is ended for a handover that got no place.

use std::time::Duration;

use shared_msgs::clock::UnixMs;
use shared_msgs::ids::{Fence, HandoverId, ServerId};
use shared_msgs::messages::Endpoint;
use shared_msgs::token::Token;

use crate::accounts::AccountRow;
use crate::queue::{Party, TicketView};

/// Somebody wants into the game.
#[derive(Debug, Clone)]
pub struct HandoverRequest {
    /// Who; checked by the caller.
    pub account: AccountRow,
    /// What the player is called in the game.
    pub name: String,
    /// Only this server will do.
    pub server: Option<ServerId>,
    /// Servers of these regions come first, the first one before the next. Not asked where a server is named.
    pub regions: Vec<String>,
    /// Milliseconds to servers of a region, as the client measured them: nearer ones come first. Not asked where regions or a server are named.
    pub latencies: Vec<(String, u32)>,
    /// Only servers with all of these will do.
    pub labels: Vec<String>,
    /// Whether the server they were on last is preferred.
    pub is_sticky: bool,
    /// With whom.
    pub party: Option<Party>,
}

impl HandoverRequest {
    /// Somebody who wants to go anywhere.
    pub const fn anywhere(account: AccountRow, name: String) -> Self {
        Self {
            account,
            name,
            server: None,
            regions: Vec::new(),
            latencies: Vec::new(),
            labels: Vec::new(),
            is_sticky: true,
            party: None,
        }
    }
}

/// How a request was answered that was not refused.
#[derive(Debug, Clone)]
pub enum Answered {
    /// With a place.
    Placed(Placed),
    /// With a ticket: there is none yet.
    Queued(TicketView),
}

/// Where to go and what to show there.
#[derive(Debug, Clone)]
pub struct Placed {
    /// Names the attempt, and the session it leads to.
    pub handover: HandoverId,
    /// Which server.
    pub server: ServerId,
    /// For people.
    pub server_name: String,
    /// May be empty.
    pub region: String,
    /// The preferred one first; never empty.
    pub endpoints: Vec<Endpoint>,
    /// Shown once, there.
    pub token: Token,
    /// By our clock.
    pub expires_at: UnixMs,
    /// Whether the server has said yes; if not, the client may be told to wait there.
    pub confirmed: bool,
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum NoPlace {
    /// No server is fresh and willing.
    #[error("no game server is online")]
    NoServerOnline,
    /// Every willing server is full.
    #[error("all game servers are full")]
    AllServersFull,
    /// No such server is known.
    #[error("no such game server")]
    ServerUnknown,
    /// The chosen server is full.
    #[error("this game server is full")]
    ServerFull,
    /// The chosen server takes nobody new.
    #[error("this game server is draining")]
    ServerDraining,
    /// A bound of the hub is reached.
    #[error("the hub is busy")]
    HubBusy,
    /// No server answered in time.
    #[error("the handover timed out")]
    TimedOut,
    /// The ticket is not the asker's, or counts no more.
    #[error("no such ticket")]
    TicketUnknown,
    /// Not all of the party came in time.
    #[error("the party did not come together")]
    PartyIncomplete,
    /// One of the party has left the queue.
    #[error("the party broke up")]
    PartyBroken,
    /// There is another party of this key.
    #[error("this is another party")]
    PartyMismatch,
    /// An operator has ended what the account had under way.
    #[error("an operator ended it")]
    Kicked,
    /// The account may not play (any more).
    #[error("this account may not play")]
    Banned,
    /// The account has a session, and the hub's operator lets no second one end it.
    #[error("the account is logged in already")]
    DuplicateLogin,
}

impl NoPlace {
    /// The stable code clients see.
    pub const fn code(self) -> &'static str {
        match self {
            Self::NoServerOnline => "no-server-online",
            Self::AllServersFull => "all-servers-full",
            Self::ServerUnknown => "server-unknown",
            Self::ServerFull => "server-full",
            Self::ServerDraining => "server-draining",
            Self::HubBusy => "hub-busy",
            Self::TimedOut => "handover-timed-out",
            Self::TicketUnknown => "ticket-unknown",
            Self::PartyIncomplete => "party-incomplete",
            Self::PartyBroken => "party-broken",
            Self::PartyMismatch => "party-mismatch",
            Self::Kicked => "kicked",
            Self::Banned => "banned",
            Self::DuplicateLogin => "duplicate-login",
        }
    }

    /// When asking again may help; `None` when only asking for something else does.
    pub const fn retry_after(self) -> Option<Duration> {
        match self {
            Self::NoServerOnline => Some(Duration::from_secs(2)),
            Self::AllServersFull | Self::ServerFull | Self::DuplicateLogin => Some(Duration::from_secs(5)),
            Self::HubBusy | Self::TimedOut => Some(Duration::from_secs(1)),
            Self::ServerUnknown
            | Self::ServerDraining
            | Self::TicketUnknown
            | Self::PartyIncomplete
            | Self::PartyBroken
            | Self::PartyMismatch
            | Self::Kicked
            | Self::Banned => None,
        }
    }
}

/// A handover that came to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Refused {
    /// Names the attempt, for support.
    pub handover: HandoverId,
    /// Why.
    pub why: NoPlace,
}

pub mod core;
mod desk;
mod ends;
mod fences;
mod floors;
mod grants;
mod journal;
mod last_servers;
mod meters;
pub mod operations;
mod people;

pub use desk::{Desk, Snapshot, TicketAsk};
pub(crate) use desk::{DeskParts, DeskTask};
pub use meters::Meters;

/// Whether a hub whose database holds this fence clock ceiling may start by this clock.
pub fn fences_are_startable(stored_ceiling: u64, now: UnixMs) -> bool {
    fences::Fences::is_startable(stored_ceiling, now)
}

/// The wall clock's part of a fence clock ceiling.
pub fn fence_clock(stored_ceiling: u64) -> UnixMs {
    Fence { hlc: stored_ceiling, hub: 0 }.unix()
}
