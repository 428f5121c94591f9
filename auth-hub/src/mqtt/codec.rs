//! Bytes to packets and back, by rumqttd's MQTT 3.1.1 codec, plus the two things its types keep to themselves: a
//! PUBLISH's quality of service and packet id.
//!
//! Invariant: a frame larger than [`FRAME_BYTES_MAX`] is refused from its header alone, and nothing decoded for the router
//! keeps the read buffer alive.

use bytes::BytesMut;
use rumqttd::protocol::v4::V4;
use rumqttd::protocol::{Error, Packet, Protocol, Publish};
use shared_msgs::limits::PAYLOAD_BYTES_MAX;

/// The largest frame read: a full payload, and room for topic, user and password around it.
pub(crate) const FRAME_BYTES_MAX: usize = PAYLOAD_BYTES_MAX + 512;

const DUP: u8 = 0b1000;

/// Takes the next whole packet off `buffer`, if one is there.
pub(crate) fn read(buffer: &mut BytesMut) -> Result<Option<Packet>, Error> {
    match V4.read_mut(buffer, FRAME_BYTES_MAX) {
        Ok(packet) => Ok(Some(packet)),
        Err(Error::InsufficientBytes(_)) => Ok(None),
        Err(error) => Err(error),
    }
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
    fn a_frame_too_large_is_refused_from_its_header() {
        let mut buffer = BytesMut::from(&[0x30, 0xff, 0xff, 0x7f][..]);
        assert_eq!(read(&mut buffer), Err(Error::PayloadSizeLimitExceeded(0x1f_ffff)));
        let mut buffer = BytesMut::from(&[0x30, 0xff][..]);
        assert_eq!(read(&mut buffer), Ok(None));
    }
}
