//! The roster: a hub and its game servers as child processes, each leg behind a fault proxy, and the record of what is done to them.
//!
//! Clients reach everything through the proxies, whose addresses stay; behind them each run takes free ports of its own.
//! Invariants: a proxy leads to the present run or admits nobody; each run's log is a file of its own; dropping the site kills all.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex as Lock, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::ensure;
use shared_msgs::clock::{Clock as _, Mono, SystemClock};
use tokio::sync::Mutex;
use tokio_util::task::TaskTracker;

use super::journal::{Journal, RunId, Who};
use super::verdicts::{Cut, Deeds, Leg};
use crate::client::HubClient;
use crate::process::{Process, binaries};
use crate::proxy::FaultProxy;
use crate::setup::HUB;
use crate::site::env;

/// How long a server that was asked to stop may take: its drain, and some.
const STOP_TIME: Duration = Duration::from_secs(15);
/// What players may take to finish when their server is stopped.
const DRAIN_MS: u64 = 300;

/// A program's present run.
#[derive(Debug)]
struct Run {
    process: Option<Process>,
    run: u32,
}

/// A game server's place.
#[derive(Debug)]
pub struct ServerSite {
    /// Its name.
    pub id: String,
    /// Its leg to the broker.
    pub bus: FaultProxy,
    /// Its clients' leg.
    pub game: FaultProxy,
    key: String,
    run: Mutex<Run>,
}

/// Everything that runs.
#[derive(Debug)]
pub struct Site {
    /// The time.
    pub clock: SystemClock,
    /// What they say.
    pub journal: Arc<Journal>,
    /// Clients' leg to the hub.
    pub http: FaultProxy,
    /// All servers.
    pub servers: Vec<ServerSite>,
    hub: Mutex<Run>,
    mqtt: Lock<SocketAddr>,
    deeds: Lock<Deeds>,
    tasks: TaskTracker,
    dir: PathBuf,
}

fn nowhere() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 1))
}

impl Site {
    /// Starts a hub and `servers` game servers of `slots` slots.
    ///
    /// # Errors
    /// When something does not start.
    pub async fn start(servers: usize, slots: usize) -> anyhow::Result<Self> {
        binaries()?;
        let mut site = Self {
            clock: SystemClock::new(),
            journal: Arc::default(),
            http: FaultProxy::start(nowhere()).await?,
            servers: Vec::new(),
            hub: Mutex::new(Run { process: None, run: 0 }),
            mqtt: Lock::new(nowhere()),
            deeds: Lock::default(),
            tasks: TaskTracker::new(),
            dir: tempfile::Builder::new().prefix("handover-torture-").tempdir()?.keep(),
        };
        site.start_hub().await?;
        for n in 0..servers {
            let id = format!("server-{n}");
            let key = site.key(&id).await?;
            let bus = FaultProxy::start(site.mqtt()).await?;
            let game = FaultProxy::start(nowhere()).await?;
            let run = Mutex::new(Run { process: None, run: 0 });
            site.servers.push(ServerSite { id, bus, game, key, run });
            site.start_server(n, slots).await?;
        }
        Ok(site)
    }

