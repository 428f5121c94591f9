//! The desk's part in the login queue: questions of tickets' owners, and what the store keeps of tickets.

use std::time::Duration;

use shared_msgs::ids::HandoverId;
use tokio::sync::oneshot;
use tracing::warn;

use super::{Answered, Ask, Client, Desk, DeskTask, Input, NoPlace, Refused};
use crate::accounts::AccountRow;
use crate::queue::{TicketId, TicketRow, TicketView};

/// A ticket's owner asks for its place.
#[derive(Debug, Clone)]
pub struct TicketAsk {
    /// Who asks.
    pub account: AccountRow,
    /// What the player is called.
    pub name: String,
    /// Which.
    pub ticket: TicketId,
    /// How long to wait for its turn.
    pub wait: Duration,
}

/// Where an answer about a ticket goes.
pub(super) type To<T> = oneshot::Sender<Result<T, NoPlace>>;

impl Desk {
    /// Asks for a ticket's place.
    ///
    /// # Errors
    /// [`Refused`]: the ticket is not the account's or is no more, and why; or the hub is busy.
    pub async fn ask_ticket(&self, ask: TicketAsk) -> Result<Answered, Refused> {
        self.ask(|handover, client| Ask::Ticket(ask, handover, client)).await
    }

    /// How a ticket stands; says that its owner is still here.
    ///
    /// # Errors
    /// [`NoPlace`]: the ticket is not the account's or is no more, and why; [`NoPlace::HubBusy`]: the desk's queue is full.
    pub async fn look_at(&self, account: AccountRow, ticket: TicketId) -> Result<TicketView, NoPlace> {
        self.ask_at_once(|to| Ask::Look(account, ticket, to)).await
    }

    /// Gives a ticket back.
    ///
    /// # Errors
    /// [`NoPlace::TicketUnknown`]: it is not the account's or is no more; [`NoPlace::HubBusy`]: the desk's queue is full.
    pub async fn leave_queue(&self, account: AccountRow, ticket: TicketId) -> Result<(), NoPlace> {
        self.ask_at_once(|to| Ask::Leave(account, ticket, to)).await
    }

    async fn ask_at_once<T>(&self, ask: impl FnOnce(To<T>) -> Ask) -> Result<T, NoPlace> {
        let (to, answered) = oneshot::channel();
        self.asks.try_send(ask(to)).map_err(|_| NoPlace::HubBusy)?;
        answered.await.unwrap_or(Err(NoPlace::HubBusy))
    }
}

impl DeskTask {
    pub(super) fn on_ticket_ask(&mut self, ask: TicketAsk, handover: HandoverId, client: Client) {
        let TicketAsk { account, name, ticket, wait } = ask;
        self.with_players(account, handover, client, move |players| Input::Poll {
            handover,
            account,
            players,
            name,
            ticket,
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
