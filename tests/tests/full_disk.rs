//! A full disk: at the start it is named; under a running hub it is answered, nothing acknowledged is lost, and it passes.
//!
//! Mounts a small file system, so it needs root. It does not skip itself: it is behind the feature `full-disk`.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use hub_tests::client::{ClientError, GameClient, HubClient};
use hub_tests::hub::PASSWORD;
use hub_tests::process::Process;
use hub_tests::setup::{HUB, Scene, hub_with};
use hub_tests::site::env;

const PATIENCE: Duration = Duration::from_secs(30);
/// As many accounts as would never fit.
const ACCOUNTS_MAX: usize = 10_000;

/// A file system of its own; gone when dropped.
struct Disk(PathBuf);

impl Disk {
    fn mount(at: PathBuf, size: &str) -> anyhow::Result<Self> {
        std::fs::create_dir(&at)?;
        let options = format!("size={size},mode=700");
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "none"])
            .arg(&at)
            .status()?;
        ensure!(mounted.success(), "mount needs root");
        Ok(Self(at))
    }

    /// Takes what room there is, into one file.
    fn fill(&self) -> anyhow::Result<()> {
        let mut file = File::options().create(true).append(true).open(self.0.join("filler"))?;
        let block = [0_u8; 512];
        while file.write_all(&block).is_ok() {}
        Ok(())
    }

    fn make_room(&self) -> anyhow::Result<()> {
        Ok(std::fs::remove_file(self.0.join("filler"))?)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a process that was killed may take a moment to let go.
        let _ = std::process::Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[tokio::test]
async fn a_full_disk_at_the_start_is_named() -> anyhow::Result<()> {
    let scene = Scene::new()?;
    let disk = Disk::mount(scene.path("disk"), "256k")?;
    disk.fill()?;
    let database = ("AUTH_HUB__DATABASE__PATH", "disk/hub.sqlite");
    scene.hub(&[database]).await?.failed(1, &["database.path", "disk is full", "make room"])?;
    let key = ("AUTH_HUB__KEYS__FLEET_KEY_FILE", "disk/fleet.key");
    scene.hub(&[key]).await?.failed(1, &["fleet key", "disk/fleet.key", "make room"])?;
    let found = scene.run("auth-hub", &["check"], &hub_with(&[database])).await?;
    found.found(1, "FAIL  database.room: ", &["0 MiB free", "make room"])?;
    disk.make_room()?;
    scene.make_hub_files(&[key]).await.map(drop)
}

/// Registers accounts until one is refused; gives the names of those that were acknowledged.
async fn register_until_refused(client: &HubClient) -> anyhow::Result<Vec<String>> {
    let mut kept = Vec::new();
    for n in 0..ACCOUNTS_MAX {
        let login = format!("player-{n}");
        match client.register(&login, PASSWORD).await {
            Ok(_) => kept.push(login),
            Err(ClientError::Problem(problem)) => {
                ensure!(problem.status == 503 && problem.code == "hub-busy", "{problem:?}");
                return Ok(kept);
            }
            Err(other) => return Err(other.into()),
        }
    }
    anyhow::bail!("the disk never filled")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_fills_up_under_a_hub_loses_nothing_and_passes() -> anyhow::Result<()> {
    let scene = Scene::new()?;
    let disk = Disk::mount(scene.path("disk"), "2m")?;
    let folder: &Path = &disk.0;
    let more = [
        ("AUTH_HUB__DATABASE__PATH", "disk/hub.sqlite"),
        ("AUTH_HUB__THROTTLE__REGISTRATION_BURST", "100000"),
        ("AUTH_HUB__THROTTLE__ADDRESS_BURST", "100000"),
        ("AUTH_HUB__THROTTLE__HANDOVER_BURST", "100000"),
    ];
    let settings: Vec<_> = HUB.into_iter().chain(more).collect();
    let key = scene.make_hub_files(&more).await?;
    let dir = folder.parent().context("a folder")?;
    let start = async |name: &str| {
        let mut hub = Process::start(name, "auth-hub", &["serve"], &env(&settings), dir)?;
        let ready = hub.ready().await?;
        let client = HubClient::new(format!("http://{}", Process::addr(&ready, "http")?))?;
        anyhow::Ok((hub, client, Process::addr(&ready, "mqtt")?))
    };
    let (mut hub, client, mqtt) = start("hub").await?;
    let broker = format!("[\"{mqtt}\"]");
    let server = env(&[("GAME_SERVER__HUB__BROKERS", &broker), ("GAME_SERVER__HUB__KEY", &key)]);
    let mut alpha = Process::start("alpha", "game-server", &[], &server, dir)?;
    alpha.ready().await?;
    hub.logged(&["server.eligible"], PATIENCE).await?;
    client.register("ada", PASSWORD).await?;

    disk.fill()?;
    let kept = register_until_refused(&client).await?;
    hub.logged(&["disk is full", "make room"], PATIENCE).await?;
    println!("{} more accounts fitted into the log", kept.len());
    // Who is there still gets in, or hears that the hub is busy: never that something broke.
    match client.login("ada", PASSWORD, None).await {
        Ok(login) => {
            let ticket = login.handover.context("no handover")?;
            let (_client, outcome) = GameClient::enter(ticket.tcp()?, &ticket.token).await?;
            ensure!(outcome.code() == "welcome", "{outcome:?}");
        }
        Err(ClientError::Problem(problem)) => ensure!(problem.code == "hub-busy", "{problem:?}"),
        Err(other) => return Err(other.into()),
    }
    ensure!(hub.ended()?.is_none(), "it runs on:\n{}", hub.tail());

    disk.make_room()?;
    client.register("late", PASSWORD).await?;
    client.login("late", PASSWORD, None).await?.handover.context("no handover")?;
    // Killed, so that only what is on the disk is left.
    hub.kill().await?;
    let (_hub, client, _) = start("again").await?;
    for login in kept.iter().map(String::as_str).chain(["ada", "late"]) {
        let taken = client.register(login, PASSWORD).await.err();
        let Some(ClientError::Problem(problem)) = taken else { panic!("{login} is lost: {taken:?}") };
        assert_eq!(problem.code, "login-taken", "{login}");
    }
    Ok(())
}
