//! One live session per account: ends are owed after the new server's yes, and the client waits for their answer.

use shared_msgs::codes::Code;
use shared_msgs::limits;
use shared_msgs::messages::ServerMessage;

use super::peer::Peer;
use super::rig::{Packet, Rig};

#[test]
fn the_end_is_owed_only_after_the_new_servers_yes_and_the_client_waits_for_ended() {
    let mut rig = Rig::with(&[("a", 10), ("b", 10)]);
    rig.play(1, "a");
    rig.peer("a").saves_slowly = true;
    rig.peer("b").is_silent = true;
    let id = rig.ask_for(1, Some("b"));
    rig.run(200);
    rig.restart_roster("a");
    rig.run(200);
    assert_eq!(rig.ends("a").len(), 0, "ended for a place that is not there yet");
    rig.peer("b").is_silent = false;
    rig.run(200);
    let fence = rig.grants("b")[0].fence;
    let (_, end) = rig.ends("a")[0];
    assert_eq!((end.below, end.reason), (fence, Code::Superseded));
    rig.run(2_000);
    assert!(rig.waits(id), "answered before the older session was over");
    let saved = rig.peer("a").save_all();
    rig.from("a", saved);
    rig.run(0);
    assert!(rig.confirmed(id));
    assert_eq!(rig.peer("a").entries.len(), 0);
    rig.assert_quiet();
}

#[test]
fn a_session_that_does_not_end_keeps_the_client_waiting_for_one_lease_only() {
    let mut rig = Rig::with(&[("a", 10), ("b", 10)]);
    rig.play(1, "a");
    rig.peer("a").saves_slowly = true;
    let asked = rig.now.mono;
    let id = rig.ask_for(1, Some("b"));
    rig.run(10_000);
    assert_eq!(rig.answered_at(id), Some(asked + limits::LEASE));
    assert!(rig.confirmed(id));
}

#[test]
fn a_server_that_is_lost_keeps_nobody_waiting() {
    let mut rig = Rig::with(&[("a", 10), ("b", 10)]);
    rig.play(1, "a");
    rig.peers.remove(&"a".parse().unwrap());
    rig.run(9_000);
    let asked = rig.now.mono;
    let id = rig.ask_for(1, Some("b"));
    rig.run(0);
    assert_eq!(rig.answered_at(id), Some(asked));
    assert!(rig.ends("a").len() == 1, "still owed, should it come back");
}

#[test]
fn a_server_that_is_lost_meanwhile_or_comes_back_as_a_new_boot_ends_the_wait() {
    for reboots in [false, true] {
        let mut rig = Rig::with(&[("a", 10), ("b", 10)]);
        rig.play(1, "a");
        rig.run(1_900);
        rig.peers.remove(&"a".parse().unwrap());
        rig.run(3_000);
        let id = rig.ask_for(1, Some("b"));
        rig.run(100);
        assert!(rig.waits(id));
        if reboots {
            rig.start(Peer::new("a", "r", 10, 2));
            rig.run(0);
        } else {
            rig.run(4_000);
        }
        assert!(rig.confirmed(id), "reboots: {reboots}");
    }
}

#[test]
fn a_new_server_that_says_full_leaves_the_first_session_alone() {
    let mut rig = Rig::with(&[("a", 10), ("b", 10)]);
    let hash = rig.play(1, "a");
    rig.peer("b").refuses = Some(Code::ServerFull);
    let id = rig.ask_for(1, Some("b"));
    rig.run(20_000);
    assert!(rig.answer(id).unwrap().is_err());
    assert!(rig.peer("a").entries.contains_key(&hash));
    assert_eq!(rig.ends("a").len(), 0);
    rig.assert_quiet();
}

