//! Players that move: when they ask the hub themselves, and when their server does, with luggage.

use std::sync::Arc;
use std::time::Duration;

use game_server::server::world::PlayerHandler;
use game_server::{MoveRequest, PlayerSlot, SlotId};
use hub_tests::client::{ClientError, GameClient, LoggedIn, Outcome};
use hub_tests::events::log;
use hub_tests::hub::TestHub;
use hub_tests::proxy::Way;
use hub_tests::rogue::RogueServer;
use hub_tests::server::{TestServer, fresh_id};
use shared_msgs::codes::Retry;
use shared_msgs::frames::ClientFrame;
use shared_msgs::ids::{Fence, PlayerId, ServerId};
use shared_msgs::keys::Purpose;
use shared_msgs::limits;
use shared_msgs::messages::{ServerMessage, ServerState};
use shared_msgs::moves::{Luggage, Move, MoveTarget};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use crate::sessions::{enter, problem, verdict};

/// Keeps what players bring; who says anything is moved, with as much luggage as there may be.
#[derive(Default)]
struct Station {
    to: Option<ServerId>,
    brought: watch::Sender<Vec<(String, Vec<u8>)>>,
}

impl Station {
    fn to(server: &TestServer) -> Arc<Self> {
        Arc::new(Self { to: Some(server.id().clone()), ..Self::default() })
    }

    /// Whether these players, and nobody else, have come with all their luggage. A client is welcomed before its world knows.
    async fn has_all(&self, names: impl IntoIterator<Item = String>) -> bool {
        let all: Vec<_> = names.into_iter().map(|name| (name.clone(), trunk(&name))).collect();
        let mut seen = self.brought.subscribe();
        let come = seen.wait_for(|brought| brought.len() >= all.len());
        let Ok(Ok(brought)) = tokio::time::timeout(Duration::from_secs(20), come).await else { return false };
        let mut brought = brought.clone();
        brought.sort();
        brought == all
    }
}

/// As much as may be, different for each player, with every byte in it.
fn trunk(name: &str) -> Vec<u8> {
    let seed = name.bytes().fold(7_u8, |seed, byte| seed.wrapping_mul(31).wrapping_add(byte));
    (0..=u8::MAX).cycle().map(|n| n.wrapping_mul(seed | 1)).take(limits::LUGGAGE_BYTES_MAX).collect()
}

impl PlayerHandler for Station {
    fn joined(&self, slot: &PlayerSlot) {
        self.brought.send_modify(|all| all.push((slot.name().to_owned(), slot.luggage().to_vec())));
    }

    fn moves(&self, slot: &PlayerSlot, _: &[u8]) -> Option<MoveRequest> {
        let luggage = trunk(slot.name());
        Some(
            self.to.clone().map_or(MoveRequest::anywhere(luggage.clone()), |to| MoveRequest::to(to, luggage)),
        )
    }

    fn said(&self, _: &PlayerSlot, _: &[u8]) -> Option<Vec<u8>> {
        None
    }

    fn resumed(&self, _: SlotId, _: &PlayerSlot) {}

    fn leaving(&self, _: &PlayerSlot) {}
}

/// Logs in, and is in game.
async fn play(hub: &TestHub, login: &str, server: &TestServer) -> anyhow::Result<(LoggedIn, GameClient)> {
    hub.register(login).await?;
    let logged_in = hub.login(login, Some(server.id())).await?;
    let client = enter(logged_in.handover.as_ref().ok_or(ClientError::NoEndpoint)?).await?;
    Ok((logged_in, client))
}

async fn say(client: &mut GameClient, what: &str) -> Result<(), ClientError> {
    client.send(&ClientFrame::App(what.as_bytes().to_vec())).await
}

