//! A hub's process that runs out of file descriptors, and one that is stormed for long: it neither spins nor grows, and serves again after.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use hub_tests::hub::metric;
use hub_tests::process::{Process, binaries};
use hub_tests::rogue::RogueServer;
use hub_tests::server::Home;
use hub_tests::setup::HUB;
use hub_tests::site::env;
use shared_msgs::ids::ServerId;
use tempfile::TempDir;
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::raw::{self, Connect, PINGREQ, PINGRESP, Raw, within};
use crate::rig::{self, EVENTS, INBOX, STATUS, round_trip};

/// Large enough that the router's logs are full after a few rounds.
const PAYLOAD_BYTES: usize = 16 * 1024;

const PATIENCE: Duration = Duration::from_secs(30);

/// A hub in a process of its own.
#[derive(Debug)]
struct Child {
    dir: TempDir,
    process: Process,
    operators: SocketAddr,
    mqtt: SocketAddr,
}

impl Home for Child {
    fn broker(&self) -> SocketAddr {
        self.mqtt
    }

    fn key_line(&self, server: &ServerId) -> anyhow::Result<Zeroizing<String>> {
        let output = std::process::Command::new(binaries()?.join("auth-hub"))
            .args(["server-key", server.as_str()])
            .envs(settings())
            .current_dir(self.dir.path())
            .output()?;
        anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?.trim().to_owned().into())
    }
}

fn settings() -> BTreeMap<String, String> {
    let mut settings = env(&HUB);
    // The router keeps a few MiB of what was said, by the size of the fleet: the smallest is full the soonest.
    settings.extend(env(&[("AUTH_HUB__MQTT__SERVERS_MAX", "8")]));
    settings
}

