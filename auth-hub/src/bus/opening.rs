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
use shared_msgs::skew::{OwnClock, Suspect, Teller, skew_s};
use shared_msgs::topics::Topic;
use tracing::{debug, warn};

use super::{KeyRing, Sender};

/// A server whose clock is off is told so at most this often.
const SKEW_NOTICE_EVERY: Duration = Duration::from_secs(5);
/// For so long the clocks of other servers bear witness to ours.
const WITNESS_TIME: Duration = Duration::from_secs(30);
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
    notified: Option<Mono>,
    teller: Teller,
    /// What its clock last said, and when.
    clock: Option<(Mono, Agrees)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Agrees {
    Yes,
    No,
}

/// Opens everything the hub receives.
pub struct Inlet {
    keys: Arc<KeyRing>,
    peers: BTreeMap<ServerId, Peer>,
    peers_max: usize,
    canary: Opener,
    own: OwnClock,
}

impl Inlet {
    /// Keeps windows for a few servers more than the fleet may have.
    pub fn new(keys: Arc<KeyRing>, servers_max: usize) -> Self {
        Self {
            keys,
            peers: BTreeMap::new(),
            peers_max: servers_max + PEERS_SPARE,
            canary: Opener::new(2),
            own: OwnClock::default(),
        }
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
                    self.agrees(&server, now);
                }
                self.read(server, &opened, now)
            }
            Err(error) => {
                if let OpenError::Stale { issued_at, .. } = error {
                    self.disagrees(&server, issued_at, now.unix, now);
                }
                let told = self.peers.get_mut(&server).map(|peer| &mut peer.notified);
                let skew = match (error, told) {
                    (OpenError::Stale { issued_at, key, .. }, Some(told))
                        if told.is_none_or(|at| now.mono >= at + SKEW_NOTICE_EVERY) =>
                    {
                        *told = Some(now.mono);
                        // The notice needs some key; one that was shown in time is the better.
                        if self.keys.for_orders(&server).is_none() {
                            self.keys.note_in_use(&server, key);
                        }
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
            self.peers.insert(
                server.clone(),
                Peer { opener, heard: now.mono, notified: None, teller: Teller::default(), clock: None },
            );
        }
        result
    }

    fn agrees(&mut self, server: &ServerId, now: Now) {
        self.own.on_agreed(now);
        if let Some(peer) = self.peers.get_mut(server) {
            peer.teller.on_agreed();
            peer.clock = Some((now.mono, Agrees::Yes));
        }
    }

    /// Says so, unless that was said lately; of a sender that has proven nothing, never.
    fn disagrees(&mut self, server: &ServerId, theirs: UnixMs, ours: UnixMs, now: Now) {
        let suspect = self.suspect(server, now);
        let Some(peer) = self.peers.get_mut(server) else { return };
        peer.clock = Some((now.mono, Agrees::No));
        if peer.teller.is_due(now.mono) {
            let (skew_s, likely, remedy) = (skew_s(theirs, ours), suspect.as_str(), suspect.remedy());
            warn!(
                target: "handover", server_id = %server, skew_s, likely, remedy, theirs = %theirs, ours = %ours, "clock.skewed"
            );
        }
    }

    /// Whose clock is wrong, when this server's and ours disagree: ours if it has jumped; else what the other servers' clocks say.
    fn suspect(&mut self, server: &ServerId, now: Now) -> Suspect {
        if self.own.has_jumped(now) {
            return Suspect::Hub;
        }
        let others = self.peers.iter().filter(|(id, _)| *id != server).filter_map(|(_, peer)| peer.clock);
        let lately: Vec<_> =
            others.filter(|(at, _)| now.mono.since(*at) <= WITNESS_TIME).map(|(_, agrees)| agrees).collect();
        if lately.contains(&Agrees::Yes) {
            Suspect::Server
        } else if lately.is_empty() {
            Suspect::Either
        } else {
            Suspect::Hub
        }
    }

    fn read(&mut self, server: ServerId, opened: &Opened, now: Now) -> Received {
        if opened.purpose == Purpose::SkewToHub {
            for SkewNotice::Clocks { ours, yours } in decode::<SkewNotice>(&opened.batch).messages {
                self.disagrees(&server, ours, yours, now);
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
            | ServerMessage::RosterPage { .. }
            | ServerMessage::Noticed { .. }
            | ServerMessage::Move(_) => opened.purpose == Purpose::Events,
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