    fn deeds_mut(&self) -> MutexGuard<'_, Deeds> {
        self.deeds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn mqtt(&self) -> SocketAddr {
        *self.mqtt.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Milliseconds since the start.
    pub fn now(&self) -> Mono {
        self.clock.now().mono
    }

    /// What was done so far.
    pub fn deeds(&self) -> Deeds {
        self.deeds_mut().clone()
    }

    /// Where the logs are. They stay, unless somebody takes them away.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Writes a line into the torture's own log, for people.
    pub fn note(&self, words: &str) {
        use std::io::Write as _;
        let now = self.clock.now();
        let file = std::fs::OpenOptions::new().create(true).append(true).open(self.dir.join("torture.log"));
        if let Ok(mut file) = file {
            let _ = writeln!(file, "{:>7} ms (unix {} ms) {words}", now.mono.0, now.unix);
        }
    }

    /// The hub, as clients reach it.
    ///
    /// # Errors
    /// When no client can be made.
    pub fn client(&self) -> anyhow::Result<HubClient> {
        Ok(HubClient::without_reuse(format!("http://{}", self.http.addr()))?)
    }

    /// Notes that connections of a leg may break from now until [`Site::mended`].
    pub fn cutting(&self, leg: Leg) -> usize {
        let mut deeds = self.deeds_mut();
        deeds.cuts.push(Cut { leg, from: self.now(), until: Mono(u64::MAX) });
        deeds.cuts.len() - 1
    }

    /// Notes that no connection of the leg breaks any more.
    pub fn mended(&self, cut: usize) {
        let now = self.now();
        if let Some(cut) = self.deeds_mut().cuts.get_mut(cut) {
            cut.until = now;
        }
    }

    fn ready(&self, run: RunId) {
        let now = self.now();
        self.deeds_mut().runs.entry(run).or_default().ready = Some(now);
    }

    fn stopping(&self, run: RunId) {
        let now = self.now();
        self.deeds_mut().runs.entry(run).or_default().stopped = Some(now);
    }

    fn spawn(
        &self,
        who: Who,
        slot: &mut Run,
        binary: &str,
        args: &[&str],
        env: &BTreeMap<String, String>,
    ) -> anyhow::Result<RunId> {
        slot.run += 1;
        let run = RunId { who, run: slot.run };
        let name = match who {
            Who::Hub => format!("hub-{}", slot.run),
            Who::Server(n) => format!("server-{n}-{}", slot.run),
        };
        let process = Process::start(&name, binary, args, env, &self.dir)?;
        let (journal, log) = (Arc::clone(&self.journal), process.log());
        self.tasks.spawn(async move { journal.follow(run, log).await });
        slot.process = Some(process);
        Ok(run)
    }

    /// Starts the hub, anew after a stop.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start_hub(&self) -> anyhow::Result<RunId> {
        // Torture of handovers, not of bounds and throttles: everybody has one address here.
        let (plenty, plenty_of_sockets) = ("10000000", "4096");
        let mut settings = env(&HUB);
        settings.extend(env(&[
            ("AUTH_HUB__HTTP__CONNECTIONS_PER_ADDRESS_MAX", plenty_of_sockets),
            ("AUTH_HUB__MQTT__CONNECTIONS_PER_ADDRESS_MAX", plenty_of_sockets),
            ("AUTH_HUB__THROTTLE__NAME_BURST", plenty),
            ("AUTH_HUB__THROTTLE__ADDRESS_BURST", plenty),
            ("AUTH_HUB__THROTTLE__REGISTRATION_BURST", plenty),
            ("AUTH_HUB__THROTTLE__HANDOVER_BURST", plenty),
            ("AUTH_HUB__LOG__FORMAT", "json"),
        ]));
        let mut slot = self.hub.lock().await;
        let run = self.spawn(Who::Hub, &mut slot, "auth-hub", &["serve"], &settings)?;
        let Some(process) = &mut slot.process else { unreachable!("it was just started") };
        let ready = process.ready().await?;
        let mqtt = Process::addr(&ready, "mqtt")?;
        *self.mqtt.lock().unwrap_or_else(PoisonError::into_inner) = mqtt;
        self.http.set_target(Process::addr(&ready, "http")?);
        for server in &self.servers {
            server.bus.set_target(mqtt);
        }
        self.ready(run);
        Ok(run)
    }

    /// kill -9 of the hub.
    ///
    /// # Errors
    /// When it was dead already.
    pub async fn kill_hub(&self) -> anyhow::Result<()> {
        let mut slot = self.hub.lock().await;
        self.stopping(RunId { who: Who::Hub, run: slot.run });
        // Its ports may go to somebody else.
        self.http.set_target(nowhere());
        self.servers.iter().for_each(|server| server.bus.set_target(nowhere()));
        kill("hub", &mut slot).await
    }

