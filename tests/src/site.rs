//! One hub and its game servers as processes in a folder of their own, on free ports.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tempfile::TempDir;

use crate::process::{Process, binaries};
use crate::setup::HUB;

/// Nothing here takes longer, unless it is broken.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The folder.
#[derive(Debug)]
pub struct Site {
    dir: TempDir,
}

/// A running hub.
#[derive(Debug)]
pub struct HubProcess {
    /// Itself.
    pub process: Process,
    /// Where clients log in.
    pub http: SocketAddr,
    /// Where game servers connect.
    pub mqtt: SocketAddr,
    /// Where operators look.
    pub operators: SocketAddr,
    /// Where operators command.
    pub admin: SocketAddr,
}

/// A running game server.
#[derive(Debug)]
pub struct ServerProcess {
    /// Itself.
    pub process: Process,
    /// The game link.
    pub game: SocketAddr,
}

/// Variables for a process.
pub fn env<V: ToString>(pairs: &[(&str, V)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), value.to_string())).collect()
}

/// A hub's settings for tests: free ports, files in its folder, cheap passwords, throttles that a whole test fits through.
pub fn hub_settings() -> BTreeMap<String, String> {
    let mut settings = env(&HUB);
    settings.extend(env(&[
        ("AUTH_HUB__PLACEMENT__NEAR_PERCENT", "0"),
        ("AUTH_HUB__PLACEMENT__STICKY", "false"),
        ("AUTH_HUB__THROTTLE__NAME_BURST", "100000"),
        ("AUTH_HUB__THROTTLE__ADDRESS_BURST", "100000"),
        ("AUTH_HUB__THROTTLE__REGISTRATION_BURST", "100000"),
        ("AUTH_HUB__THROTTLE__HANDOVER_BURST", "100000"),
        ("AUTH_HUB__OVERLOAD__DESK_LAG_MS", "60000"),
        ("AUTH_HUB__LOG__FORMAT", "json"),
    ]));
    settings
}

impl Site {
    /// An empty folder.
    ///
    /// # Errors
    /// When there is no room for one.
    pub fn new() -> anyhow::Result<Self> {
        Ok(Self { dir: tempfile::tempdir()? })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Starts a hub with these variables over [`hub_settings`], and waits until it serves.
    ///
    /// # Errors
    /// When it does not come to that.
    pub async fn hub<V: ToString>(&self, more: &[(&str, V)]) -> anyhow::Result<HubProcess> {
        self.hub_allowing(None, more).await
    }

    /// As [`Site::hub`], with no more file descriptors than this.
    ///
    /// # Errors
    /// As [`Site::hub`].
    pub async fn hub_allowing<V: ToString>(
        &self,
        descriptors_max: Option<u32>,
        more: &[(&str, V)],
    ) -> anyhow::Result<HubProcess> {
        let mut settings = hub_settings();
        settings.extend(env(more));
        let mut process = start(descriptors_max, "hub", "auth-hub", &["serve"], &settings, self.path())?;
        let ready = process.ready().await?;
        let of = |name| Process::addr(&ready, name);
        let (http, mqtt, operators, admin) = (of("http")?, of("mqtt")?, of("operators")?, of("admin")?);
        process.logged(&["\"link.up\""], PATIENCE).await?;
        Ok(HubProcess { process, http, mqtt, operators, admin })
    }

    /// The key line, as an operator gets it.
    ///
    /// # Errors
    /// When there is none.
    pub fn key(&self, id: &str) -> anyhow::Result<String> {
        let mut command = Command::new(binaries()?.join("auth-hub"));
        command.args(["server-key", id]).envs(hub_settings()).current_dir(self.path());
        let output = command.output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    }

    /// Starts a game server with these variables over what it needs, and waits until it serves.
    ///
    /// # Errors
    /// When it does not come to that.
    pub async fn server<V: ToString>(
        &self,
        id: &str,
        broker: &str,
        more: &[(&str, V)],
    ) -> anyhow::Result<ServerProcess> {
        self.server_allowing(None, id, broker, more).await
    }

    /// As [`Site::server`], with no more file descriptors than this.
    ///
    /// # Errors
    /// As [`Site::server`].
    pub async fn server_allowing<V: ToString>(
        &self,
        descriptors_max: Option<u32>,
        id: &str,
        broker: &str,
        more: &[(&str, V)],
    ) -> anyhow::Result<ServerProcess> {
        let mut settings = env(&[
            ("GAME_SERVER__HUB__BROKERS", format!("[\"{broker}\"]")),
            ("GAME_SERVER__HUB__KEY", self.key(id)?),
            ("GAME_SERVER__GAME__DRAIN_MS", "1000".to_owned()),
            // Who goes without a word has gone.
            ("GAME_SERVER__GAME__RECONNECT_GRACE_MS", "0".to_owned()),
            ("GAME_SERVER__LOG__FORMAT", "json".to_owned()),
        ]);
        settings.extend(env(more));
        let mut process = start(descriptors_max, id, "game-server", &[], &settings, self.path())?;
        let game = Process::addr(&process.ready().await?, "game")?;
        Ok(ServerProcess { process, game })
    }
}

fn start(
    descriptors_max: Option<u32>,
    name: &str,
    binary: &str,
    args: &[&str],
    env: &BTreeMap<String, String>,
    dir: &Path,
) -> anyhow::Result<Process> {
    match descriptors_max {
        Some(max) => Process::start_with_descriptors(max, name, binary, args, env, dir),
        None => Process::start(name, binary, args, env, dir),
    }
}

impl HubProcess {
    /// Waits until it places players on this server.
    ///
    /// # Errors
    /// When it does not.
    pub async fn has(&self, server: &str) -> anyhow::Result<()> {
        let words = ["\"server.eligible\"", &format!("\"server_id\":\"{server}\"")];
        self.process.logged(&words, PATIENCE).await.map(drop).with_context(|| self.process.tail())
    }
}
