//! Unanswered grants and ends are sent again, with the same id, until their answer or their end.

use shared_msgs::limits;
use shared_msgs::messages::Order;

use super::peer::Peer;
use super::rig::Rig;
use crate::handover::core::Input;

fn grant_times(rig: &Rig, server: &str) -> Vec<u64> {
    let of =
        rig.sent.iter().filter(|(_, to, _, order)| to.as_str() == server && matches!(order, Order::Grant(_)));
    of.map(|(at, ..)| at.0).collect()
}

fn gaps(times: &[u64]) -> Vec<u64> {
    times.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

#[test]
fn an_unanswered_grant_is_repeated_with_growing_pauses_until_its_answer() {
    let mut rig = Rig::with(&[("a", 10)]);
    rig.peer("a").is_silent = true;
    rig.ask(1);
    rig.run(16_000);
    assert_eq!(gaps(&grant_times(&rig, "a")), [500, 1_000, 2_000, 4_000, 4_000, 4_000]);
    let grants = rig.grants("a");
    assert!(grants.iter().all(|grant| *grant == grants[0]), "not the same grant");
    rig.peer("a").is_silent = false;
    rig.run(10_000);
    assert_eq!(grant_times(&rig, "a").len(), 8, "stops with the answer");
    rig.assert_quiet();
}

#[test]
fn re_sends_stop_at_expiry_and_the_slot_is_counted_until_no_clock_can_hold_it() {
    let mut rig = Rig::with(&[("a", 10)]);
    rig.peer("a").is_silent = true;
    rig.ask(1);
    let asked = rig.now.mono.0;
    rig.run(120_000);
    let last = *grant_times(&rig, "a").last().unwrap();
    assert!(last < asked + 90_000, "sent at {last} after it had expired");
    assert_eq!(rig.core.ledger.len(), 1);
    rig.run(35_000);
    assert_eq!(rig.core.ledger.len(), 0);
    rig.assert_quiet();
}

#[test]
fn a_new_boot_closes_an_unanswered_grant() {
    let mut rig = Rig::with(&[("a", 10)]);
    rig.peer("a").is_silent = true;
    let id = rig.ask(1);
    rig.run(300);
    assert!(!rig.confirmed(id));
    rig.start(Peer::new("a", "r", 10, 2));
    rig.run(0);
    rig.assert_quiet();
    let before = grant_times(&rig, "a").len();
    rig.run(20_000);
    assert_eq!(grant_times(&rig, "a").len(), before);
}

#[test]
fn open_grants_and_ends_go_out_again_at_once_after_a_reconnect_and_after_link_up() {
    let mut rig = Rig::with(&[("a", 10), ("b", 10)]);
    rig.play(2, "a");
    rig.peer("a").saves_slowly = true;
    rig.ask_for(2, Some("b"));
    rig.run(0);
    rig.peer("a").is_silent = true;
    rig.ask_for(1, Some("a"));
    rig.run(4_600);
    let is_end = |order: &Order| matches!(order, Order::End(_));
    let (grants, ends) = (grant_times(&rig, "a").len(), rig.count("a", is_end));
    rig.reconnect("a");
    rig.run(0);
    assert_eq!((grant_times(&rig, "a").len(), rig.count("a", is_end)), (grants + 1, ends + 1), "reconnect");
    rig.input(Input::LinkUp);
    rig.run(0);
    assert_eq!((grant_times(&rig, "a").len(), rig.count("a", is_end)), (grants + 2, ends + 2), "link up");
}

#[test]
fn owed_ends_are_repeated_until_answered() {
    let mut rig = Rig::with(&[("a", 10), ("b", 10)]);
    rig.play(1, "a");
    rig.cut_off("a");
    let id = rig.ask_for(1, Some("b"));
    rig.run(30_000);
    assert_eq!(rig.placed(id), "b");
    let times: Vec<u64> = rig.ends("a").iter().map(|(at, _)| at.0).collect();
    assert_eq!(gaps(&times)[..5], [500, 1_000, 2_000, 4_000, 4_000]);
    let pause = u64::try_from(limits::RESEND_MAX.as_millis()).unwrap();
    rig.mend();
    rig.run(pause);
    assert_eq!(rig.peer("a").entries.len(), 0);
    rig.assert_quiet();
    let before = rig.ends("a").len();
    rig.run(20_000);
    assert_eq!(rig.ends("a").len(), before);
}

#[test]
fn what_is_owed_to_a_server_that_never_comes_back_is_forgotten_with_it() {
    let mut rig = Rig::with(&[("a", 10), ("b", 10)]);
    rig.play(1, "a");
    rig.peers.remove(&"a".parse().unwrap());
    rig.play_after_lease(1, "b");
    rig.run(660_000);
    assert_eq!(rig.core.summaries(rig.now).len(), 1);
    rig.assert_quiet();
    let ticks = rig.ticks;
    rig.run(60_000);
    assert!(rig.ticks - ticks <= 40, "timers of the forgotten tick on: {}", rig.ticks - ticks);
}
