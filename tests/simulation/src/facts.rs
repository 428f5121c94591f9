//! What happens in a run, as checkers, tally and history see it: plain statements, in order, each true when it is made.

use std::fmt::{self, Write as _};

use auth_hub::bus::Sender;
use auth_hub::fleet::Addressed;
use auth_hub::handover::{Placed, Refused};
use auth_hub::queue::{QueueSettings, TicketId, TicketRow, TicketView};
use game_server::gate;
use shared_msgs::clock::UnixMs;
use shared_msgs::codes::Code;
use shared_msgs::ids::{BootId, HandoverId, HubId, PlayerId, ServerId, TokenHash};
use shared_msgs::messages::{Occupancy, Order, ServerMessage};
use shared_msgs::moves::{Luggage, MoveTarget};
use shared_msgs::topics::Topic;

use crate::tickets::Wish;

/// Milliseconds of true time since the run began.
pub(crate) type Ms = u64;

/// One process of the run; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct NodeId(pub(crate) u32);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "n{}", self.0)
    }
}

/// What a client shows at a door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    /// A token that was minted for this very process.
    Genuine(TokenHash),
    /// A token for another server or another boot, altered, or made up.
    NotGenuine,
    /// No token: what one comes back to a session with, good or not.
    Credential,
}

/// What part of the run begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Faults stop; nobody new comes.
    Calm,
    /// Everything has had time to come to rest.
    Settled,
    /// Everybody who wanted in has had time to get in.
    AllIn,
    /// Everybody has left, and every token has run out.
    AllOut,
}

/// How a hub and a server stand at a phase's end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View<'a> {
    /// Which server.
    pub(crate) server: &'a ServerId,
    /// As the hub believes; `None` when it does not know the server.
    pub(crate) believed: Option<Occupancy>,
    /// As it is.
    pub(crate) is: Occupancy,
}

