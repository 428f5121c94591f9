//! The rig's part in the login queue: tickets on its disk, their owners' questions, and what they were told.

use std::time::Duration;

use shared_msgs::ids::HandoverId;
use shared_msgs::limits;

use super::peer::Peer;
use super::rig::{Packet, Rig};
use crate::accounts::AccountRow;
use crate::handover::core::{Effect, Input};
use crate::handover::{HandoverRequest, NoPlace};
use crate::queue::{Party, QueueSettings, Standing, TicketId, TicketView};

impl Rig {
    /// As [`Self::with`], and who finds no slot waits.
    pub(super) fn queueing(servers: &[(&str, u32)]) -> Self {
        let mut rig = Self::cold(1);
        rig.settings.queue = Some(QueueSettings::default());
        rig.restart_hub();
        rig.run(2_500);
        for (id, max) in servers {
            rig.start(Peer::new(id, "r", *max, 1));
        }
        rig.run(0);
        rig
    }

    pub(super) fn on_ticket_effect(&mut self, effect: Effect) {
        match effect {
            Effect::Queued { handover, view } => {
                assert!(self.asked.contains_key(&handover), "an answer nobody asked for");
                assert!(!self.answers.contains_key(&handover), "answered twice");
                let before = self.queued.insert(handover, view);
                assert!(before.is_none(), "answered twice");
            }
            Effect::SaveTicket(row) => {
                let ticket = row.ticket;
                let is_priority = self.store_works.then(|| self.priorities.contains(&row.account));
                if self.store_works {
                    self.tickets.retain(|_, other| other.account != row.account);
                    self.tickets.insert(row.ticket, row);
                }
                self.fly(Packet::Stored(Input::TicketSaved { ticket, is_priority }));
            }
            Effect::DropTickets(tickets) => {
                let is_done = self.store_works;
                self.tickets.retain(|ticket, _| !is_done || !tickets.contains(ticket));
                self.fly(Packet::Stored(Input::TicketsDropped { tickets, is_done }));
            }
            _ => {}
        }
    }

    /// The ticket that a handover came to.
    #[track_caller]
    pub(super) fn ticket(&self, id: HandoverId) -> TicketView {
        *self.queued.get(&id).unwrap_or_else(|| panic!("no ticket: {:?}", self.answers.get(&id)))
    }

    /// The owner asks, and would take its place.
    pub(super) fn poll(&mut self, account: i64, ticket: TicketId, wait_ms: u64) -> HandoverId {
        let handover = HandoverId::random(&*self.rng);
        let account = AccountRow::from_raw(account);
        let players = self.players.iter().filter(|((of, _), _)| *of == account);
        let players = players.map(|((_, realm), player)| self.row(account, realm, *player)).collect();
        let wait = Duration::from_millis(wait_ms);
        // What follows a wait has a handover's time.
        self.asked.insert(handover, self.now.mono + wait);
        let name = "Ann".to_owned();
        self.input(Input::Poll { handover, account, players, name, ticket, wait });
        handover
    }

    /// The owner only looks.
    pub(super) fn peek(&mut self, account: i64, ticket: TicketId) -> Result<TicketView, NoPlace> {
        let (view, effects) = self.core.look(AccountRow::from_raw(account), ticket, self.now);
        self.carry_out(effects);
        view
    }

    pub(super) fn leave_queue(&mut self, account: i64, ticket: TicketId) -> Result<(), NoPlace> {
        let (left, effects) = self.core.leave(AccountRow::from_raw(account), ticket, self.now);
        self.carry_out(effects);
        left
    }

    /// Asks for a place as one of a party.
    pub(super) fn ask_as(&mut self, account: i64, party: u8, size: u8) -> HandoverId {
        let party = Some(Party { key: [party; 32], size });
        let account = AccountRow::from_raw(account);
        self.ask_with(HandoverRequest { party, ..HandoverRequest::anywhere(account, "Ann".into()) })
    }

    /// An account asks, finds all full and has a ticket.
    #[track_caller]
    pub(super) fn queue_up(&mut self, account: i64) -> TicketView {
        let id = self.ask(account);
        self.run(0);
        self.ticket(id)
    }

    /// How a ticket stands, its owner asking.
    #[track_caller]
    pub(super) fn standing(&mut self, account: i64, ticket: TicketId) -> (Standing, u32) {
        let view = self.peek(account, ticket).unwrap();
        self.run(0);
        (view.standing, view.position)
    }

    /// Why a ticket counts no more.
    #[track_caller]
    pub(super) fn void(&mut self, account: i64, ticket: TicketId) -> NoPlace {
        let why = self.peek(account, ticket).expect_err("it is as good as ever");
        self.run(0);
        why
    }

    /// A player leaves its server.
    pub(super) fn leaves(&mut self, server: &str, hash: shared_msgs::ids::TokenHash) {
        let left = self.peer(server).leave(hash);
        assert!(left.is_some(), "nobody to leave");
        self.from(server, left);
        self.run(0);
    }

    /// Lets time pass in which the owners of these tickets go on asking.
    pub(super) fn run_asking(&mut self, ms: u64, owners: &[(i64, TicketId)]) {
        let step = u64::try_from(limits::STATUS_BEAT.as_millis()).unwrap();
        for _ in 0..ms / step {
            for (account, ticket) in owners {
                let _ = self.peek(*account, *ticket);
            }
            self.run(step);
        }
        self.run(ms % step);
    }
}
