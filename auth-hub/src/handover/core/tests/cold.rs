//! A hub that has just started holds logins for its fleet, a little; and learns who plays where.

use shared_msgs::limits;

use super::peer::Peer;
use super::rig::{EPOCH_MS, Rig};
use crate::accounts::AccountRow;
use crate::handover::NoPlace;
use crate::handover::core::Input;

fn hold_ms() -> u64 {
    u64::try_from(limits::COLD_HOLD.as_millis()).unwrap()
}

#[test]
fn a_cold_hub_holds_a_login_until_a_server_is_eligible() {
    let mut rig = Rig::new(1);
    let id = rig.ask(1);
    rig.run(700);
    assert!(rig.waits(id));
    rig.start(Peer::new("a", "r", 10, 1));
    rig.run(0);
    assert_eq!(rig.placed(id), "a");
    rig.assert_quiet();
}

#[test]
fn a_cold_hub_answers_when_its_time_is_up() {
    let mut rig = Rig::new(1);
    let id = rig.ask(1);
    rig.run(hold_ms() - 1);
    assert!(rig.waits(id));
    rig.run(1);
    assert_eq!(rig.why(id), NoPlace::NoServerOnline);
    let id = rig.ask(1);
    assert_eq!(rig.why(id), NoPlace::NoServerOnline, "a warm hub does not hold");
}

#[test]
fn a_hub_without_a_broker_holds_no_longer() {
    let mut rig = Rig::cold(1);
    let id = rig.ask(1);
    rig.run(hold_ms());
    assert_eq!(rig.why(id), NoPlace::NoServerOnline);
}

#[test]
fn a_hub_whose_broker_comes_late_still_waits_for_its_fleet() {
    let mut rig = Rig::cold(1);
    let id = rig.ask(1);
    rig.run(1_000);
    rig.input(Input::LinkUp);
    rig.run(500);
    rig.start(Peer::new("a", "r", 10, 1));
    rig.run(0);
    assert_eq!(rig.placed(id), "a");
}

#[test]
fn a_held_login_whose_store_falls_silent_is_answered_by_its_deadline() {
    for delay in [100, hold_ms()] {
        let mut rig = Rig::new(1);
        rig.store_answers = false;
        let id = rig.ask(1);
        rig.run(delay.min(1_500));
        rig.start(Peer::new("a", "r", 10, 1));
        rig.run(20_000);
        assert_eq!(rig.why(id), NoPlace::TimedOut);
        let second = rig.ask(1);
        rig.store_answers = true;
        rig.run(0);
        assert_eq!(rig.placed(second), "a");
    }
}

#[test]
fn a_new_hub_learns_rosters_in_pages_and_their_owners_and_ends_the_older_of_two_sessions() {
    let mut rig = Rig::with(&[("a", 10), ("b", 10)]);
    rig.peer("a").page_entries = 2;
    for account in 1..=5 {
        rig.play(account, "a");
    }
    // While the hub is cut off from a, account 1 gets a session on b: two live ones when the next hub comes.
    rig.wire = Box::new(|packet| match packet {
        super::rig::Packet::ToHub(from, _) if from.server.as_str() == "a" => vec![],
        super::rig::Packet::ToServer(order) if order.server.as_str() == "a" => vec![],
        _ => vec![0],
    });
    rig.run(7_000);
    rig.play(1, "b");
    let player = rig.player(1, "r");
    assert_eq!(rig.peer("a").of_player(player).len(), 1);
    rig.wire = Box::new(|_| vec![0]);
    rig.restart_hub();
    rig.run(3_000);
    assert_eq!(rig.peer("a").of_player(player).len(), 0, "the older session lives on");
    assert_eq!(rig.peer("b").of_player(player).len(), 1, "the newer session was ended");
    assert_eq!(rig.peer("a").entries.len(), 4, "sessions of others were touched");
    rig.run(10_000);
    rig.assert_quiet();
}

#[test]
fn a_new_hub_ends_the_older_session_across_realms_too() {
    let mut rig = Rig::with(&[("a", 10)]);
    rig.start(Peer::new("b", "other", 10, 1));
    rig.run(0);
    rig.play(1, "a");
    rig.peer("a").saves_slowly = true;
    rig.play_after_lease(1, "b");
    rig.peer("a").saves_slowly = false;
    rig.peer("a").saving.clear();
    assert_eq!(rig.peer("a").entries.len(), 1);
    rig.restart_hub();
    rig.run(3_000);
    assert_eq!(rig.peer("a").entries.len(), 0);
    assert_eq!(rig.peer("b").entries.len(), 1);
}

#[test]
fn owners_the_store_could_not_name_are_asked_for_again() {
    let mut rig = Rig::with(&[("a", 10)]);
    rig.play(1, "a");
    let player = rig.player(1, "r");
    rig.restart_hub();
    rig.forget_players();
    rig.run(3_000);
    assert_eq!(rig.core.people.owner(player), None);
    rig.recall_players();
    rig.run(70_000);
    assert_eq!(rig.core.people.owner(player), Some(AccountRow::from_raw(1)));
    rig.forget_players();
    rig.run(70_000);
    assert_eq!(rig.core.people.owner(player), Some(AccountRow::from_raw(1)), "who plays stays known");
}

#[test]
fn an_owner_is_asked_for_once_however_often_the_roster_is_learnt_before_the_answer() {
    let mut rig = Rig::with(&[("a", 10)]);
    rig.play(1, "a");
    rig.restart_hub();
    rig.store_answers = false;
    rig.owners_asked.clear();
    rig.run(3_000);
    rig.restart_roster("a");
    rig.run(3_000);
    assert!(rig.peer("a").rosters_asked.len() > 1);
    let player = rig.player(1, "r");
    assert_eq!(rig.owners_asked.iter().filter(|asked| **asked == player).count(), 1);
}

#[test]
fn a_store_that_fails_is_asked_for_owners_again_soon() {
    let mut rig = Rig::with(&[("a", 10)]);
    rig.play(1, "a");
    let player = rig.player(1, "r");
    rig.restart_hub();
    rig.store_works = false;
    rig.run(3_000);
    assert_eq!(rig.core.people.owner(player), None);
    rig.store_works = true;
    rig.run(4_000);
    assert_eq!(rig.core.people.owner(player), Some(AccountRow::from_raw(1)));
}

#[test]
fn a_hub_that_is_back_on_its_broker_probes_at_once() {
    let mut rig = Rig::with(&[("a", 10)]);
    rig.cut_off("a");
    rig.run(9_100);
    rig.mend();
    rig.input(Input::LinkUp);
    rig.run(0);
    let id = rig.ask(1);
    rig.run(0);
    assert_eq!(rig.placed(id), "a");
}

#[test]
fn players_in_game_do_not_notice_a_hub_restart() {
    let mut rig = Rig::with(&[("a", 10)]);
    let hash = rig.play(1, "a");
    rig.restart_hub();
    rig.run(30_000);
    assert!(rig.peer("a").entries.contains_key(&hash));
    assert_eq!(rig.ends("a").len(), 0);
    assert!(rig.now.unix.0 > EPOCH_MS);
}
