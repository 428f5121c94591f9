//! When the client is answered: after the yes, or unconfirmed when nothing older of the account exists.

use shared_msgs::codes::Code;
use shared_msgs::ids::Fence;
use shared_msgs::limits;

use super::rig::Rig;
use crate::handover::NoPlace;

fn ms(of: std::time::Duration) -> u64 {
    u64::try_from(of.as_millis()).unwrap()
}

#[test]
fn a_silent_server_is_answered_unconfirmed_after_the_confirm_wait() {
    let mut rig = Rig::with(&[("a", 10)]);
    rig.peer("a").is_silent = true;
    let id = rig.ask(1);
    rig.run(ms(limits::CONFIRM_WAIT) - 1);
    assert!(rig.waits(id));
    rig.run(1);
    assert_eq!(rig.placed(id), "a");
    assert!(!rig.confirmed(id));
}

#[test]
fn never_unconfirmed_while_an_older_session_exists_then_silence_for_a_lease_tries_the_next() {
    let mut rig = Rig::with(&[("a", 10), ("b", 10), ("c", 10)]);
    let first = rig.play(1, "a");
    for server in ["b", "c"] {
        rig.peer(server).is_silent = true;
    }
    rig.peer("a").refuses = Some(Code::ServerBusy);
    let id = rig.ask(1);
    let ticks = rig.ticks;
    rig.run(ms(limits::LEASE) - 1);
    assert!(rig.waits(id));
    assert!(rig.ticks - ticks <= 20, "waiting is not looking all the time: {}", rig.ticks - ticks);
    let (b, c) = (!rig.grants("b").is_empty(), !rig.grants("c").is_empty());
    assert!(b != c, "one at a time: {b} {c}");
    rig.run(1);
    assert!(!rig.grants("b").is_empty() && !rig.grants("c").is_empty());
    let (silent, next) = if b { ("b", "c") } else { ("c", "b") };
    let hash = rig.grants(silent)[0].hash;
    assert!(rig.ends(silent).iter().any(|(_, end)| end.hashes == [hash] && end.below == Fence::ZERO));
    rig.peer(next).is_silent = false;
    rig.run(4_000);
    assert_eq!(rig.placed(id), next);
    assert!(rig.confirmed(id));
    assert!(!rig.peer("a").entries.contains_key(&first), "the older session lives on");
    rig.run(20_000);
    rig.assert_quiet();
}

#[test]
fn an_unanswered_grant_of_the_account_counts_as_something_older() {
    let mut rig = Rig::with(&[("a", 10)]);
    rig.peer("a").is_silent = true;
    let first = rig.ask(1);
    rig.run(300);
    assert!(!rig.confirmed(first));
    let second = rig.ask(1);
    rig.run(ms(limits::LEASE) - 1);
    assert!(rig.waits(second));
    rig.run(20_000);
    assert_eq!(rig.why(second), NoPlace::AllServersFull);
}

#[test]
fn a_grant_that_was_taken_back_is_nothing_older() {
    let mut rig = Rig::with(&[("a", 10), ("b", 10)]);
    rig.wire = Box::new(|packet| match packet {
        super::rig::Packet::ToHub(_, shared_msgs::messages::ServerMessage::GrantReply { .. }) => vec![],
        super::rig::Packet::ToServer(order)
            if matches!(order.order, shared_msgs::messages::Order::End(_)) =>
        {
            vec![]
        }
        _ => vec![0],
    });
    let first = rig.ask_for(1, Some("a"));
    rig.run(0);
    let gone = rig.peer("a").gone();
    rig.from("a", [gone]);
    rig.reconnect("a");
    rig.run(10);
    assert_eq!(rig.why(first), NoPlace::NoServerOnline);
    assert_eq!(rig.core.fleet.get(&"a".parse().unwrap()).unwrap().roster.entries().count(), 1);
    rig.peer("b").is_silent = true;
    let second = rig.ask_for(1, Some("b"));
    rig.run(ms(limits::CONFIRM_WAIT));
    assert!(!rig.confirmed(second));
}

#[test]
fn a_yes_that_shows_only_in_the_roster_is_a_yes() {
    let mut rig = Rig::with(&[("a", 10)]);
    rig.play(1, "a");
    rig.wire = Box::new(|packet| match packet {
        super::rig::Packet::ToHub(_, shared_msgs::messages::ServerMessage::GrantReply { .. }) => vec![],
        _ => vec![0],
    });
    let id = rig.ask(1);
    rig.run(5_900);
    assert!(rig.confirmed(id), "the roster's word did not count");
    assert_eq!(rig.core.ledger.len(), 0);
}

#[test]
fn the_client_is_answered_as_soon_as_the_older_session_has_left_by_itself() {
    let mut rig = Rig::with(&[("a", 10), ("b", 10)]);
    let first = rig.play(1, "a");
    rig.peer("b").is_silent = true;
    let id = rig.ask_for(1, Some("b"));
    rig.run(1_000);
    assert!(rig.waits(id));
    let left = rig.peer("a").leave(first);
    rig.from("a", left);
    rig.run(0);
    assert!(!rig.confirmed(id));
}

#[test]
fn a_will_after_the_yes_and_before_the_answer_cancels_and_tries_the_next() {
    for lease_end in [false, true] {
        let mut rig = Rig::with(&[("a", 10), ("b", 10), ("c", 9)]);
        rig.play(1, "c");
        rig.peer("c").saves_slowly = true;
        rig.run(1_000);
        let id = rig.ask(1);
        rig.run(10);
        assert!(rig.grants("a").len() == 1 && rig.waits(id), "waits for the end on c");
        let hash = rig.grants("a")[0].hash;
        if lease_end {
            // Cut off before the yes was worth anything: its lease ends while c still saves.
            rig.cut_off("a");
            rig.run(5_950);
        } else {
            let gone = rig.peer("a").gone();
            rig.from("a", [gone]);
            rig.run(0);
        }
        assert_eq!(rig.grants("b").len(), 1, "lease_end: {lease_end}");
        let saved = rig.peer("c").save_all();
        rig.from("c", saved);
        rig.run(100);
        assert_eq!(rig.placed(id), "b");
        rig.run(1_000);
        let cancels = rig.ends("a").into_iter().filter(|(_, end)| end.hashes == [hash]).count();
        assert!(cancels >= 1, "the grant was not taken back");
        rig.mend();
        rig.run(10_000);
        assert!(!rig.peer("a").entries.contains_key(&hash));
        rig.assert_quiet();
    }
}

#[test]
fn after_the_answer_a_will_takes_nothing_back() {
    let mut rig = Rig::with(&[("a", 10)]);
    let id = rig.ask(1);
    rig.run(0);
    assert!(rig.confirmed(id));
    let gone = rig.peer("a").gone();
    rig.from("a", [gone]);
    rig.run(1_000);
    assert_eq!(rig.ends("a").len(), 0);
    assert_eq!(rig.peer("a").entries.len(), 1);
}
