//! The desk's part in the login queue: questions of tickets' owners, and what the store keeps of tickets.

use std::time::Duration;

use shared_msgs::ids::HandoverId;
use tracing::warn;

use super::{Answered, Ask, Client, Desk, DeskTask, Input, Refused};
use crate::accounts::AccountRow;
use crate::queue::{TicketId, TicketRow};

/// What is asked of a ticket.
#[derive(Debug, Clone)]
pub struct TicketAsk {
    /// By whom.
    pub account: AccountRow,
    /// Which.
    pub ticket: TicketId,
    /// What for.
    pub what: TicketWish,
}

/// See [`TicketAsk`].
#[derive(Debug, Clone)]
pub enum TicketWish {
    /// A place, if its turn has come or comes within `wait`.
    Take {
        /// What the player is called.
        name: String,
        /// How long to wait for its turn.
        wait: Duration,
    },
    /// How it stands, and that its owner is still here.
    Look {
        /// What the player is called.
        name: String,
    },
    /// It is given back.
    Leave,
}

impl Desk {
    /// Asks for a ticket.
    ///
    /// # Errors
    /// [`Refused`]: the ticket is not the account's or is no more, and why; or the hub is busy.
    pub async fn ask_ticket(&self, ask: TicketAsk) -> Result<Answered, Refused> {
        self.ask(|handover, client| Ask::Ticket(ask, handover, client)).await
    }
}

impl DeskTask {
    pub(super) fn on_ticket_ask(&mut self, ask: TicketAsk, handover: HandoverId, client: Client) {
        let TicketAsk { account, ticket, what } = ask;
        let (name, takes, wait) = match what {
            TicketWish::Leave => {
                self.waiting.insert(handover, client);
                return self.feed(Input::Leave { handover, account, ticket });
            }
            TicketWish::Take { name, wait } => (name, true, wait),
            TicketWish::Look { name } => (name, false, Duration::ZERO),
        };
        self.with_players(account, handover, client, move |players| Input::Poll {
            handover,
            account,
            players,
            name,
            ticket,
            takes,
            wait,
        });
    }

    pub(super) fn save_ticket(&self, row: TicketRow) {
        let store = self.parts.store.clone();
        self.look_up(None, async move {
            let ticket = row.ticket;
            let is_priority = match row.to_stored() {
                Some(stored) => store.save_ticket(&stored).await.inspect_err(|error| {
                    warn!(target: "handover", ticket = %ticket, %error, "store.failed");
                }),
                None => return Input::TicketSaved { ticket, is_priority: None },
            };
            Input::TicketSaved { ticket, is_priority: is_priority.ok() }
        });
    }

    pub(super) fn drop_tickets(&self, tickets: Vec<TicketId>) {
        let store = self.parts.store.clone();
        self.look_up(None, async move {
            let ids: Vec<[u8; 16]> = tickets.iter().map(|ticket| ticket.0).collect();
            let dropped = store.drop_tickets(&ids).await.inspect_err(|error| {
                warn!(target: "handover", tickets = ids.len(), %error, "store.failed");
            });
            Input::TicketsDropped { tickets, is_done: dropped.is_ok() }
        });
    }
}
