//! Free slots are counted, not guessed.

use shared_msgs::codes::Code;
use shared_msgs::messages::{Order, ServerMessage, Verdict};

use super::super::OPEN_GRANTS_MAX;
use super::rig::{Packet, Rig};
use crate::handover::NoPlace;

#[test]
fn concurrent_logins_never_get_more_slots_than_there_are() {
    let mut rig = Rig::with(&[("a", 3), ("b", 2)]);
    rig.wire = Box::new(|_| vec![20]);
    let ids: Vec<_> = (0..12).map(|account| rig.ask(account)).collect();
    rig.run(200);
    let placed = ids.iter().filter(|id| rig.answer(**id).unwrap().is_ok()).count();
    assert_eq!(placed, 5);
    assert_eq!((rig.grants("a").len(), rig.grants("b").len()), (3, 2), "a server had to say no");
    rig.run(5_000);
    rig.assert_quiet();
}

#[test]
fn cancelled_grants_take_their_slot_until_the_cancel_is_answered() {
    let mut rig = Rig::with(&[("a", 1), ("b", 1)]);
    rig.play(1, "b");
    rig.peer("a").is_silent = true;
    let id = rig.ask_for(1, Some("a"));
    rig.lose_ends();
    rig.run(6_500);
    assert!(rig.answer(id).unwrap().is_err());
    rig.peer("a").is_silent = false;
    let other = rig.ask_for(2, Some("a"));
    assert_eq!(rig.why(other), NoPlace::ServerFull, "the cancelled grant may still be held");
    rig.mend();
    rig.run(4_000);
    let other = rig.ask_for(2, Some("a"));
    rig.run(0);
    assert_eq!(rig.placed(other), "a");
}

#[test]
fn a_player_who_is_there_may_come_again_to_a_full_server() {
    let mut rig = Rig::with(&[("a", 1)]);
    let first = rig.play(1, "a");
    let other = rig.ask(2);
    assert_eq!(rig.why(other), NoPlace::AllServersFull);
    let id = rig.ask(1);
    rig.run(0);
    assert_eq!(rig.placed(id), "a");
    assert!(!rig.peer("a").entries.contains_key(&first));
    assert_eq!(rig.peer("a").entries.len(), 1);
    rig.assert_quiet();
}

#[test]
fn a_login_retried_after_its_reply_was_lost_gets_the_one_slot_again() {
    let mut rig = Rig::with(&[("a", 1)]);
    let lost = rig.ask(1);
    rig.run(0);
    assert!(rig.confirmed(lost));
    let again = rig.ask(1);
    rig.run(0);
    assert!(rig.confirmed(again));
    let (old, new) = (rig.grants("a")[0].hash, rig.grants("a")[1].hash);
    let left: Vec<_> = rig.peer("a").entries.keys().copied().collect();
    assert_eq!(left, [new]);
    let ends = rig.ends("a");
    assert_eq!(ends[0].1.reason, Code::Superseded);
    assert!(old != new && ends[0].1.below == rig.grants("a")[1].fence);
    rig.assert_quiet();
}

#[test]
fn a_retry_gets_the_slot_even_while_its_first_grant_is_unanswered() {
    // Held, but the answers are lost: the occupancy counts the player, and so does the ledger.
    let mut rig = Rig::with(&[("a", 1)]);
    rig.wire = Box::new(|packet| match packet {
        Packet::ToHub(_, ServerMessage::GrantReply { .. } | ServerMessage::RosterPage { .. }) => vec![],
        _ => vec![0],
    });
    let lost = rig.ask(1);
    rig.run(300);
    assert!(!rig.confirmed(lost));
    let status = rig.peer("a").status();
    rig.from("a", [status]);
    rig.run(0);
    rig.wire = Box::new(|_| vec![0]);
    let again = rig.ask(1);
    rig.run(0);
    assert!(rig.confirmed(again));
    rig.run(2_500);
    assert_eq!(rig.peer("a").entries.len(), 1);
    rig.assert_quiet();
}

#[test]
fn at_the_bound_of_open_grants_the_hub_is_busy() {
    let mut rig = Rig::with(&[("a", 10)]);
    rig.peer("a").is_silent = true;
    let first = rig.ask(1);
    rig.run(0);
    let open = rig.core.ledger.get(&rig.grants("a")[0].hash).unwrap().clone();
    for n in 2..OPEN_GRANTS_MAX as u64 {
        let mut another = open.clone();
        another.server = "elsewhere".parse().unwrap();
        another.grant.hash.0[..8].copy_from_slice(&n.to_be_bytes());
        rig.core.ledger.insert(another);
    }
    let last = rig.ask(2);
    rig.run(0);
    assert!(rig.waits(first) && rig.waits(last));
    assert_eq!(rig.core.ledger.len(), OPEN_GRANTS_MAX);
    let late = rig.ask(3);
    rig.run(0);
    assert_eq!(rig.why(late), NoPlace::HubBusy);
}

