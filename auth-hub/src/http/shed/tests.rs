//! The order in which requests are refused, and how the level moves.

use proptest::prelude::*;

use super::*;

const LIMITS: ShedLimits = ShedLimits {
    registrations_percent: 50,
    logins_percent: 75,
    password_queue_percent: 60,
    desk_lag: Duration::from_secs(1),
    calm: Duration::from_secs(2),
};
const CLASSES: [Class; 4] = Class::ALL;

fn late(ms: u64) -> Signals {
    Signals { desk_lag: Duration::from_millis(ms), ..Signals::default() }
}

fn queue(password_queue_percent: u64) -> Signals {
    Signals { password_queue_percent, ..Signals::default() }
}

/// Who would be let in now.
fn let_in(shed: &mut Shed) -> Vec<Class> {
    let enters = |class: &Class| {
        let enters = shed.enter(*class);
        if enters {
            shed.leave();
        }
        enters
    };
    CLASSES.into_iter().filter(enters).collect()
}

#[test]
fn what_matters_less_leaves_room_for_what_matters_more() {
    let mut shed = Shed::new(8, LIMITS);
    for running in 0..=8 {
        let expected = match running {
            0..4 => &CLASSES[..],
            4..6 => &CLASSES[1..],
            6..8 => &CLASSES[3..],
            _ => &[],
        };
        assert_eq!(let_in(&mut shed), expected, "{running} run");
        assert_eq!(shed.enter(Class::Handover), running < 8);
    }
    shed.leave();
    assert_eq!(let_in(&mut shed), [Class::Handover]);
}

#[test]
fn of_a_small_bound_each_class_has_some_and_of_none_none() {
    assert_eq!(let_in(&mut Shed::new(1, LIMITS)), CLASSES);
    assert_eq!(let_in(&mut Shed::new(0, LIMITS)), []);
}

#[test]
fn levels_refuse_in_the_order_of_the_classes() {
    for (ms, expected) in [
        (999, &CLASSES[..]),
        (1_000, &CLASSES[1..]),
        (1_999, &CLASSES[1..]),
        (2_000, &CLASSES[3..]),
        (3_999, &CLASSES[3..]),
        (4_000, &[]),
    ] {
        let mut shed = Shed::new(8, LIMITS);
        shed.observe(late(ms), Mono(0));
        assert_eq!(let_in(&mut shed), expected, "{ms} ms late");
    }
    for (percent, level) in [(0, 0), (59, 0), (60, 1), (100, 1), (1_000, 1)] {
        let mut shed = Shed::new(8, LIMITS);
        shed.observe(queue(percent), Mono(0));
        assert_eq!(shed.level, level, "{percent} %");
    }
}

#[test]
fn a_level_is_entered_at_once_and_left_step_by_step_when_all_was_calm() {
    let mut shed = Shed::new(8, LIMITS);
    let mut at = |ms, signals| shed.observe(signals, Mono(ms)).map(|change| (change.from, change.to));
    assert_eq!(at(0, late(4_000)), Some((0, 3)));
    assert_eq!(at(10, late(0)), None);
    assert_eq!(at(1_900, late(2_000)), None, "half of what it took: not calm");
    assert_eq!(at(2_000, late(1_999)), None);
    assert_eq!(at(3_999, late(0)), None);
    assert_eq!(at(4_000, late(0)), Some((3, 2)));
    assert_eq!(at(5_000, late(1_000)), None, "half of what the second takes");
    assert_eq!(at(6_000, late(0)), None);
    assert_eq!(at(8_000, late(0)), Some((2, 1)));
    assert_eq!(at(9_000, queue(30)), None, "the queue holds it");
    assert_eq!(at(20_000, queue(29)), None);
    assert_eq!(at(22_000, queue(29)), Some((1, 0)));
    assert_eq!(at(90_000, late(0)), None);
}

proptest! {
    /// However the signals jump about: a fall takes its time, and what matters more is never refused for what matters less.
    #[test]
    fn the_level_does_not_flap(steps in prop::collection::vec((0_u64..500, 0_u64..6_000, 0_u64..120), 1..400)) {
        let mut shed = Shed::new(8, LIMITS);
        let (mut now, mut fell_at, mut raised, mut fallen) = (0, None::<u64>, 0_u64, 0_u64);
        for (pause, lag, percent) in steps {
            now += pause;
            let signals = Signals { password_queue_percent: percent, desk_lag: Duration::from_millis(lag) };
            match shed.observe(signals, Mono(now)) {
                Some(Change { from, to }) if to < from => {
                    prop_assert_eq!(to, from - 1);
                    if let Some(before) = fell_at.replace(now) {
                        prop_assert!(now - before >= 2_000, "fell at {} and at {}", before, now);
                    }
                    fallen += 1;
                }
                Some(Change { from, to }) => raised += u64::from(to - from),
                None => {}
            }
            prop_assert!(shed.level <= 3 && u64::from(shed.level) == raised - fallen);
            let inside = let_in(&mut shed);
            prop_assert!(CLASSES.ends_with(&inside), "{:?}", inside);
        }
        prop_assert!(fallen <= now / 2_000 + 1);
    }

    /// Noise around a threshold that does not go below its half: entered once, and that is all.
    #[test]
    fn noise_about_a_threshold_is_one_change(lags in prop::collection::vec(500_u64..2_000, 1..400)) {
        let mut shed = Shed::new(8, LIMITS);
        let changes = lags.iter().zip(0..).filter(|(lag, n)| shed.observe(late(**lag), Mono(n * 250)).is_some());
        prop_assert!(changes.count() <= 1);
    }
}
