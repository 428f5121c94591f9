//! What waits to be sent, by lane: bounds, fairness, batches, and what the broker has acknowledged.
//!
//! Pure: no socket, no clock of its own, no key. A lane with something waiting is served in its turn, with at most
//! [`LANE_IN_FLIGHT_MAX`] batches under way: while they are, messages gather, and the next batch takes all that fits. Invariants:
//! order within a lane is kept; a message is in exactly one batch; nothing survives [`Outbox::close`].

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::{Lane, SendError};
use crate::clock::Mono;
use crate::envelope::BATCH_BYTES_MAX;
use crate::limits;

/// Batches of all lanes that the broker has not acknowledged yet.
pub const IN_FLIGHT_MAX: usize = 256;
/// The same of one lane: few, so that a busy lane batches instead of sending one by one.
pub const LANE_IN_FLIGHT_MAX: usize = 4;
/// An encoded message with its length in front.
const MESSAGE_BYTES_MAX: usize = limits::MESSAGE_BYTES_MAX + 2;
/// A full outbox is logged at most this often.
const FULL_LOG_GAP: Duration = Duration::from_secs(10);

const _: () = assert!(MESSAGE_BYTES_MAX <= BATCH_BYTES_MAX, "every message fits a batch");

/// Names a batch under way; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BatchId(u64);

/// Ready to be sealed.
#[derive(Debug, PartialEq, Eq)]
pub struct Batch {
    /// What [`Outbox::acked`] is told.
    pub id: BatchId,
    /// Where to.
    pub lane: Lane,
    /// Encoded messages, one after the other.
    pub bytes: Vec<u8>,
}

/// Whether messages are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gate {
    Closed,
    Open,
    /// What waits still goes out; nothing new is taken.
    Draining,
}

#[derive(Default)]
struct Queue {
    /// With the number of each message, ascending.
    waiting: VecDeque<(u64, Vec<u8>)>,
    in_flight: usize,
}

impl Queue {
    fn is_ready(&self) -> bool {
        !self.waiting.is_empty() && self.in_flight < LANE_IN_FLIGHT_MAX
    }
}

/// See the module.
pub struct Outbox {
    gate: Gate,
    messages_max: usize,
    bytes_max: usize,
    /// Lanes with anything waiting or under way.
    lanes: BTreeMap<Lane, Queue>,
    /// Lanes that are ready, the next one first; each once.
    turn: VecDeque<Lane>,
    messages: usize,
    bytes: usize,
    /// Number of the next message; never reset.
    next_message: u64,
    /// Number of the next batch; never reset.
    next_batch: u64,
    /// With the number of the batch's first message.
    in_flight: BTreeMap<BatchId, (Lane, u64)>,
    refused_full: u64,
    full_logged: Option<Mono>,
}

impl Outbox {
    /// Closed and empty; takes at most so much at a time.
    pub fn new(messages_max: usize, bytes_max: usize) -> Self {
        Self {
            gate: Gate::Closed,
            messages_max,
            bytes_max,
            lanes: BTreeMap::new(),
            turn: VecDeque::new(),
            messages: 0,
            bytes: 0,
            next_message: 0,
            next_batch: 0,
            in_flight: BTreeMap::new(),
            refused_full: 0,
            full_logged: None,
        }
    }

    /// A connection is up: messages are taken from now on.
    pub fn open(&mut self) {
        self.gate = Gate::Open;
    }

    /// Takes nothing new; what waits still goes out.
    pub fn drain(&mut self) {
        if self.gate == Gate::Open {
            self.gate = Gate::Draining;
        }
    }

    /// The connection is gone, and with it all that waited or was under way.
    pub fn close(&mut self) {
        self.gate = Gate::Closed;
        self.lanes.clear();
        self.turn.clear();
        self.in_flight.clear();
        (self.messages, self.bytes) = (0, 0);
    }