#[test]
fn a_promise_on_another_server_is_no_slot_on_this_one() {
    let mut rig = Rig::with(&[("a", 1), ("b", 1)]);
    rig.play(2, "a");
    rig.peer("b").is_silent = true;
    let first = rig.ask_for(1, Some("b"));
    rig.run(300);
    assert!(!rig.confirmed(first), "its grant is still open");
    let second = rig.ask_for(1, Some("a"));
    assert_eq!(rig.why(second), NoPlace::ServerFull);
}

#[test]
fn the_retry_of_a_player_in_game_is_not_kept_out_by_the_first_retry() {
    let mut rig = Rig::with(&[("a", 1)]);
    rig.play(1, "a");
    rig.peer("a").is_silent = true;
    let first = rig.ask(1);
    rig.run(500);
    let second = rig.ask(1);
    rig.run(7_000);
    assert!(rig.answer(first).unwrap().is_err());
    // The cancel of the first attempt is answered or not: the slot is this player's all the same.
    assert!(rig.count("a", |order| matches!(order, Order::Grant(g) if g.handover == second)) > 0);
}

#[test]
fn a_grants_slot_is_free_again_after_its_refusal() {
    let mut rig = Rig::with(&[("a", 1)]);
    let id = rig.ask(1);
    rig.run(0);
    assert!(rig.confirmed(id));
    rig.run(91_000);
    assert_eq!(rig.peer("a").entries.len(), 0, "it has expired there");
    let other = rig.ask(2);
    rig.run(0);
    assert_eq!(rig.placed(other), "a");
}

#[test]
fn an_old_occupancy_does_not_undo_a_newer_one() {
    let mut rig = Rig::with(&[("a", 1)]);
    let old = rig.peer("a").status();
    rig.play(1, "a");
    rig.from("a", [old]);
    rig.run(0);
    let other = rig.ask(2);
    assert_eq!(rig.why(other), NoPlace::AllServersFull);
}

#[test]
fn a_yes_to_a_cancelled_grant_does_not_revive_it() {
    let mut rig = Rig::with(&[("a", 10), ("b", 10)]);
    rig.play(1, "b");
    rig.peer("a").is_silent = true;
    let id = rig.ask_for(1, Some("a"));
    rig.lose_ends();
    rig.run(6_500);
    assert!(rig.answer(id).unwrap().is_err());
    let grant = rig.grants("a")[0].clone();
    rig.peer("a").is_silent = false;
    let (boot, now) = (rig.peer("a").boot, rig.now);
    let yes = rig.peer("a").on_order(boot, &Order::Grant(grant), now);
    assert!(matches!(yes[0], ServerMessage::GrantReply { verdict: Verdict::Held, .. }));
    rig.from("a", yes);
    rig.run(200);
    assert_eq!(rig.ends("b").len(), 0, "a cancelled grant ended the session");
    rig.mend();
    rig.run(160_000);
    assert_eq!(rig.ends("b").len(), 0);
    assert_eq!(rig.peer("b").entries.len(), 1);
    rig.assert_quiet();
}

#[test]
fn a_cancelled_grant_that_an_unreachable_server_still_shows_never_ends_a_session() {
    let mut rig = Rig::with(&[("a", 10), ("b", 10), ("c", 10)]);
    rig.play(1, "b");
    rig.play(1, "c");
    // The yes comes, then the server is cut off before the client is answered.
    rig.peer("c").saves_slowly = true;
    let id = rig.ask_for(1, Some("a"));
    rig.run(0);
    rig.cut_off("a");
    let gone = rig.peer("a").gone();
    let sender = rig.peer("a").sender();
    rig.input(crate::handover::core::Input::Message { from: sender, message: Box::new(gone) });
    assert!(rig.answer(id).unwrap().is_err());
    rig.run(300_000);
    let sessions = rig.peer("c").entries.len();
    let hash = *rig.peer("c").entries.keys().next().unwrap();
    assert_eq!(sessions, 1);
    // Anything new about the session makes the hub look again.
    let before = rig.ends("c").len();
    rig.restart_roster("c");
    rig.run(300);
    let after: Vec<_> = rig.ends("c").into_iter().skip(before).collect();
    let phantom = rig.grants("a")[0].fence;
    assert!(rig.core.ends.is_cancelled(&rig.grants("a")[0].hash), "the phantom {phantom} counts again");
    assert!(after.iter().all(|(_, end)| end.below <= phantom), "ended for a phantom");
    assert!(rig.peer("c").entries.contains_key(&hash));
}
