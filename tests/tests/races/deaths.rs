//! Servers, hubs and connections that die at the worst moment.

use hub_tests::client::{ClientError, GameClient, HubClient};
use hub_tests::events::log;
use hub_tests::hub::{PASSWORD, TestHub};
use hub_tests::proxy::Way;
use hub_tests::rogue::RogueServer;
use hub_tests::server::{TestServer, fresh_id};
use shared_msgs::codec;
use shared_msgs::keys::Purpose;
use shared_msgs::messages::ServerMessage;

use crate::sessions::{enter, problem, verdict};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_dies_between_the_reply_and_the_client() -> anyhow::Result<()> {
    let hub = TestHub::start().await?;
    let mut a = TestServer::builder(&hub).start().await?;
    let b = TestServer::builder(&hub).start().await?;
    hub.register("ada").await?;
    let login = hub.login("ada", Some(a.id())).await?;
    let ticket = login.handover.ok_or(ClientError::NoEndpoint)?;
    let mark = log().mark();
    // No goodbye: the connection is cut before the server knows of its end.
    a.isolate();
    a.saw(mark, "server.suspect").await;
    a.stop();
    a.ended().await?;
    assert!(GameClient::enter(ticket.tcp()?, &ticket.token).await.is_err(), "nobody is there any more");
    let ticket = hub.client().handover(&login.access_token, None).await?;
    assert_eq!(ticket.server.id, *b.id());
    let _client = enter(&ticket).await?;
    b.stands(1, 0, 0).await;
    Ok(())
}

/// A hub dies while the yes of the server is on its way to it. The token of that grant was never told to anybody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hub_dies_between_the_grant_and_the_reply() -> anyhow::Result<()> {
    let hub = TestHub::start().await?;
    let a = TestServer::builder(&hub).start().await?;
    let b = TestServer::builder(&hub).max_players(1).start().await?;
    hub.register("ada").await?;
    let mut older = enter(&hub.ticket("ada", Some(a.id())).await?).await?;
    let mark = log().mark();
    b.proxy().hold(Way::Up);
    // With an older session nothing is answered unconfirmed, so this login cannot be answered.
    let doomed = HubClient::new(format!("http://{}", hub.http_addr()))?;
    let (answer, hub) = tokio::join!(doomed.login("ada", PASSWORD, Some(b.id().as_str())), async {
        b.saw(mark, "grant.held").await;
        hub.crash_and_restart().await
    });
    let hub = hub?;
    assert!(answer.is_err(), "the hub died before it could answer");
    assert_eq!(older.ask(b"who").await?, b"ada", "a dead hub ends nothing");
    b.proxy().release(Way::Up);
    b.eligible(mark).await;
    // The grant that nobody can use still holds the only slot; the new one takes it over.
    let ticket = hub.ticket("ada", Some(b.id())).await?;
    assert!(ticket.confirmed);
    assert_eq!(older.ended().await?.code(), "superseded");
    let _newer = enter(&ticket).await?;
    assert_eq!(b.count(mark, "token.redeemed"), 1, "the first grant let nobody in");
    a.stands(0, 0, 0).await;
    b.stands(1, 0, 0).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grant_lost_with_the_connection_is_sent_again() -> anyhow::Result<()> {
    let hub = TestHub::start().await?;
    let server = TestServer::builder(&hub).max_players(1).start().await?;
    hub.register("ada").await?;
    let mark = log().mark();
    server.proxy().hold(Way::Down);
    let ticket = hub.ticket("ada", None).await?;
    assert!(!ticket.confirmed, "nobody can have said yes");
    let mut client = GameClient::connect(ticket.tcp()?).await?;
    client.say_hello(&ticket.token).await?;
    server.saw(mark, "client.parked").await;
    server.proxy().cut();
    // Gone on both sides, and with it what was held.
    server.saw(mark, "server.suspect").await;
    server.proxy().release(Way::Down);
    assert_eq!(client.outcome().await?.code(), "welcome");
    assert!(server.count(mark, "grant.sent") >= 2, "the first one died with the connection");
    server.stands(1, 0, 0).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_yes_lost_with_the_connection_is_said_again() -> anyhow::Result<()> {
    let hub = TestHub::start().await?;
    let server = TestServer::builder(&hub).max_players(1).start().await?;
    hub.register("ada").await?;
    let mark = log().mark();
    server.proxy().hold(Way::Up);
    let ticket = hub.ticket("ada", None).await?;
    assert!(!ticket.confirmed, "the yes is held back");
    server.saw(mark, "grant.held").await;
    server.proxy().cut();
    server.saw(mark, "server.suspect").await;
    server.proxy().release(Way::Up);
    server.saw(mark, "grant.accepted").await;
    let _client = enter(&ticket).await?;
    assert_eq!(server.count(mark, "grant.held"), 1, "one grant, however often it is sent");
    server.stands(1, 0, 0).await;
    Ok(())
}

/// Until the client is answered, a will counts as a no: the login goes elsewhere and the first place comes back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_cut_before_the_answer_sends_the_login_elsewhere() -> anyhow::Result<()> {
    let hub = TestHub::start().await?;
    let a = TestServer::builder(&hub).max_players(2).start().await?;
    let b = TestServer::builder(&hub).max_players(1).start().await?;
    let c = TestServer::builder(&hub).max_players(1).start().await?;
    hub.register("ada").await?;
    let mut older = enter(&hub.ticket("ada", Some(a.id())).await?).await?;
    // The fullest of the three, even without the slot that would pass on.
    hub.register("bob").await?;
    let _bob = enter(&hub.ticket("bob", Some(a.id())).await?).await?;
    let mark = log().mark();
    b.proxy().hold(Way::Up);
    c.proxy().hold(Way::Up);
    let cut = async {
        let (first, other) = tokio::select! {
            _ = b.saw(mark, "grant.held") => (&b, &c),
            _ = c.saw(mark, "grant.held") => (&c, &b),
        };
        other.proxy().release(Way::Up);
        first.proxy().cut();
        first.saw(mark, "server.suspect").await;
        first.proxy().release(Way::Up);
        other
    };
    let (ticket, other) = tokio::join!(hub.ticket("ada", None), cut);
    let ticket = ticket?;
    assert_eq!((&ticket.server.id, ticket.confirmed), (other.id(), true));
    assert_eq!(older.ended().await?.code(), "superseded");
    let _newer = enter(&ticket).await?;
    a.stands(1, 0, 0).await;
    let at_b = u32::from(other.id() == b.id());
    b.stands(at_b, 0, 0).await;
    c.stands(1 - at_b, 0, 0).await;
    Ok(())
}

