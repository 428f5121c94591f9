//! Players that move while something else is about them: a login, the queue, and an operator's end.

use shared_msgs::codes::Code;
use shared_msgs::messages::{Order, ServerMessage};
use shared_msgs::moves::{Luggage, MoveTarget};

use super::moves::{HAT, to};
use super::rig::Rig;
use crate::handover::NoPlace;

#[test]
fn a_session_that_a_login_replaced_first_does_not_move() {
    let mut rig = Rig::with(&[("a", 10), ("b", 10), ("c", 10)]);
    let hash = rig.play(1, "a");
    rig.peer("a").saves_slowly = true;
    let login = rig.ask_for(1, Some("b"));
    rig.run(100);
    rig.move_off("a", hash, to("c"));
    rig.run(7_000);
    assert_eq!(rig.placed(login), "b");
    assert_eq!(rig.move_answers("a"), [Some(Code::Superseded)]);
    assert_eq!(rig.grants("c").len(), 0);
    assert!(rig.ends("a").iter().all(|(_, end)| end.reason == Code::Superseded));
}

/// A server that hears of the end first takes it for its move's, and tells the client to come back.
#[test]
fn a_server_hears_that_its_move_is_outrun_before_the_end_whatever_the_move_waits_for() {
    for waits_for_store in [false, true] {
        let mut rig = Rig::with(&[("a", 10), ("b", 10), ("c", 10)]);
        let hash = rig.play(1, "a");
        rig.peer("b").is_silent = true;
        let login = rig.ask_for(1, Some("b"));
        rig.store_answers = !waits_for_store;
        rig.move_off("a", hash, to("c"));
        rig.run(100);
        assert!(rig.move_answers("a").is_empty() && rig.waits(login));
        rig.peer("b").is_silent = false;
        rig.run(1_000);
        assert_eq!(rig.placed(login), "b");
        let of_a = rig.sent.iter().filter(|(_, server, ..)| server.as_str() == "a");
        let told = of_a.filter_map(|(.., order)| match order {
            Order::MoveAnswer(answer) => answer.code,
            Order::End(end) => Some(end.reason),
            _ => None,
        });
        assert_eq!(told.collect::<Vec<_>>(), [Code::Superseded; 2], "an answer and an end");
        let first = rig.sent.iter().find(|(.., order)| matches!(order, Order::MoveAnswer(_) | Order::End(_)));
        assert!(matches!(first, Some((.., Order::MoveAnswer(_)))), "{waits_for_store}");
        rig.store_answers = true;
        rig.run(5_000);
        assert_eq!((rig.grants("c").len(), rig.move_answers("a").len()), (0, 1));
        rig.assert_quiet();
    }
}

#[test]
fn a_move_that_finds_no_slot_does_not_wait_in_the_queue() {
    for (target, code) in [(to("b"), Code::ServerFull), (MoveTarget::Anywhere, Code::AllServersFull)] {
        let mut rig = Rig::queueing(&[("a", 10), ("b", 1)]);
        rig.play(2, "b");
        let hash = rig.play(1, "a");
        rig.move_off("a", hash, target);
        rig.run(100);
        assert_eq!(rig.move_answers("a"), [Some(code)]);
        assert_eq!((rig.core.tickets(), rig.core.running()), (0, 0));
        assert!(rig.peer("a").entries.contains_key(&hash) && rig.ends("a").is_empty());
    }
}

#[test]
fn a_prepared_place_voids_the_ticket_and_whoever_asks_anew_gets_the_place() {
    let mut rig = Rig::queueing(&[("a", 10), ("b", 10), ("c", 1)]);
    rig.play(2, "c");
    let hash = rig.play(1, "a");
    let wish = rig.ask_for(1, Some("c"));
    rig.run(0);
    let ticket = rig.ticket(wish).ticket;
    rig.move_off("a", hash, to("b"));
    rig.run(100);
    assert_eq!((rig.move_answers("a"), rig.core.tickets()), (vec![None], 0));
    let poll = rig.poll(1, ticket, 0);
    rig.run(0);
    assert_eq!(rig.why(poll), NoPlace::TicketUnknown);
    assert_eq!(rig.fetch(None), ("b".to_owned(), Luggage::from(HAT.to_vec())));
}

#[test]
fn an_operators_end_takes_the_prepared_place_with_it() {
    let mut rig = Rig::with(&[("a", 10), ("b", 10)]);
    let hash = rig.play(1, "a");
    rig.move_off("a", hash, to("b"));
    rig.run(100);
    let granted = rig.grants("b")[0].clone();
    let report = rig.end(1, Code::Kicked).unwrap();
    assert!(report.servers.contains(&"b".parse().unwrap()));
    assert!(rig.core.moves.prepared.is_empty());
    rig.run(5_000);
    let (_, to_b) = rig.ends("b")[0];
    assert_eq!((to_b.reason, to_b.hashes.as_slice()), (Code::Kicked, &[granted.hash][..]));
    assert_eq!((rig.peer("a").entries.len(), rig.peer("b").entries.len()), (0, 0));
    let (_, luggage) = rig.fetch(None);
    assert!(luggage.is_empty(), "the place lived on");
    rig.assert_quiet();
}

#[test]
fn an_operators_end_stops_a_move_wherever_it_stands() {
    // The store has not said yet who moves; or the new server has not said yes.
    for finds in [false, true] {
        let mut rig = Rig::with(&[("a", 10), ("b", 10)]);
        let hash = rig.play(1, "a");
        rig.peer("a").saves_slowly = true;
        rig.store_answers = finds;
        rig.peer("b").is_silent = true;
        rig.move_off("a", hash, to("b"));
        rig.run(100);
        assert_eq!(rig.grants("b").len(), usize::from(finds));
        rig.end(1, Code::Kicked).unwrap();
        rig.store_answers = true;
        rig.peer("b").is_silent = false;
        rig.run(5_000);
        assert_eq!(rig.move_answers("a"), [Some(Code::Kicked)], "{finds}");
        assert!(rig.peer("b").entries.is_empty() && rig.core.moves.prepared.is_empty(), "{finds}");
    }
}

#[test]
fn a_session_that_an_operator_has_ended_does_not_move_before_its_server_hears_of_it() {
    let mut rig = Rig::with(&[("a", 10), ("b", 10)]);
    let hash = rig.play(1, "a");
    let wish: ServerMessage = rig.wish("a", hash, 1, to("b"));
    // The end is on its way, and crosses the wish.
    rig.peer("a").saves_slowly = true;
    rig.end(1, Code::Banned).unwrap();
    rig.from("a", [wish]);
    rig.run(0);
    assert_eq!(rig.move_answers("a"), [Some(Code::Banned)]);
    rig.run(1_000);
    assert_eq!(rig.grants("b").len(), 0);
}
