//! Payloads in, messages with a proven sender out.
//!
//! Invariant: a payload that does not open leaves no trace, neither a replay window nor a key in use.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use shared_msgs::clock::{Mono, Now, UnixMs};
use shared_msgs::codec;
use shared_msgs::envelope::{OpenError, Opened, Opener};
use shared_msgs::ids::ServerId;
use shared_msgs::keys::Purpose;
use shared_msgs::limits;
use shared_msgs::messages::{Message, ServerMessage, SkewNotice};
use shared_msgs::topics::Topic;
use tracing::{debug, warn};

use super::{KeyRing, Sender};

/// A server whose clock is off is told so at most this often.
const SKEW_NOTICE_EVERY: Duration = Duration::from_secs(5);
/// Windows kept beyond the fleet's bound: for servers that the fleet has just forgotten.
const PEERS_SPARE: usize = 8;

/// What one payload came to.
#[derive(Debug, Default)]
pub struct Received {
    /// From whom, and what.
    pub messages: Vec<(Sender, ServerMessage)>,
    /// Our own counter came back.
    pub canary: Option<u64>,
    /// Tell this server that our clocks disagree.
    pub skew: Option<(ServerId, SkewNotice)>,
    /// The payload did not open or made no sense.
    pub refused: bool,
    /// Messages of a newer kind.
    pub unknown: usize,
}

struct Peer {
    opener: Opener,
    /// When it last proved itself; the longest idle goes first.
    heard: Mono,
    skew_told: Option<Mono>,
}

/// Opens everything the hub receives.
pub struct Inlet {
    keys: Arc<KeyRing>,
    peers: BTreeMap<ServerId, Peer>,
    peers_max: usize,
    canary: Opener,
}

impl Inlet {
    /// Keeps windows for a few servers more than the fleet may have.
    pub fn new(keys: Arc<KeyRing>, servers_max: usize) -> Self {
        Self { keys, peers: BTreeMap::new(), peers_max: servers_max + PEERS_SPARE, canary: Opener::new(2) }
    }

    /// Opens one payload. Nothing is believed of one that does not open.
    pub fn receive(&mut self, topic: &Topic, payload: &[u8], now: Now) -> Received {
        let (server, allowed) = match topic {
            Topic::Status(server) => (server, &[Purpose::Status, Purpose::Will]),
            Topic::Events(server) => (server, &[Purpose::Events, Purpose::SkewToHub]),
            Topic::Canary(_) => return self.receive_canary(topic, payload, now.unix),
            Topic::Inbox(_) => return Received { refused: true, ..Received::default() },
        };
        let server = server.clone();
        match self.open(&server, topic, allowed, payload, now) {
            Ok(opened) => {
                // A will may be old, and its key too.
                if opened.purpose.is_timed() {
                    self.keys.note_in_use(&server, opened.key);
                }
                Self::read(server, &opened)
            }
            Err(error) => {
                let told = self.peers.get_mut(&server).map(|peer| &mut peer.skew_told);
                let skew = match (error, told) {
                    (OpenError::Stale { issued_at, key, .. }, Some(told))
                        if told.is_none_or(|at| now.mono >= at + SKEW_NOTICE_EVERY) =>
                    {
                        *told = Some(now.mono);
                        // The notice needs some key; one that was shown in time is the better.
                        if self.keys.for_orders(&server).is_none() {
                            self.keys.note_in_use(&server, key);
                        }
                        warn!(target: "handover", server_id = %server, theirs = %issued_at, ours = %now.unix, "clock.skewed");
                        Some((server, SkewNotice::Clocks { ours: now.unix, yours: issued_at }))
                    }
                    _ => {
                        debug!(target: "handover", server_id = %server, %error, "payload.refused");
                        None
                    }
                };
                Received { refused: true, skew, ..Received::default() }
            }
        }
    }

    fn open(
        &mut self,
        server: &ServerId,
        topic: &Topic,
        allowed: &[Purpose],
        payload: &[u8],
        now: Now,
    ) -> Result<Opened, OpenError> {
        let keys = Arc::clone(&self.keys);
        let key_for = |name| keys.accepted(server, name);
        let is_proven =
            |result: &Result<Opened, OpenError>| matches!(result, Ok(_) | Err(OpenError::Stale { .. }));
        if let Some(peer) = self.peers.get_mut(server) {
            let result = peer.opener.open(topic, allowed, payload, now.unix, key_for);
            if is_proven(&result) {
                peer.heard = now.mono;
            }
            return result;
        }
        // Nothing is kept for a sender that has proven nothing.
        let mut opener = Opener::new(limits::STREAMS_PER_SERVER_MAX);
        let result = opener.open(topic, allowed, payload, now.unix, key_for);
        if is_proven(&result) {
            if self.peers.len() >= self.peers_max {
                let idle = self.peers.iter().min_by_key(|(_, peer)| peer.heard).map(|(id, _)| id.clone());
                idle.and_then(|idle| self.peers.remove(&idle));
            }
            self.peers.insert(server.clone(), Peer { opener, heard: now.mono, skew_told: None });
        }
        result
    }

    fn read(server: ServerId, opened: &Opened) -> Received {
        if opened.purpose == Purpose::SkewToHub {
            for SkewNotice::Clocks { ours, yours } in decode::<SkewNotice>(&opened.batch).messages {
                warn!(target: "handover", server_id = %server, theirs = %ours, ours = %yours, "clock.skewed");
            }
            return Received::default();
        }
        let batch = decode::<ServerMessage>(&opened.batch);
        let total = batch.messages.len();
        // Each kind belongs to one purpose: a server's will cannot be an event, nor the other way round.
        let belongs = |message: &ServerMessage| match message {
            ServerMessage::Status(_) => opened.purpose == Purpose::Status,
            ServerMessage::Gone { .. } => opened.purpose == Purpose::Will,
            ServerMessage::GrantReply { .. }
            | ServerMessage::Ended { .. }
            | ServerMessage::Joined { .. }
            | ServerMessage::Left { .. }
            | ServerMessage::RosterPage { .. } => opened.purpose == Purpose::Events,
        };
        let from = Sender { server, stream: opened.stream, key: opened.key };
        let messages: Vec<_> =
            batch.messages.into_iter().filter(belongs).map(|message| (from.clone(), message)).collect();
        let refused = batch.malformed > 0 || messages.len() < total;
        Received { messages, refused, unknown: batch.unknown, ..Received::default() }
    }

    fn receive_canary(&mut self, topic: &Topic, payload: &[u8], now: UnixMs) -> Received {
        let key = self.keys.canary_key();
        let opened = self.canary.open(topic, &[Purpose::Canary], payload, now, |_| key);
        let counter = opened.ok().and_then(|opened| opened.batch.try_into().ok()).map(u64::from_be_bytes);
        Received { canary: counter, refused: counter.is_none(), ..Received::default() }
    }
}

fn decode<M: Message>(batch: &[u8]) -> codec::Batch<M> {
    codec::decode(batch).unwrap_or(codec::Batch { messages: Vec::new(), unknown: 0, malformed: 1 })
}

#[cfg(test)]
#[path = "opening_tests.rs"]
mod tests;
