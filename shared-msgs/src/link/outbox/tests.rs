//! The outbox against a model: what goes in comes out once, in its lane's order, within every bound.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::keys::Purpose;
use crate::topics::Topic;

const MESSAGES_MAX: usize = 12;
const BYTES_MAX: usize = 4 * MESSAGE_BYTES_MAX;

fn lane(n: usize) -> Lane {
    Lane { topic: Topic::Inbox(format!("s{n}").parse().unwrap()), purpose: Purpose::Inbox }
}

fn open() -> Outbox {
    let mut outbox = Outbox::new(MESSAGES_MAX, BYTES_MAX);
    outbox.open();
    outbox
}

#[derive(Clone, Debug)]
enum Op {
    Push {
        lane: usize,
        bytes: usize,
    },
    Batch,
    /// Of those under way, the one at this position, modulo how many there are.
    Ack(usize),
    Close,
    Open,
    Drain,
}

fn op() -> impl Strategy<Value = Op> {
    let bytes =
        prop_oneof![8 => 8..64usize, 2 => 20_000..=MESSAGE_BYTES_MAX, 1 => Just(MESSAGE_BYTES_MAX + 1)];
    prop_oneof![
        12 => (0..3usize, bytes).prop_map(|(lane, bytes)| Op::Push { lane, bytes }),
        8 => Just(Op::Batch),
        6 => any::<usize>().prop_map(Op::Ack),
        1 => Just(Op::Close),
        2 => Just(Op::Open),
        1 => Just(Op::Drain),
    ]
}

/// A message that tells its number and length.
fn message(number: u64, bytes: usize) -> Vec<u8> {
    let mut out = vec![0; bytes];
    out[..8].copy_from_slice(&number.to_be_bytes());
    out
}

#[derive(Default)]
struct Model {
    gate: Option<bool>,
    taken: u64,
    waiting: BTreeMap<Lane, VecDeque<(u64, usize)>>,
    under_way: Vec<(BatchId, Lane, Vec<u64>)>,
    ids: BTreeSet<BatchId>,
}

impl Model {
    fn waiting(&self) -> impl Iterator<Item = &(u64, usize)> {
        self.waiting.values().flatten()
    }

    fn settled(&self) -> u64 {
        let waiting = self.waiting().map(|&(number, _)| number);
        waiting
            .chain(self.under_way.iter().flat_map(|(_, _, n)| n.iter().copied()))
            .min()
            .unwrap_or(self.taken)
    }

    /// Checks a batch and moves its messages from waiting to under way.
    fn take(&mut self, batch: Batch) {
        assert!(self.ids.insert(batch.id), "an id twice");
        assert!(!batch.bytes.is_empty() && batch.bytes.len() <= BATCH_BYTES_MAX);
        let waiting = self.waiting.get_mut(&batch.lane).unwrap();
        let (mut rest, mut numbers) = (batch.bytes.as_slice(), Vec::new());
        while !rest.is_empty() {
            let (number, bytes) = waiting.pop_front().expect("nothing that was not pushed");
            assert_eq!(rest[..8], number.to_be_bytes(), "order within the lane");
            rest = &rest[bytes..];
            numbers.push(number);
        }
        let next = waiting.front().map_or(usize::MAX, |&(_, bytes)| bytes);
        assert!(
            next.saturating_add(batch.bytes.len()) > BATCH_BYTES_MAX,
            "the batch had room for the next one"
        );
        self.under_way.push((batch.id, batch.lane, numbers));
    }
}

