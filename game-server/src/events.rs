//! What the game is told of its own accord.
//!
//! Owns a bounded queue. A game that does not read it loses `Kick`, `Voided`, `Notice` and `Link` events once it is full, counted by
//! [`Events::dropped`]: each slot tells of its own end all the same ([`PlayerSlot::kicked`](crate::PlayerSlot::kicked)), and
//! the link's state can be asked. Invariant: `Drain`, `Undrain`, `Superseded` and `Closed` always find room.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use shared_msgs::codes::Code;
use shared_msgs::ids::{BootId, PlayerId};
use tokio::sync::mpsc;

use crate::gate::SlotId;

/// Events that may wait for the game.
pub const EVENTS_MAX: usize = 1024;
/// Room that only the rare ones may use: a drain can come sooner a few times, the others come once.
const RESERVED: usize = 64;

/// Whether the hub can be heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// Connected and subscribed.
    Up,
    /// Not connected; it tries again by itself. Players in game are not affected.
    Down,
}

/// Why a game server stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CloseReason {
    /// It was asked to, or nobody holds it any more.
    #[error("shut down")]
    Shutdown,
    /// Another process with its id started later, and its players have been ended.
    #[error("superseded by a newer process with the same server id")]
    Superseded,
    /// A task of ours died; a bug.
    #[error("a task of the game server died")]
    TaskDied,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Save this player's session and drop its slot.
    Kick {
        /// Which session.
        slot: SlotId,
        /// Whose.
        player: PlayerId,
        /// Why.
        reason: Code,
        /// Then the slot is voided.
        save_within: Duration,
    },
    /// A kicked session did not leave in time; its slot is not ours any more.
    Voided {
        /// Which session.
        slot: SlotId,
        /// Whose.
        player: PlayerId,
    },
    /// Nobody new comes.
    Drain {
        /// When the last session is voided; `None`: never.
        within: Option<Duration>,
    },
    /// The hub took a drain back: players come again. Who was kicked for it still goes.
    Undrain,
    /// The operators say something to everybody in game: show it.
    Notice {
        /// At most 512 bytes.
        text: String,
    },
    /// The hub came or went.
    Link(LinkState),
    /// Another process with our id started later: sessions are being ended, the link is closed for good.
    Superseded {
        /// The newer one.
        by: BootId,
    },
    /// The last event.
    Closed(CloseReason),
}

/// The game's end of the queue.
#[derive(Debug)]
pub struct Events {
    queue: mpsc::Receiver<Event>,
    dropped: Arc<AtomicU64>,
}

impl Events {
    /// The next event; `None` after [`Event::Closed`].
    pub async fn recv(&mut self) -> Option<Event> {
        self.queue.recv().await
    }

    /// The next event if there is one, for game loops.
    pub fn try_recv(&mut self) -> Option<Event> {
        self.queue.try_recv().ok()
    }

    /// Events that found the queue full.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

/// The SDK's end.
#[derive(Clone)]
pub(crate) struct EventSender {
    queue: mpsc::Sender<Event>,
    dropped: Arc<AtomicU64>,
}

pub(crate) fn channel() -> (EventSender, Events) {
    let (sender, queue) = mpsc::channel(EVENTS_MAX);
    let dropped = Arc::new(AtomicU64::new(0));
    (EventSender { queue: sender, dropped: Arc::clone(&dropped) }, Events { queue, dropped })
}

impl EventSender {
    pub(crate) fn tell(&self, event: Event) {
        let is_rare = match event {
            Event::Kick { .. } | Event::Voided { .. } | Event::Notice { .. } | Event::Link(_) => false,
            Event::Drain { .. } | Event::Undrain | Event::Superseded { .. } | Event::Closed(_) => true,
        };
        let has_room = is_rare || self.queue.capacity() > RESERVED;
        if !has_room || self.queue.try_send(event).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_game_that_does_not_read_still_hears_the_last_word() {
        let (sender, mut events) = channel();
        for _ in 0..EVENTS_MAX + 10 {
            sender.tell(Event::Link(LinkState::Up));
        }
        sender.tell(Event::Closed(CloseReason::Shutdown));
        assert_eq!(events.dropped(), u64::try_from(RESERVED + 10).unwrap());
        drop(sender);
        let mut last = None;
        while let Some(event) = events.try_recv() {
            last = Some(event);
        }
        assert_eq!(last, Some(Event::Closed(CloseReason::Shutdown)));
    }
}
