//! What operators ask of a running hub, on real sockets: each wish ends at a client, a server or a login.

use std::time::Duration;

use hub_tests::client::GameClient;
use hub_tests::events::log;
use hub_tests::hub::TestHub;
use hub_tests::proxy::Way;
use hub_tests::server::{Home, TestServer};
use shared_msgs::codes::Code;
use shared_msgs::frames::ServerFrame;
use shared_msgs::ids::ServerId;
use shared_msgs::messages::ServerState;
use zeroize::Zeroizing;

use super::sessions::{enter, problem, verdict};

/// From the wish to the client's last word. A wish that waits for a beat, a lease or a re-send would take longer.
const AT_ONCE: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ban_reaches_a_live_client_at_once() -> anyhow::Result<()> {
    let hub = TestHub::start().await?;
    let server = TestServer::builder(&hub).start().await?;
    hub.register("ada").await?;
    let ticket = hub.ticket("ada", None).await?;
    let mut ada = enter(&ticket).await?;
    server.stands(1, 0, 0).await;
    let ended = async {
        let report = hub.operations().end(hub.account(1), Code::Banned).await?;
        anyhow::Ok((report, ada.ended().await?))
    };
    let (report, outcome) = tokio::time::timeout(AT_ONCE, ended).await??;
    assert_eq!((outcome.code(), report.refused), ("banned", 0));
    assert_eq!(report.servers, [server.id().clone()]);
    server.stands(0, 0, 0).await;
    log().wait(server.born(), "session.over", &[("server_id", server.id().as_str())]).await;
    let story = hub.operations().explain(hub.account(1)).await?.remove(0);
    assert_eq!(story.handover.to_string(), ticket.handover_id);
    assert_eq!(story.outcome, format!("played on {} until the account was shut out", server.id()));
    // Kicked or not, the account itself was not touched here: it may come back.
    assert_eq!(verdict(&hub.ticket("ada", None).await?).await?, "welcome");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grant_that_never_reached_its_server_is_revoked_for_the_client_that_waits_there()
-> anyhow::Result<()> {
    let hub = TestHub::start().await?;
    let server = TestServer::builder(&hub).start().await?;
    hub.register("ada").await?;
    server.proxy().hold(Way::Down);
    let ticket = hub.ticket("ada", None).await?;
    assert!(!ticket.confirmed);
    let mut client = GameClient::connect(ticket.tcp()?).await?;
    client.say_hello(&ticket.token).await?;
    server.stands(0, 0, 1).await;
    let report = hub.operations().end(hub.account(1), Code::Kicked).await?;
    assert_eq!(report.servers, [server.id().clone()]);
    // The grant dies with the connection; the end is said again on the next.
    server.proxy().cut();
    server.proxy().release(Way::Down);
    assert_eq!(client.outcome().await?.code(), "kicked");
    server.stands(0, 0, 0).await;
    assert_eq!(verdict(&ticket).await?, "kicked", "nor later");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_holds_for_logins_at_once_and_for_a_restarted_server_until_it_is_taken_back()
-> anyhow::Result<()> {
    let hub = TestHub::start().await?;
    let mut server = TestServer::builder(&hub).start().await?;
    let id = server.id().clone();
    hub.register("ada").await?;
    let mut ada = enter(&hub.ticket("ada", Some(&id)).await?).await?;
    let mark = log().mark();
    hub.operations().drain(id.clone(), None).await?;
    assert_eq!(problem(hub.login("ada", Some(&id)).await).code, "server-draining");
    server.saw(mark, "drain.started").await;
    let report = hub.operations().servers().await?.remove(0);
    assert_eq!((report.server, report.state, report.is_drain_ordered), (id.clone(), "draining", true));
    assert_eq!(ada.ask(b"who").await?, b"ada", "who plays may finish");
    // Its operator stops it and starts it again: it drains still.
    server.stop();
    server.ended().await?;
    let mark = log().mark();
    let server = TestServer::builder(&hub).id(&id).start_unheard().await?;
    server.saw(mark, "drain.started").await;
    assert_eq!(problem(hub.login("ada", Some(&id)).await).code, "server-draining");
    let mark = log().mark();
    hub.operations().undrain(id.clone()).await?;
    server.saw(mark, "drain.undone").await;
    server.eligible(mark).await;
    assert_eq!(server.game().snapshot().state, ServerState::Online);
    assert_eq!(verdict(&hub.ticket("ada", Some(&id)).await?).await?, "welcome");
    Ok(())
}

/// The same hub, its keys of the second generation.
#[derive(Debug)]
struct NextKeys<'a>(&'a TestHub);

impl Home for NextKeys<'_> {
    fn broker(&self) -> std::net::SocketAddr {
        self.0.mqtt_addr()
    }

    fn key_line(&self, server: &ServerId) -> anyhow::Result<Zeroizing<String>> {
        self.0.server_key_of(server, 2)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_key_is_out_at_once_and_the_next_one_works() -> anyhow::Result<()> {
    let hub = TestHub::start().await?;
    let stolen = TestServer::builder(&hub).start().await?;
    let other = TestServer::builder(&hub).start().await?;
    let id = stolen.id().clone();
    hub.register("ada").await?;
    let mark = log().mark();
    hub.operations().revoke(id.clone(), 2).await?;
    assert_eq!(problem(hub.login("ada", Some(&id)).await).code, "no-server-online");
    assert_eq!(hub.ticket("ada", None).await?.server.id, *other.id());
    let closed = log().wait(mark, "mqtt.closed", &[("server_id", id.as_str())]).await;
    assert_eq!(closed.fields.get("reason").map(String::as_str), Some("evicted"));
    // It tries again, and is told that its key is no good any more.
    log().wait(mark, "mqtt.refused", &[("reason", "not-authorized")]).await;
    assert_eq!(other.count(mark, "mqtt.closed"), 0);
    let mark = log().mark();
    let next = TestServer::builder(&NextKeys(&hub)).id(&id).start_unheard().await?;
    next.eligible(mark).await;
    assert_eq!(verdict(&hub.ticket("ada", Some(&id)).await?).await?, "welcome");
    // Said again, it hits nobody: the connection there is has the new key.
    let mark = log().mark();
    hub.operations().revoke(id.clone(), 2).await?;
    assert_eq!(verdict(&hub.ticket("ada", Some(&id)).await?).await?, "welcome");
    assert_eq!(next.count(mark, "mqtt.closed"), 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_notice_is_shown_once_to_everybody_it_is_meant_for() -> anyhow::Result<()> {
    let hub = TestHub::start().await?;
    let (a, b) = (TestServer::builder(&hub).start().await?, TestServer::builder(&hub).start().await?);
    hub.register("ada").await?;
    hub.register("bob").await?;
    let mut ada = enter(&hub.ticket("ada", Some(a.id())).await?).await?;
    let mut bob = enter(&hub.ticket("bob", Some(b.id())).await?).await?;
    let mark = log().mark();
    // Said again and again while its answer is on the way.
    a.proxy().hold(Way::Up);
    assert_eq!(hub.operations().broadcast("Restart at ten.".to_owned(), None).await?, 2);
    log().wait_count(mark, 2, "notice.sent", &[("server_id", a.id().as_str())]).await;
    a.proxy().release(Way::Up);
    assert_eq!(hub.operations().broadcast("Only here.".to_owned(), Some(b.id().clone())).await?, 1);
    let notice = |text: &str| ServerFrame::Notice { text: text.to_owned() };
    assert_eq!(
        (ada.next().await?, bob.next().await?),
        (notice("Restart at ten."), notice("Restart at ten."))
    );
    assert_eq!(bob.next().await?, notice("Only here."));
    ada.send(&shared_msgs::frames::ClientFrame::App(b"who".to_vec())).await?;
    assert_eq!(ada.next().await?, ServerFrame::App(b"ada".to_vec()), "once, and nothing meant for others");
    assert_eq!(a.count(mark, "notice.shown"), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_that_is_shut_out_while_its_login_waits_gets_no_place() -> anyhow::Result<()> {
    let hub = TestHub::start().await?;
    let (a, b) = (TestServer::builder(&hub).start().await?, TestServer::builder(&hub).start().await?);
    hub.register("ada").await?;
    let mut ada = enter(&hub.ticket("ada", Some(a.id())).await?).await?;
    a.stands(1, 0, 0).await;
    let mark = log().mark();
    // The newer login waits for the older session to end.
    a.proxy().hold(Way::Down);
    let wish = async {
        a.saw(mark, "end.sent").await;
        let report = hub.operations().end(hub.account(1), Code::Banned).await;
        a.proxy().release(Way::Down);
        report
    };
    let (login, report) = tokio::join!(hub.login("ada", Some(b.id())), wish);
    let refused = problem(login);
    assert_eq!((refused.status, refused.code.as_str()), (403, "banned"));
    assert_eq!(report?.refused, 1);
    assert!(["banned", "superseded"].contains(&ada.ended().await?.code()));
    for server in [&a, &b] {
        server.stands(0, 0, 0).await;
    }
    // The hub hears of it a moment later.
    let nowhere = async {
        while !hub.operations().find(hub.account(1)).await?.is_empty() {}
        anyhow::Ok(())
    };
    tokio::time::timeout(Duration::from_secs(5), nowhere).await??;
    Ok(())
}