/// A statement.
#[derive(Debug)]
pub(crate) enum Fact<'a> {
    /// A hub process started.
    HubUp { node: NodeId, number: u16, id: &'a HubId },
    /// A server process started.
    ServerUp {
        node: NodeId,
        server: &'a ServerId,
        boot: BootId,
        max_players: u32,
        parked_max: u32,
        grace: Ms,
    },
    /// A process is no more.
    Down { node: NodeId, why: &'static str },
    /// A client's request reached a hub's core; it may wait so long for its turn.
    Asked { node: NodeId, handover: HandoverId, account: i64, wait: Ms },
    /// A hub gives an order.
    Ordered { node: NodeId, to: &'a Addressed },
    /// A hub answers a client.
    Answered { node: NodeId, handover: HandoverId, answer: &'a Result<Placed, Refused> },
    /// A client shows something at a server's door.
    Arrived { node: NodeId, ticket: gate::Ticket, shown: Shown, unix: UnixMs },
    /// It waits.
    Parked { node: NodeId, ticket: gate::Ticket, deadline: Ms },
    /// It is in, or not.
    Verdict {
        node: NodeId,
        ticket: gate::Ticket,
        verdict: &'a Result<gate::Welcome, gate::Refused>,
        unix: UnixMs,
    },
    /// It went away before its verdict.
    Abandoned { node: NodeId, ticket: gate::Ticket },
    /// A server says something to the hubs.
    Said { node: NodeId, message: &'a ServerMessage },
    /// A session is told to end.
    Kicked { node: NodeId, slot: gate::SlotId, player: PlayerId, reason: Code, save_by: Ms },
    /// A session's connection broke, as its server sees it.
    Dropped { node: NodeId, slot: gate::SlotId },
    /// A client comes back to a session with this credential.
    CameBack { node: NodeId, ticket: gate::Ticket, credential: &'a str },
    /// A session's client has said that it has the newest credential.
    Kept { node: NodeId, slot: gate::SlotId },
    /// A game wants a session moved.
    MoveAsked { node: NodeId, slot: gate::SlotId, target: &'a MoveTarget, luggage: &'a Luggage },
    /// It hears whether it moves.
    MoveAnswered { node: NodeId, slot: gate::SlotId, answer: Result<(), Code> },
    /// A handover that no client asked for: whose player a hub moves.
    Carries { handover: HandoverId, account: i64 },
    /// A session is over.
    Left { node: NodeId, slot: gate::SlotId, voided: bool },
    /// An account is shut out, on disk, or let in again.
    Barred { account: i64, is_barred: bool },
    /// A hub hears that an operator wants ended what an account has; its orders follow, up to [`Fact::OperatorDone`].
    OperatorEnds { node: NodeId, account: i64, reason: Code, is_done: bool },
    /// The orders for an operator's end have been given.
    OperatorDone { node: NodeId },
    /// A server takes nobody new any more.
    Closing { node: NodeId },
    /// A server's slots, after each of its steps.
    Stands { node: NodeId, occupancy: Occupancy },
    /// A hub has taken a message in; `believed` are the boot that counts for it, and its slots, as the hub sees them then.
    Heard {
        node: NodeId,
        from: &'a Sender,
        message: &'a ServerMessage,
        believed: Option<(BootId, Occupancy)>,
    },
    /// A hub has taken a will in: whether it would place on that server, before and after.
    WillHeard { node: NodeId, from: &'a Sender, boot: BootId, before: bool, after: bool },
    /// A payload leaves a process.
    Sealed { topic: &'a Topic, payload: &'a [u8] },
    /// A payload with a flipped bit was looked at; so many messages were believed.
    AlteredOpened { node: NodeId, messages: usize },
    /// A core was ticked so often within one millisecond.
    Ticked { node: NodeId, times: u32 },
    /// A process stands still.
    Frozen { node: NodeId, until: Ms },
    /// A hub may not start: its clock is too far behind the stored ceiling.
    Locked { machine: usize },
    /// Something breaks, or mends.
    Fault { what: &'static str, node: Option<NodeId> },
    /// A part of the run begins.
    Phase(Phase),
    /// An account's device is where it should be at the end of [`Phase::AllIn`], or not.
    Home { account: i64, is_in: bool, refused: Option<&'a str> },
    /// How a hub sees a server at a phase's end.
    Seen { node: NodeId, view: View<'a> },
    /// What a hub still waits for at the end of the run.
    Unanswered { node: NodeId, running: usize, unanswered: usize },
    /// A hub that starts has this ticket from the database.
    TicketRestored { node: NodeId, row: &'a TicketRow, account: i64, has_priority: bool },
    /// It has them all, and goes by these settings.
    QueueUp { node: NodeId, settings: QueueSettings },
    /// A hub gives an account a ticket, and has the database keep it.
    TicketMade { node: NodeId, row: &'a TicketRow, account: i64, has_priority: bool },
    /// A hub hears that a ticket is kept, or is not.
    TicketKept { node: NodeId, ticket: TicketId, is_kept: bool },
    /// An owner's question has reached a hub.
    TicketAsked { node: NodeId, handover: HandoverId, ticket: TicketId, account: i64, wish: Wish },
    /// A hub answers how a ticket stands.
    TicketShown { node: NodeId, handover: HandoverId, view: &'a TicketView },
    /// A hub answers that a ticket is no more, as its owner wished.
    TicketGivenBack { node: NodeId, handover: HandoverId },
    /// A handover has its server; the player's id is looked for.
    Searched { node: NodeId, handover: HandoverId },
    /// Tickets count no more.
    TicketsDropped { node: NodeId, tickets: &'a [TicketId] },
    /// Tickets at the end of the run: in hubs' memory, and on disk.
    TicketsLeft { tickets: usize, rows: usize },
}

fn short(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes.iter().take(4) {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// The first bytes of a handover id, enough to follow one through a history.
pub(crate) fn brief(handover: HandoverId) -> String {
    short(&handover.0)
}

impl fmt::Display for Fact<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HubUp { node, number, id } => write!(f, "{node} up: hub {number} {id}"),
            Self::ServerUp { node, server, boot, max_players, .. } => {
                write!(f, "{node} up: server {server} boot={boot} max={max_players}")
            }
            Self::Down { node, why } => write!(f, "{node} down: {why}"),
            Self::Asked { node, handover, account, .. } => {
                write!(f, "{node} asked h={} account={account}", brief(*handover))
            }
            Self::Ordered { node, to: Addressed { server, boot, order } } => match order {
                Order::Probe { n, .. } => write!(f, "{node} probe {n} → {server}"),
                Order::Grant(g) => write!(
                    f,
                    "{node} grant → {server} boot={boot} h={} hash={} player={} fence={}",
                    brief(g.handover),
                    g.hash,
                    short(&g.player.0),
                    g.fence
                ),
                Order::End(e) => write!(
                    f,
                    "{node} end → {server} boot={boot} player={} below={} hashes={:?} {}",
                    short(&e.player.0),
                    e.below,
                    e.hashes,
                    e.reason
                ),
                other => write!(f, "{node} order → {server} boot={boot} {other:?}"),
            },
            Self::Answered { node, handover, answer: Ok(p) } => {
                write!(f, "{node} answers h={} 200 {} confirmed={}", brief(*handover), p.server, p.confirmed)
            }
            Self::Answered { node, handover, answer: Err(refused) } => {
                write!(f, "{node} answers h={} {}", brief(*handover), refused.why.code())
            }
            Self::Arrived { node, ticket, shown: Shown::Genuine(hash), unix } => {
                write!(f, "{node} arrival t={} hash={hash} clock={unix}", ticket.0)
            }
            Self::Arrived { node, ticket, .. } => {
                write!(f, "{node} arrival t={} with no token for here", ticket.0)
            }
            Self::Parked { node, ticket, deadline } => {
                write!(f, "{node} parks t={} until {deadline}", ticket.0)
            }
            Self::Verdict { node, ticket, verdict: Ok(w), .. } => write!(
                f,
                "{node} welcome t={} slot={} h={} player={} fence={}",
                ticket.0,
                w.slot.0,
                brief(w.handover),
                short(&w.player.0),
                w.fence
            ),
            Self::Verdict { node, ticket, verdict: Err(refused), .. } => {
                let handover = refused.handover.map(brief).unwrap_or_default();
                write!(f, "{node} refuses t={} {} h={handover}", ticket.0, refused.code)
            }
            Self::Abandoned { node, ticket } => write!(f, "{node} t={} went away", ticket.0),
            Self::Said { node, message } => write!(f, "{node} says {}", say(message)),
            Self::Kicked { node, slot, player, reason, .. } => {
                write!(f, "{node} kicks slot={} player={} {reason}", slot.0, short(&player.0))
            }
            Self::Left { node, slot, voided } => {
                write!(f, "{node} {} slot={}", if *voided { "voids" } else { "left" }, slot.0)
            }
            Self::Closing { node } => write!(f, "{node} takes nobody new"),
            Self::Stands { node, occupancy: o } => {
                write!(f, "{node} stands players={} held={} parked={}", o.players, o.held, o.parked)
            }
            Self::Heard { node, from, message, .. } => {
                write!(f, "{node} heard {} stream={}: {}", from.server, short(&from.stream.0), say(message))
            }
            Self::WillHeard { node, from, boot, before, after } => {
                let stream = short(&from.stream.0);
                write!(
                    f,
                    "{node} heard will of {} boot={boot} stream={stream}: placed on before={before} after={after}",
                    from.server
                )
            }
            Self::Sealed { topic, payload } => write!(f, "sealed {} bytes for {topic}", payload.len()),
            Self::AlteredOpened { node, messages } => {
                write!(f, "{node} got altered bytes: {messages} messages")
            }
            Self::Ticked { node, times } => write!(f, "{node} ticked {times} times"),
            Self::Frozen { node, until } => write!(f, "! {node} stands still until {until}"),
            Self::Fault { what, node: Some(node) } => write!(f, "! {what} {node}"),
            Self::Fault { what, node: None } => write!(f, "! {what}"),
            Self::Phase(phase) => write!(f, "== {phase:?}"),
            Self::Home { account, is_in, refused } => {
                write!(f, "account={account} is {} {refused:?}", if *is_in { "in" } else { "out" })
            }
            Self::Seen { node, view } => {
                write!(f, "{node} sees {} as {:?}; it is {:?}", view.server, view.believed, view.is)
            }
            Self::Unanswered { node, running, unanswered } => {
                write!(f, "{node} waits for {running} handovers and {unanswered} answers")
            }
            other => other.write_more(f),
        }
    }
}

impl Fact<'_> {
    fn write_more(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dropped { node, slot } => write!(f, "{node} lost the connection of slot={}", slot.0),
            Self::CameBack { node, ticket, credential } => {
                let end = credential.get(credential.len().saturating_sub(8)..).unwrap_or_default();
                write!(f, "{node} t={} comes back with …{end}", ticket.0)
            }
            Self::Kept { node, slot } => write!(f, "{node} slot={} has the newest credential", slot.0),
            Self::MoveAsked { node, slot, target, luggage } => {
                write!(f, "{node} wants slot={} moved to {target:?} with {luggage:?}", slot.0)
            }
            Self::MoveAnswered { node, slot, answer } => {
                write!(f, "{node} move of slot={}: {answer:?}", slot.0)
            }
            Self::Carries { handover, account } => {
                write!(f, "h={} moves account={account}", brief(*handover))
            }
            Self::Barred { account, is_barred } => {
                write!(f, "! account={account} is {}", if *is_barred { "shut out" } else { "let in again" })
            }
            Self::OperatorEnds { node, account, reason, is_done } => {
                write!(f, "{node} is to end account={account} {reason}: done={is_done}")
            }
            Self::OperatorDone { node } => write!(f, "{node} has ended what there was"),
            Self::Locked { machine } => write!(f, "hub machine {machine} is locked out"),
            Self::TicketRestored { node, row, account, .. } => {
                write!(f, "{node} restores {} of account={account}", row.ticket)
            }
            Self::QueueUp { node, settings } => write!(f, "{node} queue: {settings:?}"),
            Self::TicketMade { node, row, account, .. } => write!(
                f,
                "{node} ticket {} for account={account} {:?} {:?} party={:?}",
                row.ticket,
                row.class,
                row.line,
                row.party.map(|party| party.size)
            ),
            Self::TicketKept { node, ticket, is_kept } => write!(f, "{node} ticket {ticket} kept={is_kept}"),
            Self::TicketAsked { node, handover, ticket, account, wish } => {
                write!(f, "{node} asked h={} account={account} of {ticket}: {wish:?}", brief(*handover))
            }
            Self::TicketShown { node, handover, view } => write!(
                f,
                "{node} answers h={} {} {:?} {}",
                brief(*handover),
                view.ticket,
                view.standing,
                view.position
            ),
            Self::TicketGivenBack { node, handover } => {
                write!(f, "{node} answers h={} given back", brief(*handover))
            }
            Self::Searched { node, handover } => write!(f, "{node} h={} has its server", brief(*handover)),
            Self::TicketsDropped { node, tickets } => write!(f, "{node} drops {tickets:?}"),
            Self::TicketsLeft { tickets, rows } => write!(f, "{tickets} tickets and {rows} rows are left"),
            _ => Ok(()),
        }
    }
}

fn say(message: &ServerMessage) -> String {
    match message {
        ServerMessage::Status(s) => {
            let o = s.stamp.occupancy;
            format!("status rev={} {:?} {}+{}/{}", s.stamp.rev, s.state, o.players, o.held, o.max_players)
        }
        ServerMessage::Gone { boot } => format!("gone boot={boot}"),
        ServerMessage::GrantReply { stamp, handover, hash, verdict, .. } => {
            format!("reply h={} hash={hash} {verdict:?} rev={}", brief(*handover), stamp.rev)
        }
        ServerMessage::Ended { player, below, hashes, .. } => {
            format!("ended player={} below={below} hashes={hashes:?}", short(&player.0))
        }
        ServerMessage::Joined { stamp, entry } => {
            format!("joined hash={} player={} rev={}", entry.hash, short(&entry.player.0), stamp.rev)
        }
        ServerMessage::Left { stamp, entry } => {
            format!("left hash={} player={} rev={}", entry.hash, short(&entry.player.0), stamp.rev)
        }
        ServerMessage::RosterPage { stamp, page, pages, entries, .. } => {
            format!("roster {page}/{pages} of {} rev={}", entries.len(), stamp.rev)
        }
        ServerMessage::Noticed { id, .. } => format!("noticed {id}"),
        ServerMessage::Move(asked) => {
            format!("move request={} player={}", asked.request, short(&asked.player.0))
        }
    }
}
