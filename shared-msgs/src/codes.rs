//! Named refusals and what to do next: the same words on the game link, in HTTP problems, in both logs.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Why something was refused or ended. The order is the wire's: new ones go to the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Code {
    /// Garbage, forged, for another server, or for an earlier boot.
    TokenNotGenuine,
    /// Its time is over.
    TokenExpired,
    /// It was redeemed before.
    TokenSpent,
    /// No slot is free.
    ServerFull,
    /// The server takes nobody new and lets its players finish.
    ServerDraining,
    /// The server is not ready yet.
    ServerStarting,
    /// Too many clients wait at the server; the token is still good.
    ServerBusy,
    /// A newer handover of the same player took over.
    Superseded,
    /// The hub took the place back before it was used.
    Cancelled,
    /// The hub ended the session: kicked.
    Kicked,
    /// The account may not play.
    Banned,
    /// The grant did not come in time.
    HandoverTimedOut,
    /// The same token was shown on a newer connection.
    ConnectedElsewhere,
    /// The client said nothing, or not in time.
    HelloTimedOut,
    /// Not a frame of the game link.
    MalformedHello,
    /// The client speaks another version of the game link.
    ClientTooOld,
    /// The server has stopped.
    ServerClosed,
    /// The grant's fence is further ahead of the clock than can be.
    FenceTooFarAhead,
    /// The server can remember no more; the grant was refused, and its token is void.
    ServerOverloaded,
    /// The session moves to another server: the next handover leads there.
    Moved,
    /// There is no server of this id.
    ServerUnknown,
    /// No server is fresh and willing.
    NoServerOnline,
    /// Every willing server is full.
    AllServersFull,
    /// A bound of the hub is reached.
    HubBusy,
    /// There is no such session to come back to: its time is over, or the credential is not its newest.
    ReconnectRefused,
}

/// What a refused client does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Retry {
    /// Nothing the client can do with this account or build.
    Never,
    /// Connect again with the same token after so many milliseconds.
    SameToken {
        /// Milliseconds to wait first.
        after_ms: u32,
    },
    /// Ask the hub for a new handover after so many milliseconds.
    NewHandover {
        /// Milliseconds to wait first.
        after_ms: u32,
    },
}

impl Retry {
    /// At once, at the hub.
    pub const HANDOVER_NOW: Self = Self::NewHandover { after_ms: 0 };

    /// How long to wait first.
    pub fn after(self) -> Duration {
        match self {
            Self::Never => Duration::ZERO,
            Self::SameToken { after_ms } | Self::NewHandover { after_ms } => {
                Duration::from_millis(after_ms.into())
            }
        }
    }
}

impl Code {
    /// All of them, in wire order.
    pub const ALL: [Self; 25] = [
        Self::TokenNotGenuine,
        Self::TokenExpired,
        Self::TokenSpent,
        Self::ServerFull,
        Self::ServerDraining,
        Self::ServerStarting,
        Self::ServerBusy,
        Self::Superseded,
        Self::Cancelled,
        Self::Kicked,
        Self::Banned,
        Self::HandoverTimedOut,
        Self::ConnectedElsewhere,
        Self::HelloTimedOut,
        Self::MalformedHello,
        Self::ClientTooOld,
        Self::ServerClosed,
        Self::FenceTooFarAhead,
        Self::ServerOverloaded,
        Self::Moved,
        Self::ServerUnknown,
        Self::NoServerOnline,
        Self::AllServersFull,
        Self::HubBusy,
        Self::ReconnectRefused,
    ];

    /// The stable name clients and operators see.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TokenNotGenuine => "token-not-genuine",
            Self::TokenExpired => "token-expired",
            Self::TokenSpent => "token-spent",
            Self::ServerFull => "server-full",
            Self::ServerDraining => "server-draining",
            Self::ServerStarting => "server-starting",
            Self::ServerBusy => "server-busy",
            Self::Superseded => "superseded",
            Self::Cancelled => "cancelled",
            Self::Kicked => "kicked",
            Self::Banned => "banned",
            Self::HandoverTimedOut => "handover-timed-out",
            Self::ConnectedElsewhere => "connected-elsewhere",
            Self::HelloTimedOut => "hello-timed-out",
            Self::MalformedHello => "malformed-hello",
            Self::ClientTooOld => "client-too-old",
            Self::ServerClosed => "server-closed",
            Self::FenceTooFarAhead => "fence-too-far-ahead",
            Self::ServerOverloaded => "server-overloaded",
            Self::Moved => "moved",
            Self::ServerUnknown => "server-unknown",
            Self::NoServerOnline => "no-server-online",
            Self::AllServersFull => "all-servers-full",
            Self::HubBusy => "hub-busy",
            Self::ReconnectRefused => "reconnect-refused",
        }
    }

    /// What the client does next.
    pub const fn retry(self) -> Retry {
        match self {
            Self::TokenExpired
            | Self::TokenNotGenuine
            | Self::TokenSpent
            | Self::ServerDraining
            | Self::Cancelled
            | Self::HandoverTimedOut
            | Self::FenceTooFarAhead
            | Self::Moved
            | Self::ServerUnknown
            | Self::ReconnectRefused => Retry::HANDOVER_NOW,
            Self::ServerFull
            | Self::ServerStarting
            | Self::ServerClosed
            | Self::ServerOverloaded
            | Self::NoServerOnline
            | Self::AllServersFull
            | Self::HubBusy => Retry::NewHandover { after_ms: 2_000 },
            Self::ServerBusy | Self::HelloTimedOut => Retry::SameToken { after_ms: 1_000 },
            Self::Superseded
            | Self::ConnectedElsewhere
            | Self::Kicked
            | Self::Banned
            | Self::MalformedHello
            | Self::ClientTooOld => Retry::Never,
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_unique_and_the_list_is_in_wire_order() {
        let names: BTreeSet<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(names.len(), Code::ALL.len());
        for (i, code) in Code::ALL.iter().enumerate() {
            assert_eq!(postcard::to_stdvec(code).unwrap(), [u8::try_from(i).unwrap()]);
        }
        let beyond = u8::try_from(Code::ALL.len()).unwrap();
        assert!(postcard::from_bytes::<Code>(&[beyond]).is_err(), "a code is missing from ALL");
    }
}
