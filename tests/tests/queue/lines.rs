//! Waiting, one's turn, a restart in between, and leaving.

use std::time::Duration;

use hub_tests::client::{ClientError, GameClient, LoggedIn, Queued, Turn};
use hub_tests::events::log;
use hub_tests::hub::{PASSWORD, TestHub};
use hub_tests::server::TestServer;
use serde_json::json;

/// The longest that a poll waits.
const LONG: Duration = Duration::from_secs(5);

pub(crate) async fn hub() -> anyhow::Result<TestHub> {
    TestHub::start_with(|config| {
        config.queue.enabled = true;
        config.http.requests_max = 4_096;
    })
    .await
}

/// A server with one slot, and who is in it.
async fn full(hub: &TestHub) -> anyhow::Result<(TestServer, GameClient)> {
    let server = TestServer::builder(hub).max_players(1).start().await?;
    hub.register("ada").await?;
    let place = hub.ticket("ada", None).await?;
    let (playing, outcome) = GameClient::enter(place.tcp()?, &place.token).await?;
    assert_eq!(outcome.code(), "welcome");
    Ok((server, playing))
}

/// Somebody registers, logs in and finds all full.
async fn waits(hub: &TestHub, login: &str) -> anyhow::Result<(LoggedIn, Queued)> {
    hub.register(login).await?;
    let who = hub.login(login, None).await?;
    let queued = who.queue.clone().unwrap_or_else(|| panic!("{login} has no ticket"));
    Ok((who, queued))
}

/// Asks until the turn has come.
async fn turn(hub: &TestHub, who: &LoggedIn, ticket: &str) -> Result<Turn, ClientError> {
    loop {
        match hub.client().ask_ticket(&who.access_token, ticket, LONG).await? {
            Turn::Wait(_) => {}
            place @ Turn::Place(_) => return Ok(place),
        }
    }
}

#[track_caller]
fn code(of: Result<Turn, ClientError>) -> String {
    match of {
        Err(ClientError::Problem(problem)) => problem.code,
        Err(error) => panic!("{error}"),
        Ok(Turn::Wait(queued)) => panic!("{queued:?}"),
        Ok(Turn::Place(_)) => panic!("a place"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_that_frees_is_the_first_ones_and_no_newcomers() -> anyhow::Result<()> {
    let hub = hub().await?;
    let (server, playing) = full(&hub).await?;
    let (bob, first) = waits(&hub, "bob").await?;
    let (eve, second) = waits(&hub, "eve").await?;
    assert_eq!((first.position, second.position), (1, 2));
    let stolen = hub.client().ask_ticket(&eve.access_token, &first.ticket, Duration::ZERO).await;
    assert_eq!(code(stolen), "ticket-unknown", "another's ticket");
    let mark = log().mark();
    let (came, ()) = tokio::join!(turn(&hub, &bob, &first.ticket), async { drop(playing) });
    let place = came?.place();
    log().wait(mark, "ticket.called", &[]).await;
    let (_playing, outcome) = GameClient::enter(place.tcp()?, &place.token).await?;
    assert_eq!(outcome.code(), "welcome");
    server.stands(1, 0, 0).await;
    assert_eq!(server.peak(), 1);
    let (_, third) = waits(&hub, "joe").await?;
    assert_eq!(third.position, 2);
    let again = hub.client().ask_ticket(&bob.access_token, &first.ticket, LONG).await?.place();
    assert_eq!(again.token, place.token, "its answer might have been lost");
    hub.client().leave_queue(&eve.access_token, &second.ticket).await?;
    hub.metric_stands("hub_queue_tickets", 1).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tickets_outlive_the_hub_in_their_order() -> anyhow::Result<()> {
    let hub = hub().await?;
    let (server, playing) = full(&hub).await?;
    let (bob, first) = waits(&hub, "bob").await?;
    let (eve, second) = waits(&hub, "eve").await?;
    let (joe, third) = waits(&hub, "joe").await?;
    hub.client().leave_queue(&joe.access_token, &third.ticket).await?;
    let mark = log().mark();
    let hub = hub.crash_and_restart().await?;
    server.eligible(mark).await;
    drop(playing);
    // A newcomer is there before those who waited have asked.
    let (zoe, last) = waits(&hub, "zoe").await?;
    assert!(last.position >= 2, "{last:?}");
    assert_eq!(code(hub.client().ask_ticket(&joe.access_token, &third.ticket, LONG).await), "ticket-unknown");
    let (seen_eve, seen_zoe) = (
        hub.client().ask_ticket(&eve.access_token, &second.ticket, Duration::ZERO).await?.wait(),
        hub.client().ask_ticket(&zoe.access_token, &last.ticket, Duration::ZERO).await?.wait(),
    );
    assert!(seen_eve.position < seen_zoe.position, "{seen_eve:?} {seen_zoe:?}");
    let place = turn(&hub, &bob, &first.ticket).await?.place();
    let (_playing, outcome) = GameClient::enter(place.tcp()?, &place.token).await?;
    assert_eq!(outcome.code(), "welcome");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_party_comes_in_together() -> anyhow::Result<()> {
    let hub = hub().await?;
    let _small = TestServer::builder(&hub).max_players(2).start().await?;
    let large = TestServer::builder(&hub).max_players(3).start().await?;
    let wishes = json!({ "party": "a-secret-of-three", "party_size": 3 });
    let mut members = Vec::new();
    for login in ["ada", "bob", "eve"] {
        hub.register(login).await?;
        members.push(hub.client().log_in_only(login, PASSWORD).await?);
    }
    let come = async |who: &LoggedIn| -> Result<_, ClientError> {
        Ok(match hub.client().ask_place(&who.access_token, &wishes).await? {
            Turn::Place(place) => *place,
            Turn::Wait(queued) => turn(&hub, who, &queued.ticket).await?.place(),
        })
    };
    let [ada, bob, eve] = &members[..] else { unreachable!() };
    let (ada, bob, eve) = tokio::try_join!(come(ada), come(bob), come(eve))?;
    assert_eq!([ada, bob, eve].map(|place| place.server.id), [large.id(); 3].map(Clone::clone));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_says_where_one_stands_and_when_to_come() -> anyhow::Result<()> {
    let hub = hub().await?;
    let (_server, playing) = full(&hub).await?;
    let (bob, queued) = waits(&hub, "bob").await?;
    let mut stream = hub.client().follow_ticket(&bob.access_token, &queued.ticket).await?;
    let mut text = String::new();
    let mut read_until = async |what: &str| {
        while !text.contains(what) {
            let chunk = stream.chunk().await.unwrap().unwrap_or_else(|| panic!("it ended: {text}"));
            text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    };
    tokio::time::timeout(LONG, read_until("\"position\":1")).await?;
    drop(playing);
    tokio::time::timeout(LONG, read_until("event: ready")).await?;
    assert!(matches!(turn(&hub, &bob, &queued.ticket).await?, Turn::Place(_)));
    tokio::time::timeout(LONG, read_until("event: gone")).await?;
    Ok(())
}
