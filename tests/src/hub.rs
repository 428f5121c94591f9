//! A hub in this process: real sockets on free ports, a database of its own, cheap passwords, a clock that can be stepped.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use auth_hub::accounts::AccountRow;
use auth_hub::config::Config;
use auth_hub::handover::operations::Operations;
use auth_hub::hub::{Environment, Hub};
use auth_hub::mqtt::{BrokerHandle, BrokerStats};
use shared_msgs::clock::SystemClock;
use shared_msgs::ids::ServerId;
use shared_msgs::keys::FleetKeys;
use shared_msgs::net::DoorStats;
use shared_msgs::process::Lifecycle;
use shared_msgs::rng::SystemRng;
use tempfile::TempDir;
use zeroize::Zeroizing;

use crate::client::{ClientError, HubClient, LoggedIn, Ticket};
use crate::events;

/// A password long enough for the hub.
pub const PASSWORD: &str = "correct horse battery";

/// Stops as a hub does when asked; drop it to leave it to its end.
#[derive(Debug)]
pub struct TestHub {
    dir: TempDir,
    config: Config,
    clock: Arc<SystemClock>,
    running: Stop,
    http: SocketAddr,
    operators: SocketAddr,
    mqtt: SocketAddr,
    broker: Edge,
    operations: Arc<dyn Operations>,
    client: HubClient,
}

/// A handle has nothing to show.
struct Edge(BrokerHandle);

impl std::fmt::Debug for Edge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BrokerHandle")
    }
}

/// Ends what runs when dropped.
#[derive(Debug)]
struct Stop(Lifecycle);

