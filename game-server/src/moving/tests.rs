//! The game's face of a move: one answer, in its own words, and a session that goes on until then.

use std::time::Duration;

use shared_msgs::messages::{End, Order};
use shared_msgs::moves::MoveAnswer;

use super::*;
use crate::testing::{HandHub, Issued};
use crate::{Ending, PlayerSlot};

async fn enter(hub: &mut HandHub) -> (Issued, PlayerSlot) {
    let issued = hub.issue(1);
    hub.grant(&issued).await;
    let slot = hub.game.redeem(issued.hello()).await.unwrap();
    (issued, slot)
}

impl HandHub {
    /// The first move that a server asks for is number 0.
    async fn answer_move(&mut self, issued: &Issued, code: Option<Code>) {
        let player = issued.grant.player;
        self.order(Order::MoveAnswer(MoveAnswer { request: 0, player, code })).await;
    }
}

#[tokio::test]
async fn a_player_who_stays_plays_on_and_one_who_moves_is_told_to_end() {
    let (mut hub, _events) = HandHub::start();
    let (issued, slot) = enter(&mut hub).await;
    assert_eq!(slot.luggage(), [1], "what it brought");
    let stays = slot.move_to(MoveRequest::anywhere(b"hat".to_vec()));
    // Answered behind the first one, which the gate knows by then.
    assert_eq!(slot.move_to(MoveRequest::anywhere(Vec::new())).await, Err(MoveError::UnderWay));
    hub.answer_move(&issued, Some(Code::AllServersFull)).await;
    let error = stays.await.unwrap_err();
    assert_eq!((error, error.code()), (MoveError::Refused(Code::AllServersFull), Some(Code::AllServersFull)));
    assert_eq!((slot.ending(), slot.is_voided()), (None, false));
    let moves = slot.move_to(MoveRequest::to("beta".parse().unwrap(), b"hat".to_vec()));
    assert_eq!(slot.move_to(MoveRequest::anywhere(Vec::new())).await, Err(MoveError::UnderWay));
    let below = shared_msgs::ids::Fence { hlc: u64::MAX, hub: 0 };
    let (player, reason) = (issued.grant.player, Code::Moved);
    hub.order(Order::End(End { player, below, hashes: vec![], reason, save_within_ms: 4_000 })).await;
    assert_eq!(moves.await, Ok(()), "the end says it too");
    assert_eq!(slot.kicked().await, Ending { reason, save_within: limits::SAVE_TIME });
}

#[tokio::test]
async fn what_cannot_travel_is_refused_at_once() {
    let (mut hub, _events) = HandHub::start();
    let (_, slot) = enter(&mut hub).await;
    let bytes = limits::LUGGAGE_BYTES_MAX + 1;
    let mut big = slot.move_to(MoveRequest::anywhere(vec![0; bytes]));
    assert_eq!(big.poll(), Some(Err(MoveError::LuggageTooBig { bytes })));
    let regions = vec!["eu".to_owned(); limits::MOVE_REGIONS_MAX + 1];
    let many = slot.move_to(MoveRequest::to_regions(regions, Vec::new()));
    assert_eq!(many.await, Err(MoveError::RegionsTooLong));
    assert_eq!(slot.ending(), None);
}

#[tokio::test]
async fn a_session_that_ends_and_a_server_that_stops_answer_who_waits() {
    let (mut hub, _events) = HandHub::start();
    let (_, slot) = enter(&mut hub).await;
    let mut moving = slot.move_to(MoveRequest::anywhere(Vec::new()));
    assert_eq!(moving.poll(), None);
    slot.leave().await;
    assert_eq!(moving.await, Err(MoveError::SessionOver));
    let (_, slot) = enter(&mut hub).await;
    let moving = slot.move_to(MoveRequest::anywhere(Vec::new()));
    hub.game.shutdown().await;
    assert_eq!(moving.await, Err(MoveError::SessionOver));
    assert_eq!(slot.move_to(MoveRequest::anywhere(Vec::new())).await, Err(MoveError::SessionOver));
}

#[tokio::test]
async fn without_an_answer_the_player_stays_when_the_time_is_over() {
    let (mut hub, _events) = HandHub::start();
    let (_, slot) = enter(&mut hub).await;
    let moving = slot.move_to(MoveRequest::anywhere(Vec::new()));
    // The gate has it once it refuses a second one.
    assert_eq!(slot.move_to(MoveRequest::anywhere(Vec::new())).await, Err(MoveError::UnderWay));
    hub.clock.advance(limits::LOGIN_DEADLINE + Duration::from_millis(1));
    assert_eq!(moving.await, Err(MoveError::Refused(Code::HandoverTimedOut)));
    assert_eq!(slot.ending(), None);
}
