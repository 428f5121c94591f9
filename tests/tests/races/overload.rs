//! A hub with more to do than it may: who has logged in before is served.

use hub_tests::client::{ClientError, GameClient, Outcome};
use hub_tests::events::log;
use hub_tests::hub::{PASSWORD, TestHub};
use hub_tests::proxy::Way;
use hub_tests::server::TestServer;
use tokio::task::JoinSet;

#[track_caller]
fn busy<T>(result: Result<T, ClientError>, retry_after_s: u64) {
    let Err(ClientError::Problem(problem)) = result else { panic!("it was let in") };
    assert_eq!((problem.status, &*problem.code), (503, "hub-busy"));
    assert_eq!(problem.retry_after_s, Some(retry_after_s));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logins_that_wait_fill_their_share_and_a_handover_is_served() -> anyhow::Result<()> {
    const WAITING: usize = 6;
    let hub = TestHub::start_with(|config| {
        config.http.requests_max = 8;
        (config.overload.registrations_percent, config.overload.logins_percent) = (50, 75);
    })
    .await?;
    let silent = TestServer::builder(&hub).start().await?;
    let other = TestServer::builder(&hub).start().await?;
    hub.register("eve").await?;
    let eve = hub.login("eve", Some(other.id())).await?;
    let mut inside = Vec::new();
    for n in 0..WAITING {
        let login = format!("ada{n}");
        hub.register(&login).await?;
        let ticket = hub.ticket(&login, Some(silent.id())).await?;
        let mut client = GameClient::connect(ticket.tcp()?).await?;
        client.say_hello(&ticket.token).await?;
        assert!(matches!(client.outcome().await?, Outcome::Welcome { .. }));
        inside.push(client);
    }
    silent.stands(u32::try_from(WAITING)?, 0, 0).await;
    // Their older sessions do not end, so that their next logins wait for it.
    silent.proxy().hold(Way::Up);
    let mark = log().mark();
    let mut waiting = JoinSet::new();
    for n in 0..WAITING {
        let (client, server) = (hub.client().clone(), other.id().clone());
        waiting.spawn(async move { client.login(&format!("ada{n}"), PASSWORD, Some(server.as_str())).await });
    }
    let for_other = [("server_id", other.id().as_str())];
    log().wait_count(mark, WAITING, "grant.accepted", &for_other).await;
    busy(hub.register("bob").await, 5);
    busy(hub.login("eve", None).await, 2);
    let (status, _) = hub.client().get("/servers").await?;
    assert_eq!(status, 503, "a list can wait");
    let ticket = hub.client().handover(&eve.access_token, Some(other.id().as_str())).await?;
    assert_eq!(&ticket.server.id, other.id());
    assert_eq!(waiting.len(), WAITING, "they waited meanwhile");
    assert!(waiting.try_join_next().is_none(), "they waited meanwhile");
    for class in ["registration", "login", "list"] {
        assert_eq!(hub.metric(&format!("hub_shed_total{{class=\"{class}\"}}")).await?, 1, "{class}");
    }
    silent.proxy().release(Way::Up);
    while let Some(came) = waiting.join_next().await {
        assert!(came??.handover.is_some());
    }
    hub.register("bob").await?;
    Ok(())
}
