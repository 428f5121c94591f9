//! One handover per account at a time: the others wait in line, a bounded one, and each is answered once.

use shared_msgs::limits;

use super::rig::Rig;
use crate::handover::NoPlace;
use crate::handover::core::RUNNING_MAX;

#[test]
fn the_second_login_of_an_account_waits_for_the_first() {
    let mut rig = Rig::with(&[("a", 10), ("b", 10)]);
    rig.wire = Box::new(|_| vec![50]);
    let (first, second) = (rig.ask(1), rig.ask(1));
    rig.run(60);
    assert_eq!(rig.grants("a").len() + rig.grants("b").len(), 1);
    rig.run(1_000);
    assert!(rig.confirmed(first) && rig.confirmed(second));
    assert!(rig.answered_at(first) < rig.answered_at(second));
    let all: usize = rig.peers.values().map(|peer| peer.entries.len()).sum();
    assert_eq!(all, 1, "both places live on");
    rig.run(5_000);
    rig.assert_quiet();
}

#[test]
fn the_fifth_in_line_is_told_the_hub_is_busy() {
    let mut rig = Rig::with(&[("a", 10)]);
    rig.peer("a").is_silent = true;
    let ids: Vec<_> = (0..=limits::WAITING_PER_ACCOUNT_MAX).map(|_| rig.ask(1)).collect();
    assert!(ids.iter().all(|id| rig.answer(*id).is_none()));
    let one_more = rig.ask(1);
    assert_eq!(rig.why(one_more), NoPlace::HubBusy);
    let other = rig.ask(2);
    assert!(rig.waits(other), "another account does not suffer");
    rig.run(15_000);
    assert!(ids.iter().all(|id| rig.answer(*id).is_some()), "each is answered by its deadline");
    assert_eq!(rig.core.running() + rig.core.lines.len(), 0);
}

#[test]
fn those_in_line_are_answered_by_their_own_deadline_while_the_first_still_runs() {
    let mut rig = Rig::with(&[("a", 10)]);
    rig.store_answers = false;
    let first = rig.ask(1);
    rig.run(14_000);
    let second = rig.ask(1);
    rig.run(1_000);
    assert_eq!(rig.why(first), NoPlace::TimedOut);
    assert!(rig.waits(second));
    rig.run(14_000);
    assert_eq!(rig.why(second), NoPlace::TimedOut);
    assert_eq!(rig.core.running() + rig.core.lines.len(), 0);
}

#[test]
fn at_the_bound_of_running_handovers_the_hub_is_busy_and_recovers() {
    let mut rig = Rig::with(&[("a", 10)]);
    rig.store_answers = false;
    let accounts = i64::try_from(RUNNING_MAX).unwrap();
    let ids: Vec<_> = (0..accounts).map(|account| rig.ask(account)).collect();
    assert!(ids.iter().all(|id| rig.answer(*id).is_none()));
    let one_more = rig.ask(accounts);
    assert_eq!(rig.why(one_more), NoPlace::HubBusy);
    assert_eq!(rig.core.lines.len(), RUNNING_MAX, "a refused one left a line behind");
    rig.run(15_000);
    rig.store_answers = true;
    let id = rig.ask(accounts);
    rig.run(0);
    assert_eq!(rig.placed(id), "a");
}
