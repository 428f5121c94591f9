//! What goes into the core and what comes out. Plain data.

use std::time::Duration;

use shared_msgs::ids::{HandoverId, PlayerId, Realm, ServerId};
use shared_msgs::messages::ServerMessage;

use super::moves::{MoveKey, Mover};
use crate::accounts::{AccountRow, Owners, PlayerRow};
use crate::fleet::{Addressed, Sender};
use crate::handover::{HandoverRequest, NoPlace, Placed, Refused};
use crate::queue::{TicketId, TicketRow, TicketView};

/// What the world tells the core.
#[derive(Debug)]
pub enum Input {
    /// A client wants in.
    Ask {
        /// Fresh.
        handover: HandoverId,
        /// Who, and where to.
        request: HandoverRequest,
        /// The account's players in all realms it has been to.
        players: Vec<PlayerRow>,
    },
    /// A client wants in whose account may not play (any more), of whose account the store cannot say it, or whose account was ended before
    /// we heard of the request.
    Barred {
        /// Fresh.
        handover: HandoverId,
        /// Whose.
        account: AccountRow,
        /// What it is told.
        why: NoPlace,
    },
    /// The store's answer to [`Effect::FindPlayer`].
    Player {
        /// As asked.
        handover: HandoverId,
        /// As asked.
        account: AccountRow,
        /// As asked.
        realm: Realm,
        /// Found or made; `None` when it could not.
        player: Option<PlayerId>,
    },
    /// The store's answer to [`Effect::FindOwners`].
    Owners {
        /// As asked.
        asked: Vec<PlayerId>,
        /// Those it knows; `None` when it could not say.
        found: Option<Owners>,
    },
    /// The store's answer to [`Effect::FindMover`].
    Mover {
        /// As asked.
        mover: MoveKey,
        /// `None` when it could not say.
        found: Option<Mover>,
    },
    /// A message that opened.
    Message {
        /// Its proven sender.
        from: Sender,
        /// What it says.
        message: Box<ServerMessage>,
    },
    /// The hub is on its broker (again): what was in flight may be lost.
    LinkUp,
    /// The database holds this ceiling; `None` when it did not take it.
    CeilingStored(Option<u64>),
    /// A client asks for its ticket's place.
    Poll {
        /// Fresh: names the question, and the handover should the ticket's turn have come.
        handover: HandoverId,
        /// Who asks.
        account: AccountRow,
        /// The account's ids in all realms it has been to.
        players: Vec<PlayerRow>,
        /// What the player is called.
        name: String,
        /// Which.
        ticket: TicketId,
        /// How long to wait for the ticket's turn.
        wait: Duration,
    },
    /// The store's answer to [`Effect::SaveTicket`].
    TicketSaved {
        /// As asked.
        ticket: TicketId,
        /// Whether the account has priority; `None` when it was not stored.
        is_priority: Option<bool>,
    },
    /// The store's answer to [`Effect::DropTickets`].
    TicketsDropped {
        /// As asked.
        tickets: Vec<TicketId>,
        /// Whether it did.
        is_done: bool,
    },
}

/// What the core wants done.
#[derive(Debug)]
pub enum Effect {
    /// To a server's inbox.
    Send(Addressed),
    /// To the client, once for each [`Input::Ask`].
    Answer {
        /// Which.
        handover: HandoverId,
        /// A place, or why there is none.
        answer: Result<Placed, Refused>,
    },
    /// To the client in place of [`Effect::Answer`]: it has a ticket.
    Queued {
        /// Which question.
        handover: HandoverId,
        /// How the ticket stands.
        view: TicketView,
    },
    /// Store this ticket, in place of any other of its account, and say whether the account has priority.
    SaveTicket(TicketRow),
    /// These tickets count no more.
    DropTickets(Vec<TicketId>),
    /// Find or make the account's player id in a realm.
    FindPlayer {
        /// For whom the answer is.
        handover: HandoverId,
        /// Whose.
        account: AccountRow,
        /// Where.
        realm: Realm,
    },
    /// A player is in game there: keep it for their next login. May get lost.
    StoreLastServer {
        /// Who.
        player: PlayerId,
        /// Where.
        server: ServerId,
    },
    /// Whose are these, and who of them is banned?
    FindOwners(Vec<PlayerId>),
    /// Who is the player that a game server moves, and may it play?
    FindMover {
        /// For which move the answer is.
        mover: MoveKey,
        /// Whose.
        account: AccountRow,
    },
    /// A game server asked to move whom it does not host.
    MoveIgnored,
    /// Store this clock ceiling.
    StoreCeiling(u64),
    /// A grant was answered with yes.
    GrantRoundTrip {
        /// After so many milliseconds.
        ms: u64,
    },
    /// A grant was answered with no.
    GrantRefused,
    /// Something was sent again.
    Resent,
}
