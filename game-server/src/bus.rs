//! What passes between gate and link: sealing out, opening in.
//!
//! Owns the sealers of the current stream, the replay windows of the hubs' streams, and the notices about clocks. Knows no grant and no
//! client. Invariant: nothing reaches the gate that did not open under our own key, on our own inbox.

use std::collections::BTreeMap;
use std::time::Duration;

use shared_msgs::clock::{Mono, Now, UnixMs};
use shared_msgs::codec;
use shared_msgs::envelope::{OpenError, Opener, Sealer};
use shared_msgs::ids::{BootId, StreamId};
use shared_msgs::keys::{Purpose, ServerKey};
use shared_msgs::limits;
use shared_msgs::link::{Lane, LinkSender, Opening, SendError, Session, SessionError};
use shared_msgs::messages::{HubMessage, Message, ServerMessage, SkewNotice, Status};
use shared_msgs::skew::{OwnClock, Suspect, Teller, skew_s};
use shared_msgs::topics::Topic;

/// Complaints about one stream's clock are at least this far apart.
const SKEW_NOTICE_GAP: Duration = Duration::from_secs(1);

/// The half that lives in the link's task: seals.
pub struct BusSession {
    key: ServerKey,
    boot: BootId,
    stream: Option<StreamId>,
    sealers: BTreeMap<Lane, Sealer>,
}

impl BusSession {
    /// For one run of the server.
    pub fn new(key: ServerKey, boot: BootId) -> Self {
        Self { key, boot, stream: None, sealers: BTreeMap::new() }
    }
}

impl Session for BusSession {
    fn begin(&mut self, stream: StreamId, now: UnixMs) -> Opening {
        self.sealers.clear();
        self.stream = Some(stream);
        let server = self.key.server().clone();
        let topic = Topic::Status(server.clone());
        let gone = codec::encode(&ServerMessage::Gone { boot: self.boot });
        let will = gone
            .ok()
            .and_then(|batch| Sealer::new(&self.key, Purpose::Will, stream, &topic).seal(now, &batch).ok());
        Opening {
            subscriptions: vec![Topic::Inbox(server).to_string()],
            will: will.map(|payload| (topic, payload)),
        }
    }

    fn seal(&mut self, lane: &Lane, batch: &[u8], now: UnixMs) -> Result<Vec<u8>, SessionError> {
        let stream = self.stream.ok_or_else(|| SessionError::NoKey(lane.topic.clone()))?;
        if !self.sealers.contains_key(lane) {
            self.sealers.insert(lane.clone(), Sealer::new(&self.key, lane.purpose, stream, &lane.topic));
        }
        match self.sealers.get_mut(lane) {
            Some(sealer) => Ok(sealer.seal(now, batch)?),
            None => Err(SessionError::NoKey(lane.topic.clone())),
        }
    }
}

/// What arrived, opened.
#[derive(Debug, Default)]
pub struct Received {
    /// In order.
    pub messages: Vec<HubMessage>,
    /// A complaint about the sender's clock to send back.
    pub skew: Option<SkewNotice>,
}

/// Opens what comes on the inbox.
pub struct Inbox {
    key: ServerKey,
    topic: Topic,
    opener: Opener,
    complained: BTreeMap<StreamId, Mono>,
    own: OwnClock,
    teller: Teller,
}

impl Inbox {
    /// For orders sealed under this key.
    pub fn new(key: ServerKey) -> Self {
        let topic = Topic::Inbox(key.server().clone());
        Self {
            key,
            topic,
            opener: Opener::new(limits::HUB_STREAMS_MAX),
            complained: BTreeMap::new(),
            own: OwnClock::default(),
            teller: Teller::default(),
        }
    }

    /// Opens one payload. Nothing is believed of one that does not open.
    pub fn receive(&mut self, topic: &Topic, payload: &[u8], now: Now) -> Received {
        if *topic != self.topic {
            return Received::default();
        }
        let allowed = [Purpose::Inbox, Purpose::SkewToServer];
        let key_for = |name| (name == self.key.name()).then(|| self.key.clone());
        match self.opener.open(topic, &allowed, payload, now.unix, key_for) {
            Ok(opened) if opened.purpose == Purpose::SkewToServer => {
                self.hear_complaint(&opened.batch, now);
                Received::default()
            }
            Ok(opened) => {
                self.own.on_agreed(now);
                self.teller.on_agreed();
                Received { messages: self.decode(&opened.batch), skew: None }
            }
            Err(OpenError::Stale { issued_at, stream, .. }) => {
                Received { messages: Vec::new(), skew: self.complain(stream, issued_at, now) }
            }
            Err(error) => {
                tracing::debug!(target: "handover", server_id = %self.key.server(), %error, "envelope.refused");
                Received::default()
            }
        }
    }

