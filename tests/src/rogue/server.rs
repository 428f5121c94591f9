//! A game server that is none: it holds a genuine key and says what the test tells it to.

use std::net::SocketAddr;

use shared_msgs::clock::{Clock as _, SystemClock, UnixMs};
use shared_msgs::codec;
use shared_msgs::envelope::Opener;
use shared_msgs::ids::{BootId, ServerId, StreamId};
use shared_msgs::keys::{Purpose, ServerKey};
use shared_msgs::limits;
use shared_msgs::messages::{
    Endpoint, Grant, HubMessage, Occupancy, Order, ProbeEcho, Profile, RosterDigest, ServerMessage,
    ServerState, SkewNotice, Stamp, Status, Verdict,
};
use shared_msgs::rng::SystemRng;
use shared_msgs::topics::Topic;

use super::wire::{RawLink, Seals};
use super::within;
use crate::server::Home;

/// What came on its inbox.
#[derive(Debug)]
pub enum Heard {
    /// For it or another boot.
    Order(BootId, Order),
    /// About its clock.
    Complaint(SkewNotice),
}

/// See the module.
pub struct RogueServer {
    key: ServerKey,
    boot: BootId,
    clock: SystemClock,
    stream: StreamId,
    seals: Seals,
    opener: Opener,
    link: RawLink,
}

impl RogueServer {
    /// Connects to a hub's broker with a genuine key. Says nothing yet.
    ///
    /// # Errors
    /// When the broker does not let it in.
    pub async fn connect(home: &dyn Home, id: &ServerId) -> anyhow::Result<Self> {
        let key: ServerKey = home.key_line(id)?.parse()?;
        let (clock, rng) = (SystemClock::new(), SystemRng::new());
        let who = (format!("gs-{id}"), id.to_string());
        let inbox = vec![Topic::Inbox(id.clone()).to_string()];
        let link = RawLink::connect(home.broker(), who, key.mqtt_password(), inbox).await?;
        let boot = BootId::new(clock.now().unix, &rng);
        let (stream, seals) = (StreamId::random(&rng), Seals::default());
        let opener = Opener::new(limits::HUB_STREAMS_MAX);
        Ok(Self { key, boot, clock, stream, seals, opener, link })
    }

    /// Its name.
    pub fn id(&self) -> &ServerId {
        self.key.server()
    }

    /// Its clock.
    pub fn now(&self) -> UnixMs {
        self.clock.now().unix
    }

    /// Goes on as after a reconnect: what it seals from now on is of a new stream.
    pub fn reconnected(&mut self) {
        self.stream = StreamId::random(&SystemRng::new());
        self.seals = Seals::default();
    }

    /// Goes on as after a restart: a later boot, which the hub has yet to hear of. It probes that boot as soon as it does.
    pub fn reborn(&mut self) {
        let after = UnixMs(self.boot.started.0 + 1);
        self.boot = BootId::new(self.now().max(after), &SystemRng::new());
    }

    /// How it would stand with nobody in.
    pub fn stamp(&self) -> Stamp {
        let occupancy = Occupancy { max_players: 10, ..Occupancy::default() };
        Stamp { boot: self.boot, rev: 0, is_change: false, occupancy }
    }

    /// A status with nobody in; `echo` answers a probe.
    pub fn status(&self, echo: Option<ProbeEcho>) -> ServerMessage {
        let address = SocketAddr::from(([127, 0, 0, 1], 9)).to_string();
        ServerMessage::Status(Box::new(Status {
            stamp: self.stamp(),
            profile: Profile {
                name: self.id().to_string(),
                realm: "main".parse().unwrap_or_else(|_| unreachable!("a realm")),
                region: String::new(),
                build: String::new(),
                msg_version_max: limits::MSG_VERSION,
                endpoints: vec![Endpoint { transport: "tcp".to_owned(), address }],
                labels: Vec::new(),
            },
            state: ServerState::Online,
            load_percent: 0,
            digest: RosterDigest::default(),
            echoes: echo.into_iter().collect(),
            message: String::new(),
        }))
    }

