//! What hub and game server say to each other: version 1.
//!
//! Nothing here depends on order or on exactly-once delivery: every message is idempotent by (boot, rev), token hash or fence.
//! Every message names the game server's boot; every message of a server carries its occupancy.

use serde::{Deserialize, Serialize};

use crate::clock::UnixMs;
use crate::codes::Code;
use crate::ids::{BootId, Fence, HandoverId, HubId, PlayerId, Realm, TokenHash};
use crate::moves::{Luggage, Move, MoveAnswer};
pub use crate::skew::SkewNotice;
use crate::{limits, text};

mod roster;

pub use roster::{EntryKind, RosterDigest, RosterEntry};

/// A message type that travels in batches.
pub trait Message: Serialize + for<'de> Deserialize<'de> {
    /// How many variants this version knows: a greater index is a newer message.
    const VARIANTS: u32;
    /// Whether every list and text inside is within its limit.
    fn is_within_limits(&self) -> bool;
}

/// Slots of a game server. A player who is both live and held takes one slot and counts as a player.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Occupancy {
    /// Players in game.
    pub players: u32,
    /// Players granted a slot who have not come yet.
    pub held: u32,
    /// Clients waiting for their grant; they take no slot.
    pub parked: u32,
    /// Slots in all.
    pub max_players: u32,
}

/// The head of every message of a server: how the server stood when it spoke.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// Which run of the server.
    pub boot: BootId,
    /// How many times its roster has changed in this run.
    pub rev: u64,
    /// Whether this very message tells of change number `rev`, or merely repeats something.
    pub is_change: bool,
    /// Its slots as of `rev`.
    pub occupancy: Occupancy,
}

/// Whether a server takes players, and how gladly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ServerState {
    /// Not yet ready.
    Starting,
    /// Takes players.
    Online,
    /// Takes players when nobody else can.
    Degraded,
    /// Takes nobody new.
    Draining,
}

/// Where clients connect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// How: `tcp` for the reference game link; a game may name its own.
    pub transport: String,
    /// `host:port` as clients see it; never 0.0.0.0.
    pub address: String,
}

/// What a server says of itself; changes rarely.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    /// For people.
    pub name: String,
    /// Whose game database it uses.
    pub realm: Realm,
    /// Where it stands, as the operator calls it; may be empty.
    pub region: String,
    /// Which build it runs; may be empty.
    pub build: String,
    /// Newest message version it reads.
    pub msg_version_max: u8,
    /// Where clients connect, the preferred one first.
    pub endpoints: Vec<Endpoint>,
    /// What players can choose it by: see [`text::is_label`].
    pub labels: Vec<String>,
}

/// A probe of a hub, as the server last saw it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeEcho {
    /// Which hub.
    pub hub: HubId,
    /// The greatest number seen from it.
    pub n: u64,
}

/// Full status: every beat, and at once on change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// How the server stands.
    pub stamp: Stamp,
    /// Who it is.
    pub profile: Profile,
    /// Whether it takes players.
    pub state: ServerState,
    /// How busy, in percent, by its own measure; orders servers of equal occupancy.
    pub load_percent: u8,
    /// Its roster as of `stamp.rev`.
    pub digest: RosterDigest,
    /// The newest probe of each hub.
    pub echoes: Vec<ProbeEcho>,
    /// One line for players, of the moment; may be empty.
    pub message: String,
}

/// A server's word on a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// The slot is held.
    Held,
    /// It was held and the client has come, whether or not it is still there.
    Redeemed,
    /// There is no such grant here, or no longer, and never will be.
    Refused(Code),
}

/// Server → hub.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ServerMessage {
    /// On topic status.
    Status(Box<Status>),
    /// The last will, on topic status: the connection of this boot is gone.
    Gone {
        /// Whose connection.
        boot: BootId,
    },
    /// Answer to a grant; sent again, with a change, when a held grant comes to its end unredeemed.
    GrantReply {
        /// How the server stands.
        stamp: Stamp,
        /// Which attempt.
        handover: HandoverId,
        /// Which token.
        hash: TokenHash,
        /// Whose.
        player: PlayerId,
        /// Its order.
        fence: Fence,
        /// Yes, done, or no.
        verdict: Verdict,
    },
    /// Answer to an `end`: nothing it names lives here any more.
    Ended {
        /// How the server stands.
        stamp: Stamp,
        /// As in the `end`.
        player: PlayerId,
        /// As in the `end`.
        below: Fence,
        /// As in the `end`.
        hashes: Vec<TokenHash>,
    },
    /// A client redeemed its token.
    Joined {
        /// How the server stands.
        stamp: Stamp,
        /// Who.
        entry: RosterEntry,
    },
    /// A player's slot is free again.
    Left {
        /// How the server stands.
        stamp: Stamp,
        /// Who.
        entry: RosterEntry,
    },
    /// Part of the roster as of (boot, rev); all pages of one answer have the same.
    RosterPage {
        /// How the server stands.
        stamp: Stamp,
        /// Which request it answers.
        request: u64,
        /// Counts from 0.
        page: u16,
        /// How many there are; at least 1.
        pages: u16,
        /// Held grants included.
        entries: Vec<RosterEntry>,
    },
    /// Answer to a `notice`: the players have it, or had it before.
    Noticed {
        /// How the server stands.
        stamp: Stamp,
        /// As in the `notice`.
        id: u64,
    },
    /// Move a player of ours to another server.
    Move(Box<Move>),
}

