//! Lengths that lie: too long, too large, never ending, and larger than what may come.

use shared_msgs::limits::PAYLOAD_BYTES_MAX;

use crate::raw::{self, PINGREQ, PINGRESP, Raw};
use crate::rig::{EVENTS, Rig, State};

/// Of each type a frame whose length alone is wrong, and no byte of what it announces.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_length_that_cannot_be_ends_the_connection_before_its_bytes_come() {
    let mut rig = Rig::start().await;
    let lengths: [(&str, &[u8]); 6] = [
        ("a fifth byte", &[0xff, 0xff, 0xff, 0xff, 0x01]),
        ("a fifth byte, all zero", &[0x80, 0x80, 0x80, 0x80, 0x00]),
        ("a fourth byte that is not the last", &[0x80, 0x80, 0x80, 0x80]),
        ("256 MiB", &[0xff, 0xff, 0xff, 0x7f]),
        ("2 MiB", &[0xff, 0xff, 0x7f]),
        ("one byte too many", &raw::length(PAYLOAD_BYTES_MAX + 512 + 1)),
    ];
    for state in State::ALL {
        for first in [0x10, 0x30, 0x32, 0x40, 0x82, 0xa2, 0xc0, 0xe0, 0x00, 0xf0] {
            for (name, length) in lengths {
                let case = format!("{first:#04x}, {name}, when {state:?}");
                // It never half-closes: the edge must not wait for more.
                let mut raw = rig.mallory(state).await;
                raw.try_send(&[&[first], length].concat()).await;
                assert_eq!(raw.rest().await, b"", "{case}");
                rig.check(&case).await;
            }
        }
    }
    rig.check_ready("after all of them").await;
}

/// More bytes than its number needs: MQTT 3.1.1 does not forbid it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_length_in_more_bytes_than_it_needs_is_a_length() {
    let mut rig = Rig::start().await;
    let mut raw = rig.mallory(State::Connected).await;
    let honest = raw::publish(EVENTS, 1, 7, b"x");
    raw.send(&[&[0x32, honest[1] | 0x80, 0x80, 0x00], &honest[2..]].concat()).await;
    raw.expect(&raw::ack(0x40, 7)).await;
    raw.send(&PINGREQ).await;
    raw.expect(&PINGRESP).await;
    raw.half_close().await;
    assert_eq!(raw.rest().await, b"");
    rig.check("a long length").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_largest_payload_passes_and_one_byte_more_does_not() {
    let mut rig = Rig::start().await;
    for (over, answer) in [(0, raw::ack(0x40, 7)), (1, Vec::new()), (512, Vec::new())] {
        let case = format!("{over} over the limit");
        let mut raw = rig.mallory(State::Connected).await;
        let payload = vec![0xa5; PAYLOAD_BYTES_MAX + over];
        raw.try_send(&raw::publish(EVENTS, 1, 7, &payload)).await;
        if !answer.is_empty() {
            raw.expect(&answer).await;
            raw.half_close().await;
        }
        assert_eq!(raw.rest().await, b"", "{case}");
        rig.check(&case).await;
    }
}

/// A great many clients that each announce the largest frame and send all of it but the last byte.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unfinished_frames_keep_nobody_waiting() {
    const MANY: usize = 64;
    let mut rig = Rig::start().await;
    let largest = raw::frame(0x10, &vec![0; PAYLOAD_BYTES_MAX]);
    let mut waiting = Vec::new();
    for _ in 0..MANY {
        waiting.push(Raw::saying(rig.to(), &largest[..largest.len() - 1]).await);
    }
    rig.check("while they are unfinished").await;
    for mut raw in waiting {
        raw.try_send(&[0]).await;
        assert_eq!(raw.rest().await, b"");
    }
    rig.check_ready("once they are finished").await;
}
