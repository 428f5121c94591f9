//! Clients and grants, in every order.

use std::time::Duration;

use hub_tests::client::{GameClient, Outcome};
use hub_tests::events::log;
use hub_tests::hub::TestHub;
use hub_tests::proxy::Way;
use hub_tests::rogue::{self, RogueHub};
use hub_tests::server::TestServer;
use shared_msgs::codes::{Code, Retry};
use shared_msgs::ids::Fence;
use shared_msgs::limits;
use shared_msgs::messages::Verdict;

const SOON: Duration = Duration::from_secs(7);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grant_before_client() -> anyhow::Result<()> {
    let hub = TestHub::start().await?;
    let server = TestServer::builder(&hub).start().await?;
    hub.register("ada").await?;
    let ticket = hub.ticket("ada", None).await?;
    assert!(ticket.confirmed);
    let (mut client, outcome) = GameClient::enter(ticket.tcp()?, &ticket.token).await?;
    let Outcome::Welcome { name, server: at, session } = outcome else { panic!("{outcome:?}") };
    assert_eq!((name.as_str(), &at), ("ada", server.id()));
    assert_eq!(session.to_string(), ticket.handover_id);
    assert!(!client.delayed);
    assert_eq!(client.ask(b"who").await?, b"ada");
    server.stands(1, 0, 0).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_before_grant() -> anyhow::Result<()> {
    let hub = TestHub::start().await?;
    let server = TestServer::builder(&hub).start().await?;
    hub.register("ada").await?;
    let mark = log().mark();
    server.proxy().hold(Way::Down);
    let ticket = hub.ticket("ada", None).await?;
    assert!(!ticket.confirmed, "nobody can have said yes");
    let mut client = GameClient::connect(ticket.tcp()?).await?;
    client.say_hello(&ticket.token).await?;
    server.saw(mark, "client.parked").await;
    server.proxy().release(Way::Down);
    let outcome = client.outcome().await?;
    assert_eq!(outcome.code(), "welcome");
    assert!(client.delayed);
    server.stands(1, 0, 0).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_expires_while_its_client_waits_is_refused_once() -> anyhow::Result<()> {
    let mut hub = RogueHub::start().await?;
    let server = hub.server(1).await?;
    let mark = log().mark();
    let (token, grant) = hub.grant(&server, hub.player(), hub.fence(1), Duration::from_secs(20));
    let mut client = GameClient::connect(&server.addr()).await?;
    client.say_hello(token.expose()).await?;
    server.saw(mark, "client.parked").await;
    server.clock().step_wall_to(25_000);
    let (_, verdict) = hub.granted(&server, &grant).await?;
    assert_eq!(verdict, Verdict::Refused(Code::TokenExpired));
    let Outcome::Refused { code, retry, handover } = client.outcome().await? else { panic!("let in") };
    assert_eq!((code.as_str(), retry), ("token-expired", Retry::HANDOVER_NOW));
    assert_eq!(handover, Some(grant.handover));
    assert!(client.next().await.is_err(), "a second word");
    assert_eq!(server.count(mark, "client.refused"), 1);
    server.stands(0, 0, 0).await;
    Ok(())
}

/// Some grants come before their clients' time is up, some after, and some in the very moment.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grants_at_the_deadline_give_each_client_one_verdict() -> anyhow::Result<()> {
    const CROWD: usize = 60;
    const THIRD: usize = CROWD / 3;
    let mut hub = RogueHub::start().await?;
    let server = hub.server(u32::try_from(CROWD)?).await?;
    let mark = log().mark();
    let id = [("server_id", server.id().as_str())];
    let (mut clients, mut tokens, mut grants) = (Vec::new(), Vec::new(), Vec::new());
    for n in 0..u16::try_from(CROWD)? {
        let (token, grant) = hub.grant(&server, hub.player(), hub.fence(n), SOON);
        let mut client = GameClient::connect(&server.addr()).await?;
        client.say_hello(token.expose()).await?;
        clients.push(client);
        tokens.push(token);
        grants.push(grant);
    }
    log().wait_count(mark, CROWD, "client.parked", &id).await;
    hub.send_grants(&server, &grants[..THIRD]).await?;
    log().wait_count(mark, THIRD, "token.redeemed", &id).await;
    let (early, mut seen) = (u32::try_from(THIRD)?, server.game().watch());
    let skip = async {
        // The first one of them is in: the others are being taken, one by one, while the time passes.
        let first = seen.wait_for(|now| now.occupancy.players > early).await.map(drop);
        server.clock().skip(SOON);
        first
    };
    let (sent, first) = tokio::join!(hub.send_grants(&server, &grants[THIRD..2 * THIRD]), skip);
    first?;
    sent?;
    let mut verdicts = Vec::new();
    for client in &mut clients {
        verdicts.push(client.outcome().await?.code().to_owned());
    }
    // Only now: whoever waited for one of these was answered without it.
    hub.send_grants(&server, &grants[2 * THIRD..]).await?;
    log().wait_count(mark, CROWD, "grant.held", &id).await;
    assert!(verdicts[..THIRD].iter().all(|code| code == "welcome"), "{verdicts:?}");
    assert!(verdicts[2 * THIRD..].iter().all(|code| code == "handover-timed-out"), "{verdicts:?}");
    for ((code, client), token) in verdicts.iter().zip(&mut clients).zip(&tokens) {
        match code.as_str() {
            "welcome" => assert_eq!(client.ask(b"still").await?, b"still", "one verdict, and it stands"),
            "handover-timed-out" => {
                assert!(client.next().await.is_err(), "a second word");
                // Its grant came after all, and is held.
                let (late, outcome) = GameClient::enter(&server.addr(), token.expose()).await?;
                assert_eq!(outcome.code(), "welcome");
                *client = late;
            }
            other => panic!("{other}"),
        }
    }
    server.stands(u32::try_from(CROWD)?, 0, 0).await;
    assert_eq!(server.game().redeemed(), CROWD as u64);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_left_while_it_waited_comes_back_with_its_token() -> anyhow::Result<()> {
    let hub = TestHub::start().await?;
    let server = TestServer::builder(&hub).start().await?;
    hub.register("ada").await?;
    let mark = log().mark();
    server.proxy().hold(Way::Down);
    let ticket = hub.ticket("ada", None).await?;
    let mut client = GameClient::connect(ticket.tcp()?).await?;
    client.say_hello(&ticket.token).await?;
    server.saw(mark, "client.parked").await;
    drop(client);
    server.saw(mark, "client.abandoned").await;
    server.stands(0, 0, 0).await;
    server.proxy().release(Way::Down);
    server.stands(0, 1, 0).await;
    let (client, outcome) = GameClient::enter(ticket.tcp()?, &ticket.token).await?;
    assert_eq!(outcome.code(), "welcome");
    assert!(!client.delayed, "its grant was there");
    server.stands(1, 0, 0).await;
    assert_eq!(server.game().redeemed(), 1, "nobody was let in who had left");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grant_whose_client_left_is_held_until_it_expires() -> anyhow::Result<()> {
    let mut hub = RogueHub::start().await?;
    let server = hub.server(1).await?;
    let mark = log().mark();
    let (token, grant) = hub.grant(&server, hub.player(), hub.fence(1), Duration::from_secs(20));
    let mut client = GameClient::connect(&server.addr()).await?;
    client.say_hello(token.expose()).await?;
    server.saw(mark, "client.parked").await;
    drop(client);
    server.saw(mark, "client.abandoned").await;
    let (stamp, verdict) = hub.granted(&server, &grant).await?;
    assert_eq!((verdict, stamp.is_change, stamp.occupancy.held), (Verdict::Held, true, 1));
    server.clock().step_wall_to(25_000);
    let (stamp, verdict) = hub.reply(&server, grant.hash).await?;
    assert_eq!(verdict, Verdict::Refused(Code::TokenExpired));
    assert_eq!((stamp.is_change, stamp.occupancy.held), (true, 0));
    let (_, outcome) = GameClient::enter(&server.addr(), token.expose()).await?;
    assert_eq!(outcome.code(), "token-expired");
    server.stands(0, 0, 0).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_over_the_cap_of_the_waiting_are_refused_at_once() -> anyhow::Result<()> {
    let mut hub = RogueHub::start().await?;
    let server = hub.server(1).await?;
    let mark = log().mark();
    let (mut clients, mut hashes) = (Vec::new(), Vec::new());
    let player = hub.player();
    for n in 0..u16::try_from(limits::PARKED_MIN)? {
        let (token, grant) = hub.grant(&server, player, hub.fence(n), limits::TOKEN_LIFE);
        let mut client = GameClient::connect(&server.addr()).await?;
        client.say_hello(token.expose()).await?;
        hashes.push(grant.hash);
        clients.push((client, token));
    }
    server.stands(0, 0, limits::PARKED_MIN).await;
    let (token, _) = hub.grant(&server, hub.player(), hub.fence(999), limits::TOKEN_LIFE);
    let (one_more, outcome) = GameClient::enter(&server.addr(), token.expose()).await?;
    let Outcome::Refused { code, retry, .. } = outcome else { panic!("let in") };
    assert_eq!((code.as_str(), retry), ("server-busy", Retry::SameToken { after_ms: 1_000 }));
    assert!(!one_more.delayed);
    // Who waits may still move to a newer connection.
    let mut newer = GameClient::connect(&server.addr()).await?;
    newer.say_hello(clients[0].1.expose()).await?;
    assert_eq!(clients[0].0.outcome().await?.code(), "connected-elsewhere");
    clients[0].0 = newer;
    server.saw(mark, "client.replaced").await;
    server.stands(0, 0, limits::PARKED_MIN).await;
    hub.order(&server, &[rogue::end(player, Fence::ZERO, hashes, Duration::ZERO)]).await?;
    for (mut client, _) in clients {
        assert_eq!(client.outcome().await?.code(), "superseded");
    }
    server.stands(0, 0, 0).await;
    Ok(())
}
