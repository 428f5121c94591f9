//! Peers that say what a test tells them to, when it tells them: a hub that is none, and a game server that is none.
//!
//! Both hold genuine keys and decide nothing: order, loss, repetition and every byte are the test's. What they publish goes over a real
//! broker; a payload counts as sent once the broker has acknowledged it.

use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use auth_hub::mqtt::{Authenticator, Broker, BrokerConfig, Denied, Principal};
use shared_msgs::clock::{Clock as _, SystemClock, UnixMs};
use shared_msgs::codec;
use shared_msgs::envelope::Opener;
use shared_msgs::ids::{BootId, Fence, HandoverId, HubId, PlayerId, ServerId, StreamId, TokenHash};
use shared_msgs::keys::{FleetKeys, Purpose, ServerKey};
use shared_msgs::limits;
use shared_msgs::messages::{End, Grant, HubMessage, Order, ServerMessage, SkewNotice, Stamp, Verdict};
use shared_msgs::moves::Luggage;
use shared_msgs::rng::SystemRng;
use shared_msgs::token::{Token, TokenTag};
use shared_msgs::topics::{EVENTS_FILTER, STATUS_FILTER, Topic};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use zeroize::Zeroizing;

use crate::events;
use crate::server::{Home, TestServer};

/// Long enough for any machine; reaching it means that nothing comes.
const PATIENCE: Duration = Duration::from_secs(20);

mod server;
mod wire;

pub use server::{Heard, RogueServer};
use wire::{RawLink, Seals};

/// Waits, but not for ever.
///
/// # Errors
/// When it takes longer than anything takes that comes at all.
pub async fn within<T>(what: &'static str, future: impl Future<Output = T>) -> anyhow::Result<T> {
    tokio::time::timeout(PATIENCE, future).await.with_context(|| format!("{what} does not come"))
}

/// Takes anybody for who they say they are.
struct Trusting;

impl Authenticator for Trusting {
    fn authenticate(&self, _: &str, user: &str, _: &[u8]) -> Result<Principal, Denied> {
        let denied = |_| Denied::BadCredentials;
        if user.starts_with("hub-") {
            Ok(Principal::Hub(user.parse().map_err(denied)?))
        } else {
            Ok(Principal::Server(user.parse().map_err(denied)?))
        }
    }
}

/// A broker and a fleet key, and nothing behind them but the test.
pub struct RogueHub {
    mqtt: SocketAddr,
    fleet: FleetKeys,
    id: HubId,
    rng: SystemRng,
    clock: SystemClock,
    /// The first fence's clock.
    born: UnixMs,
    stream: StreamId,
    seals: Seals,
    openers: BTreeMap<ServerId, Opener>,
    heard: VecDeque<(ServerId, ServerMessage)>,
    complaints: VecDeque<(ServerId, SkewNotice)>,
    link: RawLink,
    _stop: DropGuard,
}

impl std::fmt::Debug for RogueHub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RogueHub({}, heard {:?})", self.id, self.heard)
    }
}

impl Home for RogueHub {
    fn broker(&self) -> SocketAddr {
        self.mqtt
    }

    fn key_line(&self, server: &ServerId) -> anyhow::Result<Zeroizing<String>> {
        Ok(self.key(server).to_line())
    }
}

