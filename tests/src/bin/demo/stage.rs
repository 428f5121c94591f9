//! The stage: a scratch folder, a hub and two game servers as processes, each server's leg to the broker behind a proxy.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use hub_tests::client::{ClientError, GameClient, HubClient, Outcome, Ticket};
use hub_tests::process::{Process, binaries};
use hub_tests::proxy::FaultProxy;
use hub_tests::times::Table;
use tempfile::TempDir;

use crate::say;

/// Slots of each server.
pub(crate) const SLOTS: usize = 12;
/// Everybody's password.
pub(crate) const PASSWORD: &str = "correct horse battery";
/// What is logged shows up well within this.
const LOG_TIME: Duration = Duration::from_secs(20);

/// A game server and the leg to it.
pub(crate) struct Server {
    pub(crate) id: &'static str,
    pub(crate) process: Process,
    pub(crate) proxy: FaultProxy,
    key: String,
}

/// Everything that runs.
pub(crate) struct Stage {
    dir: TempDir,
    pub(crate) hub: Process,
    pub(crate) http: SocketAddr,
    mqtt: SocketAddr,
    pub(crate) client: HubClient,
    pub(crate) servers: [Server; 2],
    pub(crate) table: Table,
    pub(crate) registered: usize,
}

#[expect(clippy::disallowed_methods, reason = "the demo shows what its players wait")]
pub(crate) fn stopwatch() -> Instant {
    Instant::now()
}

fn hub_settings(http: &str, mqtt: &str) -> BTreeMap<String, String> {
    let settings = [
        ("AUTH_HUB__HTTP__LISTEN", http),
        ("AUTH_HUB__MQTT__LISTEN", mqtt),
        ("AUTH_HUB__OPERATORS__LISTEN", "127.0.0.1:0"),
        ("AUTH_HUB__ADMIN__LISTEN", "127.0.0.1:0"),
        ("AUTH_HUB__LOG__FORMAT", "json"),
        // All players come from one address here.
        ("AUTH_HUB__THROTTLE__ADDRESS_BURST", "10000"),
        ("AUTH_HUB__THROTTLE__REGISTRATION_BURST", "10000"),
        // Some of them move about more than people do.
        ("AUTH_HUB__THROTTLE__HANDOVER_BURST", "10000"),
    ];
    settings.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
}

async fn start_hub(
    dir: &TempDir,
    http: &str,
    mqtt: &str,
) -> anyhow::Result<(Process, SocketAddr, SocketAddr)> {
    let mut hub = Process::start("hub", "auth-hub", &["serve"], &hub_settings(http, mqtt), dir.path())?;
    let ready = hub.ready().await?;
    let (http, mqtt) = (Process::addr(&ready, "http")?, Process::addr(&ready, "mqtt")?);
    Ok((hub, http, mqtt))
}

impl Server {
    async fn start(id: &'static str, dir: &TempDir, mqtt: SocketAddr) -> anyhow::Result<Self> {
        let made = tokio::process::Command::new(binaries()?.join("auth-hub"))
            .args(["server-key", id])
            .current_dir(dir.path())
            .output()
            .await?;
        ensure!(made.status.success(), "auth-hub server-key: {}", String::from_utf8_lossy(&made.stderr));
        let key = String::from_utf8(made.stdout)?;
        let proxy = FaultProxy::start(mqtt).await?;
        let process = Self::spawn(id, &key, &proxy, dir).await?;
        Ok(Self { id, process, proxy, key })
    }

    async fn spawn(id: &str, key: &str, proxy: &FaultProxy, dir: &TempDir) -> anyhow::Result<Process> {
        let settings = [
            ("GAME_SERVER__HUB__BROKERS", format!("[\"{}\"]", proxy.addr())),
            ("GAME_SERVER__HUB__KEY", key.trim().to_owned()),
            ("GAME_SERVER__GAME__MAX_PLAYERS", SLOTS.to_string()),
            ("GAME_SERVER__LOG__FORMAT", "json".to_owned()),
        ];
        let settings = settings.map(|(key, value)| (key.to_owned(), value)).into();
        let mut process = Process::start(id, "game-server", &[], &settings, dir.path())?;
        process.ready().await?;
        Ok(process)
    }

    /// Starts it again after a kill.
    pub(crate) async fn respawn(&mut self, dir: &TempDir) -> anyhow::Result<()> {
        self.process = Self::spawn(self.id, &self.key, &self.proxy, dir).await?;
        Ok(())
    }
}

