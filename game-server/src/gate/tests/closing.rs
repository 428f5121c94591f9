//! Draining, being superseded, closing.

use super::*;

fn draining(out: &[Effect]) -> Vec<Option<Mono>> {
    let draining = |effect: &Effect| match effect {
        Effect::Draining { deadline } => Some(*deadline),
        _ => None,
    };
    out.iter().filter_map(draining).collect()
}

fn drained(out: &[Effect]) -> Option<DrainReport> {
    let drained = |effect: &Effect| match effect {
        Effect::Drained(report) => Some(*report),
        _ => None,
    };
    out.iter().find_map(drained)
}

#[test]
fn a_drain_answers_who_waits_takes_back_what_is_held_and_lets_players_finish() {
    let mut bench = Bench::new(9);
    let (_, slot) = bench.enter(1, 1);
    let [held, early, later] = [bench.issue(2, 2), bench.issue(3, 3), bench.issue(4, 4)];
    bench.grant(&held);
    bench.show(&early);
    let out = bench.order(Order::Drain { within_ms: 0 });
    assert_eq!((draining(&out), drained(&out)), (vec![None], None));
    assert_eq!(refused(&out), Code::ServerDraining);
    assert_eq!(replies(&out), [(Verdict::Refused(Code::ServerDraining), true)]);
    assert_eq!(refused(&bench.show(&later)), Code::ServerDraining);
    assert_eq!(replies(&bench.grant(&later)), [(Verdict::Refused(Code::ServerDraining), false)]);
    bench.handle(Input::SetState(ServerState::Online));
    assert_eq!(bench.gate.state(), ServerState::Draining, "a drain is final");
    assert!(drained(&bench.pass(Duration::from_hours(5))).is_none());
    assert_eq!(occupied(&bench), (1, 0, 0));
    let out = bench.handle(Input::Leave(slot));
    assert_eq!(drained(&out), Some(DrainReport { left: 1, voided: 0 }));
}

#[test]
fn a_drain_with_a_limit_kicks_in_time_to_save_and_is_over_at_the_limit() {
    let mut bench = Bench::new(9);
    let slots = [bench.enter(1, 1).1, bench.enter(2, 2).1];
    let limit = bench.now.mono + ms(10_000);
    let out = bench.handle(Input::Drain { within: Some(ms(10_000)) });
    assert_eq!((draining(&out), kicks(&out)), (vec![Some(limit)], vec![]));
    assert!(kicks(&bench.pass(ms(5_999))).is_empty());
    let out = bench.pass(ms(1));
    assert_eq!(kicks(&out), slots.map(|slot| (slot, Code::ServerDraining, limit)));
    bench.handle(Input::Leave(slots[0]));
    let out = bench.pass(limits::SAVE_TIME);
    assert_eq!((voids(&out), drained(&out)), (vec![slots[1]], Some(DrainReport { left: 1, voided: 1 })));
}

#[test]
fn a_second_drain_can_only_be_sooner_and_an_empty_server_is_drained_at_once() {
    let mut bench = Bench::new(9);
    let (_, slot) = bench.enter(1, 1);
    bench.handle(Input::Drain { within: Some(ms(10_000)) });
    for within in [Some(ms(10_000)), Some(ms(60_000)), None] {
        assert!(draining(&bench.handle(Input::Drain { within })).is_empty(), "{within:?}");
    }
    let out = bench.handle(Input::Drain { within: Some(ms(1_000)) });
    assert_eq!((draining(&out).len(), kicks(&out).len()), (1, 1), "less than the save time is left");
    let out = bench.pass(ms(1_000));
    assert_eq!((voids(&out), drained(&out)), (vec![slot], Some(DrainReport { left: 0, voided: 1 })));
    assert!(drained(&bench.handle(Input::Drain { within: None })).is_some());
}

#[test]
fn the_game_draining_by_its_state_is_a_drain() {
    let mut bench = Bench::new(1);
    let issued = bench.issue(1, 1);
    bench.show(&issued);
    let out = bench.handle(Input::SetState(ServerState::Draining));
    assert_eq!((refused(&out), draining(&out)), (Code::ServerDraining, vec![None]));
}

#[test]
fn a_superseded_server_ends_everything_and_takes_nobody() {
    let mut bench = Bench::new(9);
    let (_, slot) = bench.enter(1, 1);
    let [held, early, later] = [bench.issue(2, 2), bench.issue(3, 3), bench.issue(4, 4)];
    bench.grant(&held);
    bench.show(&early);
    let older = BootId { started: UnixMs(START - 1), random: u64::MAX };
    for by in [older, BOOT] {
        assert_eq!(bench.order(Order::Superseded { by }), [], "not by an older boot, nor by itself");
    }
    let by = BootId { started: UnixMs(START), random: 6 };
    let out = bench.order(Order::Superseded { by });
    assert!(out.contains(&Effect::Superseded { by }));
    assert_eq!(kicks(&out), [(slot, Code::Superseded, bench.now.mono + limits::SAVE_TIME)]);
    assert_eq!(refused(&out), Code::ServerClosed);
    assert_eq!(replies(&out), [(Verdict::Refused(Code::ServerClosed), true)]);
    assert!(bench.order(Order::Superseded { by }).is_empty(), "once");
    assert_eq!(refused(&bench.show(&later)), Code::ServerClosed);
    assert_eq!(voids(&bench.pass(limits::SAVE_TIME)), [slot]);
    assert_eq!(occupied(&bench), (0, 0, 0));
}

#[test]
fn closing_leaves_nobody_without_an_answer() {
    let mut bench = Bench::new(9);
    bench.handle(Input::Link { up: true });
    let (_, slot) = bench.enter(1, 1);
    let [held, early] = [bench.issue(2, 2), bench.issue(3, 3)];
    bench.grant(&held);
    bench.show(&early);
    bench.end(1, fence(9), &[]);
    let out = bench.handle(Input::Close);
    assert_eq!((voids(&out), refused(&out), ended(&out)), (vec![slot], Code::ServerClosed, 1));
    assert_eq!(occupied(&bench), (0, 0, 0));
    let Some(Effect::Status(status)) = out.last() else { panic!("the last word is a status") };
    assert_eq!((status.state, status.digest.count), (ServerState::Draining, 0));
}

#[test]
fn a_closed_server_says_so_whatever_came_before_and_whatever_comes_after() {
    let mut bench = Bench::new(1);
    let told = [
        (Input::Drain { within: None }, Code::ServerDraining),
        (Input::Close, Code::ServerClosed),
        (Input::Drain { within: None }, Code::ServerClosed),
    ];
    for (input, code) in told {
        bench.handle(input);
        let issued = bench.issue(1, 1);
        assert_eq!(refused(&bench.show(&issued)), code);
    }
}
