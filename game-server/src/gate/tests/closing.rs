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
    assert_eq!(bench.gate.state(), ServerState::Draining, "the game does not take a drain back");
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
fn an_undrained_server_takes_players_again_and_who_was_kicked_still_goes() {
    let mut bench = Bench::new(9);
    let slots = [bench.enter(1, 1).1, bench.enter(2, 2).1];
    bench.handle(Input::Drain { within: Some(ms(5_000)) });
    assert_eq!(kicks(&bench.pass(ms(1_000))).len(), 2);
    bench.handle(Input::Leave(slots[0]));
    bench.handle(Input::SetState(ServerState::Degraded));
    let out = bench.order(Order::Undrain);
    assert!(out.contains(&Effect::Undrained));
    assert_eq!(bench.gate.state(), ServerState::Degraded, "what the game said meanwhile");
    bench.enter(3, 3);
    assert_eq!(voids(&bench.pass(limits::SAVE_TIME)), [slots[1]]);
    assert!(kicks(&bench.pass(ms(10_000))).is_empty());
    assert_eq!(occupied(&bench), (1, 0, 0));
    assert!(!bench.order(Order::Undrain).contains(&Effect::Undrained), "once");
}

#[test]
fn the_limit_of_a_drain_that_was_taken_back_does_not_hold_for_the_next_one() {
    let mut bench = Bench::new(9);
    bench.enter(1, 1);
    bench.handle(Input::Drain { within: Some(ms(10_000)) });
    bench.order(Order::Undrain);
    let out = bench.handle(Input::Drain { within: None });
    assert_eq!(draining(&out), [None]);
    assert!(kicks(&bench.pass(ms(60_000))).is_empty());
    assert_eq!(occupied(&bench), (1, 0, 0));
}

#[test]
fn a_drain_by_the_games_own_state_is_taken_back_too_and_begins_anew_only_when_said_anew() {
    let mut bench = Bench::new(9);
    bench.handle(Input::SetState(ServerState::Draining));
    bench.order(Order::Undrain);
    assert_eq!(bench.gate.state(), ServerState::Online);
    bench.handle(Input::SetState(ServerState::Draining));
    assert_eq!(bench.gate.state(), ServerState::Online, "said before");
    bench.handle(Input::SetState(ServerState::Online));
    bench.handle(Input::SetState(ServerState::Draining));
    assert_eq!(bench.gate.state(), ServerState::Draining);
}

#[test]
fn a_server_that_is_about_to_stop_or_is_closed_takes_no_drain_back() {
    let by = BootId { started: UnixMs(START), random: 6 };
    for last in [Input::Retire { within: None }, Input::Close, Input::Hub(superseded(by))] {
        let mut bench = Bench::new(9);
        bench.handle(Input::Drain { within: None });
        bench.handle(last);
        assert_eq!(bench.order(Order::Undrain), []);
        assert_eq!(bench.gate.state(), ServerState::Draining);
    }
}

fn superseded(by: BootId) -> HubMessage {
    HubMessage::Order { boot: BOOT, order: Order::Superseded { by } }
}

#[test]
fn a_notice_is_shown_once_and_answered_each_time() {
    let mut bench = Bench::new(9);
    let mut say = |id: u64| {
        let out = bench.order(Order::Notice { id, text: "hi".into() });
        let answers = out.iter().filter(|e| matches!(e, Effect::Send(ServerMessage::Noticed { .. }))).count();
        (out.iter().filter(|e| matches!(e, Effect::Notice { .. })).count(), answers)
    };
    assert_eq!([say(7), say(7), say(8), say(7)], [(1, 1), (0, 1), (1, 1), (0, 1)]);
    for id in 100..164 {
        assert_eq!(say(id), (1, 1));
    }
    assert_eq!(say(7), (1, 1), "remembered as long as there is room");
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