impl Stage {
    pub(crate) async fn set() -> anyhow::Result<Self> {
        say("Building the binaries …");
        binaries()?;
        let dir = tempfile::Builder::new().prefix("handover-demo-").tempdir()?;
        let (hub, http, mqtt) = start_hub(&dir, "127.0.0.1:0", "127.0.0.1:0").await?;
        say(&format!("A hub runs: HTTP {http}, MQTT {mqtt}, its files in {}.", dir.path().display()));
        let servers = [Server::start("alpha", &dir, mqtt).await?, Server::start("beta", &dir, mqtt).await?];
        say("Two game servers run, alpha and beta. Nobody told the hub about them.");
        let client = HubClient::new(format!("http://{http}"))?;
        let stage = Self { dir, hub, http, mqtt, client, servers, table: Table::default(), registered: 0 };
        stage.hub_knows("alpha").await?;
        stage.hub_knows("beta").await?;
        say("The hub has heard both and probed them.");
        Ok(stage)
    }

    /// Waits until the hub's log says that it would place players there.
    pub(crate) async fn hub_knows(&self, server: &str) -> anyhow::Result<()> {
        self.hub.logged(&["server.eligible", &format!("\"{server}\"")], LOG_TIME).await.map(drop)
    }

    /// A registered player's name.
    pub(crate) async fn player(&mut self) -> anyhow::Result<String> {
        self.registered += 1;
        let name = format!("player{}", self.registered);
        let clock = stopwatch();
        self.client.register(&name, PASSWORD).await?;
        self.table.add("register (argon2, one commit)", clock.elapsed());
        Ok(name)
    }

    /// Logs in; the time goes into the table under `step`.
    pub(crate) async fn login(
        &mut self,
        name: &str,
        server: Option<&str>,
        step: &'static str,
    ) -> Result<Ticket, ClientError> {
        let clock = stopwatch();
        let login = self.client.login(name, PASSWORD, server).await?;
        self.table.add(step, clock.elapsed());
        login.handover.ok_or(ClientError::NoEndpoint)
    }

    /// Shows the token and expects a welcome; reply → welcome goes into the table under `step`.
    pub(crate) async fn enter(&mut self, ticket: &Ticket, step: &'static str) -> anyhow::Result<GameClient> {
        let (game, outcome) = GameClient::enter(ticket.tcp()?, &ticket.token).await?;
        ensure!(outcome.code() == "welcome", "expected a welcome, got {outcome:?}");
        self.table.add(step, game.answered_in);
        Ok(game)
    }

    /// Shows the token at an address and expects a refusal with this code.
    pub(crate) async fn refused(
        &self,
        address: &str,
        token: &str,
        expected: &str,
    ) -> anyhow::Result<Outcome> {
        let (_, outcome) = GameClient::enter(address, token).await?;
        ensure!(outcome.code() == expected, "expected {expected}, got {outcome:?}");
        Ok(outcome)
    }

    pub(crate) async fn restart_hub(&mut self) -> anyhow::Result<()> {
        let (http, mqtt) = (self.http.to_string(), self.mqtt.to_string());
        let (hub, ..) = start_hub(&self.dir, &http, &mqtt).await?;
        self.hub = hub;
        Ok(())
    }

    pub(crate) async fn respawn(&mut self, at: usize) -> anyhow::Result<()> {
        let server = self.servers.get_mut(at).context("two servers")?;
        server.respawn(&self.dir).await
    }

    /// What everybody logged last.
    pub(crate) fn last_words(&self) -> String {
        let [alpha, beta] = &self.servers;
        format!(
            "-- hub:\n{}\n-- alpha:\n{}\n-- beta:\n{}",
            self.hub.tail(),
            alpha.process.tail(),
            beta.process.tail()
        )
    }

    pub(crate) fn how_to_log_in(&self) -> String {
        let http = self.http;
        let player = binaries().map(|dir| dir.join("player").display().to_string()).unwrap_or_default();
        format!(
            "Everything keeps running until Ctrl-C. By hand:\n\
             \n  curl -s http://{http}/servers\
             \n  curl -s http://{http}/auth/register -H 'content-type: application/json' \
             -d '{{\"login\": \"ada\", \"password\": \"{PASSWORD}\"}}'\
             \n  curl -s http://{http}/auth/login -H 'content-type: application/json' \
             -d '{{\"login\": \"ada\", \"password\": \"{PASSWORD}\"}}'\
             \n  {player} play --hub http://{http} --login ada --password '{PASSWORD}'\n\
             \nLogs: {}/*.log",
            self.dir.path().display()
        )
    }

    /// Asks all to stop, and checks that they do as they should.
    pub(crate) async fn clear(mut self) -> anyhow::Result<()> {
        for server in &mut self.servers {
            server.process.signal("TERM").await?;
            let code = server.process.exit_code(LOG_TIME).await?;
            ensure!(code == Some(0), "{} ended with {code:?}", server.id);
        }
        self.hub.signal("TERM").await?;
        let code = self.hub.exit_code(LOG_TIME).await?;
        ensure!(code == Some(0), "the hub ended with {code:?}");
        Ok(())
    }
}