#[test]
fn an_end_that_was_answered_is_not_owed_again_though_the_roster_change_was_lost() {
    let mut rig = Rig::with(&[("a", 10), ("b", 10)]);
    rig.play(1, "a");
    let is_lost = |message: &ServerMessage| {
        use ServerMessage::{Left, RosterPage, Status};
        matches!(message, Left { .. } | Status(_) | RosterPage { .. })
    };
    rig.wire = Box::new(move |packet| match packet {
        Packet::ToHub(from, message) if from.server.as_str() == "a" && is_lost(message) => vec![],
        _ => vec![0],
    });
    let id = rig.ask_for(1, Some("b"));
    rig.run(0);
    assert!(rig.confirmed(id));
    let hash = rig.grants("b")[0].hash;
    assert!(rig.redeem("b", hash));
    rig.run(3_000);
    assert_eq!(rig.ends("a").len(), 1);
    rig.mend();
    rig.run(5_000);
    assert_eq!(rig.ends("a").len(), 1);
    rig.assert_quiet();
}

#[test]
fn an_unconfirmed_grant_is_named_in_the_end_in_case_the_end_comes_first() {
    let mut rig = Rig::with(&[("a", 10), ("b", 10)]);
    rig.lose_grants_to("a");
    let first = rig.ask_for(1, Some("a"));
    rig.run(300);
    assert!(!rig.confirmed(first));
    let late = rig.grants("a")[0].clone();
    let second = rig.ask_for(1, Some("b"));
    rig.run(100);
    assert!(rig.confirmed(second));
    let (_, end) = rig.ends("a")[0];
    assert_eq!((end.hashes.as_slice(), end.below), ([late.hash].as_slice(), rig.grants("b")[0].fence));
    rig.mend();
    let (boot, now) = (rig.peer("a").boot, rig.now);
    let answer = rig.peer("a").on_order(boot, &shared_msgs::messages::Order::Grant(late), now);
    rig.from("a", answer);
    rig.run(5_000);
    assert_eq!(rig.peer("a").entries.len(), 0);
    rig.assert_quiet();
}

#[test]
fn a_session_that_shows_up_late_with_a_lower_fence_is_ended() {
    let mut rig = Rig::with(&[("a", 10), ("b", 10)]);
    rig.play(1, "a");
    rig.cut_off("a");
    rig.run(7_000);
    rig.restart_hub();
    rig.run(3_000);
    rig.play(1, "b");
    rig.mend();
    rig.run(6_000);
    assert_eq!(rig.peer("a").entries.len(), 0);
    assert_eq!(rig.peer("b").entries.len(), 1);
    rig.assert_quiet();
}

#[test]
fn a_higher_fence_that_shows_up_during_an_attempt_makes_it_start_over_above_it() {
    let mut rig = Rig::with(&[("a", 10), ("b", 10)]);
    let hash = rig.play(1, "a");
    rig.peer("b").is_silent = true;
    let id = rig.ask_for(1, Some("b"));
    rig.run(100);
    // Another hub's session, issued by a clock a little ahead of ours.
    let mut entry = rig.peer("a").entries[&hash];
    entry.2.fence.hlc += 20_000 << 16;
    entry.2.hash.0[0] ^= 1;
    let peer = rig.peer("a");
    peer.entries.insert(entry.2.hash, entry);
    peer.rev += 1;
    let joined = ServerMessage::Joined { stamp: peer.stamp(true), entry: entry.2 };
    rig.from("a", [joined]);
    rig.peer("b").is_silent = false;
    rig.run(14_000);
    assert!(rig.confirmed(id));
    assert!(rig.grants("b").last().unwrap().fence > entry.2.fence);
    assert_eq!(rig.peer("a").entries.len(), 0);
    assert_eq!(rig.peer("b").entries.len(), 1);
    rig.run(5_000);
    rig.assert_quiet();
}

#[test]
fn servers_lost_at_one_moment_are_all_left_before_anybody_is_answered() {
    let mut rig = Rig::with(&[("a", 10), ("b", 10)]);
    rig.play(1, "a");
    rig.run(1_000);
    rig.peer("a").saves_slowly = true;
    let id = rig.ask_for(1, Some("b"));
    rig.run(100);
    assert!(rig.waits(id), "the session on a is not over yet");
    rig.peers.clear();
    rig.run(10_000);
    let answer = rig.answers.get(&id).map(|(_, answer)| answer.is_ok());
    assert_eq!(answer, Some(false), "sent to b, which was lost together with a");
}
