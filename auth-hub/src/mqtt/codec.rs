//! Bytes to packets and back, by rumqttd's MQTT 3.1.1 codec, plus the two things its types keep to themselves, a
//! PUBLISH's quality of service and packet id, and the rules of the specification that it does not look at.
//!
//! Invariant: a packet with a flag or a reserved bit that the specification forbids is none; a frame larger than [`FRAME_BYTES_MAX`] is refused from its header alone, and nothing decoded for the router
//! keeps the read buffer alive.

use bytes::BytesMut;
use rumqttd::protocol::v4::{V4, check};
use rumqttd::protocol::{Error, Packet, Protocol, Publish};
use shared_msgs::limits::PAYLOAD_BYTES_MAX;

/// The largest frame read: a full payload, and room for topic, user and password around it.
pub(crate) const FRAME_BYTES_MAX: usize = PAYLOAD_BYTES_MAX + 512;

/// Packet types, the upper half of a first byte.
const CONNECT: u8 = 1;
const PUBLISH: u8 = 3;
const PUBREL: u8 = 6;
const SUBSCRIBE: u8 = 8;
const UNSUBSCRIBE: u8 = 10;
const PINGREQ: u8 = 12;

const DUP: u8 = 0b1000;

/// Takes the next whole packet off `buffer`, if one is there.
pub(crate) fn read(buffer: &mut BytesMut) -> Result<Option<Packet>, Error> {
    let Some(&first) = buffer.first() else { return Ok(None) };
    if !has_its_flags(first) {
        return Err(Error::MalformedPacket);
    }
    let header = match check(buffer.iter(), FRAME_BYTES_MAX) {
        Ok(header) => header,
        Err(Error::InsufficientBytes(_)) => return Ok(None),
        Err(error) => return Err(error),
    };
    let body = &buffer[header.fixed_header_len..header.frame_length()];
    let is_sound = match first >> 4 {
        CONNECT => connect_is_sound(body),
        SUBSCRIBE => subscribe_is_sound(body),
        PINGREQ => body.is_empty(),
        _ => true,
    };
    if !is_sound {
        return Err(Error::MalformedPacket);
    }
    V4.read_mut(buffer, FRAME_BYTES_MAX).map(Some)
}

/// Has a packet of this type these flags? (MQTT-2.2.2-2, 3.3.1-2; V4 itself refuses QoS 3.)
fn has_its_flags(first: u8) -> bool {
    let flags = first & 0x0f;
    match first >> 4 {
        PUBLISH => flags & DUP == 0 || qos(first) > 0,
        PUBREL | SUBSCRIBE | UNSUBSCRIBE => flags == 0b0010,
        // No types.
        0 | 15 => false,
        _ => flags == 0,
    }
}

/// No reserved flag, no password without a user, nothing behind the end (MQTT-3.1.2-3, 3.1.2-22). What another version is like, and a
/// field that reaches over the end, is left to V4: it has an error of its own for each.
fn connect_is_sound(body: &[u8]) -> bool {
    const LEVEL: u8 = 4;
    let mut rest = body;
    let Some(&[level, flags, _, _]) = skip_text(&mut rest).and_then(|()| rest.split_off(..4)) else {
        return true;
    };
    if level != LEVEL {
        return true;
    }
    let has = |bits: u8| usize::from(flags & bits != 0);
    // The client id; topic and message of a will; user; password.
    let texts = 1 + 2 * has(0x04) + has(0x80) + has(0x40);
    let whole = (0..texts).try_for_each(|_| skip_text(&mut rest));
    flags & 0x01 == 0 && has(0x40) <= has(0x80) && (whole.is_none() || rest.is_empty())
}

/// No reserved bit beside a filter's quality of service (MQTT-3.8.3-4).
fn subscribe_is_sound(body: &[u8]) -> bool {
    let mut rest = body.get(2..).unwrap_or_default();
    while let Some(&[options]) = skip_text(&mut rest).and_then(|()| rest.split_off(..1)) {
        if options & !0b11 != 0 {
            return false;
        }
    }
    true
}

/// Takes a text and the length before it off `rest`, if all of it is there.
fn skip_text(rest: &mut &[u8]) -> Option<()> {
    let &[high, low] = rest.first_chunk()?;
    rest.split_off(..2 + usize::from(u16::from_be_bytes([high, low]))).map(drop)
}

/// Appends a packet without MQTT 5 properties.
pub(crate) fn write(packet: Packet, out: &mut BytesMut) -> Result<(), Error> {
    V4.write(packet, out).map(drop)
}

/// A PUBLISH that owns its bytes.
pub(crate) struct Detached {
    pub(crate) qos: u8,
    pub(crate) publish: Publish,
}

/// Copies a PUBLISH out of the read buffer and forgets that it may be a duplicate, which is a matter of this hop only.
pub(crate) fn detach(publish: &Publish) -> Detached {
    let mut own = BytesMut::from(publish.serialize());
    own[0] &= !DUP;
    Detached { qos: qos(own[0]), publish: Publish::deserialize(own.freeze()) }
}

