//! An MQTT connection for rogues: payloads go out and come in as they are.
//!
//! Owns the connection and the sealers of its stream. Invariant: what was published has been acknowledged by the broker, one payload
//! after the other.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use shared_msgs::clock::{SystemClock, UnixMs};
use shared_msgs::envelope::Sealer;
use shared_msgs::ids::StreamId;
use shared_msgs::keys::{Purpose, ServerKey};
use shared_msgs::link::{
    self, BrokerAddr, Lane, LinkConfig, LinkEvent, LinkSender, Opening, Session, SessionError,
};
use shared_msgs::rng::SystemRng;
use shared_msgs::topics::Topic;
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use zeroize::Zeroizing;

use super::within;

/// Publishes what it is given, as it is.
struct Verbatim(Vec<String>);

impl Session for Verbatim {
    fn begin(&mut self, _: StreamId, _: UnixMs) -> Opening {
        Opening { subscriptions: self.0.clone(), will: None }
    }

    fn seal(&mut self, _: &Lane, batch: &[u8], _: UnixMs) -> Result<Vec<u8>, SessionError> {
        Ok(batch.to_vec())
    }
}

/// An MQTT connection without any notion of envelopes.
#[derive(Debug)]
pub(super) struct RawLink {
    sender: LinkSenderDebug,
    events: mpsc::Receiver<LinkEvent>,
    _stop: DropGuard,
}

/// A sender has nothing to show.
struct LinkSenderDebug(LinkSender);

impl std::fmt::Debug for LinkSenderDebug {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LinkSender")
    }
}

impl RawLink {
    /// `client` is client id and user.
    pub(super) async fn connect(
        broker: SocketAddr,
        (client_id, user): (String, String),
        password: Zeroizing<String>,
        subscriptions: Vec<String>,
    ) -> anyhow::Result<Self> {
        let addr = BrokerAddr { host: broker.ip().to_string(), port: broker.port() };
        let mut config = LinkConfig::new(vec![addr], client_id, user, password);
        // Acknowledgements are read only while there is room for what else comes.
        config.events_max = 1 << 16;
        let stop = CancellationToken::new();
        let (clock, rng) = (Arc::new(SystemClock::new()), Arc::new(SystemRng::new()));
        let session = Verbatim(subscriptions);
        let (sender, mut events) =
            link::spawn(config, session, clock, rng, &TaskTracker::new(), stop.clone())?;
        match within("the link", events.recv()).await? {
            Some(LinkEvent::Up { .. }) => {}
            other => anyhow::bail!("no link: {other:?}"),
        }
        Ok(Self { sender: LinkSenderDebug(sender), events, _stop: stop.drop_guard() })
    }

    pub(super) async fn publish(&self, topic: &Topic, payload: &[u8]) -> anyhow::Result<()> {
        let lane = Lane { topic: topic.clone(), purpose: Purpose::Inbox };
        self.sender.0.send(lane, payload.to_vec())?;
        // One by one, or they would travel in one payload.
        within("an acknowledgement", self.sender.0.flush()).await
    }

    pub(super) async fn next(&mut self) -> anyhow::Result<(Topic, Bytes)> {
        match self.events.recv().await {
            Some(LinkEvent::Message { topic, payload }) => Ok((topic, payload)),
            other => anyhow::bail!("the link is gone: {other:?}"),
        }
    }
}

/// One connection's sealers.
#[derive(Default)]
pub(super) struct Seals(BTreeMap<(Topic, Purpose), Sealer>);

impl Seals {
    pub(super) fn seal(
        &mut self,
        key: &ServerKey,
        stream: StreamId,
        lane: (&Topic, Purpose),
        at: UnixMs,
        batch: &[u8],
    ) -> anyhow::Result<Vec<u8>> {
        let (topic, purpose) = lane;
        let sealer = self.0.entry((topic.clone(), purpose));
        let sealer = sealer.or_insert_with(|| Sealer::new(key, purpose, stream, topic));
        Ok(sealer.seal(at, batch)?)
    }
}