impl ServerMessage {
    /// Which run of the server speaks.
    pub fn boot(&self) -> BootId {
        match self {
            Self::Status(status) => status.stamp.boot,
            Self::Gone { boot } => *boot,
            Self::Move(request) => request.stamp.boot,
            Self::GrantReply { stamp, .. }
            | Self::Ended { stamp, .. }
            | Self::Joined { stamp, .. }
            | Self::Left { stamp, .. }
            | Self::RosterPage { stamp, .. }
            | Self::Noticed { stamp, .. } => stamp.boot,
        }
    }
}

impl Message for ServerMessage {
    const VARIANTS: u32 = 9;
    fn is_within_limits(&self) -> bool {
        match self {
            Self::Status(status) => {
                let profile = &status.profile;
                let short = |text: &str| text.len() <= limits::DISPLAY_NAME_BYTES_MAX;
                status.echoes.len() <= limits::PROBE_ECHOES_MAX
                    && status.load_percent <= 100
                    && status.stamp.occupancy.max_players <= limits::PLAYERS_PER_SERVER_MAX
                    && [&profile.name, &profile.region, &profile.build].iter().all(|text| short(text))
                    && status.message.len() <= limits::STATUS_MESSAGE_BYTES_MAX
                    && profile.labels.len() <= limits::LABELS_MAX
                    && profile.labels.iter().all(|label| text::is_label(label))
                    && profile.endpoints.len() <= limits::ENDPOINTS_MAX
                    && profile
                        .endpoints
                        .iter()
                        .all(|e| short(&e.transport) && e.address.len() <= limits::ADDRESS_BYTES_MAX)
            }
            Self::Ended { hashes, .. } => hashes.len() <= limits::END_HASHES_MAX,
            Self::RosterPage { entries, page, pages, .. } => {
                entries.len() <= limits::ROSTER_PAGE_ENTRIES_MAX && page < pages
            }
            Self::Move(request) => request.is_within_limits(),
            Self::Gone { .. }
            | Self::GrantReply { .. }
            | Self::Joined { .. }
            | Self::Left { .. }
            | Self::Noticed { .. } => true,
        }
    }
}

/// Whoever shows the token with this hash is this player, until then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Which attempt; also names the session it leads to.
    pub handover: HandoverId,
    /// Never the token.
    pub hash: TokenHash,
    /// Who.
    pub player: PlayerId,
    /// Above every earlier one of the account.
    pub fence: Fence,
    /// By the hub's clock.
    pub expires_at: UnixMs,
    /// What the player is called.
    pub name: String,
    /// From the server that moved the player here; empty for all others. For the game alone.
    pub luggage: Luggage,
}

/// Nothing of `player` below `below`, and none of `hashes`, may live on the server any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// Whose.
    pub player: PlayerId,
    /// Sessions and grants with lower fences end; also the player's floor from now on. [`Fence::ZERO`] ends none.
    pub below: Fence,
    /// These end whatever their fence.
    pub hashes: Vec<TokenHash>,
    /// What the client is told.
    pub reason: Code,
    /// What a session in game gets to save, from receipt: no clocks compared.
    pub save_within_ms: u32,
}

/// What the hub asks of one boot of a server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order {
    /// Echo this in your status, at once.
    Probe {
        /// Who asks.
        hub: HubId,
        /// Grows by one each beat.
        n: u64,
    },
    /// Hold a slot.
    Grant(Grant),
    /// Free it.
    End(End),
    /// Take nobody new.
    Drain {
        /// When the remaining players are to be ended; 0 for never.
        within_ms: u32,
    },
    /// Send the roster.
    Roster {
        /// Echoed on each page.
        request: u64,
    },
    /// Another process with your id started later: end your players, stop, do not reconnect.
    Superseded {
        /// The newer one.
        by: BootId,
    },
    /// Take players again: whoever ordered the drain takes it back. One that the server will not take back is not changed by it.
    Undrain,
    /// Say this to every player in game, once for each id.
    Notice {
        /// Drawn at random.
        id: u64,
        /// At most [`limits::NOTICE_BYTES_MAX`] bytes.
        text: String,
    },
    /// Whether the player that was to move does.
    MoveAnswer(MoveAnswer),
}

/// Hub → server. Ignored by any other boot than the one it names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HubMessage {
    /// For one run of the server.
    Order {
        /// Which run.
        boot: BootId,
        /// What to do.
        order: Order,
    },
}

impl Message for HubMessage {
    const VARIANTS: u32 = 1;
    fn is_within_limits(&self) -> bool {
        let Self::Order { order, .. } = self;
        match order {
            Order::Grant(grant) => {
                grant.name.len() <= limits::DISPLAY_NAME_BYTES_MAX && grant.luggage.is_within_limits()
            }
            Order::End(end) => end.hashes.len() <= limits::END_HASHES_MAX,
            Order::Notice { text, .. } => text.len() <= limits::NOTICE_BYTES_MAX,
            Order::Probe { .. }
            | Order::Drain { .. }
            | Order::Roster { .. }
            | Order::Superseded { .. }
            | Order::Undrain
            | Order::MoveAnswer(_) => true,
        }
    }
}
