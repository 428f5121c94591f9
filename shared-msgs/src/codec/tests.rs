//! Skipping what is newer, refusing what is broken, and never panicking.

use super::*;
use crate::ids::BootId;
use crate::messages::{HubMessage, Order, ServerMessage};
use proptest::prelude::*;

fn probe(n: u64) -> HubMessage {
    HubMessage::Order { boot: BootId::default(), order: Order::Probe { hub: "hub-1".parse().unwrap(), n } }
}

#[test]
fn a_batch_reads_back_in_order() {
    let batch: Vec<u8> = (0..3).flat_map(|n| encode(&probe(n)).unwrap()).collect();
    let read = decode::<HubMessage>(&batch).unwrap();
    assert_eq!(read, Batch { messages: (0..3).map(probe).collect(), unknown: 0, malformed: 0 });
}

#[test]
fn newer_versions_and_kinds_are_counted_and_skipped() {
    let newer_version = [0, 3, limits::MSG_VERSION + 1, 9, 9];
    let newer_kind = [0, 3, limits::MSG_VERSION, 250, 1];
    let batch = [newer_version.as_slice(), &newer_kind, &encode(&probe(1)).unwrap()].concat();
    let read = decode::<HubMessage>(&batch).unwrap();
    assert_eq!(read, Batch { messages: vec![probe(1)], unknown: 2, malformed: 0 });
}

#[test]
fn broken_messages_do_not_hurt_their_neighbours() {
    let with_a_tail = {
        let mut bytes = encode(&probe(1)).unwrap();
        bytes.push(0);
        bytes[1] += 1;
        bytes
    };
    let of_version_zero = [0, 1, 0];
    let empty = [0, 0];
    let batch = [with_a_tail.as_slice(), &of_version_zero, &empty, &encode(&probe(2)).unwrap()].concat();
    let read = decode::<HubMessage>(&batch).unwrap();
    assert_eq!(read, Batch { messages: vec![probe(2)], unknown: 0, malformed: 3 });
}

#[test]
fn a_truncated_batch_is_refused_whole() {
    let bytes = encode(&probe(1)).unwrap();
    for len in 1..bytes.len() {
        assert_eq!(decode::<HubMessage>(&bytes[..len]), Err(BatchError::Truncated), "{len}");
    }
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = decode::<ServerMessage>(&bytes);
        let _ = decode::<HubMessage>(&bytes);
    }
}
