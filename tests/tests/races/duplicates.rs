//! `sessions.duplicate = "refuse"`: logins of one account that meet each other, over a real broker.

use std::time::Duration;

use auth_hub::handover::core::Duplicate;
use hub_tests::hub::{PASSWORD, TestHub};
use hub_tests::server::TestServer;

use super::sessions::{enter, problem};

const PATIENCE: Duration = Duration::from_secs(10);

async fn refusing_hub() -> anyhow::Result<TestHub> {
    TestHub::start_with(|config| config.sessions.duplicate = Duplicate::Refuse).await
}

/// Waits until the hub has heard that every session is over.
async fn hears_that_nobody_plays(hub: &TestHub) -> anyhow::Result<()> {
    let heard = async {
        while hub.client().get("/servers").await?.1.contains("\"players\":1") {
            tokio::task::yield_now().await;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(PATIENCE, heard).await?
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_logins_at_one_moment_one_wins_and_the_others_disturb_nobody() -> anyhow::Result<()> {
    let hub = refusing_hub().await?;
    let _servers = [TestServer::builder(&hub).start().await?, TestServer::builder(&hub).start().await?];
    hub.register("ada").await?;
    let (one, two, three) =
        tokio::join!(hub.login("ada", None), hub.login("ada", None), hub.login("ada", None));
    let (won, lost): (Vec<_>, Vec<_>) = [one, two, three].into_iter().partition(Result::is_ok);
    assert_eq!((won.len(), lost.len()), (1, 2));
    for refused in lost {
        let problem = problem(refused);
        assert_eq!((problem.status, problem.code.as_str()), (409, "duplicate-login"));
        assert!(problem.retry_after_s.is_some(), "when to come back");
    }
    let ticket = won.into_iter().flatten().next().and_then(|login| login.handover);
    let ticket = ticket.ok_or_else(|| anyhow::anyhow!("no place"))?;
    let mut session = enter(&ticket).await?;
    let late = problem(hub.client().login("ada", PASSWORD, None).await);
    assert_eq!(late.code, "duplicate-login");
    assert_eq!(session.ask(b"who").await?, b"ada", "the session plays on");
    drop(session);
    hears_that_nobody_plays(&hub).await?;
    enter(&hub.ticket("ada", None).await?).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_dropped_out_comes_back_by_naming_the_server() -> anyhow::Result<()> {
    let hub = refusing_hub().await?;
    let server = TestServer::builder(&hub).start().await?;
    hub.register("ada").await?;
    let mut older = enter(&hub.ticket("ada", None).await?).await?;
    assert_eq!(problem(hub.login("ada", None).await).code, "duplicate-login");
    let mut newer = enter(&hub.ticket("ada", Some(server.id())).await?).await?;
    assert_eq!(older.ended().await?.code(), "superseded");
    assert_eq!(newer.ask(b"who").await?, b"ada");
    Ok(())
}
