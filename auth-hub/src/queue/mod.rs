//! The login queue: who waits for a slot, in which order, and for whom a freed slot is kept.
//!
//! Pure: `now` in, changes out. Knows tickets, lines and how many slots a server keeps for tickets; neither servers' states nor handovers: who
//! holds both (`handover::core`) says which slots are free and asks who is first. Kept in order by `rank`, let in and out by `admission`.
//!
//! Invariants: within a class the order is that of arrival; a ticket leaves only with a place, by its owner's wish, abandoned, or with its
//! party; a slot is kept for one ticket at a time; a party's slots are kept all at once or not at all.

mod admission;
mod estimate;
mod line;
mod rank;
mod stored;
#[cfg(test)]
mod tests;
mod ticket;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use shared_msgs::clock::{Mono, UnixMs};
use shared_msgs::ids::ServerId;

pub use estimate::WaitRange;
pub use line::Line;
pub use ticket::{TICKET_TEXT_BYTES_MAX, TicketFace, TicketId, TicketSeal};

use crate::accounts::AccountRow;
use crate::timers::Timers;
use estimate::Admissions;
use rank::Key;
pub(crate) use rank::Next;

/// Members of a party.
pub const PARTY_MAX: u8 = 16;
/// How long a ticket's owner counts as present after it was heard: more than twice the longest pause it is told.
pub const PRESENT_FOR: Duration = Duration::from_secs(25);
/// How long slots are kept for tickets of the hub's last run whose owners have not come back yet.
pub const RETURN_TIME: Duration = Duration::from_secs(10);
/// Lines of labels and regions. Each costs every look for free slots a little, and whoever asks makes one.
const LINES_MAX: usize = 256;
/// Positions are counted anew at most this often.
const RECOUNT_EVERY: Duration = Duration::from_secs(1);
/// How long a party's first member waits for its last.
pub const GATHER_TIME: Duration = Duration::from_mins(1);

/// What operators set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueSettings {
    /// Tickets in all; one more is refused as if there were no queue.
    pub tickets_max: usize,
    /// How much earlier than it did a reconnecting player counts as having come.
    pub reconnect_head_start: Duration,
    /// Likewise for accounts with priority.
    pub priority_head_start: Duration,
    /// How long a freed slot is kept for the ticket whose turn it is.
    pub hold: Duration,
    /// A ticket whose owner is not heard for this long leaves.
    pub abandon_after: Duration,
}

impl Default for QueueSettings {
    fn default() -> Self {
        Self {
            tickets_max: 10_000,
            reconnect_head_start: Duration::from_mins(10),
            priority_head_start: Duration::from_mins(2),
            hold: Duration::from_secs(30),
            abandon_after: Duration::from_mins(1),
        }
    }
}

/// Who goes before whom. A class is a head start, so that nobody starves: a ticket that has waited longer than another class' head start
/// goes before whoever of that class comes now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Everybody else.
    #[default]
    Normal,
    /// An account that an operator has given priority.
    Priority,
    /// Whose game server died with them in game.
    Reconnect,
}

/// Several who go together, to one server or not at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Party {
    /// The hash of what its members share.
    pub key: [u8; 32],
    /// How many they are.
    pub size: u8,
}

/// A ticket as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TicketRow {
    /// Which.
    pub ticket: TicketId,
    /// Whose.
    pub account: AccountRow,
    /// When it came, in microseconds since 1970 by the hub's clock; no two tickets have the same.
    pub arrived_us: u64,
    /// Its class, but for the account's priority, which is stored with the account.
    pub class: Class,
    /// What it waits for.
    pub line: Line,
    /// Which regions its owner likes better, the best first; the line's own where it is bound to them.
    pub regions: Vec<String>,
    /// With whom.
    pub party: Option<Party>,
}

/// Why nobody more is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoTicket {
    /// The queue has as many as it may.
    Full,
    /// There is a party of this key and it is another: of another size, for something else, or complete.
    OtherParty,
}

/// Why a ticket is no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gone {
    /// Its owner was not heard.
    Abandoned,
    /// Not all of its party came in time.
    PartyIncomplete,
    /// One of its party left.
    PartyBroken,
}

/// How a ticket stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// So many of its party are here.
    Gathering {
        /// Of how many.
        size: u8,
        /// Itself included.
        here: u8,
    },
    /// In line.
    Waiting,
    /// A slot is kept for it.
    Ready,
}

/// A ticket as its owner sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TicketView {
    /// Which.
    pub ticket: TicketId,
    /// When it was issued.
    pub issued: UnixMs,
    /// How it stands.
    pub standing: Standing,
    /// 1 is the next. 0 for who gathers or is ready.
    pub position: u32,
    /// How long it will take; `None` while nobody knows.
    pub wait: Option<WaitRange>,
    /// When to ask again.
    pub ask_again: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct UnitId(u64);

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    /// Not on disk yet.
    Saving,
    /// In line, or gathering.
    Waiting,
    /// A slot of this server is kept until then.
    Reserved(ServerId, Mono),
    /// Its handover runs; the slot there is still kept here, or already counted as a grant.
    Placing(Option<ServerId>),
}

#[derive(Debug)]
struct Ticket {
    account: AccountRow,
    arrived_us: u64,
    unit: UnitId,
    seen: Mono,
    is_present: bool,
    /// Of the hub's last run, and not heard in this one.
    is_ghost: bool,
    state: State,
}

/// What a party waited for until it was called.
#[derive(Debug, Clone)]
struct Called {
    line: Line,
    party: Party,
}

