//! One account, one live session: logins that meet each other.

use hub_tests::client::{ClientError, GameClient, HubClient, Problem, Ticket};
use hub_tests::events::log;
use hub_tests::hub::{PASSWORD, TestHub};
use hub_tests::proxy::{FaultProxy, Way};
use hub_tests::server::TestServer;
use shared_msgs::ids::Realm;
use shared_msgs::limits;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

/// Shows the ticket; anything but a welcome is an error.
pub(crate) async fn enter(ticket: &Ticket) -> anyhow::Result<GameClient> {
    let (client, outcome) = GameClient::enter(ticket.tcp()?, &ticket.token).await?;
    anyhow::ensure!(outcome.code() == "welcome", "{outcome:?}");
    Ok(client)
}

/// What a ticket is good for.
pub(crate) async fn verdict(ticket: &Ticket) -> anyhow::Result<String> {
    let (_, outcome) = GameClient::enter(ticket.tcp()?, &ticket.token).await?;
    Ok(outcome.code().to_owned())
}

/// The problem that a request must end with.
pub(crate) fn problem<T>(answer: Result<T, ClientError>) -> Problem {
    match answer {
        Err(ClientError::Problem(problem)) => *problem,
        Err(error) => panic!("no problem document: {error}"),
        Ok(_) => panic!("no problem at all"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_older_session_is_over_before_the_newer_login_is_answered() -> anyhow::Result<()> {
    let hub = TestHub::start().await?;
    let (a, b) = (TestServer::builder(&hub).start().await?, TestServer::builder(&hub).start().await?);
    hub.register("ada").await?;
    let mut older = enter(&hub.ticket("ada", Some(a.id())).await?).await?;
    let mark = log().mark();
    // While the end is on its way, the old session plays on and the new login waits.
    a.proxy().hold(Way::Down);
    let (ticket, played) = tokio::join!(hub.ticket("ada", Some(b.id())), async {
        a.saw(mark, "end.sent").await;
        let played = older.ask(b"who").await;
        assert_eq!(b.count(mark, "handover.answered"), 0, "answered before the older one was over");
        a.proxy().release(Way::Down);
        played
    });
    let ticket = ticket?;
    assert_eq!(played?, b"ada");
    assert!(ticket.confirmed);
    assert_eq!(
        a.game().occupancy().players,
        0,
        "the older one was still in game when the newer one was answered"
    );
    assert_eq!(a.count(mark, "session.voided"), 0, "it left by itself");
    assert_eq!(older.ended().await?.code(), "superseded");
    let mut newer = enter(&ticket).await?;
    assert_eq!(newer.ask(b"who").await?, b"ada");
    a.stands(0, 0, 0).await;
    b.stands(1, 0, 0).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_slot_passes_from_the_older_session_to_the_newer() -> anyhow::Result<()> {
    let hub = TestHub::start().await?;
    let server = TestServer::builder(&hub).max_players(1).start().await?;
    hub.register("ada").await?;
    let mut older = enter(&hub.ticket("ada", None).await?).await?;
    let ticket = hub.ticket("ada", None).await?;
    assert_eq!(older.ended().await?.code(), "superseded");
    let _newer = enter(&ticket).await?;
    server.stands(1, 0, 0).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_that_finds_the_server_full_leaves_the_session_alone() -> anyhow::Result<()> {
    let hub = TestHub::start().await?;
    let a = TestServer::builder(&hub).start().await?;
    let b = TestServer::builder(&hub).max_players(1).start().await?;
    hub.register("ada").await?;
    hub.register("bob").await?;
    let mut ada = enter(&hub.ticket("ada", Some(a.id())).await?).await?;
    let _bob = enter(&hub.ticket("bob", Some(b.id())).await?).await?;
    let mark = log().mark();
    let full = problem(hub.login("ada", Some(b.id())).await);
    assert_eq!((full.status, full.code.as_str()), (409, "server-full"));
    assert_eq!(ada.ask(b"who").await?, b"ada");
    assert_eq!(a.count(mark, "end.sent"), 0);
    a.stands(1, 0, 0).await;
    b.stands(1, 0, 0).await;
    Ok(())
}

/// The hub believes that there is room; the server itself says no.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_that_the_server_refuses_leaves_the_session_alone() -> anyhow::Result<()> {
    let hub = TestHub::start().await?;
    let a = TestServer::builder(&hub).start().await?;
    let b = TestServer::builder(&hub).start().await?;
    hub.register("ada").await?;
    let mut ada = enter(&hub.ticket("ada", Some(a.id())).await?).await?;
    let mark = log().mark();
    b.proxy().hold(Way::Up);
    b.game().set_state(shared_msgs::messages::ServerState::Draining);
    b.saw(mark, "drain.started").await;
    let release = async {
        b.saw(mark, "grant.refused").await;
        b.proxy().release(Way::Up);
    };
    let (answer, ()) = tokio::join!(hub.login("ada", Some(b.id())), release);
    assert_eq!(problem(answer).code, "server-draining");
    assert_eq!(ada.ask(b"who").await?, b"ada");
    assert_eq!(a.count(mark, "end.sent"), 0);
    a.stands(1, 0, 0).await;
    b.stands(0, 0, 0).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_whose_client_left_before_the_reply_does_not_cost_the_slot() -> anyhow::Result<()> {
    let hub = TestHub::start().await?;
    let server = TestServer::builder(&hub).max_players(1).start().await?;
    hub.register("ada").await?;
    let mark = log().mark();
    // The client goes away while the server's yes is on its way: the handover runs to its end without it.
    server.proxy().hold(Way::Up);
    tokio::select! {
        biased;
        _ = server.saw(mark, "grant.held") => {}
        answer = hub.login("ada", None) => drop(answer),
    }
    server.proxy().release(Way::Up);
    let ticket = hub.ticket("ada", None).await?;
    assert_eq!(verdict(&ticket).await?, "welcome");
    server.saw(mark, "session.left").await;
    server.stands(0, 0, 0).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_retried_while_its_reply_is_lost_gets_the_one_slot() -> anyhow::Result<()> {
    let hub = TestHub::start().await?;
    let server = TestServer::builder(&hub).max_players(1).start().await?;
    let road = FaultProxy::start(hub.http_addr()).await?;
    let far = HubClient::new(format!("http://{}", road.addr()))?;
    hub.register("ada").await?;
    let mark = log().mark();
    road.hold(Way::Down);
    let retry = async {
        server.saw(mark, "handover.answered").await;
        let ticket = hub.ticket("ada", None).await;
        road.release(Way::Down);
        ticket
    };
    let (late, ticket) = tokio::join!(far.login("ada", PASSWORD, None), retry);
    let late = late?.handover.ok_or(ClientError::NoEndpoint)?;
    assert_eq!(verdict(&late).await?, "superseded");
    let _client = enter(&ticket?).await?;
    assert_eq!(verdict(&late).await?, "superseded", "nor later");
    server.stands(1, 0, 0).await;
    Ok(())
}

/// Logs in, enters at once, and gives the client if it was let in.
async fn storm(hub: &TestHub, login: &str) -> anyhow::Result<Option<GameClient>> {
    let ticket = hub.ticket(login, None).await?;
    let (client, outcome) = GameClient::enter(ticket.tcp()?, &ticket.token).await?;
    match outcome.code() {
        "welcome" => Ok(Some(client)),
        "superseded" => Ok(None),
        other => anyhow::bail!("{other}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_logins_at_once_end_in_one_session() -> anyhow::Result<()> {
    let hub = TestHub::start().await?;
    let (a, b) = (TestServer::builder(&hub).start().await?, TestServer::builder(&hub).start().await?);
    hub.register("ada").await?;
    let (one, two) = tokio::join!(storm(&hub, "ada"), storm(&hub, "ada"));
    let mut winner = match (one?, two?) {
        (Some(mut one), Some(mut two)) => {
            let (over, winner) = tokio::select! {
                over = one.ended() => (over, two),
                over = two.ended() => (over, one),
            };
            assert_eq!(over?.code(), "superseded");
            winner
        }
        (Some(winner), None) | (None, Some(winner)) => winner,
        (None, None) => panic!("both were refused"),
    };
    assert_eq!(winner.ask(b"who").await?, b"ada");
    let at_a = u32::from(a.game().occupancy().players == 1);
    a.stands(at_a, 0, 0).await;
    b.stands(1 - at_a, 0, 0).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_login_too_many_is_told_that_the_hub_is_busy() -> anyhow::Result<()> {
    let hub = TestHub::start().await?;
    let (a, b) = (TestServer::builder(&hub).start().await?, TestServer::builder(&hub).start().await?);
    hub.register("ada").await?;
    let mut older = enter(&hub.ticket("ada", Some(a.id())).await?).await?;
    // With an older session nothing is answered unconfirmed, so no login can pass while the grant is held back.
    b.proxy().hold(Way::Down);
    let logins = limits::WAITING_PER_ACCOUNT_MAX + 2;
    let (answers, mut answered) = mpsc::channel(logins);
    let tasks = TaskTracker::new();
    for _ in 0..logins {
        let (client, target, answers) = (hub.client().clone(), b.id().clone(), answers.clone());
        tasks.spawn(async move {
            let answer = client.login("ada", PASSWORD, Some(target.as_str())).await;
            answers.send(answer).await.unwrap();
        });
    }
    drop(answers);
    let busy = problem(answered.recv().await.unwrap());
    assert_eq!(busy.code, "hub-busy");
    assert_eq!(busy.retry_after_s, Some(1));
    assert!(busy.access_token.is_some(), "the password was right");
    assert_eq!(older.ask(b"who").await?, b"ada", "nothing ends for places that are not there yet");
    b.proxy().release(Way::Down);
    let mut tickets = Vec::new();
    while let Some(answer) = answered.recv().await {
        tickets.push(answer?.handover.unwrap());
    }
    assert_eq!(tickets.len(), logins - 1, "all others got through, one after the other");
    assert_eq!(older.ended().await?.code(), "superseded");
    let mut welcome = 0;
    let mut clients = Vec::new();
    for ticket in &tickets {
        let (client, outcome) = GameClient::enter(ticket.tcp()?, &ticket.token).await?;
        welcome += u32::from(outcome.code() == "welcome");
        assert!(["welcome", "superseded"].contains(&outcome.code()), "{outcome:?}");
        clients.push(client);
    }
    assert_eq!(welcome, 1, "only the newest one counts");
    a.stands(0, 0, 0).await;
    b.stands(1, 0, 0).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_goes_to_the_chosen_server_or_nowhere() -> anyhow::Result<()> {
    let hub = TestHub::start().await?;
    let (a, b) = (TestServer::builder(&hub).start().await?, TestServer::builder(&hub).start().await?);
    let mut clients = Vec::new();
    for login in ["ada", "bob", "cyd"] {
        hub.register(login).await?;
        let ticket = hub.ticket(login, Some(b.id())).await?;
        assert_eq!(ticket.server.id, *b.id());
        clients.push(enter(&ticket).await?);
    }
    let unknown = problem(hub.client().login("ada", PASSWORD, Some("nowhere")).await);
    assert_eq!((unknown.status, unknown.code.as_str()), (404, "server-unknown"));
    assert_eq!(unknown.retry_after_s, None, "asking again does not help");
    a.stands(0, 0, 0).await;
    b.stands(3, 0, 0).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_player_moves_with_the_access_token() -> anyhow::Result<()> {
    let hub = TestHub::start().await?;
    let (a, b) = (TestServer::builder(&hub).start().await?, TestServer::builder(&hub).start().await?);
    hub.register("ada").await?;
    let login = hub.login("ada", Some(a.id())).await?;
    let mut older = enter(&login.handover.ok_or(ClientError::NoEndpoint)?).await?;
    let ticket = hub.client().handover(&login.access_token, Some(b.id().as_str())).await?;
    assert_eq!(a.game().occupancy().players, 0, "the older one was still in game when the move was answered");
    assert_eq!(older.ended().await?.code(), "superseded");
    let _newer = enter(&ticket).await?;
    a.stands(0, 0, 0).await;
    b.stands(1, 0, 0).await;
    let forged = problem(hub.client().handover("nonsense", None).await);
    assert_eq!((forged.status, forged.code.as_str()), (401, "access-token-invalid"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_realms_know_two_players_and_still_one_session() -> anyhow::Result<()> {
    let hub = TestHub::start().await?;
    let (red, blue): (Realm, Realm) = ("red".parse()?, "blue".parse()?);
    let a = TestServer::builder(&hub).realm(red).start().await?;
    let b = TestServer::builder(&hub).realm(blue).start().await?;
    hub.register("ada").await?;
    let mark = log().mark();
    let mut in_red = enter(&hub.ticket("ada", Some(a.id())).await?).await?;
    let mut in_blue = enter(&hub.ticket("ada", Some(b.id())).await?).await?;
    assert_eq!(in_red.ended().await?.code(), "superseded");
    let _back_in_red = enter(&hub.ticket("ada", Some(a.id())).await?).await?;
    assert_eq!(in_blue.ended().await?.code(), "superseded");
    let player = |event: &hub_tests::events::Event| event.field("player_id").to_owned();
    let placed =
        |server: &TestServer| log().since(mark, "handover.placed", &[("server_id", server.id().as_str())]);
    let (at_a, at_b) = (placed(&a), placed(&b));
    assert_eq!((at_a.len(), at_b.len()), (2, 1));
    assert_ne!(player(&at_a[0]), player(&at_b[0]), "one id per realm");
    assert_eq!(player(&at_a[0]), player(&at_a[1]), "the same one for good");
    a.stands(1, 0, 0).await;
    b.stands(0, 0, 0).await;
    Ok(())
}
