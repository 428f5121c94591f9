//! The connection's life under any order of what the broker, the owner and time do.

use proptest::prelude::*;

use super::*;

const SILENCE: Duration = Duration::from_secs(10);
const ANSWER: Duration = Duration::from_secs(3);

fn resync(brokers: usize) -> Resync {
    Resync::new(brokers, SILENCE, ANSWER)
}

fn up(resync: &mut Resync, now: Mono) {
    resync.connect(now);
    assert_eq!(resync.connected(now, 2), Step::Subscribe);
    assert_eq!(resync.suback(now, &[true, true]), Ok(Step::Up));
}

#[test]
fn up_only_when_all_is_granted() {
    let mut resync = resync(1);
    resync.connect(Mono(0));
    assert_eq!(resync.suback(Mono(1), &[true]), Err(SubackError::Unexpected));
    assert_eq!(resync.connected(Mono(1), 3), Step::Subscribe);
    assert_eq!(resync.suback(Mono(2), &[true]), Err(SubackError::Unexpected), "two are missing");
    assert_eq!(resync.suback(Mono(2), &[true, false, true]), Err(SubackError::Refused(1)));
    assert_eq!(resync.state(), State::Subscribing { since: Mono(1), left: 3 });
    assert_eq!(resync.suback(Mono(2), &[true; 3]), Ok(Step::Up));
    assert_eq!(resync.suback(Mono(3), &[true; 3]), Err(SubackError::Unexpected), "once is enough");
    assert_eq!(self::resync(1).connected(Mono(1), 0), Step::Up, "nothing to subscribe");
}

#[test]
fn every_wait_for_the_broker_ends() {
    let mut resync = resync(1);
    assert_eq!(resync.overdue(Mono(u64::MAX)), None, "idle waits for nobody");
    resync.connect(Mono(0));
    assert_eq!((resync.overdue(Mono(3_999)), resync.overdue(Mono(4_000))), (None, Some(Overdue::Connect)));
    resync.connected(Mono(1_000), 1);
    resync.heard(Mono(3_900));
    assert_eq!((resync.overdue(Mono(3_999)), resync.overdue(Mono(4_000))), (None, Some(Overdue::Suback)));
    resync.suback(Mono(4_000), &[true]).unwrap();
    resync.heard(Mono(5_000));
    assert_eq!((resync.overdue(Mono(14_999)), resync.overdue(Mono(15_000))), (None, Some(Overdue::Sound)));
}

#[test]
fn acknowledgements_are_owed_in_time_though_the_broker_talks() {
    let mut resync = resync(1);
    up(&mut resync, Mono(0));
    resync.published(Mono(1_000));
    resync.published(Mono(5_000));
    resync.heard(Mono(11_000));
    assert_eq!((resync.overdue(Mono(10_999)), resync.overdue(Mono(11_000))), (None, Some(Overdue::Puback)));
    resync.acked(Mono(10_000), true);
    assert_eq!((resync.overdue(Mono(19_999)), resync.overdue(Mono(20_000))), (None, Some(Overdue::Puback)));
    resync.acked(Mono(19_000), false);
    resync.heard(Mono(30_000));
    assert_eq!(resync.overdue(Mono(39_999)), None);
}

#[test]
fn a_slow_owner_is_not_the_brokers_silence() {
    let mut resync = resync(1);
    up(&mut resync, Mono(0));
    resync.published(Mono(0));
    resync.resumed(Mono(60_000));
    assert_eq!(resync.overdue(Mono(69_999)), None);
    assert_eq!(resync.overdue(Mono(70_000)), Some(Overdue::Sound));
}