    /// Takes one encoded message. True when there may be something to send now.
    ///
    /// # Errors
    /// [`SendError`]; the message was not taken then.
    pub fn push(&mut self, lane: Lane, message: Vec<u8>) -> Result<bool, SendError> {
        if self.gate != Gate::Open {
            return Err(SendError::NotConnected);
        }
        if message.len() > MESSAGE_BYTES_MAX {
            return Err(SendError::TooLarge(message.len()));
        }
        if self.messages >= self.messages_max || self.bytes + message.len() > self.bytes_max {
            self.refused_full += 1;
            return Err(SendError::Full);
        }
        self.messages += 1;
        self.bytes += message.len();
        let number = self.next_message;
        self.next_message += 1;
        let queue = self.lanes.entry(lane.clone()).or_default();
        let was_ready = queue.is_ready();
        queue.waiting.push_back((number, message));
        if !was_ready && queue.is_ready() {
            self.turn.push_back(lane);
            return Ok(self.in_flight.len() < IN_FLIGHT_MAX);
        }
        Ok(false)
    }

    /// The next lane's batch; `None` when nothing waits or too much is under way.
    pub fn next_batch(&mut self) -> Option<Batch> {
        if self.in_flight.len() >= IN_FLIGHT_MAX {
            return None;
        }
        let lane = self.turn.pop_front()?;
        let queue = self.lanes.get_mut(&lane)?;
        let &(first, _) = queue.waiting.front()?;
        let mut bytes = Vec::new();
        while let Some((_, message)) =
            queue.waiting.pop_front_if(|(_, m)| bytes.len() + m.len() <= BATCH_BYTES_MAX)
        {
            bytes.extend_from_slice(&message);
            self.messages -= 1;
        }
        self.bytes -= bytes.len();
        queue.in_flight += 1;
        if queue.is_ready() {
            self.turn.push_back(lane.clone());
        }
        let id = BatchId(self.next_batch);
        self.next_batch += 1;
        self.in_flight.insert(id, (lane.clone(), first));
        Some(Batch { id, lane, bytes })
    }

    /// The broker acknowledged a batch. One of an earlier connection is ignored. True when it was the oldest under way: MQTT brokers
    /// acknowledge in order, so one that was passed over will never be acknowledged, and holds up its lane.
    pub fn acked(&mut self, id: BatchId) -> bool {
        let is_oldest = self.in_flight.first_key_value().is_some_and(|(oldest, _)| *oldest == id);
        let Some((lane, _)) = self.in_flight.remove(&id) else { return false };
        let Some(queue) = self.lanes.get_mut(&lane) else { return is_oldest };
        let was_ready = queue.is_ready();
        queue.in_flight -= 1;
        if queue.waiting.is_empty() && queue.in_flight == 0 {
            self.lanes.remove(&lane);
        } else if !was_ready && queue.is_ready() {
            self.turn.push_back(lane);
        }
        is_oldest
    }

    /// How many messages were ever taken: the number that [`Outbox::settled`] reaches once they all are done with.
    pub fn taken(&self) -> u64 {
        self.next_message
    }

    /// All messages below this number were acknowledged or discarded.
    pub fn settled(&self) -> u64 {
        let waiting =
            self.lanes.values().filter_map(|queue| queue.waiting.front()).map(|&(number, _)| number);
        let under_way = self.in_flight.values().map(|&(_, first)| first);
        waiting.chain(under_way).min().unwrap_or(self.next_message)
    }

    /// Whether nothing waits and nothing is under way.
    pub fn is_idle(&self) -> bool {
        self.lanes.is_empty()
    }

    /// Messages that wait unsent.
    pub fn waiting(&self) -> usize {
        self.messages
    }

    /// Messages ever refused because the outbox was full.
    pub fn refused_full(&self) -> u64 {
        self.refused_full
    }

    /// Whether to log that the outbox is full: now and then only.
    pub fn may_log_full(&mut self, now: Mono) -> bool {
        let may = self.full_logged.is_none_or(|last| now.since(last) >= FULL_LOG_GAP);
        if may {
            self.full_logged = Some(now);
        }
        may
    }
}

#[cfg(test)]
mod tests;
