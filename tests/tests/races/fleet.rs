//! The fleet as a whole: full, draining, and coming back to a hub that has forgotten everything.

use std::time::Duration;

use hub_tests::client::{ClientError, GameClient};
use hub_tests::events::log;
use hub_tests::hub::{PASSWORD, TestHub};
use hub_tests::proxy::Way;
use hub_tests::server::TestServer;
use shared_msgs::clock::{Clock as _, SystemClock};

use crate::sessions::{enter, problem};

/// Servers of the restart test.
const SERVERS: usize = 50;
/// Of which so many have a player.
const WITH_PLAYERS: usize = 5;
/// Far longer than news takes on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(40);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_servers_come_back_to_a_restarted_hub_and_no_player_notices() -> anyhow::Result<()> {
    let hub = TestHub::start().await?;
    let mut servers = Vec::new();
    let mark = log().mark();
    for _ in 0..SERVERS {
        servers.push(TestServer::builder(&hub).max_players(2).start_unheard().await?);
    }
    for server in &servers {
        server.eligible(mark).await;
    }
    let mut players = Vec::new();
    for (n, server) in servers.iter().take(WITH_PLAYERS).enumerate() {
        hub.register(&format!("player-{n}")).await?;
        players.push(enter(&hub.ticket(&format!("player-{n}"), Some(server.id())).await?).await?);
    }

    let mark = log().mark();
    let hub = hub.restart().await?;
    let (clock, registered) = (SystemClock::new(), hub.register("late").await);
    let up_at = clock.now().mono;
    // The cold hub holds this login until there is a place.
    let late = hub.ticket("late", None).await?;
    let login_ms = clock.now().mono.since(up_at).as_millis();
    for server in &servers {
        server.eligible(mark).await;
    }
    let all_ms = clock.now().mono.since(up_at).as_millis();
    println!(
        "{SERVERS} servers eligible {all_ms} ms after the hub's restart, the first login after {login_ms} ms"
    );
    registered?;
    assert!(late.confirmed);
    let _late = enter(&late).await?;
    for (n, player) in players.iter_mut().enumerate() {
        // The late one went to the first server that was back, whoever plays there.
        let beside = if servers[n].id() == &late.server.id { "\nlate" } else { "" };
        assert_eq!(player.ask(b"who").await?, format!("player-{n}{beside}").as_bytes());
    }
    for (n, server) in servers.iter().enumerate() {
        assert_eq!(server.count(mark, "session.kicked"), 0);
        assert_eq!(server.count(mark, "server.superseded"), 0);
        let here = u32::from(n < WITH_PLAYERS) + u32::from(server.id() == &late.server.id);
        server.stands(here, 0, 0).await;
    }
    // It has learnt again who is where: a second login ends the first session.
    let moved = hub.ticket("player-0", Some(servers[SERVERS - 1].id())).await?;
    assert_eq!(players[0].ended().await?.code(), "superseded");
    let _moved = enter(&moved).await?;
    Ok(())
}

