//! What goes into the gate and what comes out.
//!
//! Plain data. Knows neither tasks nor sockets; tickets and slots are numbers that whoever drives the gate gives a meaning.

use std::sync::Arc;
use std::time::Duration;

use shared_msgs::clock::Mono;
use shared_msgs::codes::Code;
use shared_msgs::ids::{BootId, Fence, HandoverId, PlayerId, ServerId};
use shared_msgs::limits;
use shared_msgs::messages::{HubMessage, Profile, ServerMessage, ServerState, Status};
use shared_msgs::moves::{Luggage, MoveTarget};
use shared_msgs::reconnect::Credential;
use shared_msgs::rng::Rng;
use shared_msgs::token::TokenTag;

/// One client's request to be let in. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// One session in game. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlotId(pub u64);

/// What the gate is told.
pub enum Input {
    /// A client shows a token. Gets exactly one verdict unless it is abandoned.
    Arrive {
        /// Fresh.
        ticket: Ticket,
        /// As shown. Secret.
        token: String,
    },
    /// The client behind a ticket went away. Harmless when its verdict was given already.
    Abandon(Ticket),
    /// A session is over. Harmless when the gate voided it already.
    Leave(SlotId),
    /// The game wants a session moved. Gets exactly one answer, unless one is under way already.
    Move {
        /// Which.
        slot: SlotId,
        /// Where to.
        target: MoveTarget,
        /// For the next server.
        luggage: Luggage,
    },
    /// A session's connection broke: its slot is kept until somebody comes back to it, it is told to end, or its grace is over; then
    /// it is told to end. Its end is [`Input::Leave`], as of any other. Harmless when it has moved or ended already.
    Dropped(SlotId),
    /// A client comes back to its session. Gets exactly one verdict, at once.
    Resume {
        /// Fresh.
        ticket: Ticket,
        /// As shown. Secret.
        credential: String,
    },
    /// The client of a session has the newest credential: any older one is spent.
    Kept(SlotId),
    /// The hub speaks.
    Hub(HubMessage),
    /// The game says whether it takes players. During a drain that is only remembered: the hub alone takes a drain back.
    SetState(ServerState),
    /// The game says how busy it is, in percent.
    SetLoad(u8),
    /// The game says what players are to be told of the moment, in one line.
    SetMessage(String),
    /// Take nobody new; everybody has left or is voided by the limit.
    Drain {
        /// `None`: sessions end when their players leave.
        within: Option<Duration>,
    },
    /// As a drain, and nothing takes it back: the process is about to stop.
    Retire {
        /// `None`: sessions end when their players leave.
        within: Option<Duration>,
    },
    /// The link to the hub came up or went away.
    Link {
        /// Whether what we send can arrive.
        up: bool,
    },
    /// End everything now.
    Close,
    /// Time passed.
    Tick,
}

/// What the gate wants done, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Answer a client, once and for all.
    Verdict {
        /// Which.
        ticket: Ticket,
        /// In, or not.
        verdict: Result<Welcome, Refused>,
    },
    /// Tell a client that it waits, and until when at most.
    Delayed {
        /// Which.
        ticket: Ticket,
        /// Its verdict comes by then.
        deadline: Mono,
    },
    /// Publish on topic events.
    Send(ServerMessage),
    /// Publish on topic status.
    Status(Box<Status>),
    /// Tell a session that it ends. Once per session.
    Kick {
        /// Which.
        slot: SlotId,
        /// Whose.
        player: PlayerId,
        /// Why.
        reason: Code,
        /// When it is voided if it has not left.
        save_by: Mono,
    },
    /// Tell the game whether a session moves. If it does, its kick follows.
    Moved {
        /// Which.
        slot: SlotId,
        /// Why it stays.
        answer: Result<(), Code>,
    },
    /// A session did not leave in time: it no longer holds a place, and what it saves from now on may fail by its fence.
    Void {
        /// Which.
        slot: SlotId,
        /// Whose.
        player: PlayerId,
    },
    /// Tell the game that nobody new comes.
    Draining {
        /// When the last session is voided.
        deadline: Option<Mono>,
    },
    /// A drain is over.
    Drained(DrainReport),
    /// The hub took a drain back: players come again. Who was told to go still goes.
    Undrained,
    /// Operators say something to every player in game.
    Notice {
        /// At most [`limits::NOTICE_BYTES_MAX`] bytes.
        text: String,
    },
    /// Another process with our id started later: close the link and never reconnect.
    Superseded {
        /// The newer one.
        by: BootId,
    },
}

/// A client is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// Its session.
    pub slot: SlotId,
    /// Names the session for support.
    pub handover: HandoverId,
    /// Who it is.
    pub player: PlayerId,
    /// Its place in the order of the account's sessions.
    pub fence: Fence,
    /// What the player is called.
    pub name: String,
    /// What it took along from the server that moved it here; empty for a session that goes on.
    pub luggage: Luggage,
    /// The slot that this one goes on from, which is nobody's any more; its connection, if it is still open, is to be closed. None for a
    /// session that begins.
    pub resumes: Option<SlotId>,
    /// What the client comes back with if its connection breaks; none where nobody comes back.
    pub reconnect: Option<Reconnect>,
}

/// The way back to a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reconnect {
    /// For the client. Secret.
    pub credential: Credential,
    /// How long the session is kept from when its connection broke.
    pub within: Duration,
}

/// A client is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Why.
    pub code: Code,
    /// Which attempt, where known.
    pub handover: Option<HandoverId>,
}

/// How a drain went, counted from its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DrainReport {
    /// Sessions that left by themselves.
    pub left: u32,
    /// Sessions the gate had to void.
    pub voided: u32,
}

/// The gate's times, shortened by tests only: the hub's lease and the token's life assume the defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Between regular statuses.
    pub status_beat: Duration,
    /// How long a client waits for its grant.
    pub park_time: Duration,
    /// What a kicked session gets to save.
    pub save_time: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self { status_beat: limits::STATUS_BEAT, park_time: limits::PARK_TIME, save_time: limits::SAVE_TIME }
    }
}

/// What the gate must know from the start.
pub struct GateConfig {
    /// Whose gate.
    pub server: ServerId,
    /// Which run.
    pub boot: BootId,
    /// Checks tokens for this server and boot.
    pub tag: TokenTag,
    /// What the server says of itself.
    pub profile: Profile,
    /// Whether it takes players from the start.
    pub state: ServerState,
    /// What players are told from the start.
    pub message: String,
    /// Slots.
    pub max_players: u32,
    /// Parked clients allowed.
    pub parked_max: u32,
    /// Held grants and closed marks together; [`limits::CLOSED_MARKS_MAX`] outside tests.
    pub marks_max: usize,
    /// Luggage of held grants, and apart from that of moves under way; [`limits::LUGGAGE_BYTES_TOTAL_MAX`] outside tests.
    pub luggage_bytes_max: usize,
    /// Default outside tests.
    pub timing: Timing,
    /// How long a session without a connection is kept; zero: nobody comes back.
    pub reconnect_grace: Duration,
    /// For credentials.
    pub rng: Arc<dyn Rng>,
}
