//! `game-server check`: settings, key, addresses, and whether the hub's broker takes the key.

use anyhow::Context as _;
use hub_tests::hub::TestHub;
use hub_tests::process::Process;
use hub_tests::setup::{Ended, Scene};
use shared_msgs::ids::ServerId;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const KEY: &str = "GAME_SERVER__HUB__KEY";
const BROKERS: &str = "GAME_SERVER__HUB__BROKERS";

async fn check(scene: &Scene, env: &[(&str, &str)]) -> anyhow::Result<Ended> {
    scene.run_bound("game-server", &["check"], env).await
}

/// An address where nobody listens: taken, and given back.
fn nobody() -> anyhow::Result<String> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}

/// What answers one request as a hub of long ago would.
async fn another_time() -> anyhow::Result<String> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let addr = listener.local_addr()?.to_string();
    tokio_util::task::TaskTracker::new().spawn(async move {
        let (mut socket, _) = listener.accept().await?;
        let mut request = [0_u8; 1024];
        let _ = socket.read(&mut request).await?;
        socket
            .write_all(b"HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: 0\r\n\r\n")
            .await
    });
    Ok(addr)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_broker_takes_our_key_refuses_it_or_is_not_there() -> anyhow::Result<()> {
    let (hub, other) = (TestHub::start().await?, TestHub::start().await?);
    let id: ServerId = "alpha".parse()?;
    let (ours, theirs) = (hub.server_key(&id)?, other.server_key(&id)?);
    let (there, absent) = (hub.mqtt_addr().to_string(), nobody()?);
    let scene = Scene::new()?;
    let list = |brokers: &[&str]| format!("[\"{}\"]", brokers.join("\", \""));

    let ended = check(&scene, &[(KEY, &ours), (BROKERS, &list(&[&there]))]).await?;
    ended.found(0, "ok    hub.key: ", &["server alpha"])?;
    ended.found(0, &format!("ok    broker.{there}: "), &["takes our key"])?;
    let secret = ours.rsplit('.').next().context("a key")?;
    assert!(!ended.out.contains(&secret[..8]), "{}", ended.out);

    let ended = check(&scene, &[(KEY, &theirs), (BROKERS, &list(&[&there]))]).await?;
    ended.found(1, &format!("FAIL  broker.{there}: "), &["refused our key", "auth-hub server-key"])?;
    let ended = check(&scene, &[(KEY, &ours), (BROKERS, &list(&[&absent]))]).await?;
    ended.found(1, &format!("FAIL  broker.{absent}: "), &["unreachable", "start the hub"])?;
    // One is enough.
    let ended = check(&scene, &[(KEY, &ours), (BROKERS, &list(&[&absent, &there]))]).await?;
    ended.found(0, &format!("warn  broker.{absent}: "), &["unreachable"])?;
    ended.found(0, &format!("ok    broker.{there}: "), &["takes our key"])?;
    // The clocks: the hub's answers have a date.
    let env = [(KEY, &**ours), (BROKERS, &*list(&[&there]))];
    let http = hub.http_addr().to_string();
    let ended = scene.run("game-server", &["check", "--hub", &http], &env).await?;
    ended.found(0, "ok    clock.hub: ", &["our clock is"])?;
    let ended = scene.run("game-server", &["check", "--hub", &absent], &env).await?;
    ended.found(0, "warn  clock.hub: ", &[&absent, "--hub HOST:PORT"])?;
    let past = another_time().await?;
    let ended = scene.run("game-server", &["check", "--hub", &past], &env).await?;
    ended.found(1, "FAIL  clock.hub: ", &["s ahead of the hub's", "time service"])?;
    // Something else listens there.
    let ended = check(&scene, &[(KEY, &ours), (BROKERS, &list(&[&http]))]).await?;
    ended.found(1, &format!("FAIL  broker.{http}: "), &["; "])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_beside_a_running_server_leaves_its_link_alone() -> anyhow::Result<()> {
    let hub = TestHub::start().await?;
    hub.ready().await?;
    let key = hub.server_key(&"alpha".parse()?)?;
    let brokers = format!("[\"{}\"]", hub.mqtt_addr());
    let scene = Scene::new()?;
    let env = [(KEY, key.to_string()), (BROKERS, brokers.clone())];
    let folder = scene.path("x");
    let env = env.map(|(name, value)| (name.to_owned(), value)).into();
    let mut alpha = Process::start("alpha", "game-server", &[], &env, folder.parent().context("a folder")?)?;
    let game = Process::addr(&alpha.ready().await?, "game")?.to_string();
    alpha.logged(&["link.up"], std::time::Duration::from_secs(20)).await?;
    let more = [(KEY, &**key), (BROKERS, &*brokers), ("GAME_SERVER__GAME__LISTEN", &*game)];
    for _ in 0..3 {
        let ended = check(&scene, &more).await?;
        ended.found(0, "warn  listen.game.listen: ", &["in use", "if this server runs, all is well"])?;
        ended.found(0, "ok    broker.", &["takes our key"])?;
    }
    assert_eq!(
        (alpha.count_logged(&["link.up"]), alpha.count_logged(&["link.down"])),
        (1, 0),
        "{}",
        alpha.tail()
    );
    Ok(())
}

/// Settings, how the line begins, and what else it says.
type Case<'a> = (&'a [(&'a str, &'a str)], &'a str, &'a [&'a str]);

#[tokio::test]
async fn everything_that_would_stop_a_server_is_found() -> anyhow::Result<()> {
    let scene = Scene::new()?;
    let key = scene.make_hub_files(&[]).await?;
    scene.write("exposed", key.as_bytes())?;
    scene.mode("exposed", 0o644)?;
    scene.write("torn", &key.as_bytes()[..key.len() / 2])?;
    let absent = format!("[\"{}\"]", nobody()?);
    let file = "GAME_SERVER__HUB__KEY_FILE";
    let cases: [Case<'_>; 10] = [
        (&[], "FAIL  hub.key: ", &["`hub.key_file` is needed", "auth-hub server-key"]),
        (&[(file, "exposed")], "FAIL  hub.key: ", &["mode 644", "chmod 600"]),
        (&[(file, "torn")], "FAIL  hub.key: ", &["no server key"]),
        (&[(file, "missing")], "FAIL  hub.key: ", &["No such file"]),
        (&[(KEY, "hunter2")], "FAIL  hub.key: ", &["no server key"]),
        (&[("GAME_SERVER__GAME__LISTN", "hunter2")], "FAIL  configuration: ", &["did you mean `listen`?"]),
        (&[("GAME_SERVER__LOG__FILTER", "link=loud")], "FAIL  configuration: ", &["log.filter"]),
        (
            &[(KEY, &key), ("GAME_SERVER__GAME__MAX_PLAYERS", "0")],
            "FAIL  configuration: ",
            &["max_players must be 1 to"],
        ),
        (
            &[(KEY, &key), ("GAME_SERVER__GAME__LISTEN", "0.0.0.0:1")],
            "FAIL  listen.game.listen: ",
            &["can be reached from other machines"],
        ),
        (
            &[(KEY, &key), ("GAME_SERVER__GAME__ADVERTISE", "0.0.0.0:1")],
            "FAIL  configuration: ",
            &["clients cannot connect"],
        ),
    ];
    for (more, start, words) in cases {
        let env: Vec<_> = more.iter().copied().chain([(BROKERS, &*absent)]).collect();
        let ended = check(&scene, &env).await?;
        ended.found(1, start, words).with_context(|| format!("{more:?}"))?;
        assert!(!ended.out.contains("hunter2"), "{}", ended.out);
    }
    let env = [(KEY, &*key), (BROKERS, &*absent)];
    let ended = scene.run_with_descriptors(200, "game-server", &["check"], &env).await?;
    ended.found(1, "warn  descriptors: ", &["200 allowed", "game.connections_max", "LimitNOFILE"])?;
    let ended = scene.run("game-server", &["check", "--json"], &env).await?;
    let lines: Vec<serde_json::Value> =
        ended.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(ended.code == Some(1) && lines.iter().any(|line| line["level"] == "FAIL"), "{}", ended.out);
    assert_eq!(scene.run("game-server", &["chek"], &env).await?.code, Some(2));
    Ok(())
}