/// Waits until the hub has heard of a free place.
async fn has_room(hub: &TestHub) -> anyhow::Result<()> {
    let heard = async {
        loop {
            let (_, body) = hub.client().get("/servers").await?;
            let page: serde_json::Value = serde_json::from_str(&body)?;
            let servers = page["servers"].as_array().into_iter().flatten();
            if servers.clone().any(|server| server["players"] == 0) {
                return Ok(());
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, heard).await?
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_all_servers_are_full_the_client_is_told_when_to_ask_again() -> anyhow::Result<()> {
    let hub = TestHub::start().await?;
    let a = TestServer::builder(&hub).max_players(1).start().await?;
    let b = TestServer::builder(&hub).max_players(1).start().await?;
    for login in ["ada", "bob", "cyd"] {
        hub.register(login).await?;
    }
    let ada = enter(&hub.ticket("ada", None).await?).await?;
    let _bob = enter(&hub.ticket("bob", None).await?).await?;
    let full = problem(hub.login("cyd", None).await);
    assert_eq!((full.status, full.code.as_str()), (503, "all-servers-full"));
    assert!(full.handover_id.is_some(), "support can find it");
    let header = hub_tests::client::http(None).build()?;
    let body = serde_json::json!({"login": "cyd", "password": PASSWORD});
    let raw = header.post(format!("http://{}/auth/login", hub.http_addr())).json(&body).send().await?;
    let retry_after = raw.headers().get("retry-after").unwrap().to_str()?.to_owned();
    assert_eq!(Some(retry_after.parse::<u64>()?), full.retry_after_s);

    drop(ada);
    has_room(&hub).await?;
    // The password was right: no need to show it again.
    let ticket = hub.client().handover(&full.access_token.unwrap(), None).await?;
    let _cyd = enter(&ticket).await?;
    a.stands(1, 0, 0).await;
    b.stands(1, 0, 0).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_draining_server_gets_nobody_new_and_says_so_to_who_waits() -> anyhow::Result<()> {
    let hub = TestHub::start().await?;
    let mut a = TestServer::builder(&hub).drain_ms(60_000).start().await?;
    let b = TestServer::builder(&hub).start().await?;
    for login in ["ada", "bob", "cyd"] {
        hub.register(login).await?;
    }
    let mut ada = enter(&hub.ticket("ada", Some(a.id())).await?).await?;
    let mark = log().mark();
    a.proxy().hold(Way::Down);
    let early = hub.ticket("bob", Some(a.id())).await?;
    assert!(!early.confirmed);
    let mut bob = GameClient::connect(early.tcp()?).await?;
    bob.say_hello(&early.token).await?;
    a.saw(mark, "client.parked").await;
    a.stop();
    assert_eq!(bob.outcome().await?.code(), "server-draining");
    a.proxy().release(Way::Down);
    // The grant arrives at a server that takes nobody any more, so its slot comes back.
    a.saw(mark, "grant.refused").await;
    let draining = problem(hub.login("cyd", Some(a.id())).await);
    assert_eq!((draining.status, draining.code.as_str()), (409, "server-draining"));
    for login in ["bob", "cyd"] {
        assert_eq!(hub.ticket(login, None).await?.server.id, *b.id());
    }
    assert_eq!(ada.ask(b"who").await?, b"ada", "who plays may finish");
    drop(ada);
    let ended = a.ended().await?;
    assert_eq!(ended, game_server::server::Outcome::Exit(shared_msgs::process::ExitReason::Clean));
    a.stands(0, 0, 0).await;
    b.stands(0, 2, 0).await;
    Ok(())
}

/// The client that was told to wait asks again, and its first grant is not left behind.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_early_client_asks_again_and_gets_in_elsewhere() -> anyhow::Result<()> {
    let hub = TestHub::start().await?;
    let a = TestServer::builder(&hub).start().await?;
    let b = TestServer::builder(&hub).start().await?;
    hub.register("ada").await?;
    let mark = log().mark();
    a.proxy().hold(Way::Down);
    let login = hub.login("ada", Some(a.id())).await?;
    let early = login.handover.ok_or(ClientError::NoEndpoint)?;
    let mut ada = GameClient::connect(early.tcp()?).await?;
    ada.say_hello(&early.token).await?;
    a.saw(mark, "client.parked").await;
    let (ticket, ()) =
        tokio::join!(hub.client().handover(&login.access_token, Some(b.id().as_str())), async {
            b.saw(mark, "grant.accepted").await;
            a.proxy().release(Way::Down);
        });
    let ticket = ticket?;
    assert_eq!(
        a.game().occupancy().players,
        0,
        "the early one was still in game when the other place was answered"
    );
    // If the grant came before its end, the client was let in and out again.
    let first = ada.outcome().await?;
    let last = if first.code() == "welcome" { ada.ended().await? } else { first };
    assert_eq!(last.code(), "superseded");
    let _client = enter(&ticket).await?;
    a.stands(0, 0, 0).await;
    b.stands(1, 0, 0).await;
    Ok(())
}
