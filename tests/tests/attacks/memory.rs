//! What a hub's process holds: when nobody wants anything of it, after a crowd of logins, and with five hundred game servers that have each
//! been sent hundreds of messages.
//!
//! The servers are played by this process: genuine keys, one connection each, every message opened and acknowledged. What the hub sends them
//! are probes, the smallest of its messages and so the dearest for what they say: it probes a server at once when its status comes by a new
//! stream.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use hub_tests::client::HubClient;
use hub_tests::hub::{PASSWORD, metric};
use hub_tests::process::Usage;
use hub_tests::rogue::{Heard, RogueServer};
use hub_tests::server::Home;
use hub_tests::site::{HubProcess, Site};
use shared_msgs::ids::ServerId;
use shared_msgs::keys::{FleetKeys, Purpose};
use shared_msgs::messages::{Order, ProbeEcho};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use zeroize::Zeroizing;

use crate::rig::ticks;

/// 40 MB.
const IDLE_KIB_MAX: u64 = 39_062;
/// 150 MB.
const BUSY_KIB_MAX: u64 = 146_484;
/// As by default.
const ARGON2_KIB: u64 = 19_456;
const SERVERS: usize = 500;
/// For each server; after two hundred it no longer grows. `ATTACK_MESSAGES=1000` by hand, with `HUB_BINARIES=target/release`.
const MESSAGES: u64 = 300;
/// For all of them, on a loaded machine.
const PATIENCE: Duration = Duration::from_mins(20);

