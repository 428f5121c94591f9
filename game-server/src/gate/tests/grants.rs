//! Grants: repeated, refused, too many, too late, in the wrong order.

use super::*;

#[test]
fn a_repeated_grant_gets_the_same_answer_and_changes_nothing() {
    let mut bench = Bench::new(1);
    let issued = bench.issue(1, 1);
    bench.grant(&issued);
    assert_eq!(replies(&bench.grant(&issued)), [(Verdict::Held, false)]);
    let slot = welcomed(&bench.show(&issued));
    assert_eq!(replies(&bench.grant(&issued)), [(Verdict::Redeemed, false)]);
    bench.handle(Input::Leave(slot));
    assert_eq!(replies(&bench.grant(&issued)), [(Verdict::Redeemed, false)], "gone, yet spent");
    assert_eq!(occupied(&bench), (0, 0, 0));
}

#[test]
fn a_full_server_refuses_and_repeats_it_and_the_parked_client_hears_it() {
    let mut bench = Bench::new(1);
    let (_, slot) = bench.enter(1, 1);
    let issued = bench.issue(2, 2);
    bench.show(&issued);
    let out = bench.grant(&issued);
    assert_eq!(replies(&out), [(Verdict::Refused(Code::ServerFull), false)]);
    assert_eq!(refused(&out), Code::ServerFull);
    bench.handle(Input::Leave(slot));
    assert_eq!(replies(&bench.grant(&issued)), [(Verdict::Refused(Code::ServerFull), false)], "for good");
    assert_eq!(refused(&bench.show(&issued)), Code::ServerFull);
    bench.enter(2, 3);
}

#[test]
fn held_grants_take_slots_and_one_player_takes_one() {
    let mut bench = Bench::new(2);
    for (who, n) in [(1, 1), (1, 2), (2, 3)] {
        let issued = bench.issue(who, n);
        assert_eq!(replies(&bench.grant(&issued)), [(Verdict::Held, true)]);
    }
    assert_eq!(occupied(&bench), (0, 2, 0));
    let third = bench.issue(3, 4);
    assert_eq!(replies(&bench.grant(&third)), [(Verdict::Refused(Code::ServerFull), false)]);
}

#[test]
fn an_unused_grant_expires_and_the_hub_hears_of_it() {
    let mut bench = Bench::new(1);
    let issued = bench.issue(1, 1);
    bench.grant(&issued);
    assert!(replies(&bench.pass(just_under(LIFE))).is_empty());
    assert_eq!(replies(&bench.pass(ms(1))), [(Verdict::Refused(Code::TokenExpired), true)]);
    assert_eq!(occupied(&bench), (0, 0, 0));
    assert_eq!(replies(&bench.grant(&issued)), [(Verdict::Refused(Code::TokenExpired), false)]);
    assert_eq!(refused(&bench.show(&issued)), Code::TokenExpired);
}

#[test]
fn a_grant_that_has_expired_on_its_way_is_refused() {
    let mut bench = Bench::new(1);
    let issued = bench.issue(1, 1);
    bench.pass(LIFE);
    assert_eq!(replies(&bench.grant(&issued)), [(Verdict::Refused(Code::TokenExpired), false)]);
}

#[test]
fn a_clock_that_steps_back_does_not_prolong_a_grant_beyond_its_bound() {
    let mut bench = Bench::new(1);
    let issued = bench.issue(1, 1);
    bench.grant(&issued);
    bench.now.unix = UnixMs(START - 3_600_000);
    assert!(replies(&bench.pass(just_under(LIFE + 2 * limits::CLOCK_SKEW_MAX))).is_empty());
    assert_eq!(replies(&bench.pass(ms(1))), [(Verdict::Refused(Code::TokenExpired), true)]);
}

#[test]
fn a_late_look_lets_nobody_in_on_a_grant_that_was_over_meanwhile() {
    let mut bench = Bench::new(1);
    let (_, older) = bench.enter(1, 1);
    let issued = bench.issue(1, 2);
    bench.grant(&issued);
    bench.now.unix = UnixMs(START - 3_600_000);
    let bound = LIFE + 2 * limits::CLOCK_SKEW_MAX;
    bench.pass(bound.saturating_sub(limits::SAVE_TIME + ms(1)));
    bench.end(1, fence(2), &[]);
    assert!(is_parked(&bench.show(&issued)), "behind the older session");
    let out = bench.pass(limits::SAVE_TIME + ms(1));
    assert_eq!(
        (voids(&out), refused(&out)),
        (vec![older], Code::TokenExpired),
        "voided first, but seen too late"
    );
}

#[test]
fn a_clock_that_steps_forward_expires_grants_at_the_next_look() {
    let mut bench = Bench::new(1);
    let issued = bench.issue(1, 1);
    bench.grant(&issued);
    bench.now.unix = bench.now.unix + LIFE;
    assert_eq!(bench.gate.next_deadline(bench.now), Some(bench.now.mono), "due now");
    let out = bench.show(&issued);
    assert_eq!(replies(&out), [(Verdict::Refused(Code::TokenExpired), true)]);
    assert_eq!(refused(&out), Code::TokenExpired);
}

#[test]
fn lower_fences_than_what_is_held_or_live_are_superseded() {
    let mut bench = Bench::new(4);
    let [low, high, lower] = [bench.issue(1, 5), bench.issue(1, 6), bench.issue(1, 4)];
    bench.grant(&low);
    bench.grant(&high);
    assert_eq!(replies(&bench.grant(&lower)), [(Verdict::Refused(Code::Superseded), false)]);
    let out = bench.show(&high);
    welcomed(&out);
    assert_eq!(replies(&out), [(Verdict::Refused(Code::Superseded), true)], "the older promise is void now");
    assert_eq!(refused(&bench.show(&low)), Code::Superseded);
    let late = bench.issue(1, 5);
    assert_eq!(replies(&bench.grant(&late)), [(Verdict::Refused(Code::Superseded), false)]);
}