proptest! {
    #[test]
    fn behaves_like_its_model(ops in prop::collection::vec(op(), 1..200)) {
        let mut outbox = Outbox::new(MESSAGES_MAX, BYTES_MAX);
        let mut model = Model::default();
        for op in ops {
            match op {
                Op::Push { lane: n, bytes } => {
                    let count = model.waiting().count();
                    let size: usize = model.waiting().map(|&(_, bytes)| bytes).sum();
                    let got = outbox.push(lane(n), message(model.taken, bytes));
                    if model.gate != Some(true) {
                        prop_assert_eq!(got, Err(SendError::NotConnected));
                    } else if bytes > MESSAGE_BYTES_MAX {
                        prop_assert_eq!(got, Err(SendError::TooLarge(bytes)));
                    } else if count == MESSAGES_MAX || size + bytes > BYTES_MAX {
                        prop_assert_eq!(got, Err(SendError::Full));
                    } else {
                        prop_assert!(got.is_ok());
                        model.waiting.entry(lane(n)).or_default().push_back((model.taken, bytes));
                        model.taken += 1;
                    }
                }
                Op::Batch => {
                    let of_lane = |lane: &Lane| model.under_way.iter().filter(|(_, l, _)| l == lane).count();
                    let ready = model.waiting.iter().any(|(lane, w)| !w.is_empty() && of_lane(lane) < LANE_IN_FLIGHT_MAX);
                    let batch = outbox.next_batch();
                    prop_assert_eq!(batch.is_some(), ready);
                    if let Some(batch) = batch {
                        prop_assert!(of_lane(&batch.lane) < LANE_IN_FLIGHT_MAX);
                        model.take(batch);
                    }
                }
                Op::Ack(at) if !model.under_way.is_empty() => {
                    let at = at % model.under_way.len();
                    let (id, ..) = model.under_way.remove(at);
                    prop_assert_eq!(outbox.acked(id), at == 0, "only the oldest is acknowledged in turn");
                    prop_assert!(!outbox.acked(id), "acknowledged twice");
                }
                Op::Ack(_) => prop_assert!(!outbox.acked(BatchId(u64::MAX))),
                Op::Close => {
                    outbox.close();
                    for (id, ..) in std::mem::take(&mut model.under_way) {
                        outbox.acked(id);
                    }
                    model.waiting.clear();
                    model.gate = None;
                }
                Op::Open => {
                    outbox.open();
                    model.gate = Some(true);
                }
                Op::Drain => {
                    outbox.drain();
                    model.gate = model.gate.map(|_| false);
                }
            }
            prop_assert_eq!(outbox.waiting(), model.waiting().count());
            prop_assert_eq!(outbox.settled(), model.settled());
            prop_assert_eq!(outbox.taken(), model.taken);
            prop_assert_eq!(outbox.is_idle(), model.waiting().count() == 0 && model.under_way.is_empty());
        }
    }
}

#[test]
fn lanes_take_turns() {
    let mut outbox = open();
    for number in 0..3 {
        outbox.push(lane(0), message(number, MESSAGE_BYTES_MAX)).unwrap();
    }
    outbox.push(lane(1), message(3, 8)).unwrap();
    let served: Vec<_> = std::iter::from_fn(|| outbox.next_batch()).map(|batch| batch.lane).collect();
    assert_eq!(served, [lane(0), lane(1), lane(0), lane(0)]);
}

#[test]
fn a_busy_lane_gathers_what_waits_into_one_batch() {
    let mut outbox = open();
    let first: Vec<_> = (0..LANE_IN_FLIGHT_MAX)
        .map(|_| {
            assert_eq!(outbox.push(lane(0), message(0, 8)), Ok(true));
            outbox.next_batch().unwrap().id
        })
        .collect();
    for number in 0..5 {
        assert_eq!(outbox.push(lane(0), message(number, 8)), Ok(false), "nothing to wake the link for");
    }
    assert!(outbox.next_batch().is_none());
    outbox.acked(first[0]);
    assert_eq!(outbox.next_batch().unwrap().bytes.len(), 5 * 8);
}

#[test]
fn the_window_of_all_lanes_is_bounded() {
    let mut outbox = Outbox::new(10_000, BYTES_MAX);
    outbox.open();
    for n in 0..=IN_FLIGHT_MAX {
        outbox.push(lane(n), message(0, 8)).unwrap();
    }
    let sent: Vec<_> = std::iter::from_fn(|| outbox.next_batch()).collect();
    assert_eq!(sent.len(), IN_FLIGHT_MAX);
    outbox.acked(sent[7].id);
    assert_eq!(outbox.next_batch().unwrap().lane, lane(IN_FLIGHT_MAX));
}

#[test]
fn a_full_outbox_is_counted_and_logged_now_and_then() {
    let mut outbox = open();
    for number in 0..MESSAGES_MAX as u64 {
        outbox.push(lane(0), message(number, 8)).unwrap();
    }
    for _ in 0..3 {
        assert_eq!(outbox.push(lane(1), message(0, 8)), Err(SendError::Full));
    }
    assert_eq!(outbox.refused_full(), 3);
    let logged: Vec<_> = [0, 1, 9_999, 10_000, 10_001].map(|at| outbox.may_log_full(Mono(at))).into();
    assert_eq!(logged, [true, false, false, true, false]);
}