    /// What it says to a grant that it holds.
    pub fn yes(&self, grant: &Grant) -> ServerMessage {
        let mut stamp = self.stamp();
        (stamp.rev, stamp.is_change, stamp.occupancy.held) = (1, true, 1);
        let &Grant { handover, hash, player, fence, .. } = grant;
        ServerMessage::GrantReply { stamp, handover, hash, player, fence, verdict: Verdict::Held }
    }

    /// Its topic for this purpose.
    pub fn topic(&self, purpose: Purpose) -> Topic {
        match purpose {
            Purpose::Status | Purpose::Will => Topic::Status(self.id().clone()),
            _ => Topic::Events(self.id().clone()),
        }
    }

    /// Seals a batch, as of `at`. Nothing is sent.
    ///
    /// # Errors
    /// When the batch is too large.
    pub fn seal(&mut self, purpose: Purpose, at: UnixMs, batch: &[u8]) -> anyhow::Result<Vec<u8>> {
        let topic = self.topic(purpose);
        self.seals.seal(&self.key, self.stream, (&topic, purpose), at, batch)
    }

    /// Publishes a payload, whatever it is.
    ///
    /// # Errors
    /// When the broker does not acknowledge it.
    pub async fn publish(&self, topic: &Topic, payload: &[u8]) -> anyhow::Result<()> {
        self.link.publish(topic, payload).await
    }

    /// Says something genuine.
    ///
    /// # Errors
    /// When the broker does not acknowledge it.
    pub async fn say(&mut self, purpose: Purpose, message: &ServerMessage) -> anyhow::Result<()> {
        let now = self.now();
        let payload = self.seal(purpose, now, &codec::encode(message)?)?;
        self.publish(&self.topic(purpose), &payload).await
    }

    /// What comes next on its inbox: the messages of one payload.
    ///
    /// # Errors
    /// When nothing comes, or it does not open.
    pub async fn hear(&mut self) -> anyhow::Result<Vec<Heard>> {
        let (topic, payload) = within("a payload", self.link.next()).await??;
        let (allowed, now) = ([Purpose::Inbox, Purpose::SkewToServer], self.now());
        let key = &self.key;
        let opened = self
            .opener
            .open(&topic, &allowed, &payload, now, |name| (name == key.name()).then(|| key.clone()))?;
        if opened.purpose == Purpose::SkewToServer {
            let notices = codec::decode::<SkewNotice>(&opened.batch)?.messages;
            return Ok(notices.into_iter().map(Heard::Complaint).collect());
        }
        let orders = codec::decode::<HubMessage>(&opened.batch)?.messages;
        Ok(orders.into_iter().map(|HubMessage::Order { boot, order }| Heard::Order(boot, order)).collect())
    }

    /// The hub's next probe, to be echoed.
    ///
    /// # Errors
    /// When none comes.
    pub async fn probe(&mut self) -> anyhow::Result<ProbeEcho> {
        self.order(|order| match order {
            Order::Probe { hub, n } => Some(ProbeEcho { hub, n }),
            _ => None,
        })
        .await
    }

    /// The hub's next grant.
    ///
    /// # Errors
    /// When none comes.
    pub async fn grant(&mut self) -> anyhow::Result<Grant> {
        self.order(|order| match order {
            Order::Grant(grant) => Some(grant),
            _ => None,
        })
        .await
    }

    async fn order<T>(&mut self, pick: impl Fn(Order) -> Option<T>) -> anyhow::Result<T> {
        let boot = self.boot;
        let ours = |heard| match heard {
            Heard::Order(of, order) if of == boot => pick(order),
            Heard::Order(..) | Heard::Complaint(_) => None,
        };
        within("the order", async {
            loop {
                if let Some(picked) = self.hear().await?.into_iter().find_map(ours) {
                    return Ok(picked);
                }
            }
        })
        .await?
    }
}
