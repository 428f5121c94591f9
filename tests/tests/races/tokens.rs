//! One token and many who show it; tokens that are none.

use std::sync::Arc;

use game_server::Hello;
use hub_tests::client::{GameClient, Outcome};
use hub_tests::events::log;
use hub_tests::hub::TestHub;
use hub_tests::proxy::Way;
use hub_tests::server::TestServer;
use shared_msgs::codes::Code;
use shared_msgs::limits;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_thousand_clients_with_one_token_one_is_let_in() -> anyhow::Result<()> {
    const CROWD: usize = 1_000;
    let hub = TestHub::start().await?;
    let server = TestServer::builder(&hub).start().await?;
    hub.register("ada").await?;
    let ticket = hub.ticket("ada", None).await?;
    let barrier = Arc::new(Barrier::new(CROWD));
    let mut crowd = JoinSet::new();
    for _ in 0..CROWD {
        let (barrier, address, token) =
            (Arc::clone(&barrier), ticket.tcp()?.to_owned(), ticket.token.clone());
        crowd.spawn(async move {
            let mut client = GameClient::connect(&address).await?;
            barrier.wait().await;
            client.say_hello(&token).await?;
            let outcome = client.outcome().await?;
            anyhow::Ok((client, outcome))
        });
    }
    let (mut inside, mut refused) = (Vec::new(), 0);
    while let Some(came) = crowd.join_next().await {
        match came?? {
            (client, Outcome::Welcome { .. }) => inside.push(client),
            (_, Outcome::Refused { code, handover, .. }) => {
                assert_eq!(code, "token-spent");
                assert_eq!(handover.map(|id| id.to_string()).as_ref(), Some(&ticket.handover_id));
                refused += 1;
            }
        }
    }
    assert_eq!((inside.len(), refused), (1, CROWD - 1));
    assert_eq!(server.game().redeemed(), 1);
    assert_eq!(server.game().refused(Code::TokenSpent), 999);
    server.stands(1, 0, 0).await;
    assert_eq!(server.peak(), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_early_clients_with_one_token_the_newest_waits() -> anyhow::Result<()> {
    const CROWD: usize = 200;
    let hub = TestHub::start().await?;
    let server = TestServer::builder(&hub).start().await?;
    hub.register("ada").await?;
    let mark = log().mark();
    server.proxy().hold(Way::Down);
    let ticket = hub.ticket("ada", None).await?;
    assert!(!ticket.confirmed);
    let barrier = Arc::new(Barrier::new(CROWD));
    let mut crowd = JoinSet::new();
    for _ in 0..CROWD {
        let (barrier, address, token) =
            (Arc::clone(&barrier), ticket.tcp()?.to_owned(), ticket.token.clone());
        crowd.spawn(async move {
            let mut client = GameClient::connect(&address).await?;
            barrier.wait().await;
            client.say_hello(&token).await?;
            let outcome = client.outcome().await?;
            anyhow::Ok((client, outcome))
        });
    }
    log().wait_count(mark, CROWD, "client.parked", &[("server_id", server.id().as_str())]).await;
    server.stands(0, 0, 1).await;
    for _ in 1..CROWD {
        let Some(came) = crowd.join_next().await else { panic!("all but one are answered") };
        assert_eq!(came??.1.code(), "connected-elsewhere");
    }
    server.proxy().release(Way::Down);
    let Some(last) = crowd.join_next().await else { panic!("one is left") };
    let (client, outcome) = last??;
    assert_eq!(outcome.code(), "welcome");
    assert!(client.delayed);
    assert_eq!(server.game().redeemed(), 1);
    server.stands(1, 0, 0).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_works_once_whether_or_not_its_player_is_still_there() -> anyhow::Result<()> {
    let hub = TestHub::start().await?;
    let server = TestServer::builder(&hub).start().await?;
    hub.register("ada").await?;
    let ticket = hub.ticket("ada", None).await?;
    let (client, outcome) = GameClient::enter(ticket.tcp()?, &ticket.token).await?;
    assert_eq!(outcome.code(), "welcome");
    let (_, outcome) = GameClient::enter(ticket.tcp()?, &ticket.token).await?;
    assert_eq!(outcome.code(), "token-spent");
    server.stands(1, 0, 0).await;
    drop(client);
    server.stands(0, 0, 0).await;
    let (_, outcome) = GameClient::enter(ticket.tcp()?, &ticket.token).await?;
    assert_eq!(outcome.code(), "token-spent");
    server.stands(0, 0, 0).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_none_at_another_server() -> anyhow::Result<()> {
    let hub = TestHub::start().await?;
    let (right, wrong) =
        tokio::try_join!(TestServer::builder(&hub).start(), TestServer::builder(&hub).start())?;
    hub.register("ada").await?;
    let mark = log().mark();
    let ticket = hub.ticket("ada", Some(right.id())).await?;
    let (client, outcome) = GameClient::enter(&wrong.addr(), &ticket.token).await?;
    assert_eq!(outcome.code(), "token-not-genuine");
    assert!(!client.delayed);
    assert_eq!(wrong.count(mark, "client.parked"), 0);
    let (_client, outcome) = GameClient::enter(&right.addr(), &ticket.token).await?;
    assert_eq!(outcome.code(), "welcome");
    right.stands(1, 0, 0).await;
    wrong.stands(0, 0, 0).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_none_after_its_server_restarted() -> anyhow::Result<()> {
    let hub = TestHub::start().await?;
    let mut server = TestServer::builder(&hub).start().await?;
    let id = server.id().clone();
    hub.register("ada").await?;
    let ticket = hub.ticket("ada", None).await?;
    server.stop();
    server.ended().await?;
    drop(server);
    let server = TestServer::builder(&hub).id(&id).start().await?;
    let mark = log().mark();
    let (client, outcome) = GameClient::enter(&server.addr(), &ticket.token).await?;
    assert_eq!(outcome.code(), "token-not-genuine");
    assert!(!client.delayed);
    assert_eq!(server.count(mark, "client.parked"), 0);
    let ticket = hub.ticket("ada", None).await?;
    let (_client, outcome) = GameClient::enter(ticket.tcp()?, &ticket.token).await?;
    assert_eq!(outcome.code(), "welcome");
    server.stands(1, 0, 0).await;
    Ok(())
}

/// A genuine token with any character changed, cut short or drawn out, and texts that never were tokens.
fn forgeries(genuine: &str) -> Vec<String> {
    let altered = genuine.char_indices().map(|(at, was)| {
        let other = if was == 'A' { 'B' } else { 'A' };
        genuine.char_indices().map(|(i, c)| if i == at { other } else { c }).collect()
    });
    let cut = (0..genuine.len()).map(|at| genuine[..at].to_owned());
    let whole = [genuine.to_owned() + "AAAA", "A".repeat(limits::TOKEN_TEXT_BYTES_MAX), "é".repeat(40)];
    altered.chain(cut).chain(whole).chain(["\0".to_owned(), "A".repeat(76)]).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forged_and_garbage_tokens_never_wait() -> anyhow::Result<()> {
    let hub = TestHub::start().await?;
    let server = TestServer::builder(&hub).start().await?;
    hub.register("ada").await?;
    let mark = log().mark();
    server.proxy().hold(Way::Down);
    let ticket = hub.ticket("ada", None).await?;
    for forged in forgeries(&ticket.token) {
        let (client, outcome) = GameClient::enter(&server.addr(), &forged).await?;
        let Outcome::Refused { code, handover, .. } = outcome else { panic!("{forged:?} was let in") };
        assert_eq!((code.as_str(), handover), ("token-not-genuine", None), "{forged:?}");
        assert!(!client.delayed, "{forged:?}");
    }
    // What no frame carries a game's own link may.
    let long = Hello { token: "A".repeat(limits::TOKEN_TEXT_BYTES_MAX + 1), ..Hello::default() };
    let refused = server.game().redeem(long).await.map(drop).map_err(|refusal| refusal.code());
    assert_eq!(refused, Err(Code::TokenNotGenuine));
    assert_eq!(server.count(mark, "client.parked"), 0);
    let mut client = GameClient::connect(ticket.tcp()?).await?;
    client.say_hello(&ticket.token).await?;
    server.saw(mark, "client.parked").await;
    server.proxy().release(Way::Down);
    assert_eq!(client.outcome().await?.code(), "welcome");
    server.stands(1, 0, 0).await;
    Ok(())
}
