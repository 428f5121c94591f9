//! A reference game server in this process, its leg to the broker behind a fault proxy.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use game_server::server::settings::Settings;
use game_server::server::world::{EchoWorld, PlayerHandler};
use game_server::server::{Outcome, ReferenceServer};
use game_server::{Environment, GameServer};
use shared_msgs::clock::{Clock, Now, SystemClock};
use shared_msgs::ids::{Realm, ServerId};
use shared_msgs::link::BrokerAddr;
use shared_msgs::messages::Occupancy;
use shared_msgs::process::{Lifecycle, Secret};
use shared_msgs::rng::SystemRng;
use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;
use zeroize::Zeroizing;

use crate::events::{self, Mark};
use crate::hub::TestHub;
use crate::proxy::FaultProxy;

/// How long a server may take to come to rest.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a server belongs to: a hub, or what passes for one.
pub trait Home: std::fmt::Debug {
    /// Where game servers connect.
    fn broker(&self) -> SocketAddr;
    /// The line that `auth-hub server-key` would print.
    ///
    /// # Errors
    /// When there is no key to derive it from.
    fn key_line(&self, server: &ServerId) -> anyhow::Result<Zeroizing<String>>;
}

impl Home for TestHub {
    fn broker(&self) -> SocketAddr {
        self.mqtt_addr()
    }

    fn key_line(&self, server: &ServerId) -> anyhow::Result<Zeroizing<String>> {
        self.server_key(server)
    }
}

/// The machine's clock; either reading can be moved.
#[derive(Debug, Default)]
pub struct TestClock {
    system: SystemClock,
    skipped_ms: AtomicU64,
}

impl TestClock {
    /// Makes the wall clock read `offset_ms` away from the machine's.
    pub fn step_wall_to(&self, offset_ms: i64) {
        self.system.step_wall_to(offset_ms);
    }

    /// Lets the wall clock gain (or lose) this many microseconds a second.
    pub fn drift_wall(&self, ppm: i64) {
        self.system.drift_wall(ppm);
    }

    /// Moves the monotonic clock ahead, as if that time had passed. The wall clock stays.
    pub fn skip(&self, time: Duration) {
        let ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.skipped_ms.fetch_add(ms, Ordering::Relaxed);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Now {
        let Now { mono, unix } = self.system.now();
        Now { mono: mono + Duration::from_millis(self.skipped_ms.load(Ordering::Relaxed)), unix }
    }
}

/// How to start one.
pub struct ServerBuilder<'a> {
    hub: &'a dyn Home,
    id: ServerId,
    max_players: u32,
    parked_max: Option<u32>,
    realm: Option<Realm>,
    wall_offset_ms: i64,
    drain_ms: u64,
    reconnect_grace_ms: u64,
    world: Arc<dyn PlayerHandler>,
}

/// A running server.
#[derive(Debug)]
pub struct TestServer {
    id: ServerId,
    proxy: FaultProxy,
    clock: Arc<TestClock>,
    lifecycle: Lifecycle,
    game: GameServer,
    peak: Arc<AtomicU32>,
    addr: SocketAddr,
    born: Mark,
    outcome: oneshot::Receiver<Outcome>,
}

/// A name that no other test of this process has.
///
/// # Panics
/// Never: the names it makes are names.
pub fn fresh_id(stem: &str) -> ServerId {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{stem}-{n}").parse().unwrap_or_else(|_| unreachable!("{stem} is no name"))
}

