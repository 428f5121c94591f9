//! `auth-hub check`: what it finds wrong with settings, files, addresses and clocks, and that a hub beside it does not notice.

use anyhow::{Context as _, ensure};
use hub_tests::client::HubClient;
use hub_tests::hub::PASSWORD;
use hub_tests::process::Process;
use hub_tests::setup::shell::sql;
use hub_tests::setup::{Ended, HUB, Scene, hub_with};
use hub_tests::site::env;
use shared_msgs::clock::{Clock as _, SystemClock};

const KEY: &str = "AUTH_HUB__KEYS__FLEET_KEY_FILE";
const DATABASE: &str = "AUTH_HUB__DATABASE__PATH";

async fn check(scene: &Scene, more: &[(&str, &str)]) -> anyhow::Result<Ended> {
    scene.run_bound("auth-hub", &["check"], &hub_with(more)).await
}

#[tokio::test]
async fn a_hub_that_would_start_is_told_so_and_nothing_is_made() -> anyhow::Result<()> {
    let scene = Scene::new()?;
    let ended = check(&scene, &[]).await?;
    ended.found(0, "warn  keys.fleet_key_file: ", &["does not exist yet", "the first start makes it"])?;
    ended.found(0, "warn  database.path: ", &["does not exist yet", "the first start makes it"])?;
    assert!(scene.snapshot()?.is_empty(), "looking makes nothing");

    let key = scene.make_hub_files(&[]).await?;
    let before = scene.snapshot()?;
    let ended = check(&scene, &[]).await?;
    for (start, words) in [
        ("ok    configuration: ", ["known", ""]),
        ("ok    keys.fleet_key_file: ", ["fleet.key", "private"]),
        ("ok    database.path: ", ["hub.sqlite", "no hub runs on it"]),
        ("ok    database.room: ", ["MiB free", ""]),
        ("ok    database.content: ", ["whole", "version "]),
        ("ok    database.clock: ", ["not behind", ""]),
        ("ok    listen.http.listen: ", ["127.0.0.1:0", "any free port"]),
        ("ok    listen.mqtt.listen: ", ["127.0.0.1:0", "any free port"]),
        ("ok    clock: ", ["set", ""]),
    ] {
        ended.found(0, start, &words)?;
    }
    assert_eq!(scene.snapshot()?, before, "looking changes nothing");
    let fleet = String::from_utf8(std::fs::read(scene.path("fleet.key"))?)?;
    for secret in [&*key, fleet.trim()] {
        let secret = secret.rsplit('.').next().context("a key")?;
        assert!(!ended.out.contains(&secret[..8]), "{}", ended.out);
    }
    Ok(())
}

