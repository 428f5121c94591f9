//! A desk that notes what it is asked, and answers as it is told.

use std::collections::VecDeque;

use super::*;
use crate::handover::Refused;

/// Answers from a script; without one, with a place.
#[derive(Debug, Default)]
pub(in crate::http) struct FakeDesk {
    pub(in crate::http) script: Mutex<VecDeque<NoPlace>>,
    /// What it says of tickets, and to handovers when there is one left; without, a place.
    pub(in crate::http) tickets: Mutex<VecDeque<Result<Answered, NoPlace>>>,
    /// What every look gives once the script is over; without, that there is no ticket.
    pub(in crate::http) stands: Mutex<Option<TicketView>>,
    pub(in crate::http) ticket_asks: Mutex<Vec<TicketAsk>>,
    /// While there is one, whoever asks for a ticket and would wait waits for it.
    pub(in crate::http) waits: Mutex<Option<CancellationToken>>,
    /// Each ask for a ticket.
    pub(in crate::http) ticket_asked: Notify,
    /// Tickets that were looked at and given back, and by whom.
    pub(in crate::http) looks: Mutex<Vec<(AccountRow, TicketId)>>,
    pub(in crate::http) left: Mutex<Vec<(AccountRow, TicketId)>>,
    pub(in crate::http) asked: Mutex<Vec<HandoverRequest>>,
    /// While there is one, handovers wait for it.
    pub(in crate::http) holds: Mutex<Option<CancellationToken>>,
    /// Each ask for a handover.
    pub(in crate::http) handover_asked: Notify,
    /// `None`: answers no sooner than it is told to.
    pub(in crate::http) snapshot: Mutex<Option<Snapshot>>,
    pub(in crate::http) answer_now: Notify,
    /// Each ask for a snapshot.
    pub(in crate::http) snapshot_asked: Notify,
    pub(in crate::http) panics: std::sync::atomic::AtomicBool,
}

impl Handover for FakeDesk {
    fn hand_over(&self, request: HandoverRequest) -> Answer<'_, Result<Answered, Refused>> {
        self.asked.lock().unwrap().push(request);
        let refused = self.script.lock().unwrap().pop_front();
        let scripted = refused.map(Err).or_else(|| self.tickets.lock().unwrap().pop_front());
        let answered = scripted.unwrap_or_else(|| Ok(Answered::Placed(placed())));
        let held = self.holds.lock().unwrap().clone();
        self.handover_asked.notify_one();
        Box::pin(async move {
            if let Some(held) = held {
                held.cancelled().await;
            }
            answered.map_err(|why| Refused { handover: HANDOVER, why })
        })
    }

    fn ask_ticket(&self, ask: TicketAsk) -> Answer<'_, Result<Answered, Refused>> {
        let held = self.waits.lock().unwrap().clone().filter(|_| !ask.wait.is_zero());
        self.ticket_asks.lock().unwrap().push(ask);
        self.ticket_asked.notify_one();
        let scripted = self.tickets.lock().unwrap().pop_front();
        let answered = scripted.unwrap_or_else(|| Ok(Answered::Placed(placed())));
        Box::pin(async move {
            if let Some(held) = held {
                held.cancelled().await;
            }
            answered.map_err(|why| Refused { handover: HANDOVER, why })
        })
    }

    fn look_at(&self, account: AccountRow, ticket: TicketId) -> Answer<'_, Result<TicketView, NoPlace>> {
        self.looks.lock().unwrap().push((account, ticket));
        let scripted = self.tickets.lock().unwrap().pop_front();
        let stands = self.stands.lock().unwrap().map(Answered::Queued).ok_or(NoPlace::TicketUnknown);
        Box::pin(async move {
            match scripted.unwrap_or(stands)? {
                Answered::Queued(view) => Ok(view),
                Answered::Placed(_) => Err(NoPlace::TicketUnknown),
            }
        })
    }

    fn leave_queue(&self, account: AccountRow, ticket: TicketId) -> Answer<'_, Result<(), NoPlace>> {
        self.left.lock().unwrap().push((account, ticket));
        let scripted = self.script.lock().unwrap().pop_front();
        Box::pin(async move { scripted.map_or(Ok(()), Err) })
    }

    fn snapshot(&self) -> Answer<'_, Snapshot> {
        assert!(!self.panics.load(Ordering::Relaxed), "a bug that knows {PASSWORD}");
        let snapshot = self.snapshot.lock().unwrap().clone();
        self.snapshot_asked.notify_one();
        Box::pin(async move {
            if let Some(snapshot) = snapshot {
                return snapshot;
            }
            self.answer_now.notified().await;
            Snapshot::default()
        })
    }
}