/// Appends a PUBLISH from the router; tells its packet id if it wants an acknowledgement.
pub(crate) fn write_publish(publish: Publish, out: &mut BytesMut) -> Result<Option<u16>, Error> {
    let start = out.len();
    write(Packet::Publish(publish, None), out)?;
    let frame = &out[start..];
    if qos(frame[0]) == 0 {
        return Ok(None);
    }
    let length_bytes = frame[1..].iter().take_while(|byte| **byte & 0x80 != 0).count() + 1;
    let topic = &frame[1 + length_bytes..];
    let id = &topic[2 + usize::from(u16::from_be_bytes([topic[0], topic[1]]))..];
    Ok(Some(u16::from_be_bytes([id[0], id[1]])))
}

fn qos(first_byte: u8) -> u8 {
    (first_byte >> 1) & 0b11
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::tests::raw;

    #[test]
    fn a_detached_publish_keeps_all_but_the_buffer_and_the_duplicate_flag() {
        let mut buffer = BytesMut::from(&raw::publish("a/b", 1, true, 7, b"payload")[..]);
        buffer[0] |= DUP;
        let Packet::Publish(publish, _) = read(&mut buffer).unwrap().unwrap() else {
            panic!("not a PUBLISH")
        };
        let detached = detach(&publish);
        assert_eq!(detached.qos, 1);
        assert!(detached.publish.retain);
        assert_eq!(
            (&detached.publish.topic[..], &detached.publish.payload[..]),
            (&b"a/b"[..], &b"payload"[..])
        );
        assert!(!publish.payload.as_ptr_range().contains(&detached.publish.payload.as_ptr()));
        let mut out = BytesMut::new();
        assert_eq!(write_publish(detached.publish, &mut out), Ok(Some(7)));
        assert_eq!(&out[..], raw::publish("a/b", 1, true, 7, b"payload"));
    }

    #[test]
    fn the_packet_id_is_found_behind_any_length_and_after_other_packets() {
        for payload in [0, 10, 200, 20_000, PAYLOAD_BYTES_MAX] {
            let frame = raw::publish("handover/v1/servers/a/inbox", 1, false, 513, &vec![1; payload]);
            let Packet::Publish(publish, _) = read(&mut BytesMut::from(&frame[..])).unwrap().unwrap() else {
                panic!("not a PUBLISH")
            };
            let mut out = BytesMut::from(&b"before"[..]);
            assert_eq!(write_publish(publish, &mut out), Ok(Some(513)));
            assert_eq!(&out[6..], frame);
        }
    }

    #[test]
    fn a_first_byte_with_wrong_flags_is_refused_at_once() {
        let right = |first: &u8| read(&mut BytesMut::from(&[*first][..])) == Ok(None);
        let right: Vec<u8> = (0..=u8::MAX).filter(right).collect();
        // QoS 3 has none of its own; it is refused once its frame is there.
        let expected = [
            0x10, 0x20, 0x30, 0x31, 0x32, 0x33, 0x34, 0x35, 0x36, 0x37, 0x3a, 0x3b, 0x3c, 0x3d, 0x3e, 0x3f,
            0x40, 0x50, 0x62, 0x70, 0x82, 0x90, 0xa2, 0xb0, 0xc0, 0xd0, 0xe0,
        ];
        assert_eq!(right, expected);
    }

    #[test]
    fn a_connect_ends_where_its_fields_do_and_keeps_the_reserved_flag_clear() {
        let body = |level: u8, flags: u8, tail: &[u8]| {
            [&b"\0\x04MQTT"[..], &[level, flags, 0, 30], b"\0\x01c", tail].concat()
        };
        let (user, both) = (b"\0\x01u", b"\0\x01u\0\x01p");
        for (level, flags, tail, is_sound) in [
            (4, 0x02, &b""[..], true),
            (4, 0x82, user, true),
            (4, 0xc2, both, true),
            (4, 0xc6, b"\0\x01t\0\x01m\0\x01u\0\x01p", true),
            (4, 0x03, b"", false),
            (4, 0x42, user, false),
            (4, 0x82, both, false),
            (4, 0x02, b"x", false),
            // V4 has better names for these.
            (5, 0x03, b"x", true),
            (4, 0xc2, user, true),
        ] {
            assert_eq!(connect_is_sound(&body(level, flags, tail)), is_sound, "{level} {flags:#x} {tail:?}");
        }
        assert!(
            connect_is_sound(b"") && connect_is_sound(b"\xff\xff") && connect_is_sound(b"\0\x04MQTT\x04")
        );
    }

    #[test]
    fn a_frame_too_large_is_refused_from_its_header() {
        let mut buffer = BytesMut::from(&[0x30, 0xff, 0xff, 0x7f][..]);
        assert_eq!(read(&mut buffer), Err(Error::PayloadSizeLimitExceeded(0x1f_ffff)));
        let mut buffer = BytesMut::from(&[0x30, 0xff][..]);
        assert_eq!(read(&mut buffer), Ok(None));
    }
}
