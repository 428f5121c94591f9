//! One hub and one game server as processes, on free ports, and what they show on `/metrics`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use hub_tests::client::HubClient;
use hub_tests::hub::PASSWORD;
use hub_tests::process::{Process, binaries};
use hub_tests::setup::HUB;
use hub_tests::site::env;
use tokio::process::Command;

pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Settings by their environment variables.
pub(crate) type Env = BTreeMap<String, String>;

/// A hub on free ports with cheap passwords; its files lie in the folder `files`.
pub(crate) fn hub_env(files: &str) -> Env {
    let mut settings = env(&HUB);
    settings.extend(env(&[
        ("AUTH_HUB__DATABASE__PATH", format!("{files}/hub.sqlite")),
        ("AUTH_HUB__KEYS__FLEET_KEY_FILE", format!("{files}/fleet.key")),
    ]));
    settings
}

/// A game server at this broker, with `/metrics`.
pub(crate) fn server_env(broker: &str, key: &str) -> Env {
    let set = [
        ("HUB__BROKERS", format!("[\"{broker}\"]")),
        ("HUB__KEY", key.to_owned()),
        ("METRICS__LISTEN", "127.0.0.1:0".to_owned()),
    ];
    set.map(|(name, value)| (format!("GAME_SERVER__{name}"), value)).into()
}

/// What `auth-hub` prints when run with these words, besides a hub that serves or without one.
pub(crate) async fn auth_hub(args: &[&str], env: &Env, dir: &Path) -> anyhow::Result<String> {
    let run = Command::new(binaries()?.join("auth-hub")).args(args).envs(env).current_dir(dir).output();
    let output = tokio::time::timeout(PATIENCE, run).await??;
    ensure!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// Where the hub shows its metrics: at one of the addresses of its READY line.
pub(crate) async fn hub_metrics(ready: &Env) -> anyhow::Result<String> {
    for address in ready.values().filter_map(|value| value.parse::<SocketAddr>().ok()) {
        if let Ok(text) = scrape(address).await {
            return Ok(text);
        }
    }
    anyhow::bail!("no address of {ready:?} shows metrics")
}

async fn scrape(address: SocketAddr) -> anyhow::Result<String> {
    let reply = hub_tests::client::get(&format!("http://{address}/metrics")).await?.error_for_status()?;
    Ok(reply.text().await?)
}

/// What both show after one login: names without suffix, and their types.
pub(crate) struct Live {
    pub(crate) hub: BTreeMap<String, String>,
    pub(crate) server: BTreeMap<String, String>,
    /// Each as Prometheus stores it: counters with `_total`, histograms in three parts.
    pub(crate) series: BTreeSet<String>,
}

pub(crate) async fn live() -> anyhow::Result<Live> {
    let dir = tempfile::tempdir()?;
    let env = hub_env("var");
    let mut hub = Process::start("hub", "auth-hub", &["serve"], &env, dir.path())?;
    let ready = hub.ready().await?;
    let key = auth_hub(&["server-key", "alpha"], &env, dir.path()).await?;
    let env = server_env(&ready["mqtt"], &key);
    let mut server = Process::start("alpha", "game-server", &[], &env, dir.path())?;
    server.ready().await?;
    hub.logged(&["server.eligible"], PATIENCE).await?;
    let client = HubClient::new(format!("http://{}", ready["http"]))?;
    client.register("ada", PASSWORD).await?;
    client.login("ada", PASSWORD, None).await?;

    let of_hub = hub_metrics(&ready).await?;
    let line = server.logged(&["server.ready"], PATIENCE).await?;
    let address = line.split("Some(").nth(1).and_then(|rest| rest.split(')').next());
    let of_server = scrape(address.context("no metrics in server.ready")?.parse()?).await?;
    let mut series = BTreeSet::new();
    for (name, kind) in families(&of_hub).into_iter().chain(families(&of_server)) {
        let endings: &[&str] = match kind.as_str() {
            "counter" => &["_total"],
            "histogram" => &["_bucket", "_sum", "_count"],
            _ => &[""],
        };
        series.extend(endings.iter().map(|ending| format!("{name}{ending}")));
    }
    Ok(Live { hub: families(&of_hub), server: families(&of_server), series })
}

fn families(text: &str) -> BTreeMap<String, String> {
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    types.map(|(name, kind)| (name.to_owned(), kind.to_owned())).collect()
}

/// A program of this machine, wherever it is.
#[cfg(feature = "operations")]
pub(crate) fn tool(name: &str) -> anyhow::Result<String> {
    let paths = std::env::var_os("PATH").context("no PATH")?;
    let sbin = ["/usr/sbin".into(), "/sbin".into()];
    let mut places = std::env::split_paths(&paths).chain(sbin).map(|place| place.join(name));
    let found = places.find(|path| path.is_file()).with_context(|| format!("{name} is not installed"))?;
    Ok(found.to_string_lossy().into_owned())
}

/// Whether the tests run as root.
#[cfg(feature = "operations")]
pub(crate) fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata("/proc/self").is_ok_and(|of| of.uid() == 0)
}
