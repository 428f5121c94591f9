//! What every race must leave behind: never more players and held places than slots, and nothing parked.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use hub_tests::server::TestServer;
use shared_msgs::messages::Occupancy;
use tokio_util::task::TaskTracker;

/// Longer than any end is owed: reaching it means that the server does not settle.
const PATIENCE: Duration = Duration::from_secs(20);

/// Follows a server's slots from its making on.
pub(crate) struct Peak {
    highest: Arc<AtomicU32>,
    slots: tokio::sync::watch::Receiver<game_server::Snapshot>,
}

fn taken(slots: Occupancy) -> u32 {
    slots.players + slots.held
}

impl Peak {
    pub(crate) fn of(server: &TestServer) -> Self {
        let slots = server.game().watch();
        let highest = Arc::new(AtomicU32::new(taken(slots.borrow().occupancy)));
        let (mut follow, top) = (slots.clone(), Arc::clone(&highest));
        // Ends with the server.
        TaskTracker::new().spawn(async move {
            while follow.changed().await.is_ok() {
                top.fetch_max(taken(follow.borrow_and_update().occupancy), Ordering::Relaxed);
            }
        });
        Self { highest, slots }
    }

    /// Waits until so many play, so many places are held and nobody waits; there were never more than slots.
    pub(crate) async fn settles(&self, players: u32, held: u32) {
        let mut slots = self.slots.clone();
        let is_so = |now: &game_server::Snapshot| {
            let Occupancy { players: p, held: h, parked, .. } = now.occupancy;
            (p, h, parked) == (players, held, 0)
        };
        // What `wait_for` gives is a lock that must be gone before the next look.
        let is_settled = matches!(tokio::time::timeout(PATIENCE, slots.wait_for(is_so)).await, Ok(Ok(_)));
        assert!(is_settled, "{:?} is not {players} in game, {held} held", self.now());
        let (highest, max) = (self.highest.load(Ordering::Relaxed), self.now().max_players);
        assert!(highest <= max, "{highest} taken of {max}");
    }

    pub(crate) fn now(&self) -> Occupancy {
        self.slots.borrow().occupancy
    }
}