impl RogueHub {
    /// A fresh broker with a fleet key of its own.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start() -> anyhow::Result<Self> {
        events::log();
        let (rng, clock) = (SystemRng::new(), SystemClock::new());
        let config =
            BrokerConfig { listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), ..BrokerConfig::default() };
        let broker = Broker::bind(config, Arc::new(Trusting)).await?;
        let (mqtt, private) = (broker.public_addr(), broker.private_addr());
        let stop = CancellationToken::new();
        broker.run(&TaskTracker::new(), stop.clone());
        let id = HubId::random(&rng);
        let filters = vec![STATUS_FILTER.to_owned(), EVENTS_FILTER.to_owned()];
        let who = (id.to_string(), id.to_string());
        let link = RawLink::connect(private, who, Zeroizing::default(), filters).await?;
        Ok(Self {
            mqtt,
            fleet: FleetKeys::generate(&rng),
            id,
            born: clock.now().unix,
            stream: StreamId::random(&rng),
            rng,
            clock,
            seals: Seals::default(),
            openers: BTreeMap::new(),
            heard: VecDeque::new(),
            complaints: VecDeque::new(),
            link,
            _stop: stop.drop_guard(),
        })
    }

    /// A server that this hub has heard: its link is up.
    ///
    /// # Errors
    /// When it does not start, or is not heard.
    pub async fn server(&mut self, max_players: u32) -> anyhow::Result<TestServer> {
        let server = TestServer::builder(self).max_players(max_players).start_unheard().await?;
        self.await_status(server.id()).await?;
        Ok(server)
    }

    async fn await_status(&mut self, server: &ServerId) -> anyhow::Result<()> {
        self.hear(server, |message| matches!(message, ServerMessage::Status(_)).then_some(())).await
    }

    fn key(&self, server: &ServerId) -> ServerKey {
        self.fleet.server_key(server, 1)
    }

    /// Its clock.
    pub fn now(&self) -> UnixMs {
        self.clock.now().unix
    }

    /// The n-th fence it gives out.
    pub fn fence(&self, n: u16) -> Fence {
        Fence { hlc: self.born.0 << 16 | u64::from(n), hub: 0 }
    }

    /// Somebody.
    pub fn player(&self) -> PlayerId {
        PlayerId::random(&self.rng)
    }

    /// A token for this boot of this server, and its grant. Nothing is sent.
    pub fn grant(
        &self,
        server: &TestServer,
        player: PlayerId,
        fence: Fence,
        life: Duration,
    ) -> (Token, Grant) {
        let expires_at = self.now() + life;
        let tag = TokenTag::new(&self.key(server.id()), server.id(), server.game().boot());
        let (token, hash) = tag.mint(expires_at, &self.rng);
        let handover = HandoverId::random(&self.rng);
        (
            token,
            Grant {
                handover,
                hash,
                player,
                fence,
                expires_at,
                name: "ada".to_owned(),
                luggage: Luggage::default(),
            },
        )
    }

    /// Seals a batch for a server's inbox, as of `at`. Nothing is sent.
    ///
    /// # Errors
    /// When the batch is too large.
    pub fn seal(&mut self, server: &ServerId, at: UnixMs, batch: &[u8]) -> anyhow::Result<Vec<u8>> {
        let (key, topic) = (self.key(server), Topic::Inbox(server.clone()));
        self.seals.seal(&key, self.stream, (&topic, Purpose::Inbox), at, batch)
    }

    /// Publishes a payload on a server's inbox, whatever it is.
    ///
    /// # Errors
    /// When the broker does not acknowledge it.
    pub async fn deliver(&self, server: &ServerId, payload: &[u8]) -> anyhow::Result<()> {
        self.link.publish(&Topic::Inbox(server.clone()), payload).await
    }

    /// Sends orders in one payload.
    ///
    /// # Errors
    /// When the broker does not acknowledge it.
    pub async fn order(&mut self, server: &TestServer, orders: &[Order]) -> anyhow::Result<()> {
        let (boot, now) = (server.game().boot(), self.now());
        let payload = self.seal(server.id(), now, &batch(boot, orders)?)?;
        self.deliver(server.id(), &payload).await
    }

    /// Sends grants in one payload.
    ///
    /// # Errors
    /// When the broker does not acknowledge it.
    pub async fn send_grants(&mut self, server: &TestServer, grants: &[Grant]) -> anyhow::Result<()> {
        let orders: Vec<Order> = grants.iter().cloned().map(Order::Grant).collect();
        self.order(server, &orders).await
    }

    /// Sends a grant and gives the server's answer to it.
    ///
    /// # Errors
    /// When there is none.
    pub async fn granted(&mut self, server: &TestServer, grant: &Grant) -> anyhow::Result<(Stamp, Verdict)> {
        self.send_grants(server, std::slice::from_ref(grant)).await?;
        self.reply(server, grant.hash).await
    }

    /// The next answer about this hash.
    ///
    /// # Errors
    /// When there is none.
    pub async fn reply(&mut self, server: &TestServer, of: TokenHash) -> anyhow::Result<(Stamp, Verdict)> {
        self.hear(server.id(), |message| match message {
            ServerMessage::GrantReply { stamp, hash, verdict, .. } if *hash == of => Some((*stamp, *verdict)),
            _ => None,
        })
        .await
    }

    /// The next answer to an `end` of this player: what it named.
    ///
    /// # Errors
    /// When there is none.
    pub async fn ended(
        &mut self,
        server: &TestServer,
        of: PlayerId,
    ) -> anyhow::Result<(Fence, Vec<TokenHash>)> {
        self.hear(server.id(), |message| match message {
            ServerMessage::Ended { player, below, hashes, .. } if *player == of => {
                Some((*below, hashes.clone()))
            }
            _ => None,
        })
        .await
    }

    /// The next message of a server that `pick` takes; those before it are dropped.
    ///
    /// # Errors
    /// When none comes.
    pub async fn hear<T>(
        &mut self,
        server: &ServerId,
        mut pick: impl FnMut(&ServerMessage) -> Option<T>,
    ) -> anyhow::Result<T> {
        within("the message", async {
            loop {
                while let Some(at) = self.heard.iter().position(|(from, _)| from == server) {
                    let picked = self.heard.remove(at).and_then(|(_, message)| pick(&message));
                    if let Some(picked) = picked {
                        return Ok(picked);
                    }
                }
                self.listen().await?;
            }
        })
        .await?
    }

    /// The next complaint of a server about our clock.
    ///
    /// # Errors
    /// When none comes.
    pub async fn complaint(&mut self, server: &ServerId) -> anyhow::Result<SkewNotice> {
        within("the complaint", async {
            loop {
                if let Some(at) = self.complaints.iter().position(|(from, _)| from == server) {
                    return self.complaints.remove(at).map(|(_, notice)| notice).context("it was there");
                }
                self.listen().await?;
            }
        })
        .await?
    }

    async fn listen(&mut self) -> anyhow::Result<()> {
        let (topic, payload) = self.link.next().await?;
        let (server, allowed) = match &topic {
            Topic::Status(server) => (server, [Purpose::Status, Purpose::Will]),
            Topic::Events(server) => (server, [Purpose::Events, Purpose::SkewToHub]),
            Topic::Inbox(_) | Topic::Canary(_) => return Ok(()),
        };
        let now = self.now();
        let windows =
            self.openers.entry(server.clone()).or_insert_with(|| Opener::new(limits::STREAMS_PER_SERVER_MAX));
        let fleet = &self.fleet;
        let opened =
            windows.open(&topic, &allowed, &payload, now, |name| fleet.server_key_named(server, name))?;
        if opened.purpose == Purpose::SkewToHub {
            let notices = codec::decode::<SkewNotice>(&opened.batch)?.messages;
            self.complaints.extend(notices.into_iter().map(|notice| (server.clone(), notice)));
        } else {
            let messages = codec::decode::<ServerMessage>(&opened.batch)?.messages;
            self.heard.extend(messages.into_iter().map(|message| (server.clone(), message)));
        }
        Ok(())
    }
}

/// Orders as they travel inside an envelope.
///
/// # Errors
/// When one is over its limits.
pub fn batch(boot: BootId, orders: &[Order]) -> anyhow::Result<Vec<u8>> {
    let mut out = Vec::new();
    for order in orders {
        out.extend(codec::encode(&HubMessage::Order { boot, order: order.clone() })?);
    }
    Ok(out)
}

/// An `end` that gives a session this long to save.
pub fn end(player: PlayerId, below: Fence, hashes: Vec<TokenHash>, save_within: Duration) -> Order {
    let save_within_ms = u32::try_from(save_within.as_millis()).unwrap_or(u32::MAX);
    Order::End(End { player, below, hashes, reason: shared_msgs::codes::Code::Superseded, save_within_ms })
}
