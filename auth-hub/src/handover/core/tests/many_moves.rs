//! Many moves at once: what one server asks for takes nothing from the others, and luggage leaves room for what they are told.

use shared_msgs::codes::Code;
use shared_msgs::ids::TokenHash;
use shared_msgs::limits;
use shared_msgs::messages::ServerMessage;
use shared_msgs::moves::MoveTarget;

use super::super::known::{ANSWERS_MAX, UNDER_WAY_MAX};
use super::moves::to;
use super::rig::Rig;
use crate::fleet::Sender;
use crate::handover::core::Input;
use crate::handover::grants::LUGGAGE_ON_ITS_WAY_MAX;

impl Rig {
    fn play_many(&mut self, accounts: std::ops::Range<i64>, server: &str) -> Vec<TokenHash> {
        accounts.map(|account| self.play(account, server)).collect()
    }

    /// At once, past the wire.
    fn hears(&mut self, from: &Sender, message: ServerMessage) {
        self.input(Input::Message { from: from.clone(), message: Box::new(message) });
    }
}

#[test]
fn a_server_that_asks_for_the_impossible_on_and_on_takes_no_move_from_another() {
    let mut rig = Rig::with(&[("a", 10), ("b", 10), ("c", 10)]);
    let (of_a, of_b) = (rig.play(1, "a"), rig.play(2, "b"));
    let (sender, wish) = (rig.peer("a").sender(), rig.wish("a", of_a, 0, to("a")));
    let ServerMessage::Move(mut asked) = wish else { panic!() };
    for request in 0..70_000 {
        asked.request = request;
        rig.hears(&sender, ServerMessage::Move(asked.clone()));
        rig.sent.clear();
        rig.flying.clear();
    }
    assert_eq!(rig.core.moves.answers(&"a".parse().unwrap()), ANSWERS_MAX);
    rig.move_off("b", of_b, to("c"));
    rig.run(100);
    assert_eq!(rig.move_answers("b"), [None]);
    rig.run(5 * 60_000);
    assert_eq!(rig.core.moves.answers(&"a".parse().unwrap()), 0, "forgotten in the end");
}

#[test]
fn a_server_has_a_bounded_number_under_way_and_the_next_when_one_is_over() {
    let mut rig = Rig::with(&[("a", 2_000), ("b", 2_000), ("c", 2_000)]);
    let last = i64::try_from(UNDER_WAY_MAX).unwrap() + 1;
    let of_a = rig.play_many(1..last + 1, "a");
    let of_b = rig.play(last + 1, "b");
    rig.store_answers = false;
    let wishes: Vec<_> = (0..).zip(&of_a).map(|(n, hash)| rig.wish("a", *hash, n, to("c"))).collect();
    rig.from("a", wishes);
    rig.move_off("b", of_b, to("c"));
    rig.run(0);
    assert_eq!(rig.move_answers("a"), [Some(Code::HubBusy)], "one too many");
    assert!(rig.move_answers("b").is_empty(), "another server's is under way");
    rig.store_answers = true;
    rig.run(10_000);
    assert_eq!(rig.move_answers("b"), [None]);
    let (yes, no): (Vec<_>, Vec<_>) = rig.move_answers("a").into_iter().partition(Option::is_none);
    assert_eq!((yes.len(), no.len()), (UNDER_WAY_MAX, 1));
    let again = rig.wish("a", of_a[UNDER_WAY_MAX], 10_000, to("c"));
    rig.from("a", [again.clone()]);
    rig.run(100);
    assert_eq!(rig.move_answers("a").last(), Some(&Some(Code::HubBusy)), "places that wait count");
    rig.fetch(None);
    let ServerMessage::Move(mut again) = again else { panic!() };
    again.request += 1;
    rig.from("a", [ServerMessage::Move(again)]);
    rig.run(100);
    assert_eq!(rig.move_answers("a").last(), Some(&None));
    rig.run(70_000);
    assert_eq!((rig.core.moves.under_way().len(), rig.core.moves.luggage_bytes()), (0, 0));
}

#[test]
fn luggage_on_its_way_is_bounded_and_the_rest_goes_when_it_has_arrived() {
    let targets = ["b", "c", "d", "e"];
    let mut rig = Rig::with(&[("a", 500), ("b", 500), ("c", 500), ("d", 500), ("e", 500)]);
    let of_a = rig.play_many(1..201, "a");
    for target in targets {
        rig.peer(target).is_silent = true;
    }
    let mut wishes: Vec<_> =
        (0..).zip(&of_a).map(|(n, hash)| rig.wish("a", *hash, n, MoveTarget::Anywhere)).collect();
    for wish in &mut wishes {
        let ServerMessage::Move(asked) = wish else { panic!() };
        asked.luggage = vec![7; limits::LUGGAGE_BYTES_MAX].into();
    }
    rig.from("a", wishes);
    rig.run(1_400);
    assert_eq!(rig.core.ledger.luggage_bytes(), LUGGAGE_ON_ITS_WAY_MAX);
    rig.ask_for(1_000, Some("b"));
    rig.run(0);
    assert_eq!(rig.core.ledger.of_server(&"b".parse().unwrap()).len(), 17, "who has none goes past");
    for target in targets {
        rig.peer(target).is_silent = false;
    }
    // From the re-sends on each answer makes room: none waits for its next look.
    rig.run(130);
    assert_eq!(rig.move_answers("a"), vec![None; 200]);
    assert_eq!(rig.core.ledger.luggage_bytes(), 0);
}
