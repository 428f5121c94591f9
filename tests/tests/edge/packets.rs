//! Every packet type with every flag, in every state of a connection; whole, cut short, and announced shorter than it is.

use crate::raw::{self, PINGREQ, PINGRESP, Raw};
use crate::rig::{EVENTS, INBOX, Rig, State};

/// What a packet comes to.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    /// The connection ends without a word.
    Ends,
    /// It goes on after this answer.
    Answered(Vec<u8>),
}

/// A body that is right for the type, whatever the flags say.
fn body(rig: &Rig, first: u8) -> Vec<u8> {
    let id = [0, 7];
    match first >> 4 {
        1 => rig.connect.bytes()[2..].to_vec(),
        2 => vec![0, 0],
        3 if first & 0b0110 == 0 => [&raw::text(EVENTS)[..], b"x"].concat(),
        3 => [&raw::text(EVENTS)[..], &id, b"x"].concat(),
        4..=7 | 11 => id.to_vec(),
        8 => [&id[..], &raw::text(INBOX), &[1]].concat(),
        9 => vec![0, 7, 1],
        10 => [&id[..], &raw::text(INBOX)].concat(),
        _ => Vec::new(),
    }
}

/// What MQTT 3.1.1 and our subset of it say about a well-formed packet with these flags on an established connection.
fn fate(first: u8) -> Fate {
    match first {
        0x30 => Fate::Answered(Vec::new()),
        0x32 | 0x3a => Fate::Answered(raw::ack(0x40, 7)),
        0x82 => Fate::Answered(raw::suback(7, &[1])),
        0xa2 => Fate::Answered(raw::ack(0xb0, 7)),
        0xc0 => Fate::Answered(PINGRESP.to_vec()),
        _ => Fate::Ends,
    }
}

/// Sends a packet in this state, and a question behind it that only a connection that goes on answers.
async fn try_packet(rig: &Rig, state: State, packet: &[u8], fate: &Fate, case: &str) {
    let mut raw = rig.mallory(state).await;
    match fate {
        Fate::Ends => {
            raw.try_send(&[packet, &PINGREQ].concat()).await;
            raw.half_close().await;
        }
        Fate::Answered(answer) => {
            raw.send(packet).await;
            raw.expect(answer).await;
            raw.send(&PINGREQ).await;
            raw.expect(&PINGRESP).await;
            raw.half_close().await;
        }
    }
    assert_eq!(raw.rest().await, b"", "{case}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_first_byte_in_every_state_is_answered_or_ends_its_connection() {
    let mut rig = Rig::start().await;
    let before = rig.hub.broker_stats();
    for state in State::ALL {
        for first in 0..=u8::MAX {
            // Before its CONNECT a right one is no bad packet, and who may come in is another table.
            if (state, first) == (State::Fresh, 0x10) {
                continue;
            }
            let case = format!("{first:#04x} when {state:?}");
            let established = matches!(state, State::Connected | State::Subscribed);
            let fate = if established { fate(first) } else { Fate::Ends };
            let packet = raw::frame(first, &body(&rig, first));
            try_packet(&rig, state, &packet, &fate, &case).await;
            rig.check(&case).await;
        }
    }
    // Said goodbye, or not yet hello: no violation. The rest of two states is, but for what is answered, and DISCONNECT.
    let after = rig.hub.broker_stats();
    assert_eq!(after.refused - before.refused, 255);
    assert_eq!(after.protocol_violations - before.protocol_violations, 2 * (256 - 7) - denied());
    assert_eq!(after.acl_denied - before.acl_denied, denied());
    rig.check_ready("after all of them").await;
}

/// Well-formed PUBLISHes outside the subset, in two states: retained (0x31, 0x33, 0x3b) and of QoS 2 (0x34, 0x35, 0x3c, 0x3d).
fn denied() -> u64 {
    2 * 7
}

/// The packets of an honest client.
fn honest(rig: &Rig) -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("CONNECT", rig.connect.bytes()),
        ("PUBLISH", raw::publish(EVENTS, 0, 0, b"x")),
        ("PUBLISH of QoS 1", raw::publish(EVENTS, 1, 7, b"x")),
        ("PUBACK", raw::ack(0x40, 7)),
        ("SUBSCRIBE", raw::subscribe(7, &[(INBOX, 1)])),
        ("UNSUBSCRIBE", raw::unsubscribe(7, INBOX)),
        ("PINGREQ", PINGREQ.to_vec()),
        ("DISCONNECT", raw::DISCONNECT.to_vec()),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_packet_that_stops_anywhere_has_no_effect() {
    let mut rig = Rig::start().await;
    for state in State::ALL {
        for (name, packet) in honest(&rig) {
            for cut in 0..packet.len() {
                let case = format!("{name} cut at {cut} when {state:?}");
                let mut raw = rig.mallory(state).await;
                raw.try_send(&packet[..cut]).await;
                raw.half_close().await;
                assert_eq!(raw.rest().await, b"", "{case}");
                rig.check(&case).await;
            }
        }
    }
    rig.check_ready("after all of them").await;
}

/// Its length is right and its content ends early: each field in turn is missing, or reaches over the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_packet_announced_shorter_than_it_is_ends_its_connection() {
    let mut rig = Rig::start().await;
    for (name, packet) in honest(&rig) {
        let (first, whole) = (packet[0], &body(&rig, packet[0]));
        let state = if first == 0x10 { State::Fresh } else { State::Connected };
        for cut in 0..whole.len() {
            let case = format!("{name} with {cut} of {} bytes", whole.len());
            try_packet(&rig, state, &raw::frame(first, &whole[..cut]), &Fate::Ends, &case).await;
            rig.check(&case).await;
        }
    }
    rig.check_ready("after all of them").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_not_follow_a_packet_ends_its_connection() {
    let mut rig = Rig::start().await;
    let connect = rig.connect.bytes();
    let odd_options = |options| raw::subscribe(7, &[(INBOX, options)]);
    let cases: Vec<(&str, State, Vec<u8>)> = vec![
        ("two CONNECTs at once", State::Disconnected, [&connect[..], &connect].concat()),
        ("a second CONNECT", State::Subscribed, connect.clone()),
        ("a second CONNECT of nobody", State::Connected, raw::Connect::new("", "", "").bytes()),
        ("PINGREQ with a body", State::Connected, raw::frame(0xc0, &[0])),
        ("DISCONNECT with a body", State::Connected, raw::frame(0xe0, &[0])),
        ("PUBACK with a body", State::Subscribed, raw::frame(0x40, &[0, 1, 0])),
        ("CONNECT with more behind", State::Fresh, raw::frame(0x10, &[&connect[2..], b"more"].concat())),
        ("SUBSCRIBE, QoS 3", State::Connected, odd_options(3)),
        ("SUBSCRIBE, a reserved bit", State::Connected, odd_options(0x04)),
        ("SUBSCRIBE, MQTT 5's no-local", State::Connected, odd_options(0x05)),
        ("SUBSCRIBE, the highest bit", State::Connected, odd_options(0x81)),
        (
            "SUBSCRIBE, a reserved bit of the second filter",
            State::Connected,
            raw::subscribe(7, &[(INBOX, 1), (INBOX, 0x11)]),
        ),
    ];
    for (case, state, packet) in cases {
        let mut raw: Raw = rig.mallory(state).await;
        raw.try_send(&packet).await;
        raw.half_close().await;
        assert_eq!(raw.rest().await, b"", "{case}");
        rig.check(case).await;
    }
}
