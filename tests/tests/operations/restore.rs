//! The page's own commands for back-up, restore and new keys, run against a real hub with a game server, with other folders.
//!
//! `systemctl` and `sudo` are stood in for: the test stops and starts the processes itself.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, ensure};
use hub_tests::client::{ClientError, GameClient, HubClient};
use hub_tests::hub::PASSWORD;
use hub_tests::process::{Process, binaries};
use tempfile::TempDir;

use crate::shipped;
use crate::site::{Env, PATIENCE, auth_hub, hub_env, server_env};

/// A hub whose files are below `live`, as the unit has them below /var/lib/handover.
struct Site {
    dir: TempDir,
    env: Env,
}

struct Hub {
    process: Process,
    client: HubClient,
}

/// The page's shell blocks under a heading, in order.
fn blocks(heading: &str) -> Vec<String> {
    let page = shipped("docs/OPERATIONS.md");
    let section =
        page.split(&format!("\n### {heading}\n")).nth(1).unwrap_or_else(|| panic!("no {heading:?}"));
    let section = section.split("\n#").next().unwrap();
    section.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

impl Site {
    fn new() -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        for folder in ["live", "backup", "etc"] {
            std::fs::create_dir(dir.path().join(folder))?;
        }
        let env = hub_env(&dir.path().join("live/var").to_string_lossy());
        Ok(Self { dir, env })
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_string_lossy().into_owned()
    }

    /// Starts the hub; the second time on the ports it had.
    async fn hub(&mut self) -> anyhow::Result<Hub> {
        let mut process = Process::start("hub", "auth-hub", &["serve"], &self.env, self.dir.path())?;
        let ready = process.ready().await?;
        for (setting, name) in [("AUTH_HUB__HTTP__LISTEN", "http"), ("AUTH_HUB__MQTT__LISTEN", "mqtt")] {
            self.env.insert(setting.to_owned(), ready[name].clone());
        }
        let client = HubClient::new(format!("http://{}", ready["http"]))?;
        Ok(Hub { process, client })
    }

    async fn server(&self, key: &str) -> anyhow::Result<Process> {
        let env = server_env(&self.env["AUTH_HUB__MQTT__LISTEN"], key);
        let mut server = Process::start("alpha", "game-server", &[], &env, self.dir.path())?;
        server.ready().await?;
        Ok(server)
    }

    async fn ask(&self, args: &[&str]) -> anyhow::Result<String> {
        auth_hub(args, &self.env, self.dir.path()).await
    }

    /// Runs one of the page's blocks.
    fn run(&self, block: &str) -> anyhow::Result<()> {
        // The longer path first: it begins like none of the others.
        let block = block
            .replace("/var/backups/handover", &self.path("backup"))
            .replace("/var/lib/handover", &self.path("live"))
            .replace("/etc/handover", &self.path("etc"))
            .replace(&format!("--config {}", self.path("etc/auth-hub.toml")), "")
            .replace(" -o handover -g handover", "");
        let script = format!("systemctl() {{ :; }}\nsudo() {{ shift 2; \"$@\"; }}\n{block}");
        let paths = std::env::var("PATH")?;
        let output = Command::new("sh")
            .args(["-euc", &script])
            .env("PATH", format!("{}:{paths}", binaries()?.display()))
            .envs(&self.env)
            .current_dir(self.dir.path())
            .output()?;
        ensure!(output.status.success(), "{block}:\n{}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }
}

impl Hub {
    async fn enter(&self, login: &str) -> anyhow::Result<GameClient> {
        let ticket = self.client.login(login, PASSWORD, None).await?.handover.context("no place")?;
        let (player, outcome) = GameClient::enter(ticket.tcp()?, &ticket.token).await?;
        ensure!(outcome.code() == "welcome", "{outcome}");
        Ok(player)
    }

    async fn hears_alpha(&self) -> anyhow::Result<()> {
        self.process.logged(&["server.eligible", "\"alpha\""], PATIENCE).await.map(drop)
    }

    async fn stop(mut self) -> anyhow::Result<()> {
        self.process.signal("TERM").await?;
        ensure!(self.process.exit_code(PATIENCE).await? == Some(0), "{}", self.process.tail());
        Ok(())
    }
}

/// Of the problem that it is.
fn status(error: Option<ClientError>) -> Option<u16> {
    if let Some(ClientError::Problem(problem)) = error { Some(problem.status) } else { None }
}

fn empty(dir: &Path) -> anyhow::Result<()> {
    std::fs::remove_dir_all(dir)?;
    Ok(std::fs::create_dir(dir)?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_hub_comes_back_from_its_backup() -> anyhow::Result<()> {
    let mut site = Site::new()?;
    let mut hub = site.hub().await?;
    let key = site.ask(&["server-key", "alpha"]).await?;
    let _alpha = site.server(&key).await?;
    hub.hears_alpha().await?;
    hub.client.register("ada", PASSWORD).await?;
    let mut ada = hub.enter("ada").await?;
    let account = site.ask(&["account", "show", "ada"]).await?;
    ensure!(account.contains("player id"), "{account}");

    // While it is written to.
    let busy = HubClient::new(format!("http://{}", site.env["AUTH_HUB__HTTP__LISTEN"]))?;
    let crowd = tokio_util::task::TaskTracker::new().spawn(async move {
        let mut told = 0;
        while told < 18 && busy.register(&format!("busy-{told}"), PASSWORD).await.is_ok() {
            told += 1;
        }
        told
    });
    let [back_up] = blocks("Back up").try_into().map_err(|_| anyhow::anyhow!("one block"))?;
    site.run(&back_up)?;
    ensure!(crowd.await? == 18, "the back-up was in the way of registrations");
    hub.client.register("late", PASSWORD).await?;

    // The machine is gone.
    hub.process.kill().await?;
    empty(&site.dir.path().join("live"))?;
    let [restore] = blocks("Restore").try_into().map_err(|_| anyhow::anyhow!("one block"))?;
    site.run(&restore)?;
    let hub = site.hub().await?;

    // The fleet comes back by itself, and nobody in game has noticed.
    hub.hears_alpha().await?;
    ada.ask(b"still there?").await?;
    assert_eq!(site.ask(&["account", "show", "ada"]).await?, account, "same account, same player");
    assert_eq!(site.ask(&["server-key", "alpha"]).await?, key, "no server needs a new key");
    hub.enter("ada").await?;
    // What came after the back-up is lost, as the page says.
    let lost = hub.client.login("late", PASSWORD, None).await;
    assert_eq!(status(lost.err()), Some(401));
    hub.client.register("late", PASSWORD).await?;
    hub.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_s_key_is_replaced_and_the_old_one_refused() -> anyhow::Result<()> {
    let mut site = Site::new()?;
    let hub = site.hub().await?;
    let old = site.ask(&["server-key", "alpha"]).await?;
    let [make, revoke] =
        blocks("Replace a server's key").try_into().map_err(|_| anyhow::anyhow!("two blocks"))?;
    site.run(&make)?;
    let new = std::fs::read_to_string(site.path("etc/server.key"))?;
    ensure!(new.trim() != old && new.starts_with("hub-server-1.alpha.1.2."), "not the next generation");
    // Before anything is revoked, either will do.
    let mut alpha = site.server(new.trim()).await?;
    hub.hears_alpha().await?;
    alpha.signal("TERM").await?;
    alpha.exit_code(PATIENCE).await?;

    hub.stop().await?;
    site.run(&revoke)?;
    let hub = site.hub().await?;
    let mut alpha = site.server(&old).await?;
    hub.process.logged(&["mqtt.refused", "not-authorized"], PATIENCE).await?;
    alpha.kill().await?;
    let _alpha = site.server(new.trim()).await?;
    hub.hears_alpha().await?;
    ensure!(site.ask(&["server-key", "alpha"]).await? == new.trim(), "the lowest accepted one is printed");
    hub.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_key_is_replaced_while_the_old_one_still_holds() -> anyhow::Result<()> {
    let mut site = Site::new()?;
    let hub = site.hub().await?;
    let old = site.ask(&["server-key", "alpha"]).await?;
    hub.client.register("ada", PASSWORD).await?;
    let mut alpha = site.server(&old).await?;
    hub.hears_alpha().await?;
    let session = hub.client.login("ada", PASSWORD, None).await?.access_token;
    hub.stop().await?;
    let [add, remove] =
        blocks("Replace the fleet key").try_into().map_err(|_| anyhow::anyhow!("two blocks"))?;
    site.run(&add)?;
    let hub = site.hub().await?;
    hub.hears_alpha().await?;
    hub.enter("ada").await?;
    let refused = hub.client.handover(&session, None).await;
    assert_eq!(status(refused.err()), Some(401));
    let new = site.ask(&["server-key", "alpha"]).await?;
    ensure!(new.starts_with("hub-server-1.alpha.2.1."), "not the next epoch");

    alpha.kill().await?;
    hub.stop().await?;
    site.run(&remove)?;
    let hub = site.hub().await?;
    let mut alpha = site.server(&old).await?;
    hub.process.logged(&["mqtt.refused", "bad-credentials"], PATIENCE).await?;
    alpha.kill().await?;
    let _alpha = site.server(&new).await?;
    hub.hears_alpha().await?;
    hub.stop().await
}
