//! A hub's end of the link, and a clock by hand, for this package's tests.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use shared_msgs::clock::{Clock, Mono, Now, UnixMs};
use shared_msgs::codec;
use shared_msgs::codes::Code;
use shared_msgs::envelope::Sealer;
use shared_msgs::ids::{BootId, Fence, HandoverId, PlayerId, StreamId};
use shared_msgs::keys::{FleetKeys, Purpose, ServerKey};
use shared_msgs::limits;
use shared_msgs::link::{BrokerAddr, LinkEvent};
use shared_msgs::messages::{End, Endpoint, Grant, HubMessage, Message, Order};
use shared_msgs::rng::SeededRng;
use shared_msgs::token::{Token, TokenTag};
use shared_msgs::topics::Topic;
use tokio::sync::mpsc;

use crate::{Config, Environment, Events, GameServer, Hello};

pub(crate) const START: u64 = 1_800_000_000_000;
/// A test that waits longer has failed.
const WAIT_MAX: Duration = Duration::from_secs(20);

/// Stands still until it is advanced.
#[derive(Debug, Default)]
pub(crate) struct HandClock(AtomicU64);

impl HandClock {
    pub(crate) fn advance(&self, by: Duration) {
        self.0.fetch_add(u64::try_from(by.as_millis()).unwrap(), Ordering::SeqCst);
    }
}

impl Clock for HandClock {
    fn now(&self) -> Now {
        let ms = self.0.load(Ordering::SeqCst);
        Now { mono: Mono(ms), unix: UnixMs(START + ms) }
    }
}

pub(crate) fn key() -> ServerKey {
    FleetKeys::generate(&SeededRng::new(1)).server_key(&"alpha".parse().unwrap(), 1)
}

pub(crate) fn config() -> Config {
    let endpoint = Endpoint { transport: "tcp".into(), address: "127.0.0.1:7000".into() };
    let nowhere = BrokerAddr { host: "127.0.0.1".into(), port: 1 };
    let config = Config::new(key(), vec![nowhere], vec![endpoint]);
    Config { max_players: 4, reconnect_grace: Duration::ZERO, ..config }
}

/// Plays the hub for one game server, without a broker in between.
pub(crate) struct HandHub {
    pub(crate) game: GameServer,
    pub(crate) clock: Arc<HandClock>,
    link: mpsc::Sender<LinkEvent>,
    sealer: Sealer,
    rng: SeededRng,
    fences: u64,
}

/// What the hub gives a client.
pub(crate) struct Issued {
    pub(crate) token: Token,
    pub(crate) grant: Grant,
}

impl Issued {
    pub(crate) fn hello(&self) -> Hello {
        Hello { token: self.token.expose().to_owned(), build: "b1".into(), app_data: vec![7] }
    }
}

impl HandHub {
    pub(crate) fn start() -> (Self, Events) {
        Self::start_with(config())
    }

    pub(crate) fn start_with(config: Config) -> (Self, Events) {
        let clock = Arc::new(HandClock::default());
        let environment =
            Environment { clock: Arc::<HandClock>::clone(&clock), rng: Arc::new(SeededRng::new(3)) };
        let (link, tap) = mpsc::channel(64);
        let (game, events) = GameServer::start_tapped(config, environment, Some(tap)).unwrap();
        let topic = Topic::Inbox(key().server().clone());
        let sealer = Sealer::new(&key(), Purpose::Inbox, StreamId([4; 16]), &topic);
        (Self { game, clock, link, sealer, rng: SeededRng::new(5), fences: 0 }, events)
    }

    pub(crate) fn issue(&mut self, who: u8) -> Issued {
        self.fences += 1;
        let now = self.clock.now().unix;
        let expires_at = now + limits::TOKEN_LIFE;
        let tag = TokenTag::new(&key(), key().server(), self.game.boot());
        let (token, hash) = tag.mint(expires_at, &self.rng);
        let handover = HandoverId::random(&self.rng);
        let fence = Fence { hlc: (now.0 << 16) + self.fences, hub: 0 };
        let grant = Grant {
            handover,
            hash,
            player: PlayerId([who; 16]),
            fence,
            expires_at,
            name: format!("p{who}"),
            luggage: vec![who].into(),
        };
        Issued { token, grant }
    }

    pub(crate) async fn link(&self, event: LinkEvent) {
        self.link.send(event).await.unwrap();
    }

    pub(crate) async fn up(&self) {
        let broker = BrokerAddr { host: "nowhere".into(), port: 1 };
        self.link(LinkEvent::Up { stream: StreamId([9; 16]), broker }).await;
    }

    pub(crate) async fn order(&mut self, order: Order) {
        let message = HubMessage::Order { boot: self.game.boot(), order };
        let payload = self.seal(&message);
        let topic = Topic::Inbox(key().server().clone());
        self.link(LinkEvent::Message { topic, payload: payload.into() }).await;
    }

    pub(crate) fn seal<M: Message>(&mut self, message: &M) -> Vec<u8> {
        self.sealer.seal(self.clock.now().unix, &codec::encode(message).unwrap()).unwrap()
    }

    pub(crate) async fn grant(&mut self, issued: &Issued) {
        self.order(Order::Grant(issued.grant.clone())).await;
    }

    pub(crate) async fn end(&mut self, who: u8, reason: Code) {
        self.fences += 1;
        let below = Fence { hlc: (self.clock.now().unix.0 << 16) + self.fences, hub: 0 };
        let end = End { player: PlayerId([who; 16]), below, hashes: vec![], reason, save_within_ms: 4_000 };
        self.order(Order::End(end)).await;
    }

    /// Waits until the gate counts so many players, held and parked.
    pub(crate) async fn until(&self, players: u32, held: u32, parked: u32) {
        let is_so = |now: &crate::Snapshot| {
            let o = now.occupancy;
            (o.players, o.held, o.parked) == (players, held, parked)
        };
        let mut snapshots = self.game.watch();
        let waited = tokio::time::timeout(WAIT_MAX, snapshots.wait_for(is_so)).await;
        assert!(waited.is_ok(), "still {:?}", self.game.occupancy());
    }

    /// The link's task dies.
    pub(crate) fn cut(&mut self) {
        self.link = mpsc::channel(1).0;
    }
}

/// A process that started after any of ours.
pub(crate) const NEWER_BOOT: BootId = BootId { started: UnixMs(START + 1_000_000), random: 0 };