/// Who goes together: a party, or one ticket.
#[derive(Debug)]
struct Unit {
    line: Line,
    class: Class,
    party: Option<Party>,
    members: Vec<TicketId>,
    /// Its place in the order, once it is complete.
    key: Option<Key>,
    /// Of a member that goes alone since its party was called.
    called_with: Option<Called>,
    /// Where slots gather for it.
    pinned: Option<ServerId>,
    position: u32,
}

impl Unit {
    fn new(line: Line, class: Class, party: Option<Party>) -> Self {
        Self {
            line,
            class,
            party,
            members: Vec::new(),
            key: None,
            called_with: None,
            pinned: None,
            position: 0,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Alarm {
    Ticket(TicketId),
    Gathering(UnitId),
    Recount,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Queue {
    settings: QueueSettings,
    tickets: BTreeMap<TicketId, Ticket>,
    by_account: BTreeMap<AccountRow, TicketId>,
    units: BTreeMap<UnitId, Unit>,
    units_made: u64,
    parties: BTreeMap<[u8; 32], UnitId>,
    /// Everybody in line, and who is called.
    order: BTreeMap<Key, UnitId>,
    /// Of those, who is not called and whose owners are all present.
    present: BTreeMap<Line, BTreeSet<Key>>,
    /// Units by what they are for.
    lines: BTreeMap<Line, usize>,
    /// Tickets in line.
    waiting: BTreeMap<Line, u32>,
    /// Slots kept, by server.
    kept: BTreeMap<ServerId, u32>,
    /// Servers whose free slots gather for a party.
    pins: BTreeMap<ServerId, UnitId>,
    admissions: BTreeMap<Line, Admissions>,
    last_arrival_us: u64,
    is_recount_set: bool,
    recounted_at: Mono,
    ticked_at: Mono,
    timers: Timers<Alarm>,
}

impl Queue {
    pub(crate) fn new(settings: QueueSettings) -> Self {
        Self {
            settings,
            tickets: BTreeMap::new(),
            by_account: BTreeMap::new(),
            units: BTreeMap::new(),
            units_made: 0,
            parties: BTreeMap::new(),
            order: BTreeMap::new(),
            present: BTreeMap::new(),
            lines: BTreeMap::new(),
            waiting: BTreeMap::new(),
            kept: BTreeMap::new(),
            pins: BTreeMap::new(),
            admissions: BTreeMap::new(),
            last_arrival_us: 0,
            is_recount_set: false,
            recounted_at: Mono::default(),
            ticked_at: Mono::default(),
            timers: Timers::new(),
        }
    }

    /// Tickets in all.
    pub(crate) fn len(&self) -> usize {
        self.tickets.len()
    }

    /// The account's ticket.
    pub(crate) fn ticket_of(&self, account: AccountRow) -> Option<TicketId> {
        self.by_account.get(&account).copied()
    }

    /// Whose it is.
    pub(crate) fn owner(&self, ticket: TicketId) -> Option<AccountRow> {
        self.tickets.get(&ticket).map(|ticket| ticket.account)
    }

    /// Whether the account's ticket is for the same thing.
    pub(crate) fn is_for(&self, ticket: TicketId, line: &Line, party: Option<Party>) -> bool {
        self.unit_of(ticket).is_some_and(|unit| match &unit.called_with {
            Some(called) => (&called.line, Some(called.party)) == (line, party),
            None => (&unit.line, unit.party) == (line, party),
        })
    }

    /// Slots of a server that are kept for tickets.
    pub(crate) fn kept(&self, server: &ServerId) -> u32 {
        self.kept.get(server).copied().unwrap_or_default()
    }

    /// Whether a server's free slots gather for a party.
    pub(crate) fn is_gathering_at(&self, server: &ServerId) -> bool {
        self.pins.contains_key(server)
    }

    /// How a ticket stands; `None` when there is none such.
    pub(crate) fn view(&self, id: TicketId, now: Mono) -> Option<TicketView> {
        let ticket = self.tickets.get(&id)?;
        let unit = self.units.get(&ticket.unit)?;
        let standing = match (&ticket.state, unit.party) {
            (State::Reserved(..) | State::Placing(_), _) => Standing::Ready,
            (_, Some(party)) if unit.key.is_none() => {
                let here = u8::try_from(unit.members.len()).unwrap_or(u8::MAX);
                Standing::Gathering { size: party.size, here }
            }
            _ => Standing::Waiting,
        };
        let position = if standing == Standing::Waiting { unit.position.max(1) } else { 0 };
        let meeting = self.admissions.iter().filter(|(line, _)| line.meets(&unit.line));
        let wait = estimate::wait(position, meeting.map(|(_, admissions)| admissions), now);
        Some(TicketView {
            ticket: id,
            issued: UnixMs(ticket.arrived_us / 1_000),
            standing,
            position,
            wait: wait.filter(|_| position > 0),
            ask_again: match (standing, position) {
                (Standing::Ready, _) => Duration::ZERO,
                (Standing::Gathering { .. }, _) | (_, ..=20) => Duration::from_secs(2),
                (_, ..=200) => Duration::from_secs(5),
                _ => Duration::from_secs(10),
            },
        })
    }

    fn unit_of(&self, ticket: TicketId) -> Option<&Unit> {
        self.units.get(&self.tickets.get(&ticket)?.unit)
    }

    /// When [`Self::tick`] has something to do.
    pub(crate) fn next_deadline(&self) -> Option<Mono> {
        self.timers.next()
    }
}
