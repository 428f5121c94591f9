//! The policy `refuse`: a second login changes nothing, and nobody is locked out by what is no session.

use shared_msgs::codes::Code;
use shared_msgs::limits;
use shared_msgs::messages::Order;

use super::super::Duplicate;
use super::rig::Rig;
use crate::handover::NoPlace;

fn refusing(servers: &[(&str, u32)]) -> Rig {
    let mut rig = Rig::with(servers);
    rig.core.duplicates = Duplicate::Refuse;
    rig
}

#[test]
fn a_second_login_is_refused_until_the_session_is_over() {
    let mut rig = refusing(&[("a", 10), ("b", 10)]);
    let hash = rig.play(1, "a");
    for server in [None, Some("b")] {
        let id = rig.ask_for(1, server);
        assert_eq!(rig.why(id), NoPlace::DuplicateLogin);
    }
    rig.run(5_000);
    assert!(rig.peer("a").entries.contains_key(&hash), "it plays on");
    assert!(!rig.sent.iter().any(|(.., order)| matches!(order, Order::End(_))));
    let other = rig.ask(2);
    rig.run(0);
    assert!(rig.answer(other).unwrap().is_ok(), "others may");
    let left = rig.peer("a").leave(hash);
    rig.from("a", left);
    rig.run(0);
    let id = rig.ask_for(1, Some("b"));
    rig.run(0);
    assert_eq!(rig.placed(id), "b");
}

#[test]
fn of_logins_at_one_moment_exactly_one_gets_in() {
    for delay in [0, 20, 400] {
        let mut rig = refusing(&[("a", 10), ("b", 10)]);
        rig.wire = Box::new(move |_| vec![delay]);
        let ids: Vec<_> = (0..4).map(|_| rig.ask(1)).collect();
        rig.run(5_000);
        let placed = ids.iter().filter(|id| rig.answer(**id).unwrap().is_ok()).count();
        assert_eq!(placed, 1, "{delay} ms");
        assert!(ids[1..].iter().all(|id| rig.why(*id) == NoPlace::DuplicateLogin), "{delay} ms");
    }
}

#[test]
fn a_place_that_a_client_was_told_of_counts_until_its_token_is_over() {
    let mut rig = refusing(&[("a", 10), ("b", 10)]);
    rig.peer("a").is_silent = true;
    let unconfirmed = rig.ask_for(1, Some("a"));
    rig.run(300);
    assert!(!rig.confirmed(unconfirmed));
    let id = rig.ask(1);
    assert_eq!(rig.why(id), NoPlace::DuplicateLogin);
    rig.run(u64::try_from(limits::TOKEN_LIFE.as_millis()).unwrap());
    let id = rig.ask_for(1, Some("b"));
    rig.run(0);
    assert_eq!(rig.placed(id), "b", "the token is over, and nobody came");
}

#[test]
fn who_names_the_server_of_their_session_is_let_in_again() {
    let mut rig = refusing(&[("a", 10), ("b", 10)]);
    let dropped = rig.play(1, "a");
    let id = rig.ask_for(1, Some("a"));
    rig.run(0);
    assert_eq!(rig.placed(id), "a");
    assert!(!rig.peer("a").entries.contains_key(&dropped), "the dropped connection has gone");
}

#[test]
fn a_session_on_a_server_that_is_not_heard_locks_nobody_out() {
    let mut rig = refusing(&[("a", 10), ("b", 10)]);
    rig.play(1, "a");
    let gone = rig.peer("a").gone();
    rig.from("a", [gone]);
    rig.run(0);
    let id = rig.ask(1);
    rig.run(7_000);
    assert_eq!(rig.placed(id), "b");
}

#[test]
fn an_attempt_that_came_to_nothing_is_no_session() {
    let mut rig = refusing(&[("a", 10), ("b", 10)]);
    rig.peer("a").refuses = Some(Code::ServerFull);
    let id = rig.ask(1);
    rig.run(0);
    assert_eq!(rig.placed(id), "b", "its own handover goes on to the next server");
    let mut rig = refusing(&[("a", 10)]);
    rig.peer("a").refuses = Some(Code::ServerFull);
    let none = rig.ask(1);
    rig.run(0);
    assert_eq!(rig.why(none), NoPlace::AllServersFull);
    rig.peer("a").refuses = None;
    let id = rig.ask(1);
    rig.run(0);
    assert_eq!(rig.placed(id), "a");
}