#[test]
fn a_promise_with_the_same_fence_is_not_an_older_one() {
    let mut bench = Bench::new(1);
    let twins = [bench.issue(1, 5), bench.issue(1, 5)];
    for twin in &twins {
        assert_eq!(replies(&bench.grant(twin)), [(Verdict::Held, true)]);
    }
    let slot = welcomed(&bench.show(&twins[0]));
    bench.handle(Input::Leave(slot));
    welcomed(&bench.show(&twins[1]));
}

#[test]
fn a_fence_too_far_ahead_is_refused() {
    let mut bench = Bench::new(1);
    let mut issued = bench.issue(1, 1);
    let edge = bench.now.unix + limits::FENCE_AHEAD_MAX;
    issued.grant.fence = Fence { hlc: (edge.0 + 1) << 16, hub: 0 };
    assert_eq!(replies(&bench.grant(&issued)), [(Verdict::Refused(Code::FenceTooFarAhead), false)]);
    let mut issued = bench.issue(1, 1);
    issued.grant.fence = Fence { hlc: edge.0 << 16, hub: 0 };
    assert_eq!(replies(&bench.grant(&issued)), [(Verdict::Held, true)]);
}

#[test]
fn at_the_bound_of_marks_grants_are_refused_and_stay_refused_and_nothing_is_forgotten() {
    let mut bench = Bench::with(9, |config| config.marks_max = 2);
    let (first, slot) = bench.enter(1, 1);
    bench.pass(ms(10_000));
    let (second, third) = (bench.issue(2, 2), bench.issue(3, 3));
    bench.grant(&second);
    let full = [(Verdict::Refused(Code::ServerOverloaded), false)];
    bench.show(&third);
    let out = bench.grant(&third);
    assert_eq!((replies(&out), refused(&out)), (full.to_vec(), Code::ServerOverloaded));
    let retry = Code::ServerOverloaded.retry();
    assert_eq!(retry, Retry::NewHandover { after_ms: 2_000 }, "this token never works again");
    bench.handle(Input::Leave(slot));
    assert_eq!(refused(&bench.show(&first)), Code::TokenSpent, "not forgotten");
    bench.pass(LIFE);
    bench.pass(limits::CLOSED_LIFE.saturating_sub(LIFE + ms(10_000)));
    assert_eq!(bench.gate.marks.iter().count(), 1, "the first mark is gone");
    // Our clock is set back: the refused grant looks alive again, but keeps its answer.
    bench.now.unix = UnixMs(START);
    assert_eq!(replies(&bench.grant(&third)), full);
    bench.pass(limits::CLOSED_LIFE);
    bench.enter(3, 4);
}

#[test]
fn a_refusal_without_a_mark_keeps_out_what_expires_as_early_until_that_is_safely_over() {
    let mut bench = Bench::with(9, |config| config.marks_max = 3);
    for who in 1..=3 {
        bench.enter(who, 1);
    }
    bench.pass(ms(10));
    let [first, second] = [bench.issue(4, 1), bench.issue(5, 1)];
    let full = [(Verdict::Refused(Code::ServerOverloaded), false)];
    for unmarked in [&first, &second] {
        assert_eq!(replies(&bench.grant(unmarked)), full);
    }
    bench.pass(just_under(limits::CLOSED_LIFE));
    let later = bench.issue(6, 1);
    assert_eq!(replies(&bench.grant(&later)), [(Verdict::Held, true)], "this one was never refused");
    bench.now.unix = UnixMs(START);
    assert_eq!(replies(&bench.grant(&first)), full);
    bench.pass(ms(1));
    assert_eq!(replies(&bench.grant(&second)), [(Verdict::Held, true)]);
}

#[test]
fn orders_for_another_boot_are_ignored_and_counted() {
    let mut bench = Bench::new(1);
    let issued = bench.issue(1, 1);
    let other = BootId { random: 6, ..BOOT };
    assert_eq!(bench.gate.boot(), BOOT);
    for seen in 1..=2 {
        let order = HubMessage::Order { boot: other, order: Order::Grant(issued.grant.clone()) };
        assert_eq!(bench.handle(Input::Hub(order)), []);
        assert_eq!((bench.gate.ignored(), occupied(&bench)), (seen, (0, 0, 0)));
    }
}

#[test]
fn the_roster_comes_in_pages_as_of_one_revision() {
    let mut bench = Bench::new(2_000);
    let entries = |out: &[Effect]| -> Vec<(u64, u16, u16, usize, u64)> {
        let page = |effect: &Effect| match effect {
            Effect::Send(ServerMessage::RosterPage { stamp, request, page, pages, entries }) => {
                Some((*request, *page, *pages, entries.len(), stamp.rev))
            }
            _ => None,
        };
        out.iter().filter_map(page).collect()
    };
    let out = bench.order(Order::Roster { request: 7 });
    assert_eq!(entries(&out), [(7, 0, 1, 0, 0)], "empty, yet one page");
    for n in 0..1_001_u64 {
        let mut issued = bench.issue(1, n + 1);
        issued.grant.player.0[..8].copy_from_slice(&n.to_be_bytes());
        // The bench's recount is quadratic here.
        bench.gate.handle(
            Input::Hub(HubMessage::Order { boot: BOOT, order: Order::Grant(issued.grant) }),
            bench.now,
        );
    }
    bench.last_rev = 1_001;
    let out = bench.order(Order::Roster { request: 8 });
    assert_eq!(entries(&out), [(8, 0, 3, 500, 1_001), (8, 1, 3, 500, 1_001), (8, 2, 3, 1, 1_001)]);
}