/// Settings, how the line begins, and what else it says. All of these fail.
type Case<'a> = (&'a [(&'a str, &'a str)], &'a str, &'a [&'a str]);

#[tokio::test]
async fn everything_that_would_stop_a_hub_is_found() -> anyhow::Result<()> {
    let scene = Scene::new()?;
    scene.make_hub_files(&[]).await?;
    let (key, good) = (std::fs::read(scene.path("fleet.key"))?, std::fs::read(scene.path("hub.sqlite"))?);
    scene.write("exposed.key", &key)?;
    scene.mode("exposed.key", 0o644)?;
    scene.write("torn.key", &key[..key.len() / 2])?;
    for name in ["header", "page", "newer", "ahead", "readonly", "unreadable"] {
        scene.write(name, &good)?;
    }
    scene.overwrite("header", 0, &[0xA5; 100])?;
    scene.overwrite("page", 4_096, &[0xA5; 4_096])?;
    let later = "INSERT INTO _sqlx_migrations SELECT 999, description, installed_on, success, checksum, execution_time \
                 FROM _sqlx_migrations LIMIT 1";
    sql(&scene, "newer", later).await?;
    let in_an_hour = (SystemClock::new().now().unix.0 + 3_600_000) << 16;
    sql(&scene, "ahead", &format!("INSERT OR REPLACE INTO hub_clock (id, ceiling) VALUES (1, {in_an_hour})"))
        .await?;
    scene.mode("readonly", 0o400)?;
    scene.mode("unreadable", 0o000)?;
    std::fs::create_dir(scene.path("closed"))?;
    scene.mode("closed", 0o500)?;
    let held = std::net::TcpListener::bind("127.0.0.1:0")?;
    let taken = held.local_addr()?.to_string();
    let before = scene.snapshot()?;
    let cases: &[Case<'_>] = &[
        (
            &[("AUTH_HUB__HTTP__LISTN", "hunter2")],
            "FAIL  configuration: ",
            &["AUTH_HUB__HTTP__LISTN", "did you mean `listen`?"],
        ),
        (
            &[("AUTH_HUB__MQTT__SERVERS_MAX", "0")],
            "FAIL  configuration: ",
            &["mqtt.servers_max must be 1 to 65536"],
        ),
        (
            &[("AUTH_HUB__LOG__FILTER", "info,link=loud")],
            "FAIL  configuration: ",
            &["log.filter", "link=debug"],
        ),
        (&[(KEY, "exposed.key")], "FAIL  keys.fleet_key_file: ", &["mode 644", "chmod 600"]),
        (&[(KEY, "torn.key")], "FAIL  keys.fleet_key_file: ", &["restore it from its backup"]),
        (&[(KEY, ".")], "FAIL  keys.fleet_key_file: ", &["not a regular file"]),
        (&[(KEY, "closed/fleet.key")], "FAIL  keys.fleet_key_file: ", &["closed cannot be written", "chmod"]),
        (
            &[(DATABASE, "closed/deep/hub.sqlite")],
            "FAIL  database.path: ",
            &["closed cannot be written", "chmod"],
        ),
        (&[(DATABASE, "readonly")], "FAIL  database.path: ", &["readonly cannot be written", "chmod"]),
        (&[(DATABASE, "unreadable")], "FAIL  database.content: ", &["cannot be opened"]),
        (&[(DATABASE, "closed")], "FAIL  database.path: ", &["is no file", "name a file"]),
        (&[(DATABASE, "header")], "FAIL  database.content: ", &["not a database"]),
        (&[(DATABASE, "page")], "FAIL  database.content: ", &["damaged", "restore it from its backup"]),
        (&[(DATABASE, "newer")], "FAIL  database.content: ", &["999", "run the newer program"]),
        (&[(DATABASE, "ahead")], "FAIL  database.clock: ", &["s behind", "time service"]),
        (&[("AUTH_HUB__HTTP__LISTEN", &taken)], "FAIL  listen.http.listen: ", &["in use", "another port"]),
        (&[("AUTH_HUB__MQTT__LISTEN", &taken)], "FAIL  listen.mqtt.listen: ", &["in use", "another port"]),
    ];
    for (more, start, words) in cases {
        let ended = check(&scene, more).await?;
        ended.found(1, start, words).with_context(|| format!("{more:?}"))?;
        assert!(!ended.out.contains("hunter2"), "{}", ended.out);
    }
    assert_eq!(scene.snapshot()?, before, "looking changes nothing");
    Ok(())
}

#[tokio::test]
async fn what_wants_attention_is_a_warning_and_misuse_is_2() -> anyhow::Result<()> {
    let scene = Scene::new()?;
    scene.make_hub_files(&[]).await?;
    for (limit, code, start) in [(100, 1, "FAIL  descriptors: "), (256, 0, "warn  descriptors: ")] {
        let ended = scene.run_with_descriptors(limit, "auth-hub", &["check"], &HUB).await?;
        let limit = format!("{limit} allowed");
        ended.found(code, start, &[&limit, "http.connections_max", "LimitNOFILE"])?;
    }
    scene.mode("hub.sqlite", 0o644)?;
    check(&scene, &[]).await?.found(
        0,
        "warn  database.path: ",
        &["mode 644", "password hashes", "chmod 600"],
    )?;
    for args in [&["chek"][..], &["check", "--yaml"], &["check", "now"]] {
        assert_eq!(scene.run("auth-hub", args, &HUB).await?.code, Some(2), "{args:?}");
    }
    let ended = scene.run("auth-hub", &["check", "--json"], &HUB).await?;
    assert_eq!(ended.code, Some(0));
    let lines: Vec<serde_json::Value> =
        ended.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let warned = lines.iter().find(|line| line["what"] == "database.path").context("the database")?;
    assert_eq!(warned["level"], "warn");
    assert!(lines.iter().all(|line| line["detail"].is_string() && line["remedy"].is_string()));
    assert!(lines.len() >= 9, "{}", ended.out);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_beside_a_running_hub_finds_it_and_leaves_it_alone() -> anyhow::Result<()> {
    let scene = Scene::new()?;
    let env = env(&HUB);
    let folder = scene.path("fleet.key");
    let mut hub = Process::start("hub", "auth-hub", &["serve"], &env, folder.parent().context("a folder")?)?;
    let ready = hub.ready().await?;
    let (http, mqtt) = (Process::addr(&ready, "http")?, Process::addr(&ready, "mqtt")?);
    let client = HubClient::new(format!("http://{http}"))?;
    client.register("ada", PASSWORD).await?;
    let ports = [("AUTH_HUB__HTTP__LISTEN", http.to_string()), ("AUTH_HUB__MQTT__LISTEN", mqtt.to_string())];
    let ports = ports.each_ref().map(|(name, value)| (*name, value.as_str()));
    let kept = |scene: &Scene| -> anyhow::Result<_> {
        let all = scene.snapshot()?;
        // SQLite's readers note there what they read; the log of the hub's own words grows.
        Ok(all
            .into_iter()
            .filter(|(name, _)| name != "hub.sqlite-shm" && name != "hub.log")
            .collect::<Vec<_>>())
    };
    let before = kept(&scene)?;
    let ended = check(&scene, &ports).await?;
    ended.found(0, "ok    database.path: ", &["a hub runs on it"])?;
    ended.found(0, "ok    database.content: ", &["whole"])?;
    ended.found(0, "ok    listen.http.listen: ", &["is in use", "a hub on this database runs"])?;
    ended.found(0, "ok    listen.mqtt.listen: ", &["is in use", "a hub on this database runs"])?;
    assert_eq!(kept(&scene)?, before);
    client.register("bob", PASSWORD).await?;
    // After a crash the log beside the file counts, too, and stays.
    hub.kill().await?;
    let before = kept(&scene)?;
    check(&scene, &[]).await?.found(0, "ok    database.content: ", &["whole, version "])?;
    ensure!(kept(&scene)? == before, "looking changes nothing");
    Ok(())
}