/// The hub still sees the old run's connection when the new run comes; what that connection says on its end must not count.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_is_not_taken_down_by_the_old_run() -> anyhow::Result<()> {
    let hub = TestHub::start().await?;
    let mut old = TestServer::builder(&hub).start().await?;
    let id = old.id().clone();
    hub.register("ada").await?;
    let _client = enter(&hub.ticket("ada", None).await?).await?;
    let mark = log().mark();
    old.proxy().hold(Way::Up);
    old.stop();
    old.ended().await?;
    assert_eq!(log().since(mark, "mqtt.closed", &[("server_id", id.as_str())]).len(), 0);
    let new = TestServer::builder(&hub).id(&id).start().await?;
    let mark = log().mark();
    old.proxy().release(Way::Up);
    let ticket = hub.ticket("ada", None).await?;
    assert!(ticket.confirmed);
    let _client = enter(&ticket).await?;
    assert_eq!(new.count(mark, "server.suspect"), 0);
    assert_eq!(new.count(mark, "server.heard"), 0, "the old run is not heard again");
    new.stands(1, 0, 0).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_server_without_a_substitute_is_named_so() -> anyhow::Result<()> {
    let hub = TestHub::start().await?;
    hub.register("ada").await?;
    let none = problem(hub.login("ada", None).await);
    assert_eq!((none.status, none.code.as_str()), (503, "no-server-online"));
    assert!(none.retry_after_s.is_some() && none.access_token.is_some());
    let server = TestServer::builder(&hub).start().await?;
    let mark = log().mark();
    server.isolate();
    server.saw(mark, "server.suspect").await;
    let gone = problem(hub.login("ada", None).await);
    assert_eq!(gone.code, "no-server-online");
    let gone = problem(hub.login("ada", Some(server.id())).await);
    assert_eq!(gone.code, "no-server-online", "known, and away");
    server.proxy().admit(true);
    server.eligible(mark).await;
    assert_eq!(verdict(&hub.ticket("ada", None).await?).await?, "welcome");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_will_of_an_earlier_connection_that_comes_late_takes_nobody_down() -> anyhow::Result<()> {
    let hub = TestHub::start().await?;
    hub.register("ada").await?;
    let mut server = RogueServer::connect(&hub, &fresh_id("rogue")).await?;
    let name = server.id().to_string();
    let id = [("server_id", name.as_str())];
    let mark = log().mark();
    server.say(Purpose::Status, &server.status(None)).await?;
    let probe = server.probe().await?;
    server.say(Purpose::Status, &server.status(Some(probe))).await?;
    log().wait(mark, "server.eligible", &id).await;
    // Sealed at the first connection, as every will is; some brokers deliver it long after the next one is up.
    let gone = codec::encode(&ServerMessage::Gone { boot: server.stamp().boot })?;
    let (topic, now) = (server.topic(Purpose::Will), server.now());
    let late = server.seal(Purpose::Will, now, &gone)?;

    server.reconnected();
    server.say(Purpose::Status, &server.status(None)).await?;
    let probe = server.probe().await?;
    server.say(Purpose::Status, &server.status(Some(probe))).await?;
    server.publish(&topic, &late).await?;
    log().wait(mark, "server.will_ignored", &id).await;
    assert_eq!(log().since(mark, "server.suspect", &id).len(), 0);
    // Still the place to go.
    let (ticket, yes) = tokio::join!(hub.ticket("ada", None), async {
        let grant = server.grant().await?;
        server.say(Purpose::Events, &server.yes(&grant)).await
    });
    yes?;
    assert_eq!(ticket?.server.id.as_str(), name);

    // The newer connection's own will counts.
    let will = server.seal(Purpose::Will, now, &gone)?;
    server.publish(&topic, &will).await?;
    log().wait(mark, "server.suspect", &id).await;
    Ok(())
}