    fn decode<M: Message>(&self, batch: &[u8]) -> Vec<M> {
        let server = self.key.server();
        match codec::decode::<M>(batch) {
            Ok(batch) => {
                if batch.unknown + batch.malformed > 0 {
                    let (unknown, malformed) = (batch.unknown, batch.malformed);
                    tracing::warn!(target: "handover", server_id = %server, unknown, malformed, "messages.skipped");
                }
                batch.messages
            }
            Err(error) => {
                tracing::warn!(target: "handover", server_id = %server, %error, "batch.refused");
                Vec::new()
            }
        }
    }

    fn hear_complaint(&mut self, batch: &[u8], now: Now) {
        for SkewNotice::Clocks { ours, yours } in self.decode(batch) {
            self.tell(ours, yours, now);
        }
    }

    /// Says by how much the clocks disagree, unless that was said lately.
    fn tell(&mut self, hub: UnixMs, server: UnixMs, now: Now) {
        if !self.teller.is_due(now.mono) {
            return;
        }
        let suspect = if self.own.has_jumped(now) { Suspect::Server } else { Suspect::Either };
        let (skew_s, likely, remedy) = (skew_s(server, hub), suspect.as_str(), suspect.remedy());
        tracing::warn!(
            target: "handover", server_id = %self.key.server(), skew_s, likely, remedy,
            hub_clock_ms = hub.0, our_clock_ms = server.0, "clock.skewed"
        );
    }

    /// At most one complaint per stream and second; none about more streams than we keep windows for.
    fn complain(&mut self, stream: StreamId, issued_at: UnixMs, now: Now) -> Option<SkewNotice> {
        self.complained.retain(|_, at| now.mono.since(*at) < SKEW_NOTICE_GAP);
        if self.complained.contains_key(&stream) || self.complained.len() >= limits::HUB_STREAMS_MAX {
            return None;
        }
        self.complained.insert(stream, now.mono);
        self.tell(issued_at, now.unix, now);
        Some(SkewNotice::Clocks { ours: now.unix, yours: issued_at })
    }
}

/// Puts messages on their lanes.
pub(crate) struct Outbound {
    link: LinkSender,
    status: Lane,
    events: Lane,
    skew: Lane,
}

impl Outbound {
    pub(crate) fn new(link: LinkSender, key: &ServerKey) -> Self {
        let lane = |topic, purpose| Lane { topic, purpose };
        let (status, events) = (Topic::Status(key.server().clone()), Topic::Events(key.server().clone()));
        Self {
            link,
            status: lane(status, Purpose::Status),
            skew: lane(events.clone(), Purpose::SkewToHub),
            events: lane(events, Purpose::Events),
        }
    }

    pub(crate) fn event(&self, message: &ServerMessage) {
        self.put(&self.events, message);
    }

    pub(crate) fn status(&self, status: Box<Status>) {
        self.put(&self.status, &ServerMessage::Status(status));
    }

    pub(crate) fn skew(&self, notice: &SkewNotice) {
        self.put(&self.skew, notice);
    }

    /// What cannot be sent is not kept: the hub re-sends what it waits for, and the next status brings the rest to light.
    fn put<M: Message>(&self, lane: &Lane, message: &M) {
        let sent = codec::encode(message).map(|bytes| self.link.send(lane.clone(), bytes));
        match sent {
            // The link itself logs a full outbox.
            Ok(Ok(()) | Err(SendError::NotConnected | SendError::Full)) => {}
            Ok(Err(error @ SendError::TooLarge(_))) => {
                tracing::error!(target: "handover", %error, "message.unsendable");
            }
            Err(error) => tracing::error!(target: "handover", %error, "message.unsendable"),
        }
    }
}

#[cfg(test)]
mod tests;
