//! `end`: before its grant, repeated, of sessions that save, of sessions that do not.

use super::*;

const SAVE: Duration = limits::SAVE_TIME;

#[test]
fn an_end_before_its_grant_closes_the_hash() {
    let mut bench = Bench::new(1);
    let issued = bench.issue(1, 1);
    bench.show(&issued);
    let out = bench.end(1, Fence::ZERO, &[issued.grant.hash]);
    assert_eq!((ended(&out), refused(&out)), (1, Code::Superseded));
    assert_eq!(bench.gate.marks.len(), 1, "the hash alone, no floor");
    assert_eq!(replies(&bench.grant(&issued)), [(Verdict::Refused(Code::Superseded), false)]);
    assert_eq!(refused(&bench.show(&issued)), Code::Superseded);
}

#[test]
fn an_end_takes_a_held_grant_back() {
    let mut bench = Bench::new(1);
    let issued = bench.issue(1, 1);
    bench.grant(&issued);
    let out = bench.end(1, Fence::ZERO, &[issued.grant.hash]);
    assert_eq!((ended(&out), replies(&out)), (1, vec![(Verdict::Refused(Code::Superseded), true)]));
    assert_eq!(occupied(&bench), (0, 0, 0));
    assert_eq!(bench.gate.deadlines.len(), 1, "its mark's");
    bench.enter(2, 2);
}

#[test]
fn a_floor_ends_what_is_below_it_and_keeps_it_out() {
    let mut bench = Bench::new(4);
    let [low, high] = [bench.issue(1, 1), bench.issue(1, 2)];
    bench.grant(&low);
    bench.grant(&high);
    let out = bench.end(1, fence(2), &[]);
    assert_eq!((ended(&out), replies(&out)), (1, vec![(Verdict::Refused(Code::Superseded), true)]));
    let lower = bench.issue(1, 1);
    assert_eq!(replies(&bench.grant(&lower)), [(Verdict::Refused(Code::Superseded), false)]);
    welcomed(&bench.show(&high));
    let other = bench.issue(2, 1);
    assert_eq!(replies(&bench.grant(&other)), [(Verdict::Held, true)], "another player's floor");
}

#[test]
fn the_highest_floor_counts_and_lives_on_when_repeated() {
    let mut bench = Bench::new(4);
    bench.end(1, fence(9), &[]);
    bench.pass(just_under(limits::CLOSED_LIFE));
    bench.end(1, fence(5), &[]);
    bench.pass(ms(1));
    let late = bench.issue(1, 8);
    assert_eq!(replies(&bench.grant(&late)), [(Verdict::Refused(Code::Superseded), false)]);
    bench.pass(limits::CLOSED_LIFE);
    assert_eq!((bench.gate.marks.len(), bench.gate.deadlines.len()), (0, 0), "all forgotten in the end");
    bench.enter(1, 8);
}

#[test]
fn a_session_is_kicked_once_and_the_answer_waits_until_it_has_left() {
    let mut bench = Bench::new(1);
    let (_, slot) = bench.enter(1, 1);
    let out = bench.end(1, fence(2), &[]);
    assert_eq!((kicks(&out), ended(&out)), (vec![(slot, Code::Superseded, bench.now.mono + SAVE)], 0));
    bench.pass(ms(1_000));
    let out = bench.end(1, fence(2), &[]);
    assert_eq!((kicks(&out), ended(&out)), (vec![], 0), "a repeated end neither kicks nor prolongs");
    let out = bench.handle(Input::Leave(slot));
    assert_eq!(ended(&out), 1);
    assert_eq!(ended(&bench.end(1, fence(2), &[])), 1, "the answer is repeated");
    assert!(voids(&bench.pass(SAVE)).is_empty());
}

#[test]
fn a_session_that_ignores_the_kick_is_voided_and_answered_for() {
    let mut bench = Bench::new(1);
    let (_, slot) = bench.enter(1, 1);
    let newer = bench.issue(1, 2);
    bench.grant(&newer);
    assert!(is_parked(&bench.show(&newer)));
    bench.end(1, fence(2), &[]);
    assert!(voids(&bench.pass(just_under(SAVE))).is_empty());
    let out = bench.pass(ms(1));
    assert_eq!((voids(&out), ended(&out)), (vec![slot], 1));
    welcomed(&out);
    assert_eq!(bench.handle(Input::Leave(slot)), [], "its late drop frees nobody else's place");
    assert_eq!(occupied(&bench), (1, 0, 0));
}

#[test]
fn an_end_never_gives_more_than_the_save_time_and_none_means_now() {
    let mut bench = Bench::new(2);
    let (_, slot) = bench.enter(1, 1);
    let end = |who, ms| {
        let (below, reason) = (fence(9), Code::Banned);
        Order::End(End { player: player(who), below, hashes: vec![], reason, save_within_ms: ms })
    };
    let out = bench.order(end(1, u32::MAX));
    assert_eq!(kicks(&out), [(slot, Code::Banned, bench.now.mono + SAVE)]);
    let (_, slot) = bench.enter(2, 1);
    let out = bench.order(end(2, 0));
    assert_eq!((kicks(&out).len(), voids(&out), ended(&out)), (1, vec![slot], 1));
}

#[test]
fn a_session_can_be_ended_by_its_hash_alone_without_a_floor() {
    let mut bench = Bench::new(1);
    let (issued, slot) = bench.enter(1, 7);
    assert_eq!(kicks(&bench.end(1, Fence::ZERO, &[issued.grant.hash])).len(), 1);
    bench.handle(Input::Leave(slot));
    bench.enter(1, 3);
}

#[test]
fn an_end_of_what_is_not_below_it_leaves_it_alone() {
    let mut bench = Bench::new(2);
    let (_, _) = bench.enter(1, 5);
    let out = bench.end(1, fence(5), &[]);
    assert_eq!((kicks(&out), ended(&out)), (vec![], 1), "fences below, not at, the floor end");
    let out = bench.end(2, fence(9), &[]);
    assert_eq!((kicks(&out), ended(&out)), (vec![], 1));
}

#[test]
fn different_ends_of_one_session_are_each_answered_and_bounded() {
    let mut bench = Bench::new(1);
    let (_, slot) = bench.enter(1, 1);
    for n in 0..20 {
        assert_eq!(ended(&bench.end(1, fence(10 + n), &[])), 0);
    }
    let out = bench.handle(Input::Leave(slot));
    assert_eq!(ended(&out), super::super::ends::OWED_PER_PLAYER_MAX);
    assert!(matches!(
        out.iter().rfind(|e| matches!(e, Effect::Send(ServerMessage::Ended { .. }))),
        Some(Effect::Send(ServerMessage::Ended { below, .. })) if *below == fence(29)
    ));
}

#[test]
fn an_end_that_cannot_be_remembered_is_carried_out_but_not_answered() {
    let mut bench = Bench::with(2, |config| config.marks_max = 1);
    let (_, slot) = bench.enter(1, 1);
    let unknown = bench.issue(1, 2).grant.hash;
    let out = bench.end(1, fence(3), &[unknown]);
    assert_eq!(kicks(&out).len(), 1);
    assert_eq!(ended(&bench.handle(Input::Leave(slot))), 0);
    assert_eq!(ended(&bench.end(1, fence(3), &[unknown])), 0);
    bench.pass(limits::CLOSED_LIFE);
    assert_eq!(ended(&bench.end(1, fence(3), &[unknown])), 1);
}