impl TestHub {
    /// A fresh hub with an empty database.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start() -> anyhow::Result<Self> {
        Self::start_with(|_| {}).await
    }

    /// A fresh hub with settings that are not the fixtures' own.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start_with(change: impl FnOnce(&mut Config)) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let mut config = Config::default();
        let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        (config.http.listen, config.mqtt.listen) = (anywhere, anywhere);
        (config.operators.listen, config.admin.listen) = (anywhere, anywhere);
        // A whole crowd plays from one address here.
        (config.http.connections_per_address_max, config.mqtt.connections_per_address_max) = (4_096, 4_096);
        config.database.path = dir.path().join("hub.sqlite");
        config.keys.fleet_key_file = dir.path().join("fleet.key");
        config.admin.key_file = dir.path().join("admin.key");
        // Tests say where players go: nothing is drawn, and nobody is drawn back.
        (config.placement.near_percent, config.placement.sticky) = (0, false);
        // And who is refused: those who test the queue turn it on.
        config.queue.enabled = false;
        // The cheapest argon2 there is: tests of races are not tests of argon2.
        (config.passwords.memory_kib, config.passwords.passes) = (64, 1);
        config.passwords.queue_max = 4_096;
        config.throttle.name_burst = 100_000;
        config.throttle.address_burst = 100_000;
        config.throttle.registration_burst = 100_000;
        config.throttle.handover_burst = 100_000;
        // Crowds are let in, and a machine that stalls is not a desk that is late.
        (config.overload.registrations_percent, config.overload.logins_percent) = (100, 100);
        config.overload.desk_lag_ms = 60_000;
        change(&mut config);
        Self::start_in(dir, config).await
    }

    async fn start_in(dir: TempDir, config: Config) -> anyhow::Result<Self> {
        events::log();
        let clock = Arc::new(SystemClock::new());
        let lifecycle = Lifecycle::new();
        let environment = Environment { clock: clock.clone(), rng: Arc::new(SystemRng::new()) };
        let hub = Hub::bind(config.clone(), environment, &lifecycle).await?;
        let running = Stop(lifecycle.clone());
        let (http, operators, mqtt) = (hub.http_addr(), hub.operators_addr(), hub.mqtt_addr());
        let broker = Edge(hub.broker());
        let (_, operations) = hub.start_operated(&lifecycle)?;
        let client = HubClient::new(format!("http://{http}"))?;
        Ok(Self { dir, config, clock, running, http, operators, mqtt, broker, operations, client })
    }

    /// Stops and starts again on the same ports with the same files, as a new process would: everything else is forgotten.
    ///
    /// # Errors
    /// When it does not stop or start.
    pub async fn restart(self) -> anyhow::Result<Self> {
        self.running.0.soft().cancel();
        self.again().await
    }

    /// As [`TestHub::restart`], but nothing that is under way is finished first.
    ///
    /// # Errors
    /// When it does not stop or start.
    pub async fn crash_and_restart(self) -> anyhow::Result<Self> {
        self.running.0.hard().cancel();
        self.again().await
    }

    async fn again(self) -> anyhow::Result<Self> {
        let Self { dir, mut config, running, http, operators, mqtt, .. } = self;
        running.0.clone().run_to_end(Duration::from_secs(5)).await;
        (config.http.listen, config.operators.listen, config.mqtt.listen) = (http, operators, mqtt);
        Self::start_in(dir, config).await
    }

    /// The folder of its files: the database and the fleet key.
    pub fn files(&self) -> &std::path::Path {
        self.dir.path()
    }

    /// Where players' clients ask.
    pub fn http_addr(&self) -> SocketAddr {
        self.http
    }

    /// Where operators look.
    pub fn operators_addr(&self) -> SocketAddr {
        self.operators
    }

    /// Where game servers connect.
    pub fn mqtt_addr(&self) -> SocketAddr {
        self.mqtt
    }

    /// Waits until it takes logins. Before that its own link may not be up, and what servers say meanwhile is lost.
    ///
    /// # Errors
    /// When that does not come; the error names what is missing.
    pub async fn ready(&self) -> anyhow::Result<()> {
        let mut missing = String::new();
        let ready = async {
            loop {
                let reply = crate::client::get(&format!("http://{}/readyz", self.operators)).await?;
                if reply.status().is_success() {
                    return anyhow::Ok(());
                }
                missing = reply.text().await?;
            }
        };
        let ready = tokio::time::timeout(Duration::from_secs(20), ready).await;
        ready.unwrap_or_else(|_| anyhow::bail!("not ready: {missing}"))
    }

    /// One number of its metrics.
    ///
    /// # Errors
    /// When it has none of that name.
    pub async fn metric(&self, name: &str) -> anyhow::Result<u64> {
        metric(self.operators, name).await
    }

    /// Waits until a number of its metrics stands like this: gauges follow with the desk's next turn.
    ///
    /// # Errors
    /// When it does not come to it.
    pub async fn metric_stands(&self, name: &str, wanted: u64) -> anyhow::Result<()> {
        let mut seen = None;
        let stands = async {
            while seen != Some(wanted) {
                seen = Some(self.metric(name).await?);
            }
            anyhow::Ok(())
        };
        let stands = tokio::time::timeout(Duration::from_secs(20), stands).await;
        stands.unwrap_or_else(|_| anyhow::bail!("{name} is {seen:?}, not {wanted}"))
    }

    /// What its broker's listener counts, as of now.
    pub fn broker_door(&self) -> DoorStats {
        self.broker.0.door().stats()
    }

    /// What its broker counts, as of now.
    pub fn broker_stats(&self) -> BrokerStats {
        self.broker.0.stats()
    }

    /// What operators ask.
    pub fn operations(&self) -> &dyn Operations {
        &*self.operations
    }

    /// The account that was registered as the `n`th, from 1: a fresh database numbers them.
    pub fn account(&self, n: i64) -> AccountRow {
        AccountRow::from_raw(n)
    }

    /// A player's view of it.
    pub fn client(&self) -> &HubClient {
        &self.client
    }

    /// Its clock, to be stepped.
    pub fn clock(&self) -> &SystemClock {
        &self.clock
    }

    /// The line that `auth-hub server-key` would print.
    ///
    /// # Errors
    /// When the fleet key file is not what the hub wrote.
    pub fn server_key(&self, server: &ServerId) -> anyhow::Result<Zeroizing<String>> {
        self.server_key_of(server, 1)
    }

    /// The same, of another generation.
    ///
    /// # Errors
    /// As [`TestHub::server_key`].
    pub fn server_key_of(&self, server: &ServerId, generation: u32) -> anyhow::Result<Zeroizing<String>> {
        let text = Zeroizing::new(std::fs::read_to_string(&self.config.keys.fleet_key_file)?);
        Ok(FleetKeys::parse(&text)?.server_key(server, generation).to_line())
    }

    /// Makes an account with [`PASSWORD`].
    ///
    /// # Errors
    /// A problem, or no answer.
    pub async fn register(&self, login: &str) -> Result<(), ClientError> {
        self.client.register(login, PASSWORD).await.map(drop)
    }

    /// Logs in with [`PASSWORD`], asking for one server or none.
    ///
    /// # Errors
    /// A problem, or no answer.
    pub async fn login(&self, login: &str, server: Option<&ServerId>) -> Result<LoggedIn, ClientError> {
        self.client.login(login, PASSWORD, server.map(ServerId::as_str)).await
    }

    /// Logs in and gives only where to go.
    ///
    /// # Errors
    /// A problem, or no answer.
    pub async fn ticket(&self, login: &str, server: Option<&ServerId>) -> Result<Ticket, ClientError> {
        self.login(login, server).await?.handover.ok_or(ClientError::NoEndpoint)
    }
}

/// One number of the metrics of the hub whose operators ask at `operators`, whatever process it runs in.
///
/// # Errors
/// When it does not answer or has none of that name.
pub async fn metric(operators: SocketAddr, name: &str) -> anyhow::Result<u64> {
    let text = crate::client::get(&format!("http://{operators}/metrics")).await?.text().await?;
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    Ok(value.with_context(|| format!("no {name} in {text}"))?.parse()?)
}

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.hard().cancel();
    }
}