impl Child {
    async fn start(descriptors_max: u32) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let mut process = Process::start_with_descriptors(
            descriptors_max,
            "hub",
            "auth-hub",
            &["serve"],
            &settings(),
            dir.path(),
        )?;
        let ready = process.ready().await?;
        let (operators, mqtt) = (Process::addr(&ready, "operators")?, Process::addr(&ready, "mqtt")?);
        process.logged(&["\"link.up\""], PATIENCE).await?;
        Ok(Self { dir, process, operators, mqtt })
    }

    /// The healthy pair is all that is left, by the hub's own account.
    async fn settles(&self) -> anyhow::Result<()> {
        let settles = async {
            while metric(self.operators, "hub_mqtt_connections").await? != 2
                || metric(self.operators, "hub_mqtt_router_links").await? != 3
            {}
            Ok(())
        };
        tokio::time::timeout(PATIENCE, settles).await.context("it never settles")?
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_descriptors_it_serves_whom_it_has_and_does_not_spin() -> anyhow::Result<()> {
    const DESCRIPTORS: u32 = 64;
    const FAILURES: usize = 15;
    let hub = Child::start(DESCRIPTORS).await?;
    let mut healthy = RogueServer::connect(&hub, &"healthy".parse()?).await?;
    round_trip(&mut healthy).await?;
    let newcomer = rig::connect(&hub, "newcomer").bytes();
    // More than there are descriptors: the mute among them are sent away one by one, and the next take their places.
    let mut crowd = Vec::new();
    for _ in 0..3 * DESCRIPTORS {
        crowd.push(Raw::open(hub.mqtt).await);
    }
    hub.process.logged(&["net.accept_failed"], PATIENCE).await?;
    let (begun, before) = (Instant::now(), hub.process.usage()?);
    assert!(before.descriptors >= DESCRIPTORS as usize - 2, "{before:?}");
    let failed = hub.process.count_logged(&["net.accept_failed"]);
    hub.process.logged_times(&["net.accept_failed"], failed + FAILURES, PATIENCE).await?;
    let (lasted, after) = (begun.elapsed(), hub.process.usage()?);
    let cpu = after.cpu.saturating_sub(before.cpu);
    println!("{FAILURES} accepts failed in {lasted:?}, {cpu:?} of processor time");
    // A hundredth of a second between two of them; a fifth of a core is much for that.
    assert!(lasted > Duration::from_millis(9) * u32::try_from(FAILURES)?, "it spins: {lasted:?}");
    assert!(cpu < lasted / 5 + Duration::from_millis(50), "it spins: {cpu:?} in {lasted:?}");
    // Who was in is served as before.
    round_trip(&mut healthy).await?;
    // Everybody leaves, and there is room again. As long as descriptors are short, whoever has not said who it is may be sent away.
    drop(crowd);
    hub.settles().await?;
    let mut newcomer = Raw::saying(hub.mqtt, &newcomer).await;
    newcomer.expect(&raw::WELCOME).await;
    newcomer.send(&PINGREQ).await;
    newcomer.expect(&PINGRESP).await;
    drop(newcomer);
    round_trip(&mut healthy).await?;
    hub.settles().await?;
    assert!(metric(hub.operators, "hub_accepts_failed_total{listener=\"mqtt\"}").await? >= FAILURES as u64);
    assert_eq!(metric(hub.operators, "hub_mqtt_router_alive").await?, 1);
    Ok(())
}

/// Everything that bad clients do, once over.
async fn storm(hub: &Child, connect: &Connect) {
    let good = connect.bytes();
    let bad = Connect { password: Some(b"1.1.x".to_vec()), ..connect.clone() }.bytes();
    for n in 0..30_u16 {
        // Not let in; not MQTT; mute and gone.
        assert_eq!(Raw::saying(hub.mqtt, &bad).await.rest().await, raw::refusal(4));
        assert_eq!(Raw::saying(hub.mqtt, b"GET / HTTP/1.1\r\n\r\n").await.rest().await, b"");
        Raw::open(hub.mqtt).await.reset();
        // In, and taken over twice while it works; the last one leaves its will.
        let mut older = Vec::new();
        for _ in 0..3 {
            let mut raw = Raw::saying(hub.mqtt, &good).await;
            raw.expect(&raw::WELCOME).await;
            raw.send(&raw::subscribe(1, &[(INBOX, 1), ("#", 0)])).await;
            raw.expect(&raw::suback(1, &[1, 0x80])).await;
            raw.send(&raw::publish(EVENTS, 1, n + 1, &[0xa5; PAYLOAD_BYTES])).await;
            raw.expect(&raw::ack(0x40, n + 1)).await;
            older.push(raw);
        }
        let mut last = older.pop().unwrap();
        for mut raw in older {
            assert_eq!(raw.rest().await, b"");
        }
        last.try_send(&raw::publish("é", 0, 0, b"x")).await;
        assert_eq!(last.rest().await, b"");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_over_and_over_takes_no_more_memory_than_once() -> anyhow::Result<()> {
    const ROUNDS: u32 = 12;
    const WARM_UP: u32 = 5;
    // What a busy allocator keeps more or less of. A leak of 2.5 KiB a connection would be seen.
    const SLACK_KIB: u64 = 3 * 1024;
    let hub = Child::start(256).await?;
    let mut healthy = RogueServer::connect(&hub, &"healthy".parse()?).await?;
    let will = Some((STATUS.to_owned(), vec![0xa5; PAYLOAD_BYTES], 1, false));
    let connect = Connect { will, ..rig::connect(&hub, rig::MALLORY) };
    let mut warm = None;
    for round in 0..ROUNDS {
        within(storm(&hub, &connect)).await;
        round_trip(&mut healthy).await?;
        hub.settles().await?;
        let usage = hub.process.usage()?;
        println!("round {round}: {usage:?}");
        if round + 1 == WARM_UP {
            warm = Some(usage);
        }
    }
    let (warm, last) = (warm.context("too few rounds")?, hub.process.usage()?);
    println!("after {WARM_UP} rounds {} KiB, after {ROUNDS} {} KiB", warm.rss_kib, last.rss_kib);
    assert!(last.rss_kib < warm.rss_kib + SLACK_KIB, "{warm:?} {last:?}");
    Ok(())
}
