//! Clients and grants, in every order.

use hub_tests::client::{GameClient, Outcome};
use hub_tests::events::log;
use hub_tests::hub::TestHub;
use hub_tests::proxy::Way;
use hub_tests::server::TestServer;

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
    assert_eq!(server.game().occupancy().players, 1);
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
    Ok(())
}