fn is_moved(ended: &Outcome) {
    let Outcome::Refused { code, retry, .. } = ended else { panic!("{ended:?}") };
    assert_eq!((code.as_str(), *retry), ("moved", Retry::HANDOVER_NOW));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_that_the_client_asks_for_in_vain_leaves_the_session_alone_and_says_why() -> anyhow::Result<()>
{
    let hub = TestHub::start().await?;
    let a = TestServer::builder(&hub).start().await?;
    let full = TestServer::builder(&hub).max_players(1).start().await?;
    let draining = TestServer::builder(&hub).start().await?;
    let (ada, mut client) = play(&hub, "ada", &a).await?;
    let (_, _bob) = play(&hub, "bob", &full).await?;
    let mark = log().mark();
    draining.game().set_state(ServerState::Draining);
    // The hub may not have heard of it yet: then the server itself says so.
    for (to, status, code) in [
        (full.id().as_str(), 409, "server-full"),
        (draining.id().as_str(), 409, "server-draining"),
        ("nowhere", 404, "server-unknown"),
    ] {
        let refused = problem(hub.client().handover(&ada.access_token, Some(to)).await);
        assert_eq!((refused.status, refused.code.as_str()), (status, code));
        assert_eq!(client.ask(b"who").await?, b"ada");
    }
    assert_eq!((a.count(mark, "end.sent"), a.count(mark, "session.kicked")), (0, 0));
    a.stands(1, 0, 0).await;
    draining.stands(0, 0, 0).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_that_the_server_asks_for_in_vain_leaves_the_session_alone_and_says_why() -> anyhow::Result<()>
{
    let hub = TestHub::start().await?;
    let a = TestServer::builder(&hub).start().await?;
    let full = TestServer::builder(&hub).max_players(1).start().await?;
    let draining = TestServer::builder(&hub).start().await?;
    let (_, mut ada) = play(&hub, "ada", &a).await?;
    let (_, _bob) = play(&hub, "bob", &full).await?;
    let mark = log().mark();
    draining.game().set_state(ServerState::Draining);
    for (to, code) in [
        (full.id().as_str(), "server-full"),
        (draining.id().as_str(), "server-draining"),
        ("nowhere", "server-unknown"),
        (a.id().as_str(), "server-unknown"),
    ] {
        let stays = ada.ask(format!("move {to} hat").as_bytes()).await?;
        assert_eq!(String::from_utf8(stays)?, format!("stays: not moved: {code}"));
        assert_eq!(ada.ask(b"who").await?, b"ada");
    }
    assert_eq!((a.count(mark, "end.sent"), a.count(mark, "session.kicked")), (0, 0));
    a.stands(1, 0, 0).await;
    draining.stands(0, 0, 0).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_player_that_its_server_moves_finds_its_luggage_at_the_next() -> anyhow::Result<()> {
    let hub = TestHub::start().await?;
    let (a, b) = (TestServer::builder(&hub).start().await?, TestServer::builder(&hub).start().await?);
    let _c = TestServer::builder(&hub).start().await?;
    let (ada, mut older) = play(&hub, "ada", &a).await?;
    assert_eq!(older.ask(b"luggage").await?, b"");
    let mark = log().mark();
    say(&mut older, &format!("move {} hat and gloves", b.id())).await?;
    is_moved(&older.ended().await?);
    // Any wish but that for another server leads to the prepared place.
    let ticket = hub.client().handover(&ada.access_token, None).await?;
    assert_eq!((&ticket.server.id, ticket.confirmed), (b.id(), true));
    let held = b.saw(mark, "grant.held").await;
    assert_eq!(held.field("handover_id"), ticket.handover_id, "the very place");
    let mut newer = enter(&ticket).await?;
    assert_eq!(newer.ask(b"luggage").await?, b"hat and gloves");
    a.stands(0, 0, 0).await;
    b.stands(1, 0, 0).await;
    // It is used up.
    let again = hub.client().handover(&ada.access_token, Some(b.id().as_str())).await?;
    assert_ne!(again.handover_id, ticket.handover_id);
    let mut again = enter(&again).await?;
    assert_eq!(again.ask(b"luggage").await?, b"");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forty_players_move_at_once_with_all_they_may_carry() -> anyhow::Result<()> {
    // More than a server asks for at a time.
    const PLAYERS: usize = 40;
    let hub = Arc::new(TestHub::start().await?);
    let station = Arc::new(Station::default());
    let b = TestServer::builder(&*hub).world(station.clone()).start().await?;
    let a = Arc::new(TestServer::builder(&*hub).world(Station::to(&b)).start().await?);
    let mut players = Vec::new();
    for n in 0..PLAYERS {
        players.push(play(&hub, &format!("player-{n:03}"), &a).await?);
    }
    let tasks = TaskTracker::new();
    let moves = players.into_iter().map(|(logged_in, mut client)| {
        let hub = Arc::clone(&hub);
        tasks.spawn(async move {
            say(&mut client, "go").await?;
            is_moved(&client.ended().await?);
            let ticket = hub.client().handover(&logged_in.access_token, None).await?;
            enter(&ticket).await
        })
    });
    let mut arrived = Vec::new();
    for moved in moves.collect::<Vec<_>>() {
        arrived.push(moved.await??);
    }
    a.stands(0, 0, 0).await;
    b.stands(u32::try_from(PLAYERS)?, 0, 0).await;
    assert!(station.has_all((0..PLAYERS).map(|n| format!("player-{n:03}"))).await, "not what was given");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wish_that_dies_with_the_link_is_sent_again() -> anyhow::Result<()> {
    let hub = TestHub::start().await?;
    let (a, b) = (TestServer::builder(&hub).start().await?, TestServer::builder(&hub).start().await?);
    let (ada, mut older) = play(&hub, "ada", &a).await?;
    let mark = log().mark();
    a.proxy().hold(Way::Up);
    say(&mut older, &format!("move {} hat", b.id())).await?;
    a.saw(mark, "move.asked").await;
    assert_eq!(older.ask(b"who").await?, b"ada", "it plays on while the hub cannot be heard");
    a.proxy().cut();
    a.proxy().release(Way::Up);
    is_moved(&older.ended().await?);
    let mut newer = enter(&hub.client().handover(&ada.access_token, None).await?).await?;
    assert_eq!(newer.ask(b"luggage").await?, b"hat");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_dies_after_its_yes_is_replaced_with_the_luggage() -> anyhow::Result<()> {
    let hub = TestHub::start().await?;
    let stations = [Arc::new(Station::default()), Arc::new(Station::default())];
    let a = TestServer::builder(&hub).world(Arc::new(Station::default())).start().await?;
    let (ada, mut older) = play(&hub, "ada", &a).await?;
    let mut servers = Vec::new();
    for station in &stations {
        servers.push(TestServer::builder(&hub).world(station.clone()).start().await?);
    }
    let mark = log().mark();
    say(&mut older, "go").await?;
    is_moved(&older.ended().await?);
    let dead = usize::from(servers[1].count(mark, "grant.held") == 1);
    servers[dead].isolate();
    servers[dead].saw(mark, "server.suspect").await;
    let ticket = hub.client().handover(&ada.access_token, None).await?;
    assert_eq!(ticket.server.id, *servers[1 - dead].id());
    let _newer = enter(&ticket).await?;
    assert!(stations[1 - dead].has_all(["ada".to_owned()]).await, "not what was given");
    assert!(stations[dead].has_all([]).await, "given twice");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_old_server_may_die_while_it_saves() -> anyhow::Result<()> {
    let hub = TestHub::start().await?;
    let (a, b) = (TestServer::builder(&hub).start().await?, TestServer::builder(&hub).start().await?);
    let (ada, mut older) = play(&hub, "ada", &a).await?;
    let mark = log().mark();
    b.proxy().hold(Way::Up);
    say(&mut older, &format!("move {} hat", b.id())).await?;
    b.saw(mark, "grant.held").await;
    // The target's yes reaches the hub, and nothing more of the old server does.
    a.isolate();
    b.proxy().release(Way::Up);
    a.saw(mark, "end.sent").await;
    let ticket = hub.client().handover(&ada.access_token, None).await?;
    assert_eq!(ticket.server.id, *b.id());
    let mut newer = enter(&ticket).await?;
    assert_eq!(newer.ask(b"luggage").await?, b"hat");
    b.stands(1, 0, 0).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hub_that_restarts_has_forgotten_the_luggage_and_finds_a_place_all_the_same() -> anyhow::Result<()>
{
    let hub = TestHub::start().await?;
    let (a, b) = (TestServer::builder(&hub).start().await?, TestServer::builder(&hub).start().await?);
    let (ada, mut older) = play(&hub, "ada", &a).await?;
    say(&mut older, &format!("move {} hat", b.id())).await?;
    is_moved(&older.ended().await?);
    let mark = log().mark();
    let hub = hub.crash_and_restart().await?;
    b.eligible(mark).await;
    let ticket = hub.client().handover(&ada.access_token, Some(b.id().as_str())).await?;
    let mut newer = enter(&ticket).await?;
    assert_eq!(newer.ask(b"luggage").await?, b"");
    b.stands(1, 0, 0).await;
    a.stands(0, 0, 0).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_elsewhere_during_a_move_wins() -> anyhow::Result<()> {
    let hub = TestHub::start().await?;
    let (a, b) = (TestServer::builder(&hub).start().await?, TestServer::builder(&hub).start().await?);
    let c = TestServer::builder(&hub).start().await?;
    let (ada, mut older) = play(&hub, "ada", &a).await?;
    let mark = log().mark();
    b.proxy().hold(Way::Up);
    say(&mut older, &format!("move {} hat", b.id())).await?;
    b.saw(mark, "grant.held").await;
    // It stands in its account's line, behind the move.
    let (ticket, ()) = tokio::join!(hub.ticket("ada", Some(c.id())), async {
        log().wait(mark, "login.verified", &[("account_id", &ada.account_id)]).await;
        b.proxy().release(Way::Up);
    });
    let ticket = ticket?;
    assert_eq!(ticket.server.id, *c.id());
    is_moved(&older.ended().await?);
    let _newer = enter(&ticket).await?;
    a.stands(0, 0, 0).await;
    b.stands(0, 0, 0).await;
    c.stands(1, 0, 0).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_cannot_move_a_player_of_another() -> anyhow::Result<()> {
    let hub = TestHub::start().await?;
    let a = TestServer::builder(&hub).start().await?;
    let mark = log().mark();
    let (_, mut ada) = play(&hub, "ada", &a).await?;
    let mut rogue = RogueServer::connect(&hub, &fresh_id("rogue")).await?;
    rogue.say(Purpose::Status, &rogue.status(None)).await?;
    let player: PlayerId = a.saw(mark, "token.redeemed").await.field("player_id").parse()?;
    let (stamp, fence) = (rogue.stamp(), Fence { hlc: u64::MAX, hub: 0 });
    let (target, luggage) = (MoveTarget::Anywhere, Luggage::default());
    let asked = Move { stamp, request: 1, player, fence, target, luggage, within_ms: 14_000 };
    rogue.say(Purpose::Events, &ServerMessage::Move(Box::new(asked))).await?;
    log().wait(mark, "move.ignored", &[("server_id", rogue.id().as_str())]).await;
    assert_eq!(hub.metric("hub_moves_ignored_total").await?, 1);
    assert_eq!(ada.ask(b"who").await?, b"ada");
    a.stands(1, 0, 0).await;
    assert_eq!(verdict(&hub.ticket("ada", None).await?).await?, "welcome");
    Ok(())
}
