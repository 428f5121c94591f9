//! Lost and resumed slots, as a game has them in its hands.

use shared_msgs::codes::Retry;

use super::*;
use crate::{LostOver, Resume};

fn start() -> (HandHub, Events) {
    HandHub::start_with(Config { reconnect_grace: limits::RECONNECT_GRACE, ..crate::testing::config() })
}

fn resume(credential: &str) -> Resume {
    Resume { credential: credential.to_owned(), build: "b2".into(), app_data: vec![8] }
}

fn credential(slot: &PlayerSlot) -> String {
    slot.reconnect().unwrap().credential.expose().to_owned()
}

/// What becomes of it, within the time that a test has.
async fn over(lost: &crate::Lost) -> LostOver {
    tokio::time::timeout(Duration::from_secs(20), lost.over()).await.unwrap()
}

/// Waits until the gate knows of so many lost sessions.
async fn until_lost(hub: &HandHub, n: u32) {
    let mut snapshots = hub.game.watch();
    let waited = tokio::time::timeout(Duration::from_secs(20), snapshots.wait_for(|now| now.lost == n));
    waited.await.unwrap().unwrap();
}

async fn entered(hub: &mut HandHub, who: u8) -> PlayerSlot {
    let issued = hub.issue(who);
    hub.grant(&issued).await;
    hub.game.redeem(issued.hello()).await.unwrap()
}

#[tokio::test]
async fn a_slot_that_is_dropped_is_free_at_once_whatever_the_grace() {
    let (mut hub, _events) = start();
    let slot = entered(&mut hub, 1).await;
    let credential = credential(&slot);
    drop(slot);
    hub.until(0, 0, 0).await;
    let refusal = hub.game.resume(resume(&credential)).await.unwrap_err();
    assert_eq!((refusal.code(), refusal.retry()), (Code::ReconnectRefused, Retry::HANDOVER_NOW));
}

#[tokio::test]
async fn a_lost_slot_hears_that_its_player_is_back_once_the_game_has_the_new_one() {
    let (mut hub, _events) = start();
    let slot = entered(&mut hub, 1).await;
    let (player, fence, session, first) = (slot.player(), slot.fence(), slot.session(), credential(&slot));
    assert!(!slot.is_resumed());
    let id = slot.id();
    let lost = slot.lose();
    assert_eq!(lost.poll(), None);
    let back = hub.game.resume(resume(&first)).await.unwrap();
    assert_eq!((back.player(), back.fence(), back.session()), (player, fence, session));
    assert_eq!((back.build(), back.app_data(), back.resumes()), ("b2", &[8][..], Some(id)));
    assert_eq!((lost.poll(), over(&lost).await), (Some(LostOver::Resumed), LostOver::Resumed));
    assert!(lost.slot().has_moved() && lost.slot().is_voided());
    drop(lost);
    back.credential_kept();
    let refused = hub.game.resume(resume(&first)).await.unwrap_err();
    assert_eq!(refused.code(), Code::ReconnectRefused);
    hub.until(1, 0, 0).await;
    assert!(!back.is_voided() && !back.has_moved());
    back.leave().await;
    assert_eq!(hub.game.occupancy().players, 0);
}

#[tokio::test]
async fn a_lost_slot_whose_time_is_over_is_to_be_saved() {
    let (mut hub, mut events) = start();
    let slot = entered(&mut hub, 1).await;
    let id = slot.id();
    let lost = slot.lose();
    until_lost(&hub, 1).await;
    hub.clock.advance(limits::RECONNECT_GRACE);
    let LostOver::Ending(ending) = over(&lost).await else { panic!("nobody came back") };
    assert_eq!((ending.reason, ending.save_within), (Code::ReconnectRefused, limits::SAVE_TIME));
    let Some(Event::Kick { slot, reason: Code::ReconnectRefused, .. }) = events.recv().await else {
        panic!("the game is told as of any other end")
    };
    assert_eq!((slot, hub.game.occupancy().players), (id, 1));
    drop(lost);
    hub.until(0, 0, 0).await;
}

/// Between the gate's word and the game's hands a session must not be lost without anybody to save it.
#[tokio::test]
async fn a_return_that_nobody_takes_ends_the_session_and_who_had_it_saves_it() {
    let (mut hub, _events) = start();
    let slot = entered(&mut hub, 1).await;
    let first = credential(&slot);
    let lost = slot.lose();
    until_lost(&hub, 1).await;
    let asked = hub.game.begin_resume(resume(&first));
    until_lost(&hub, 0).await;
    drop(asked);
    let LostOver::Ending(ending) = over(&lost).await else { panic!("it is in nobody's hands") };
    assert_eq!(ending.reason, Code::ConnectedElsewhere);
    hub.until(0, 0, 0).await;
}

#[tokio::test]
async fn a_lost_slot_ends_with_the_server() {
    let (mut hub, _events) = start();
    let lost = entered(&mut hub, 1).await.lose();
    hub.game.clone().shutdown().await;
    let LostOver::Ending(ending) = over(&lost).await else { panic!("nobody came back") };
    assert_eq!((ending.reason, ending.save_within), (Code::ServerClosed, Duration::ZERO));
}
