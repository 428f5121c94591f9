//! The desk's part in the login queue: questions of tickets' owners, and what the store keeps of tickets.
//!
//! Invariant: the store gets what becomes of tickets in the order in which the core says it.

use std::time::Duration;

use shared_msgs::ids::HandoverId;
use tokio::sync::oneshot;
use tracing::warn;

use super::{Answered, Ask, Client, Desk, DeskTask, Input, NoPlace, Refused};
use crate::accounts::{AccountRow, StoreError};
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

    /// Queued with the writer here and now: tasks have their turn in no order, and a ticket that is dropped or replaced at once must not be
    /// stored behind that.
    pub(super) fn save_ticket(&self, row: &TicketRow) {
        let (ticket, stored) = (row.ticket, row.to_stored());
        let save = stored.map(|stored| self.parts.store.submit_ticket(&stored));
        self.look_up(None, async move {
            let Some(save) = save else { return Input::TicketSaved { ticket, is_priority: None } };
            let saved = async { save?.committed().await };
            let is_priority = saved.await.inspect_err(|error| {
                warn!(target: "handover", ticket = %ticket, %error, "store.failed");
            });
            Input::TicketSaved { ticket, is_priority: is_priority.ok() }
        });
    }

    /// Likewise.
    pub(super) fn drop_tickets(&self, tickets: Vec<TicketId>) {
        let ids: Vec<[u8; 16]> = tickets.iter().map(|ticket| ticket.0).collect();
        let drops = self.parts.store.submit_ticket_drops(&ids);
        self.look_up(None, async move {
            let dropped = async {
                for drop in drops? {
                    drop.committed().await?;
                }
                Ok::<_, StoreError>(())
            };
            let dropped = dropped.await.inspect_err(|error| {
                warn!(target: "handover", tickets = ids.len(), %error, "store.failed");
            });
            Input::TicketsDropped { tickets, is_done: dropped.is_ok() }
        });
    }
}
