//! The SDK without a broker: the hub is played by hand, the clock moved by hand.

mod reconnect;

use std::task::Poll;

use shared_msgs::link::LinkError;
use shared_msgs::messages::Order;

use super::*;
use crate::testing::{HandHub, NEWER_BOOT, config};
use crate::{Ending, Progress};

async fn refused(redeeming: &mut Redeeming) -> Refusal {
    match redeeming.progress().await {
        Progress::Done(Err(refusal)) => refusal,
        other => panic!("{other:?}"),
    }
}

async fn parked(redeeming: &mut Redeeming) -> Duration {
    match redeeming.progress().await {
        Progress::Delayed { within } => within,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn it_starts_while_the_hub_is_away_and_times_clients_by_the_injected_clock() {
    let (mut hub, _events) = HandHub::start();
    assert_eq!(hub.game.link(), LinkState::Down);
    let issued = hub.issue(1);
    let mut redeeming = hub.game.begin_redeem(issued.hello());
    assert_eq!(parked(&mut redeeming).await, limits::PARK_TIME);
    assert!(matches!(redeeming.poll(), Progress::Waiting));
    hub.clock.advance(limits::PARK_TIME);
    let refusal = refused(&mut redeeming).await;
    assert_eq!(refusal.code(), Code::HandoverTimedOut);
    assert_eq!(hub.game.refused(Code::HandoverTimedOut), 1);
    assert!(matches!(redeeming.poll(), Progress::Waiting), "one answer");
}

#[tokio::test]
async fn a_start_with_a_wrong_configuration_names_it() {
    let wrong = Config { max_players: 0, ..config() };
    assert!(matches!(GameServer::start(wrong), Err(StartError::Config(ConfigError::MaxPlayers))));
}

#[tokio::test]
async fn early_or_late_a_client_gets_its_slot_and_dropping_it_frees_it() {
    let (mut hub, _events) = HandHub::start();
    let [early, late] = [hub.issue(1), hub.issue(2)];
    let waiting = hub.game.begin_redeem(early.hello());
    hub.until(0, 0, 1).await;
    hub.grant(&early).await;
    let first = waiting.await.unwrap();
    hub.grant(&late).await;
    hub.until(1, 1, 0).await;
    let second = hub.game.redeem(late.hello()).await.unwrap();
    let Issue { player, fence, session, name } = Issue::of(&second);
    let grant = &late.grant;
    assert_eq!((player, fence, session, name), (grant.player, grant.fence, grant.handover, "p2".to_owned()));
    assert_eq!((second.build(), second.app_data()), ("b1", [7].as_slice()));
    assert_eq!((hub.game.redeemed(), hub.game.occupancy().players), (2, 2));
    drop(first);
    hub.until(1, 0, 0).await;
    second.leave().await;
    assert_eq!(hub.game.occupancy().players, 0, "counted when `leave` returns");
    let again = hub.game.redeem(late.hello()).await.unwrap_err();
    assert_eq!((again.code(), again.handover_id()), (Code::TokenSpent, Some(grant.handover)));
}

/// A slot's public face.
struct Issue {
    player: shared_msgs::ids::PlayerId,
    fence: shared_msgs::ids::Fence,
    session: shared_msgs::ids::HandoverId,
    name: String,
}

impl Issue {
    fn of(slot: &PlayerSlot) -> Self {
        let name = slot.name().to_owned();
        Self { player: slot.player(), fence: slot.fence(), session: slot.session(), name }
    }
}

#[tokio::test]
async fn a_request_that_is_dropped_is_abandoned_and_its_token_stays_good() {
    let (mut hub, _events) = HandHub::start();
    let issued = hub.issue(1);
    let redeeming = hub.game.begin_redeem(issued.hello());
    hub.until(0, 0, 1).await;
    drop(redeeming);
    hub.until(0, 0, 0).await;
    hub.grant(&issued).await;
    let slot = hub.game.redeem(issued.hello()).await.unwrap();
    // A welcome that is never taken frees its slot too.
    drop(slot);
    hub.until(0, 0, 0).await;
    let lost = hub.issue(2);
    hub.grant(&lost).await;
    hub.until(0, 1, 0).await;
    let redeeming = hub.game.begin_redeem(lost.hello());
    hub.until(1, 0, 0).await;
    drop(redeeming);
    hub.until(0, 0, 0).await;
}

#[tokio::test]
async fn a_kick_reaches_the_slot_and_the_events_and_ignoring_it_voids_the_slot() {
    let (mut hub, mut events) = HandHub::start();
    let issued = hub.issue(1);
    hub.grant(&issued).await;
    let slot = hub.game.redeem(issued.hello()).await.unwrap();
    assert_eq!((slot.ending(), slot.is_voided()), (None, false));
    hub.end(1, Code::Kicked).await;
    let (reason, save_within) = (Code::Kicked, limits::SAVE_TIME);
    assert_eq!(slot.kicked().await, Ending { reason, save_within });
    let (id, player) = (slot.id(), slot.player());
    assert_eq!(events.recv().await, Some(Event::Kick { slot: id, player, reason, save_within }));
    hub.clock.advance(Duration::from_secs(1));
    assert_eq!(slot.ending(), Some(Ending { reason, save_within: Duration::from_secs(3) }));
    hub.clock.advance(Duration::from_secs(3));
    slot.voided().await;
    assert!(slot.is_voided());
    assert_eq!(slot.ending(), Some(Ending { reason, save_within: Duration::ZERO }));
    assert_eq!(events.recv().await, Some(Event::Voided { slot: id, player }));
    hub.until(0, 0, 0).await;
    slot.leave().await;
}

#[tokio::test]
async fn state_and_request_are_seen_in_the_order_they_were_said() {
    let (mut hub, _events) = HandHub::start();
    let issued = hub.issue(1);
    hub.grant(&issued).await;
    hub.until(0, 1, 0).await;
    hub.game.set_load(30);
    hub.game.set_state(ServerState::Draining);
    let refusal = hub.game.redeem(issued.hello()).await.unwrap_err();
    assert_eq!(refusal.code(), Code::ServerDraining);
}

#[tokio::test]
async fn a_drain_reports_who_left_and_who_was_voided() {
    let (mut hub, mut events) = HandHub::start();
    let mut slots = Vec::new();
    for who in [1, 2] {
        let issued = hub.issue(who);
        hub.grant(&issued).await;
        slots.push(hub.game.redeem(issued.hello()).await.unwrap());
    }
    let early = hub.issue(3);
    let mut waiting = hub.game.begin_redeem(early.hello());
    parked(&mut waiting).await;
    let limit = Duration::from_secs(10);
    let game = hub.game.clone();
    let steps = async {
        assert_eq!(refused(&mut waiting).await.code(), Code::ServerDraining);
        assert_eq!(events.recv().await, Some(Event::Drain { within: Some(limit) }));
        drop(slots.pop());
        hub.until(1, 0, 0).await;
        hub.clock.advance(Duration::from_secs(6));
        assert_eq!(slots[0].kicked().await.reason, Code::ServerDraining);
        hub.clock.advance(limits::SAVE_TIME);
    };
    let (report, ()) = tokio::join!(game.drain(limit), steps);
    assert_eq!(report, Ok(DrainReport { left: 1, voided: 1 }));
}

#[tokio::test]
async fn every_drain_hears_the_report_however_many_wait() {
    let (mut hub, _events) = HandHub::start();
    let (inside, late) = (hub.issue(1), hub.issue(2));
    hub.grant(&inside).await;
    let slot = hub.game.redeem(inside.hello()).await.unwrap();
    let mut drains: Vec<_> = (0..200).map(|_| Box::pin(hub.game.drain(Duration::from_secs(10)))).collect();
    for drain in &mut drains {
        let is_pending = std::future::poll_fn(|cx| Poll::Ready(drain.as_mut().poll(cx).is_pending())).await;
        assert!(is_pending);
        tokio::task::yield_now().await;
    }
    // Behind all of them in the queue, so they all have been heard.
    assert_eq!(hub.game.redeem(late.hello()).await.unwrap_err().code(), Code::ServerDraining);
    slot.leave().await;
    for drain in drains {
        assert_eq!(drain.await, Ok(DrainReport { left: 1, voided: 0 }));
    }
    assert_eq!(
        hub.game.drain(Duration::ZERO).await,
        Ok(DrainReport { left: 1, voided: 0 }),
        "and so does the next"
    );
}

#[tokio::test]
async fn a_drain_that_the_hub_takes_back_ends_with_that_and_one_before_the_end_is_not_taken_back() {
    let (mut hub, mut events) = HandHub::start();
    let [inside, late, later] = [hub.issue(1), hub.issue(2), hub.issue(3)];
    hub.grant(&inside).await;
    let slot = hub.game.redeem(inside.hello()).await.unwrap();
    let game = hub.game.clone();
    let undrain = async {
        assert!(matches!(events.recv().await, Some(Event::Drain { .. })));
        hub.order(Order::Undrain).await;
        assert_eq!(events.recv().await, Some(Event::Undrain));
    };
    let (taken_back, ()) = tokio::join!(game.drain(Duration::from_secs(10)), undrain);
    assert_eq!(taken_back, Err(Undrained));
    hub.grant(&late).await;
    let second = hub.game.redeem(late.hello()).await.unwrap();
    // What the game says again with its load is no new wish.
    hub.game.set_load(3);
    hub.until(2, 0, 0).await;
    assert_eq!(hub.game.snapshot().state, ServerState::Online);
    let retire = async {
        assert!(matches!(events.recv().await, Some(Event::Drain { .. })));
        hub.order(Order::Undrain).await;
        assert_eq!(hub.game.redeem(later.hello()).await.unwrap_err().code(), Code::ServerDraining);
        drop((slot, second));
    };
    let (report, ()) = tokio::join!(game.retire(Duration::from_secs(10)), retire);
    assert_eq!(report, DrainReport { left: 2, voided: 0 });
}

#[tokio::test]
async fn the_game_hears_a_notice_once() {
    let (mut hub, mut events) = HandHub::start();
    for (id, text) in [(1, "Restart at ten."), (1, "Restart at ten."), (2, "Now.")] {
        hub.order(Order::Notice { id, text: text.to_owned() }).await;
    }
    for text in ["Restart at ten.", "Now."] {
        assert_eq!(events.recv().await, Some(Event::Notice { text: text.to_owned() }));
    }
}

#[tokio::test]
async fn a_request_that_found_no_room_leaves_nothing_behind() {
    let (hub, _events) = HandHub::start();
    let (commands, _never_taken) = mpsc::channel(1);
    let (departures, mut departed) = mpsc::unbounded_channel();
    let shared = Shared {
        server: config().server_id().clone(),
        boot: BootId::default(),
        commands,
        wishes: watch::Sender::new(Wishes {
            state: ServerState::Online,
            load_percent: 0,
            message: String::new(),
        }),
        departures,
        tickets: AtomicU64::new(0),
        stats: Arc::new(Stats::new(1, ServerState::Online)),
        link: hub.game.0.link.clone(),
        closed: CancellationToken::new(),
    };
    let game = GameServer(Arc::new(shared));
    let queued = game.begin_redeem(Hello::default());
    drop(game.begin_redeem(Hello::default()));
    assert!(departed.try_recv().is_err(), "dropped unanswered");
    let mut busy = game.begin_redeem(Hello::default());
    assert_eq!(refused(&mut busy).await.code(), Code::ServerBusy);
    drop(busy);
    assert!(departed.try_recv().is_err());
    drop(queued);
    assert!(matches!(departed.try_recv(), Ok(Departure::Abandoned(_))));
}

#[tokio::test]
async fn a_shutdown_answers_everybody_and_says_closed_last() {
    let (mut hub, mut events) = HandHub::start();
    let [inside, early, later] = [hub.issue(1), hub.issue(2), hub.issue(3)];
    hub.grant(&inside).await;
    let slot = hub.game.redeem(inside.hello()).await.unwrap();
    let mut waiting = hub.game.begin_redeem(early.hello());
    parked(&mut waiting).await;
    let game = hub.game.clone();
    game.clone().shutdown().await;
    assert_eq!(refused(&mut waiting).await.code(), Code::ServerClosed);
    assert_eq!(slot.kicked().await.reason, Code::ServerClosed);
    assert!(slot.is_voided());
    assert_eq!(game.redeem(later.hello()).await.unwrap_err().code(), Code::ServerClosed);
    assert_eq!(game.drain(Duration::ZERO).await, Ok(DrainReport::default()));
    let mut last = None;
    while let Some(event) = events.recv().await {
        last = Some(event);
    }
    assert_eq!(last, Some(Event::Closed(CloseReason::Shutdown)));
}

#[tokio::test]
async fn dropping_the_last_handle_shuts_it_down() {
    let (hub, mut events) = HandHub::start();
    drop(hub.game);
    assert_eq!(events.recv().await, Some(Event::Closed(CloseReason::Shutdown)));
}

#[tokio::test]
async fn a_superseded_server_ends_its_sessions_and_closes() {
    let (mut hub, mut events) = HandHub::start();
    let issued = hub.issue(1);
    hub.grant(&issued).await;
    let slot = hub.game.redeem(issued.hello()).await.unwrap();
    let by = NEWER_BOOT;
    hub.order(Order::Superseded { by }).await;
    assert_eq!(slot.kicked().await.reason, Code::Superseded);
    drop(slot);
    let mut heard = Vec::new();
    while let Some(event) = events.recv().await {
        heard.push(event);
    }
    assert!(heard.contains(&Event::Superseded { by }), "{heard:?}");
    assert_eq!(heard.last(), Some(&Event::Closed(CloseReason::Superseded)));
    assert_eq!(hub.game.redeem(issued.hello()).await.unwrap_err().code(), Code::ServerClosed);
}

#[tokio::test]
async fn the_link_is_told_of_on_change_only_and_players_do_not_notice() {
    let (mut hub, mut events) = HandHub::start();
    let issued = hub.issue(1);
    hub.up().await;
    hub.grant(&issued).await;
    let slot = hub.game.redeem(issued.hello()).await.unwrap();
    for _ in 0..2 {
        hub.link(LinkEvent::Down { error: LinkError::Silent, retry_in: Duration::ZERO }).await;
    }
    hub.up().await;
    let link = |state| Some(Event::Link(state));
    for state in [LinkState::Up, LinkState::Down, LinkState::Up] {
        assert_eq!(events.recv().await, link(state));
    }
    assert_eq!((slot.ending(), hub.game.link()), (None, LinkState::Up));
}

#[tokio::test]
async fn a_link_that_dies_is_told_and_answers_everybody() {
    let (mut hub, mut events) = HandHub::start();
    let issued = hub.issue(1);
    let mut waiting = hub.game.begin_redeem(issued.hello());
    parked(&mut waiting).await;
    hub.cut();
    assert_eq!(events.recv().await, Some(Event::Closed(CloseReason::TaskDied)));
    assert_eq!(refused(&mut waiting).await.code(), Code::ServerClosed);
    hub.game.closed().await;
}
