//! Answers that are lost on the way, and requests that are sent again with their key: one slot, one token.

use std::time::Duration;

use hub_tests::client::{ClientError, GameClient, HubClient, Outcome, Ticket};
use hub_tests::events::log;
use hub_tests::hub::{PASSWORD, TestHub};
use hub_tests::proxy::{FaultProxy, Way};
use hub_tests::server::TestServer;
use tokio::task::JoinSet;
use tokio::time::Instant;

const KEY: &str = "d2c1a7c0-5f0e-4a55";

async fn log_in(client: &HubClient, login: &str) -> Result<Ticket, ClientError> {
    client.login(login, PASSWORD, None).await?.handover.ok_or(ClientError::NoEndpoint)
}

/// Logs in, and the answer does not come through.
async fn log_in_and_lose_the_answer(hub: &TestHub, server: &TestServer, key: &str) -> anyhow::Result<()> {
    let mark = log().mark();
    let proxy = FaultProxy::start(hub.http_addr()).await?;
    proxy.hold(Way::Down);
    let client = HubClient::new(format!("http://{}", proxy.addr()))?.keyed(key);
    let mut asking = JoinSet::new();
    asking.spawn(async move { log_in(&client, "ada").await });
    // Others log in beside this one: theirs is another server.
    log().wait(mark, "login.answered", &[("server_id", server.id().as_str())]).await;
    proxy.cut();
    let lost = asking.join_next().await.expect("it was spawned")?;
    assert!(matches!(lost, Err(ClientError::Http(_))), "an answer came through");
    Ok(())
}

async fn plays(ticket: &Ticket) -> anyhow::Result<GameClient> {
    let mut client = GameClient::connect(ticket.tcp()?).await?;
    client.say_hello(&ticket.token).await?;
    let outcome = client.outcome().await?;
    assert!(matches!(outcome, Outcome::Welcome { .. }), "{outcome:?}");
    Ok(client)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_whose_answer_was_lost_is_sent_again_and_takes_one_slot() -> anyhow::Result<()> {
    let hub = TestHub::start().await?;
    let server = TestServer::builder(&hub).start().await?;
    hub.register("ada").await?;
    let mark = log().mark();
    log_in_and_lose_the_answer(&hub, &server, KEY).await?;
    let ticket = log_in(&hub.client().keyed(KEY), "ada").await?;
    let again = log_in(&hub.client().keyed(KEY), "ada").await?;
    assert_eq!((&again.token, &again.handover_id), (&ticket.token, &ticket.handover_id));
    assert_eq!(server.count(mark, "handover.placed"), 1);
    server.stands(0, 1, 0).await;
    assert_eq!(server.peak(), 1);
    let _ada = plays(&ticket).await?;
    server.stands(1, 0, 0).await;
    assert_eq!(hub.metric("hub_answers_repeated_total").await?, 2);
    // Another key is another wish, and the older session goes for it.
    let other = log_in(&hub.client().keyed("another-key-of-ada"), "ada").await?;
    assert_ne!((&other.token, &other.handover_id), (&ticket.token, &ticket.handover_id));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kept_answer_outlives_the_hub_and_holds_no_token_that_could_be_read() -> anyhow::Result<()> {
    let hub = TestHub::start().await?;
    let server = TestServer::builder(&hub).start().await?;
    hub.register("ada").await?;
    log_in_and_lose_the_answer(&hub, &server, KEY).await?;
    let mark = log().mark();
    let hub = hub.restart().await?;
    server.eligible(mark).await;
    let ticket = log_in(&hub.client().keyed(KEY), "ada").await?;
    assert_eq!(server.count(mark, "handover.placed"), 0, "nothing new was asked for");
    for file in std::fs::read_dir(hub.files())? {
        let (path, token) = (file?.path(), ticket.token.as_bytes());
        let bytes = std::fs::read(&path)?;
        assert!(!bytes.windows(token.len()).any(|part| part == token), "the token is in {}", path.display());
    }
    server.stands(0, 1, 0).await;
    let _ada = plays(&ticket).await?;
    server.stands(1, 0, 0).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_logins_of_one_key_at_once_are_one_handover() -> anyhow::Result<()> {
    let hub = TestHub::start().await?;
    let server = TestServer::builder(&hub).start().await?;
    hub.register("ada").await?;
    let mark = log().mark();
    let mut crowd = JoinSet::new();
    for _ in 0..20 {
        let client = HubClient::without_reuse(format!("http://{}", hub.http_addr()))?.keyed(KEY);
        crowd.spawn(async move { log_in(&client, "ada").await });
    }
    let mut tokens = Vec::new();
    while let Some(came) = crowd.join_next().await {
        tokens.push(came??.token);
    }
    tokens.dedup();
    assert_eq!((tokens.len(), server.count(mark, "handover.placed")), (1, 1));
    server.stands(0, 1, 0).await;
    assert_eq!(server.peak(), 1);
    Ok(())
}

/// Says what a key costs; asserts no speed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_logins_with_a_key_and_without() -> anyhow::Result<()> {
    const LOGINS: u32 = 200;
    let hub = TestHub::start().await?;
    let server = TestServer::builder(&hub).max_players(2_000).start().await?;
    for n in 0..LOGINS {
        hub.register(&format!("ada{n}")).await?;
        // The first one writes down who that is in this realm.
        hub.ticket(&format!("ada{n}"), None).await?;
    }
    // Turn and turn about, so that whatever else the machine does meets both.
    let mut took = [Duration::ZERO; 2];
    for n in 0..2 * LOGINS {
        let login = format!("ada{}", n / 2);
        let way = usize::from((n + n / 2) % 2 == 1);
        let keyed = hub.client().keyed(&format!("a-key-of-{login}-as-long-as-it-takes"));
        let client = if way == 0 { hub.client() } else { &keyed };
        let started = Instant::now();
        log_in(client, &login).await?;
        took[way] += started.elapsed();
    }
    let [without, with] = took.map(|took| took.as_secs_f64() * 1_000.0 / f64::from(LOGINS));
    println!("a login: {without:.2} ms without a key, {with:.2} ms with one, {:.2} times", with / without);
    assert!(server.peak() >= LOGINS);
    Ok(())
}