/// Waits until it holds no more than this.
async fn shrinks(hub: &HubProcess, rss_kib_max: u64) -> anyhow::Result<Usage> {
    let mut ticks = ticks();
    let shrinks = async {
        loop {
            let usage = hub.process.usage()?;
            if usage.rss_kib <= rss_kib_max {
                return Ok(usage);
            }
            ticks.tick().await;
        }
    };
    let shrunk = timeout(Duration::from_mins(1), shrinks).await;
    shrunk.unwrap_or_else(|_| anyhow::bail!("it keeps {:?}", hub.process.usage()?))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_hub_holds_little_and_gives_back_what_logins_took() -> anyhow::Result<()> {
    const NEWCOMERS: usize = 16;
    let site = Site::new()?;
    let threads = 2;
    let settings = [
        ("AUTH_HUB__PASSWORDS__MEMORY_KIB", ARGON2_KIB.to_string()),
        ("AUTH_HUB__PASSWORDS__PASSES", "2".to_owned()),
        ("AUTH_HUB__PASSWORDS__THREADS", threads.to_string()),
    ];
    let hub = site.hub(&settings).await?;
    let at_start = shrinks(&hub, IDLE_KIB_MAX).await?;
    println!("at start {at_start:?}");
    let client = HubClient::new(format!("http://{}", hub.http))?;
    for round in 0..3 {
        let mut hashes = JoinSet::new();
        for n in 0..NEWCOMERS {
            let client = HubClient::new(format!("http://{}", hub.http))?;
            hashes.spawn(async move { client.register(&format!("ada-{round}-{n}"), PASSWORD).await });
        }
        while let Some(registered) = hashes.join_next().await {
            registered??;
        }
        let busy = hub.process.usage()?;
        let held = metric(hub.operators, "hub_argon2_memory_bytes").await?;
        assert!((1..=threads * ARGON2_KIB * 1024).contains(&held), "{held}");
        assert!(busy.rss_kib <= IDLE_KIB_MAX + threads * ARGON2_KIB, "{busy:?}");
        let idle = shrinks(&hub, IDLE_KIB_MAX).await?;
        let (cold, warm) = (login_time(&client).await?, login_time(&client).await?);
        println!(
            "round {round}: {} KiB after {NEWCOMERS} registrations, {} KiB later; a login takes {cold:.1?} cold, {warm:.1?} warm",
            busy.rss_kib, idle.rss_kib
        );
    }
    let mut ticks = ticks();
    let given_back = async {
        while metric(hub.operators, "hub_argon2_memory_bytes").await? > 0 {
            ticks.tick().await;
        }
        anyhow::Ok(())
    };
    timeout(Duration::from_mins(1), given_back).await.context("argon2 keeps memory")??;
    shrinks(&hub, IDLE_KIB_MAX).await.map(drop)
}

async fn login_time(client: &HubClient) -> anyhow::Result<Duration> {
    let begun = Instant::now();
    // A wrong password costs what a right one does, and no server is needed for it.
    let refused = client.login("ada", "not the password", None).await.err().context("let in")?;
    ensure!(refused.to_string().contains("invalid-credentials"), "{refused:?}");
    Ok(begun.elapsed())
}

/// What the hub's unit gives its process.
fn shipped_environment(name: &str) -> anyhow::Result<String> {
    let unit = include_str!("../../../config/auth-hub.service");
    let assigned = unit.lines().find_map(|line| line.strip_prefix("Environment=")?.strip_prefix(name));
    Ok(assigned.and_then(|rest| rest.strip_prefix('=')).context(name.to_owned())?.to_owned())
}

/// A hub's broker, and the keys of its fleet.
#[derive(Debug)]
struct Fleet {
    mqtt: SocketAddr,
    keys: FleetKeys,
}

impl Home for Fleet {
    fn broker(&self) -> SocketAddr {
        self.mqtt
    }

    fn key_line(&self, server: &ServerId) -> anyhow::Result<Zeroizing<String>> {
        Ok(self.keys.server_key(server, 1).to_line())
    }
}

/// Takes what comes on its inbox until it has this many payloads; the hub is made to send the next one each time.
async fn talk(mut server: RogueServer, payloads: u64) -> anyhow::Result<RogueServer> {
    let mut echo = None;
    for _ in 0..payloads {
        server.reconnected();
        let status = server.status(echo.take());
        server.say(Purpose::Status, &status).await?;
        for heard in server.hear().await? {
            if let Heard::Order(_, Order::Probe { hub, n }) = heard {
                echo = Some(ProbeEcho { hub, n });
            }
        }
    }
    Ok(server)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_servers_that_are_spoken_to_fit_into_150_megabytes() -> anyhow::Result<()> {
    let messages = match std::env::var("ATTACK_MESSAGES") {
        Ok(count) => count.parse()?,
        Err(_) => MESSAGES,
    };
    let site = Site::new()?;
    let threshold = shipped_environment("MALLOC_MMAP_THRESHOLD_")?;
    let per_address_max = (SERVERS + 1).to_string();
    let settings = [
        ("AUTH_HUB__MQTT__CONNECTIONS_PER_ADDRESS_MAX", per_address_max),
        ("MALLOC_MMAP_THRESHOLD_", threshold),
    ];
    let hub = site.hub(&settings).await?;
    let text = Zeroizing::new(std::fs::read_to_string(site.path().join("fleet.key"))?);
    let fleet = Fleet { mqtt: hub.mqtt, keys: FleetKeys::parse(&text)? };
    println!("idle: {:?}", hub.process.usage()?);
    let mut servers = Vec::new();
    for n in 0..SERVERS {
        servers.push(RogueServer::connect(&fleet, &format!("crowd-{n:03}").parse()?).await?);
    }
    println!("connected: {:?}", hub.process.usage()?);
    let mut done = 0;
    // In tenths, to see it grow.
    for tenth in 1..=10 {
        let begun = Instant::now();
        let upto = messages * tenth / 10;
        let mut talks = JoinSet::new();
        for server in servers.drain(..) {
            talks.spawn(talk(server, upto - done));
        }
        while let Some(talk) = timeout(PATIENCE, talks.join_next()).await.context("too slow")? {
            servers.push(talk??);
        }
        done = upto;
        println!("{done} messages each after {:.1?}: {:?}", begun.elapsed(), hub.process.usage()?);
    }
    let usage = hub.process.usage()?;
    assert_eq!(servers.len(), SERVERS);
    // All of them, and the hub's own.
    assert_eq!(metric(hub.operators, "hub_mqtt_connections").await?, SERVERS as u64 + 1);
    assert_eq!(metric(hub.operators, "hub_mqtt_slow_consumers_total").await?, 0);
    assert!(usage.rss_kib <= BUSY_KIB_MAX, "{usage:?}");
    Ok(())
}