    async fn key(&self, id: &str) -> anyhow::Result<String> {
        let made = tokio::process::Command::new(binaries()?.join("auth-hub"))
            .args(["server-key", id])
            .env("AUTH_HUB__DATABASE__PATH", "hub.sqlite")
            .env("AUTH_HUB__KEYS__FLEET_KEY_FILE", "fleet.key")
            .current_dir(&self.dir)
            .output()
            .await?;
        ensure!(made.status.success(), "auth-hub server-key: {}", String::from_utf8_lossy(&made.stderr));
        Ok(String::from_utf8(made.stdout)?.trim().to_owned())
    }

    /// Starts a server, anew after a stop.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start_server(&self, n: usize, slots: usize) -> anyhow::Result<RunId> {
        let server = &self.servers[n];
        let env = env(&[
            ("GAME_SERVER__HUB__BROKERS", format!("[\"{}\"]", server.bus.addr())),
            ("GAME_SERVER__HUB__KEY", server.key.clone()),
            ("GAME_SERVER__GAME__ADVERTISE", server.game.addr().to_string()),
            ("GAME_SERVER__GAME__MAX_PLAYERS", slots.to_string()),
            ("GAME_SERVER__GAME__DRAIN_MS", DRAIN_MS.to_string()),
            // Who goes without a word has gone.
            ("GAME_SERVER__GAME__RECONNECT_GRACE_MS", "0".to_owned()),
            ("GAME_SERVER__LOG__FORMAT", "json".to_owned()),
        ]);
        let mut slot = server.run.lock().await;
        let run = self.spawn(Who::Server(n), &mut slot, "game-server", &[], &env)?;
        let Some(process) = &mut slot.process else { unreachable!("it was just started") };
        let ready = process.ready().await?;
        server.game.set_target(Process::addr(&ready, "game")?);
        self.ready(run);
        Ok(run)
    }

    /// kill -9 of a server.
    ///
    /// # Errors
    /// When it was dead already.
    pub async fn kill_server(&self, n: usize) -> anyhow::Result<()> {
        let server = &self.servers[n];
        let mut slot = server.run.lock().await;
        self.stopping(RunId { who: Who::Server(n), run: slot.run });
        server.game.set_target(nowhere());
        kill(&server.id, &mut slot).await
    }

    /// Asks a server to drain and end, and waits until it has.
    ///
    /// # Errors
    /// When it does not end, or not well.
    pub async fn drain_server(&self, n: usize) -> anyhow::Result<()> {
        let server = &self.servers[n];
        let mut slot = server.run.lock().await;
        self.stopping(RunId { who: Who::Server(n), run: slot.run });
        let Some(process) = &mut slot.process else { return Ok(()) };
        process.signal("TERM").await?;
        let code = process.exit_code(STOP_TIME).await?;
        server.game.set_target(nowhere());
        ensure!(code == Some(0), "{}, asked to stop, ended with {code:?}:\n{}", server.id, process.tail());
        Ok(())
    }

    /// Stops a server's process where it stands, or lets it go on.
    ///
    /// # Errors
    /// When it has ended.
    pub async fn freeze_server(&self, n: usize, freeze: bool) -> anyhow::Result<()> {
        let slot = self.servers[n].run.lock().await;
        let Some(process) = &slot.process else { return Ok(()) };
        process.signal(if freeze { "STOP" } else { "CONT" }).await
    }

    /// kill -9 of everything.
    ///
    /// # Errors
    /// When something had ended by itself.
    pub async fn kill_all(&self) -> anyhow::Result<()> {
        for n in 0..self.servers.len() {
            self.kill_server(n).await?;
        }
        self.kill_hub().await
    }

    /// The present run of a server.
    pub async fn run_of(&self, n: usize) -> RunId {
        RunId { who: Who::Server(n), run: self.servers[n].run.lock().await.run }
    }
}

async fn kill(name: &str, slot: &mut Run) -> anyhow::Result<()> {
    let Some(process) = &mut slot.process else { return Ok(()) };
    let ended = process.ended()?;
    ensure!(ended.is_none(), "{name} had ended by itself ({ended:?}):\n{}", process.tail());
    process.kill().await
}
