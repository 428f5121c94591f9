//! Grants and `end`s that are lost, repeated, overtaken or refused; games that do not let go; clocks that disagree.

use std::time::Duration;

use game_server::{Hello, Progress};
use hub_tests::client::{GameClient, Outcome};
use hub_tests::events::log;
use hub_tests::hub::TestHub;
use hub_tests::proxy::Way;
use hub_tests::rogue::{self, RogueHub, within};
use hub_tests::server::TestServer;
use shared_msgs::codes::Code;
use shared_msgs::ids::Fence;
use shared_msgs::limits;
use shared_msgs::messages::{ServerMessage, Verdict};

fn hello(token: &str) -> Hello {
    Hello { token: token.to_owned(), ..Hello::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grant_whose_reply_is_lost_is_sent_again_and_holds_one_slot() -> anyhow::Result<()> {
    let hub = TestHub::start().await?;
    let server = TestServer::builder(&hub).max_players(1).start().await?;
    hub.register("ada").await?;
    let mark = log().mark();
    server.proxy().hold(Way::Up);
    let ticket = hub.ticket("ada", None).await?;
    assert!(!ticket.confirmed, "no answer can have come");
    server.saw(mark, "grant.held").await;
    let id = [("handover_id", ticket.handover_id.as_str())];
    // The first time and after half a second.
    log().wait_count(mark, 2, "grant.sent", &id).await;
    assert!(log().since(mark, "grant.accepted", &id).is_empty());
    server.proxy().cut();
    server.proxy().release(Way::Up);
    log().wait(mark, "grant.accepted", &id).await;
    assert_eq!(server.count(mark, "grant.held"), 1);
    server.stands(0, 1, 0).await;
    let (_client, outcome) = GameClient::enter(ticket.tcp()?, &ticket.token).await?;
    assert_eq!(outcome.code(), "welcome");
    server.stands(1, 0, 0).await;
    assert_eq!(server.peak(), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_grant_gets_the_first_answer_at_every_stage() -> anyhow::Result<()> {
    let mut hub = RogueHub::start().await?;
    let server = hub.server(1).await?;
    let (token, grant) = hub.grant(&server, hub.player(), hub.fence(1), limits::TOKEN_LIFE);
    let (first, verdict) = hub.granted(&server, &grant).await?;
    assert_eq!((verdict, first.is_change), (Verdict::Held, true));
    let (again, verdict) = hub.granted(&server, &grant).await?;
    assert_eq!((verdict, again.is_change, again.rev), (Verdict::Held, false, first.rev));
    server.stands(0, 1, 0).await;
    let (client, outcome) = GameClient::enter(&server.addr(), token.expose()).await?;
    assert_eq!(outcome.code(), "welcome");
    assert_eq!(hub.granted(&server, &grant).await?.1, Verdict::Redeemed);
    server.stands(1, 0, 0).await;
    drop(client);
    server.stands(0, 0, 0).await;
    assert_eq!(hub.granted(&server, &grant).await?.1, Verdict::Redeemed, "it is not held anew");
    server.stands(0, 0, 0).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_reaches_the_waiting_client_at_once_and_stays() -> anyhow::Result<()> {
    let mut hub = RogueHub::start().await?;
    let server = hub.server(1).await?;
    let mark = log().mark();
    let (bob, ada) = (hub.player(), hub.player());
    let (_, bobs) = hub.grant(&server, bob, hub.fence(1), limits::TOKEN_LIFE);
    assert_eq!(hub.granted(&server, &bobs).await?.1, Verdict::Held);
    let (token, adas) = hub.grant(&server, ada, hub.fence(2), limits::TOKEN_LIFE);
    let mut client = GameClient::connect(&server.addr()).await?;
    client.say_hello(token.expose()).await?;
    server.saw(mark, "client.parked").await;
    let full = Verdict::Refused(Code::ServerFull);
    assert_eq!(hub.granted(&server, &adas).await?.1, full);
    let Outcome::Refused { code, handover, .. } = client.outcome().await? else { panic!("let in") };
    assert_eq!((code.as_str(), handover), ("server-full", Some(adas.handover)));
    // There is room now, but what was refused once stays refused.
    hub.order(&server, &[rogue::end(bob, Fence::ZERO, vec![bobs.hash], Duration::ZERO)]).await?;
    hub.ended(&server, bob).await?;
    server.stands(0, 0, 0).await;
    assert_eq!(hub.granted(&server, &adas).await?.1, full);
    let (_, outcome) = GameClient::enter(&server.addr(), token.expose()).await?;
    assert_eq!(outcome.code(), "server-full");
    let (_, fresh) = hub.grant(&server, ada, hub.fence(3), limits::TOKEN_LIFE);
    assert_eq!(hub.granted(&server, &fresh).await?.1, Verdict::Held);
    server.stands(0, 1, 0).await;
    assert_eq!(server.peak(), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_that_overtakes_its_grant_wins() -> anyhow::Result<()> {
    let mut hub = RogueHub::start().await?;
    let server = hub.server(2).await?;
    let mark = log().mark();
    let player = hub.player();
    let (token, cancelled) = hub.grant(&server, player, hub.fence(1), limits::TOKEN_LIFE);
    let mut client = GameClient::connect(&server.addr()).await?;
    client.say_hello(token.expose()).await?;
    server.saw(mark, "client.parked").await;
    hub.order(&server, &[rogue::end(player, Fence::ZERO, vec![cancelled.hash], Duration::ZERO)]).await?;
    assert_eq!(hub.ended(&server, player).await?, (Fence::ZERO, vec![cancelled.hash]));
    assert_eq!(client.outcome().await?.code(), "superseded");
    let superseded = Verdict::Refused(Code::Superseded);
    assert_eq!(hub.granted(&server, &cancelled).await?.1, superseded);
    // A floor does the same to all lower fences, and to them alone.
    hub.order(&server, &[rogue::end(player, hub.fence(5), Vec::new(), Duration::ZERO)]).await?;
    hub.ended(&server, player).await?;
    let (_, lower) = hub.grant(&server, player, hub.fence(4), limits::TOKEN_LIFE);
    assert_eq!(hub.granted(&server, &lower).await?.1, superseded);
    let (token, newest) = hub.grant(&server, player, hub.fence(5), limits::TOKEN_LIFE);
    assert_eq!(hub.granted(&server, &newest).await?.1, Verdict::Held);
    assert_eq!(hub.granted(&server, &cancelled).await?.1, superseded);
    let (_client, outcome) = GameClient::enter(&server.addr(), token.expose()).await?;
    assert_eq!(outcome.code(), "welcome");
    server.stands(1, 0, 0).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_that_is_lost_is_sent_again_and_kicks_once() -> anyhow::Result<()> {
    let hub = TestHub::start().await?;
    let (old, new) = tokio::try_join!(TestServer::builder(&hub).start(), TestServer::builder(&hub).start())?;
    hub.register("ada").await?;
    let ticket = hub.ticket("ada", Some(old.id())).await?;
    let (mut first, outcome) = GameClient::enter(ticket.tcp()?, &ticket.token).await?;
    assert_eq!(outcome.code(), "welcome");
    let mark = log().mark();
    old.proxy().hold(Way::Down);
    let lose_the_end = async {
        old.saw(mark, "end.sent").await;
        assert_eq!(old.count(mark, "end.received"), 0);
        // What it held is gone, and the link starts anew.
        let cut = log().mark();
        old.proxy().cut();
        old.proxy().release(Way::Down);
        old.saw(cut, "end.sent").await;
        old.saw(cut, "end.answered").await;
    };
    let (second, ()) = tokio::join!(hub.ticket("ada", Some(new.id())), lose_the_end);
    let second = second?;
    assert!(second.confirmed);
    assert_eq!(first.ended().await?.code(), "superseded");
    assert_eq!(old.count(mark, "session.kicked"), 1);
    let (_client, outcome) = GameClient::enter(second.tcp()?, &second.token).await?;
    assert_eq!(outcome.code(), "welcome");
    old.stands(0, 0, 0).await;
    new.stands(1, 0, 0).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_game_that_ignores_a_kick_loses_the_slot_when_its_time_is_up() -> anyhow::Result<()> {
    let mut hub = RogueHub::start().await?;
    let server = hub.server(1).await?;
    let player = hub.player();
    let (token, grant) = hub.grant(&server, player, hub.fence(1), limits::TOKEN_LIFE);
    hub.granted(&server, &grant).await?;
    let stubborn = within("a slot", server.game().redeem(hello(token.expose()))).await??;
    // The newer session takes over the one slot, as soon as the older one has let go of it.
    let (token, newer) = hub.grant(&server, player, hub.fence(2), limits::TOKEN_LIFE);
    assert_eq!(hub.granted(&server, &newer).await?.1, Verdict::Held);
    server.stands(1, 0, 0).await;
    let mut waiting = server.game().begin_redeem(hello(token.expose()));
    assert!(matches!(within("a delay", waiting.progress()).await?, Progress::Delayed { .. }));
    let save = Duration::from_millis(400);
    hub.order(&server, &[rogue::end(player, hub.fence(2), Vec::new(), save)]).await?;
    let ending = within("the kick", stubborn.kicked()).await?;
    assert_eq!(ending.reason, Code::Superseded);
    assert!(ending.save_within <= save && !stubborn.is_voided());
    within("the end of its time", stubborn.voided()).await?;
    let slot = within("a slot", waiting).await??;
    assert_eq!((slot.player(), slot.fence()), (player, hub.fence(2)));
    let mut story = Vec::new();
    while story.last() != Some(&"ended") {
        story.push(
            hub.hear(server.id(), |message| match message {
                ServerMessage::Left { .. } => Some("left"),
                ServerMessage::Ended { .. } => Some("ended"),
                ServerMessage::Joined { entry, .. } if entry.fence == newer.fence => Some("joined"),
                _ => None,
            })
            .await?,
        );
    }
    assert_eq!(story, ["left", "ended"], "it answers when nothing older is left, and not before");
    server.stands(1, 0, 0).await;
    // What it held on to is nothing any more.
    stubborn.leave().await;
    server.stands(1, 0, 0).await;
    assert_eq!(server.peak(), 1);
    slot.leave().await;
    server.stands(0, 0, 0).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_a_real_hub_too_a_newer_login_waits_no_longer_than_the_time_to_save() -> anyhow::Result<()> {
    let hub = TestHub::start().await?;
    let server = TestServer::builder(&hub).max_players(1).start().await?;
    hub.register("ada").await?;
    let ticket = hub.ticket("ada", None).await?;
    let stubborn = within("a slot", server.game().redeem(hello(&ticket.token))).await??;
    let mark = log().mark();
    let ticket = hub.ticket("ada", None).await?;
    assert!(ticket.confirmed);
    assert!(stubborn.is_voided(), "it is answered when the older session is over");
    assert_eq!(server.count(mark, "session.voided"), 1);
    let (_client, outcome) = GameClient::enter(ticket.tcp()?, &ticket.token).await?;
    assert_eq!(outcome.code(), "welcome");
    server.stands(1, 0, 0).await;
    assert_eq!(server.peak(), 1);
    Ok(())
}

/// Logs in and enters, confirmed and at once.
async fn play(hub: &TestHub, server: &TestServer, login: &str) -> anyhow::Result<GameClient> {
    hub.register(login).await?;
    let ticket = hub.ticket(login, Some(server.id())).await?;
    assert!(ticket.confirmed);
    let (client, outcome) = GameClient::enter(ticket.tcp()?, &ticket.token).await?;
    assert_eq!(outcome.code(), "welcome");
    assert!(!client.delayed);
    Ok(client)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clocks_within_the_bound_do_not_matter() -> anyhow::Result<()> {
    let hub = TestHub::start().await?;
    let (fast, slow) = tokio::try_join!(
        TestServer::builder(&hub).wall_offset_ms(25_000).start(),
        TestServer::builder(&hub).wall_offset_ms(-25_000).start()
    )?;
    let _a = play(&hub, &fast, "ada").await?;
    let _b = play(&hub, &slow, "bob").await?;
    // Stepped while they run, the other way.
    fast.clock().step_wall_to(-25_000);
    slow.clock().step_wall_to(25_000);
    let _c = play(&hub, &fast, "cyd").await?;
    let _d = play(&hub, &slow, "dot").await?;
    // The hub's own.
    fast.clock().step_wall_to(0);
    slow.clock().step_wall_to(0);
    for (offset, login) in [(25_000, "eve"), (-25_000, "fay")] {
        hub.clock().step_wall_to(offset);
        let _ = play(&hub, &fast, login).await?;
    }
    fast.stands(2, 0, 0).await;
    slow.stands(2, 0, 0).await;
    Ok(())
}

/// Both sides say so: the one who was told, and the one who saw.
async fn both_complain(server: &TestServer, mark: hub_tests::events::Mark) {
    let id = ("server_id", server.id().as_str());
    let mut sides = [false; 2];
    for count in 1.. {
        let seen = log().wait_count(mark, count, "clock.skewed", &[id]).await;
        // Only the server calls one of the clocks the hub's.
        sides[usize::from(seen[count - 1].fields.contains_key("hub_clock_ms"))] = true;
        if sides == [true; 2] {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_whose_clock_is_wrong_is_named_and_comes_back() -> anyhow::Result<()> {
    let hub = TestHub::start().await?;
    for wrong in [40_000, -40_000] {
        let mark = log().mark();
        let server = TestServer::builder(&hub).wall_offset_ms(wrong).start_unheard().await?;
        both_complain(&server, mark).await;
        assert_eq!(server.count(mark, "server.eligible"), 0);
        server.clock().step_wall_to(0);
        server.eligible(mark).await;
        let login = format!("ada{wrong}");
        let _client = play(&hub, &server, &login).await?;
        server.stands(1, 0, 0).await;
    }
    Ok(())
}

/// Makes some clock wrong, waits until both sides have named it and the hub has given the server up, and makes it right again.
async fn misread(hub: &TestHub, server: &TestServer, set: impl Fn(bool)) -> anyhow::Result<()> {
    let early = play(hub, server, "ada").await?;
    let mark = log().mark();
    set(true);
    both_complain(server, mark).await;
    server.saw(mark, "server.lease_ended").await;
    server.stands(1, 0, 0).await;
    let back = log().mark();
    set(false);
    server.eligible(back).await;
    let late = play(hub, server, "bob").await?;
    server.stands(2, 0, 0).await;
    assert_eq!(server.count(mark, "session.kicked"), 0, "who plays does not notice");
    drop((early, late));
    server.stands(0, 0, 0).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hub_whose_clock_steps_ahead_is_named_and_comes_back() -> anyhow::Result<()> {
    let hub = TestHub::start().await?;
    let server = TestServer::builder(&hub).start().await?;
    misread(&hub, &server, |wrong| hub.clock().step_wall_to(if wrong { 40_000 } else { 0 })).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hub_whose_clock_steps_back_is_named_and_comes_back() -> anyhow::Result<()> {
    let hub = TestHub::start().await?;
    let server = TestServer::builder(&hub).start().await?;
    misread(&hub, &server, |wrong| hub.clock().step_wall_to(if wrong { -40_000 } else { 0 })).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_whose_clock_drifts_is_named_once_it_is_too_far_off() -> anyhow::Result<()> {
    const TEN_SECONDS_A_SECOND: i64 = 10_000_000;
    let hub = TestHub::start().await?;
    let server = TestServer::builder(&hub).start().await?;
    misread(&hub, &server, |wrong| server.clock().drift_wall(if wrong { TEN_SECONDS_A_SECOND } else { 0 }))
        .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hub_whose_clock_drifts_is_named_once_it_is_too_far_off() -> anyhow::Result<()> {
    const TEN_SECONDS_A_SECOND: i64 = 10_000_000;
    let hub = TestHub::start().await?;
    let server = TestServer::builder(&hub).start().await?;
    misread(&hub, &server, |wrong| hub.clock().drift_wall(if wrong { -TEN_SECONDS_A_SECOND } else { 0 }))
        .await
}