impl ServerBuilder<'_> {
    /// Another id than a fresh one: for a restart, or a rival.
    #[must_use]
    pub fn id(mut self, id: &ServerId) -> Self {
        self.id = id.clone();
        self
    }

    /// Slots.
    #[must_use]
    pub fn max_players(mut self, n: u32) -> Self {
        self.max_players = n;
        self
    }

    /// Clients that may wait.
    #[must_use]
    pub fn parked_max(mut self, n: u32) -> Self {
        self.parked_max = Some(n);
        self
    }

    /// Whose game database it uses.
    #[must_use]
    pub fn realm(mut self, realm: Realm) -> Self {
        self.realm = Some(realm);
        self
    }

    /// Its wall clock's error from the start.
    #[must_use]
    pub fn wall_offset_ms(mut self, ms: i64) -> Self {
        self.wall_offset_ms = ms;
        self
    }

    /// How long players may finish when it stops.
    #[must_use]
    pub fn drain_ms(mut self, ms: u64) -> Self {
        self.drain_ms = ms;
        self
    }

    /// How long the slot of a player whose connection broke is kept; by default not at all.
    #[must_use]
    pub fn reconnect_grace_ms(mut self, ms: u64) -> Self {
        self.reconnect_grace_ms = ms;
        self
    }

    /// Another world than one that echoes.
    #[must_use]
    pub fn world(mut self, world: Arc<dyn PlayerHandler>) -> Self {
        self.world = world;
        self
    }

    /// Starts it; the hub may not have heard of it yet.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start_unheard(self) -> anyhow::Result<TestServer> {
        let born = events::log().mark();
        let proxy = FaultProxy::start(self.hub.broker()).await?;
        let mut settings = Settings::default();
        settings.hub.brokers =
            vec![BrokerAddr { host: proxy.addr().ip().to_string(), port: proxy.addr().port() }];
        settings.hub.key = Some(Secret::new(self.hub.key_line(&self.id)?.to_string()));
        settings.game.max_players = self.max_players;
        settings.game.parked_max = self.parked_max;
        settings.game.connections_max = Some(4_096);
        settings.game.connections_per_address_max = Some(4_096);
        settings.game.realm = self.realm;
        settings.game.drain_ms = self.drain_ms;
        settings.game.reconnect_grace_ms = self.reconnect_grace_ms;
        let clock = Arc::new(TestClock::default());
        clock.step_wall_to(self.wall_offset_ms);
        let environment = Environment { clock: clock.clone(), rng: Arc::new(SystemRng::new()) };
        let server = ReferenceServer::bind_with(settings, self.world, environment)?;
        let (addr, game) = (server.addr(), server.game().clone());
        let lifecycle = Lifecycle::new();
        let (ended, outcome) = oneshot::channel();
        let running = lifecycle.clone();
        let tasks = TaskTracker::new();
        tasks.spawn(async move {
            // Nobody may be waiting for it.
            let _ = ended.send(server.run(running).await);
        });
        let peak = Arc::new(AtomicU32::new(0));
        let (highest, mut seen) = (Arc::clone(&peak), game.watch());
        tasks.spawn(async move {
            while seen.changed().await.is_ok() {
                highest.fetch_max(taken(&seen.borrow_and_update().occupancy), Ordering::Relaxed);
            }
        });
        Ok(TestServer { id: self.id, proxy, clock, lifecycle, game, peak, addr, born, outcome })
    }

    /// Starts it and waits until the hub would place players on it.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start(self) -> anyhow::Result<TestServer> {
        let server = self.start_unheard().await?;
        server.eligible(server.born).await;
        Ok(server)
    }
}

impl TestServer {
    /// How to start one at this hub: a fresh id, 100 slots.
    pub fn builder(hub: &dyn Home) -> ServerBuilder<'_> {
        ServerBuilder {
            hub,
            id: fresh_id("srv"),
            max_players: 100,
            parked_max: None,
            realm: None,
            wall_offset_ms: 0,
            drain_ms: 200,
            reconnect_grace_ms: 0,
            world: Arc::new(EchoWorld::default()),
        }
    }

    /// Waits until the hub places players on it (again), since `mark`.
    pub async fn eligible(&self, mark: Mark) {
        events::log().wait(mark, "server.eligible", &[("server_id", self.id.as_str())]).await;
    }

    /// Before it was started.
    pub fn born(&self) -> Mark {
        self.born
    }

    /// Its name.
    pub fn id(&self) -> &ServerId {
        &self.id
    }

    /// Where clients connect.
    pub fn addr(&self) -> String {
        self.addr.to_string()
    }

    /// The leg to the broker.
    pub fn proxy(&self) -> &FaultProxy {
        &self.proxy
    }

    /// The SDK's handle.
    pub fn game(&self) -> &GameServer {
        &self.game
    }

    /// Its clock, to be stepped.
    pub fn clock(&self) -> &TestClock {
        &self.clock
    }

    /// The most slots that were seen taken at once, players and held together.
    pub fn peak(&self) -> u32 {
        self.peak.load(Ordering::Relaxed).max(taken(&self.game.occupancy()))
    }

    /// Waits until its slots stand like this: players, held, parked.
    ///
    /// # Panics
    /// When they do not come to it, or more were ever taken than there are.
    pub async fn stands(&self, players: u32, held: u32, parked: u32) {
        let wanted = (players, held, parked);
        let mut seen = self.game.watch();
        let stands = seen.wait_for(|now| {
            let Occupancy { players, held, parked, .. } = now.occupancy;
            (players, held, parked) == wanted
        });
        let came = tokio::time::timeout(PATIENCE, stands).await.is_ok_and(|seen| seen.is_ok());
        let now = self.game.occupancy();
        assert!(came, "{} does not come to {wanted:?}, it stands at {now:?}", self.id);
        assert!(
            self.peak() <= now.max_players,
            "{}: {} slots taken of {}",
            self.id,
            self.peak(),
            now.max_players
        );
    }

    /// Waits for an event of this server since `mark`.
    pub async fn saw(&self, mark: Mark, name: &str) -> events::Event {
        events::log().wait(mark, name, &[("server_id", self.id.as_str())]).await
    }

    /// How many such events of this server there were since `mark`.
    pub fn count(&self, mark: Mark, name: &str) -> usize {
        events::log().since(mark, name, &[("server_id", self.id.as_str())]).len()
    }

    /// Asks it to stop, as SIGTERM would.
    pub fn stop(&self) {
        self.lifecycle.soft().cancel();
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it ended without a word.
    pub async fn ended(&mut self) -> anyhow::Result<Outcome> {
        Ok((&mut self.outcome).await?)
    }

    /// Cuts it off the broker for good: to the hub it is dead, its players do not notice.
    pub fn isolate(&self) {
        self.proxy.admit(false);
        self.proxy.cut();
    }
}

fn taken(occupancy: &Occupancy) -> u32 {
    occupancy.players + occupancy.held
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.lifecycle.hard().cancel();
    }
}