#[test]
fn back_off_grows_to_its_bound_and_a_stable_connection_resets_it() {
    let mut resync = resync(1);
    let mut ceilings = Vec::new();
    let mut fail = |resync: &mut Resync, now| {
        let mut bound = 0;
        resync.failed(now, Severity::Passing, |n| {
            bound = n - 1;
            0
        });
        ceilings.push(bound);
    };
    for _ in 0..7 {
        resync.connect(Mono(0));
        fail(&mut resync, Mono(0));
    }
    // A flapping connection, then a stable one.
    up(&mut resync, Mono(0));
    fail(&mut resync, Mono(999));
    up(&mut resync, Mono(1_000));
    fail(&mut resync, Mono(2_000));
    assert_eq!(ceilings, [50, 100, 200, 400, 800, 1_000, 1_000, 1_000, 50]);
}

#[test]
fn what_needs_an_operator_waits_longest() {
    let mut resync = resync(1);
    let least = resync.failed(Mono(0), Severity::Lasting, |_| 0);
    let most = resync.failed(Mono(0), Severity::Lasting, |bound| bound - 1);
    assert_eq!((least, most), (RECONNECT_MAX / 2, RECONNECT_MAX));
}

#[test]
fn brokers_are_tried_in_turn() {
    let mut resync = resync(3);
    let tried: Vec<_> = (0..5)
        .map(|_| {
            let broker = resync.connect(Mono(0));
            resync.failed(Mono(0), Severity::Passing, |_| 0);
            broker
        })
        .collect();
    assert_eq!(tried, [0, 1, 2, 0, 1]);
}

#[derive(Clone, Debug)]
enum Op {
    Connect,
    ConnAck(usize),
    SubAck(Vec<bool>),
    Heard,
    Published,
    Acked(bool),
    Resumed,
    Fail(u64),
    Wait(u64),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        Just(Op::Connect),
        (0..3usize).prop_map(Op::ConnAck),
        prop::collection::vec(prop::bool::weighted(0.8), 1..3).prop_map(Op::SubAck),
        Just(Op::Heard),
        Just(Op::Published),
        any::<bool>().prop_map(Op::Acked),
        Just(Op::Resumed),
        any::<u64>().prop_map(Op::Fail),
        (0..6_000u64).prop_map(Op::Wait),
    ]
}

proptest! {
    /// Whatever happens: up only after a full grant; while the broker is waited for there is a deadline, never missed by sleeping as
    /// told; the back-off stays within its bounds.
    #[test]
    fn nothing_waits_forever(ops in prop::collection::vec(op(), 1..120)) {
        let (mut resync, mut now) = (resync(2), Mono(0));
        for op in ops {
            let before = resync.state();
            match op {
                Op::Connect => { resync.connect(now); }
                Op::ConnAck(filters) if matches!(before, State::Connecting { .. }) => { resync.connected(now, filters); }
                Op::ConnAck(_) => {}
                Op::SubAck(granted) => {
                    let full = matches!(before, State::Subscribing { left, .. } if left == granted.len());
                    let good = full && granted.iter().all(|&granted| granted);
                    prop_assert_eq!(resync.suback(now, &granted).is_ok(), good);
                    prop_assert_eq!(resync.state() != before, good);
                }
                Op::Heard => resync.heard(now),
                Op::Published => resync.published(now),
                Op::Acked(more) => resync.acked(now, more),
                Op::Resumed => resync.resumed(now),
                Op::Fail(draw) => {
                    let wait = resync.failed(now, Severity::Passing, |bound| draw % bound);
                    prop_assert!(wait <= RECONNECT_MAX);
                    prop_assert_eq!(resync.state(), State::Backoff { until: now + wait });
                }
                Op::Wait(ms) => now = now + Duration::from_millis(ms),
            }
            let waits = !matches!(resync.state(), State::Idle | State::Backoff { .. });
            prop_assert_eq!(resync.overdue(now + SILENCE + ANSWER + CONNECT_SLACK).is_some(), waits);
            let look = resync.next_look(now);
            prop_assert!(look >= Duration::from_millis(1) && look <= SILENCE.max(ANSWER + CONNECT_SLACK));
            if waits {
                prop_assert!(resync.overdue(now + look).is_some(), "woken, and nothing is due");
            }
        }
    }
}
