//! A hub and two game servers as processes, and the operator, who has the admin command.
//!
//! Owns the processes. Invariant: the hub's books are compared with what players themselves say, never with our own guess.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail, ensure};
use hub_tests::client::HubClient;
use hub_tests::process::binaries;
use hub_tests::site::{HubProcess, PATIENCE, ServerProcess, Site, env, hub_settings};
use hub_tests::times::Table;
use serde::Deserialize;
use tokio::process::Command;
use tokio::time::{Duration, Instant, interval, timeout};

use crate::crew::Crew;
use crate::{SLOTS, say};

/// How often the operator looks again.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// So slow that several logins are under way at one moment, whatever the machine.
const PASSES: &str = "8";

/// A row of `admin servers`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Row {
    id: String,
    pub(crate) state: String,
    pub(crate) build: String,
    pub(crate) players: usize,
    pub(crate) held: usize,
    pub(crate) is_drain_ordered: bool,
}

#[derive(Deserialize)]
struct Fleet {
    servers: Vec<Row>,
}

/// Everything that runs.
pub(crate) struct Stage {
    pub(crate) hub: HubProcess,
    pub(crate) alpha: ServerProcess,
    beta: ServerProcess,
    pub(crate) client: HubClient,
    pub(crate) table: Table,
    site: Site,
}

async fn start_hub(site: &Site, http: &str, mqtt: &str) -> anyhow::Result<HubProcess> {
    site.hub(&[
        ("AUTH_HUB__HTTP__LISTEN", http),
        ("AUTH_HUB__MQTT__LISTEN", mqtt),
        ("AUTH_HUB__QUEUE__ENABLED", "true"),
        ("AUTH_HUB__PASSWORDS__MEMORY_KIB", "19456"),
        ("AUTH_HUB__PASSWORDS__PASSES", PASSES),
    ])
    .await
}

async fn start_server(site: &Site, hub: &HubProcess, id: &str, build: &str) -> anyhow::Result<ServerProcess> {
    let more = [
        ("GAME_SERVER__GAME__MAX_PLAYERS", SLOTS.to_string()),
        // All players come from one address here.
        ("GAME_SERVER__GAME__CONNECTIONS_PER_ADDRESS_MAX", (2 * SLOTS + 64).to_string()),
        ("GAME_SERVER__GAME__BUILD", build.to_owned()),
    ];
    site.server(id, &hub.mqtt.to_string(), &more).await
}

impl Stage {
    pub(crate) async fn set() -> anyhow::Result<Self> {
        let site = Site::new()?;
        let hub = start_hub(&site, "127.0.0.1:0", "127.0.0.1:0").await?;
        let alpha = start_server(&site, &hub, "alpha", "1.0.0").await?;
        let beta = start_server(&site, &hub, "beta", "1.0.0").await?;
        hub.has("alpha").await?;
        hub.has("beta").await?;
        say(&format!("A hub, and two game servers of build 1.0.0 with {SLOTS} slots each: alpha and beta."));
        let client = HubClient::new(format!("http://{}", hub.http))?;
        Ok(Self { hub, alpha, beta, client, table: Table::default(), site })
    }

    /// Starts alpha again, under the same id and key, as another build.
    pub(crate) async fn start_alpha(&mut self, build: &str) -> anyhow::Result<()> {
        self.alpha = start_server(&self.site, &self.hub, "alpha", build).await?;
        Ok(())
    }

    /// Starts the hub again on the same ports and files.
    pub(crate) async fn start_hub(&mut self) -> anyhow::Result<()> {
        let (http, mqtt) = (self.hub.http.to_string(), self.hub.mqtt.to_string());
        self.hub = start_hub(&self.site, &http, &mqtt).await?;
        Ok(())
    }

    /// A command of the operator's, as it would be typed, and what it prints.
    pub(crate) async fn admin(&self, words: &[&str]) -> anyhow::Result<String> {
        let shown = words
            .iter()
            .map(|word| if word.contains(' ') { format!("'{word}'") } else { (*word).to_owned() });
        say(&format!("   $ auth-hub admin {}", shown.collect::<Vec<_>>().join(" ")));
        let out = self.quietly(words).await?;
        out.lines().for_each(|line| say(&format!("     {line}")));
        Ok(out)
    }

    async fn quietly(&self, words: &[&str]) -> anyhow::Result<String> {
        let mut settings = hub_settings();
        settings.extend(env(&[("AUTH_HUB__ADMIN__LISTEN", self.hub.admin)]));
        let mut command = Command::new(binaries()?.join("auth-hub"));
        command.args(["admin", "--as", "grace"]).args(words);
        command.envs(settings).current_dir(self.site.path()).kill_on_drop(true);
        let ended = timeout(PATIENCE, command.output()).await.context("the admin command does not end")??;
        let said = String::from_utf8_lossy(&ended.stderr);
        ensure!(ended.status.success(), "auth-hub admin {words:?}: {} {said}", ended.status);
        Ok(String::from_utf8(ended.stdout)?)
    }

    async fn fleet(&self) -> anyhow::Result<BTreeMap<String, Row>> {
        let fleet: Fleet = serde_json::from_str(&self.quietly(&["servers", "--json"]).await?)?;
        Ok(fleet.servers.into_iter().map(|row| (row.id.clone(), row)).collect())
    }

    /// Looks at the fleet until it is so.
    pub(crate) async fn shows(
        &self,
        what: &str,
        is_it: impl Fn(&BTreeMap<String, Row>) -> bool,
    ) -> anyhow::Result<()> {
        let (deadline, mut look) = (Instant::now() + PATIENCE, interval(LOOK_EVERY));
        loop {
            look.tick().await;
            let fleet = self.fleet().await?;
            if is_it(&fleet) {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("the fleet never shows {what}: {fleet:#?}");
            }
        }
    }

    /// The hub counts each player once, where the player is, and holds no slot for anybody else.
    pub(crate) async fn books(&self, crew: &Crew) -> anyhow::Result<()> {
        let seated = crew.in_game();
        let agrees = |fleet: &BTreeMap<String, Row>| {
            ["alpha", "beta"].iter().all(|id| {
                let here = seated.get(*id).map_or(0, Vec::len);
                fleet.get(*id).is_some_and(|row| (row.players, row.held) == (here, 0))
            })
        };
        let count = |id| seated.get(id).map_or(0, Vec::len);
        let (alpha, beta) = (count("alpha"), count("beta"));
        self.shows(&format!("{alpha} players on alpha and {beta} on beta, each once"), agrees).await?;
        say(&format!(
            "   The books agree with the players: {alpha} on alpha, {beta} on beta, no slot counted twice."
        ));
        Ok(())
    }

    /// What everybody logged last.
    pub(crate) fn last_words(&self) -> String {
        let [hub, alpha, beta] = [&self.hub.process, &self.alpha.process, &self.beta.process];
        format!("-- hub:\n{}\n-- alpha:\n{}\n-- beta:\n{}", hub.tail(), alpha.tail(), beta.tail())
    }

    /// Asks all to stop, and checks that they do as they should.
    pub(crate) async fn clear(mut self) -> anyhow::Result<()> {
        for process in [&mut self.alpha.process, &mut self.beta.process, &mut self.hub.process] {
            process.signal("TERM").await?;
            let code = process.exit_code(PATIENCE).await?;
            ensure!(code == Some(0), "a process ended with {code:?}:\n{}", process.tail());
        }
        Ok(())
    }
}
