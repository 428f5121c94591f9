//! Players whose connection breaks: their place, their way back, and who else wants either.

use hub_tests::client::{GameClient, Ticket};
use hub_tests::events::log;
use hub_tests::hub::TestHub;
use hub_tests::proxy::FaultProxy;
use hub_tests::server::TestServer;

use crate::sessions::{enter, problem};

const GRACE_MS: u64 = 60_000;

/// In game over a road that can be cut.
struct Traveller {
    road: FaultProxy,
    client: GameClient,
}

impl Traveller {
    async fn enter(ticket: &Ticket) -> anyhow::Result<Self> {
        let road = FaultProxy::start(ticket.tcp()?.parse()?).await?;
        let (mut client, outcome) = GameClient::enter(&road.addr().to_string(), &ticket.token).await?;
        anyhow::ensure!(outcome.code() == "welcome", "{outcome:?}");
        // The way back is behind the welcome.
        client.ask(b"who").await?;
        Ok(Self { road, client })
    }

    fn credential(&self) -> String {
        self.client.way_back().map(|(credential, _)| credential.to_owned()).unwrap_or_default()
    }

    /// The word on a return.
    async fn word(&self, credential: &str) -> anyhow::Result<String> {
        let back = GameClient::come_back(&self.road.addr().to_string(), credential).await?;
        Ok(back.1.code().to_owned())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_player_comes_back_to_a_full_server_and_to_the_same_session() -> anyhow::Result<()> {
    let hub = TestHub::start().await?;
    let server = TestServer::builder(&hub).max_players(1).reconnect_grace_ms(GRACE_MS).start().await?;
    hub.register("ada").await?;
    hub.register("bob").await?;
    let ticket = hub.ticket("ada", None).await?;
    let mut ada = Traveller::enter(&ticket).await?;
    let mark = log().mark();
    let first = ada.credential();
    ada.road.cut();
    server.saw(mark, "session.lost").await;
    // Its place is nobody else's, and the hub knows.
    let full = problem(hub.login("bob", None).await);
    assert_eq!(full.code, "all-servers-full");
    server.stands(1, 0, 0).await;
    let (client, outcome) = GameClient::come_back(&ada.road.addr().to_string(), &first).await?;
    let hub_tests::client::Outcome::Welcome { name, session, .. } = outcome else { panic!("{outcome:?}") };
    assert_eq!((name.as_str(), session.to_string()), ("ada", ticket.handover_id));
    ada.client = client;
    assert_eq!(ada.client.ask(b"who").await?, b"ada");
    let second = ada.credential();
    assert_ne!(first, second);
    for name in ["session.left", "session.kicked", "grant.received"] {
        assert_eq!(server.count(mark, name), 0, "{name}: to the hub nothing has happened");
    }
    // Behind the word that the newer one has come, so the older one is spent.
    assert_eq!(ada.client.ask(b"who").await?, b"ada");
    assert_eq!(ada.word(&first).await?, "reconnect-refused");
    assert_eq!(ada.client.ask(b"who").await?, b"ada", "a replay hurts nobody");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_elsewhere_ends_the_lost_session_and_its_client_does_not_fight_it() -> anyhow::Result<()> {
    let hub = TestHub::start().await?;
    let a = TestServer::builder(&hub).reconnect_grace_ms(GRACE_MS).start().await?;
    let b = TestServer::builder(&hub).reconnect_grace_ms(GRACE_MS).start().await?;
    hub.register("ada").await?;
    let older = Traveller::enter(&hub.ticket("ada", Some(a.id())).await?).await?;
    let mark = log().mark();
    older.road.cut();
    a.saw(mark, "session.lost").await;
    let ticket = hub.ticket("ada", Some(b.id())).await?;
    assert_eq!(a.game().occupancy().players, 0, "answered before the older session was over");
    assert_eq!(a.count(mark, "session.voided"), 0, "it was saved and left");
    let mut newer = enter(&ticket).await?;
    assert_eq!(older.word(&older.credential()).await?, "superseded");
    assert_eq!(newer.ask(b"who").await?, b"ada");
    a.stands(0, 0, 0).await;
    b.stands(1, 0, 0).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_login_takes_over_the_lost_slot_on_the_same_server() -> anyhow::Result<()> {
    let hub = TestHub::start().await?;
    let server = TestServer::builder(&hub).max_players(1).reconnect_grace_ms(GRACE_MS).start().await?;
    hub.register("ada").await?;
    let older = Traveller::enter(&hub.ticket("ada", None).await?).await?;
    let mark = log().mark();
    older.road.cut();
    server.saw(mark, "session.lost").await;
    let mut newer = enter(&hub.ticket("ada", None).await?).await?;
    assert_eq!(newer.ask(b"who").await?, b"ada");
    assert_eq!(server.count(mark, "session.voided"), 0);
    assert_eq!(older.word(&older.credential()).await?, "superseded");
    server.stands(1, 0, 0).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_credential_outlives_no_restart_of_its_server() -> anyhow::Result<()> {
    let hub = TestHub::start().await?;
    let mut old = TestServer::builder(&hub).reconnect_grace_ms(GRACE_MS).start().await?;
    let id = old.id().clone();
    hub.register("ada").await?;
    let ada = Traveller::enter(&hub.ticket("ada", None).await?).await?;
    let mark = log().mark();
    ada.road.cut();
    old.saw(mark, "session.lost").await;
    // Those who are lost hold up no stop.
    old.stop();
    old.ended().await?;
    let new = TestServer::builder(&hub).id(&id).reconnect_grace_ms(GRACE_MS).start().await?;
    let ticket = hub.ticket("ada", None).await?;
    ada.road.set_target(ticket.tcp()?.parse()?);
    assert_eq!(ada.word(&ada.credential()).await?, "reconnect-refused");
    let _client = enter(&ticket).await?;
    new.stands(1, 0, 0).await;
    Ok(())
}
