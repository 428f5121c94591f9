//! Operations that note what they were asked, and answer as they are told.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use shared_msgs::clock::UnixMs;
use shared_msgs::codes::Code;
use shared_msgs::ids::ServerId;
use shared_msgs::messages::Occupancy;
use tokio::sync::Notify;

use super::HANDOVER;
use crate::accounts::AccountRow;
use crate::handover::operations::{
    EndReport, OperationError, Operations, Report, ServerReport, Step, Story, Whereabouts,
};

#[derive(Debug, Default)]
pub(in crate::http) struct FakeOperations {
    /// Each wish, in words.
    pub(in crate::http) asked: Mutex<Vec<String>>,
    /// Whose places were ended.
    pub(in crate::http) ended: Mutex<Vec<AccountRow>>,
    /// What every wish is refused with.
    pub(in crate::http) fails: Mutex<Option<OperationError>>,
    /// Held back: each wish says that it came, and waits to be let go.
    pub(in crate::http) holds: AtomicBool,
    pub(in crate::http) came: Notify,
    pub(in crate::http) go: Notify,
}

impl FakeOperations {
    fn answer<T: Send + 'static>(&self, wish: String, value: T) -> Report<'_, T> {
        self.asked.lock().unwrap().push(wish);
        let fails = *self.fails.lock().unwrap();
        let holds = self.holds.load(Ordering::Relaxed);
        Box::pin(async move {
            if holds {
                self.came.notify_one();
                self.go.notified().await;
            }
            fails.map_or(Ok(value), Err)
        })
    }

    #[track_caller]
    pub(in crate::http) fn were_asked(&self, wishes: &[&str]) {
        assert_eq!(self.asked.lock().unwrap().split_off(0), wishes);
    }
}

fn alpha() -> ServerId {
    "alpha".parse().unwrap()
}

impl Operations for FakeOperations {
    fn servers(&self) -> Report<'_, Vec<ServerReport>> {
        let server = ServerReport {
            server: alpha(),
            name: "Alpha".to_owned(),
            region: "eu".to_owned(),
            build: "1.2".to_owned(),
            state: "draining",
            occupancy: Occupancy { players: 3, held: 1, parked: 0, max_players: 10 },
            load_percent: 40,
            unanswered: 2,
            drain_until: Some(UnixMs(9)),
            is_drain_ordered: true,
        };
        self.answer("servers".to_owned(), vec![server])
    }

    fn find(&self, _: AccountRow) -> Report<'_, Vec<Whereabouts>> {
        let place = Whereabouts { server: alpha(), is_live: true, handover: Some(HANDOVER) };
        self.answer("find".to_owned(), vec![place])
    }

    fn end(&self, account: AccountRow, reason: Code) -> Report<'_, EndReport> {
        self.ended.lock().unwrap().push(account);
        self.answer(format!("end {}", reason.as_str()), EndReport { servers: vec![alpha()], refused: 1 })
    }

    fn drain(&self, server: ServerId, within: Option<Duration>) -> Report<'_, ()> {
        self.answer(format!("drain {server} {within:?}"), ())
    }

    fn undrain(&self, server: ServerId) -> Report<'_, ()> {
        self.answer(format!("undrain {server}"), ())
    }

    fn revoke(&self, server: ServerId, lowest_generation: u32) -> Report<'_, ()> {
        self.answer(format!("revoke {server} {lowest_generation}"), ())
    }

    fn broadcast(&self, text: String, server: Option<ServerId>) -> Report<'_, usize> {
        self.answer(format!("broadcast {text} {}", server.is_some()), 4)
    }

    fn explain(&self, _: AccountRow) -> Report<'_, Vec<Story>> {
        let step = Step { at: UnixMs(5), event: "grant.sent", server: Some(alpha()), code: None };
        let story = Story { handover: HANDOVER, steps: vec![step], outcome: "answered".to_owned() };
        self.answer("explain".to_owned(), vec![story])
    }
}
