//! The wire's bytes, pinned: `golden/v1/NAME.hex` is what version 1 writes and must read for as long as it is spoken.
//!
//! `UPDATE_GOLDEN=1` rewrites the files: right before a first release or for a sample of a new kind, and never for one that is spoken.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

#[path = "golden/samples.rs"]
mod samples;

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::fs;
use std::path::{Path, PathBuf};

use shared_msgs::codec;
use shared_msgs::envelope::Opener;
use shared_msgs::frames::{self, Frame};
use shared_msgs::keys::{FleetKeys, Purpose, ServerKey};
use shared_msgs::messages::{HubMessage, Message, Order, ServerMessage, SkewNotice};
use shared_msgs::topics::Topic;

fn dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1")
}

/// The bytes of a golden file.
fn golden(name: &str) -> Vec<u8> {
    let path = dir().join(name).with_extension("hex");
    let text = fs::read_to_string(&path).unwrap_or_else(|err| panic!("{}: {err}", path.display()));
    let digits: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    assert!(digits.len().is_multiple_of(2), "{name}.hex ends in the middle of a byte");
    digits.chunks(2).map(byte).collect()
}

/// Where two byte strings part.
fn difference(name: &str, ours: &[u8], golden: &[u8]) -> Option<String> {
    let at = ours.iter().zip(golden).position(|(a, b)| a != b).unwrap_or(ours.len().min(golden.len()));
    (ours != golden).then(|| {
        let show = |bytes: &[u8]| bytes.get(at).map_or("nothing".into(), |byte| format!("{byte:02x}"));
        format!("{name}.hex, byte {at}: the file has {}, the code writes {}", show(golden), show(ours))
    })
}

#[test]
fn what_we_write_is_what_the_files_hold() {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        for (name, bytes) in samples::all() {
            fs::write(dir().join(name).with_extension("hex"), samples::to_hex(&bytes)).unwrap();
        }
    }
    let differences: Vec<_> =
        samples::all().iter().filter_map(|(name, bytes)| difference(name, bytes, &golden(name))).collect();
    assert!(differences.is_empty(), "the wire has changed:\n{}", differences.join("\n"));
}

#[test]
fn every_file_has_a_sample_and_every_name_one_of_each() {
    let sampled: Vec<_> = samples::all().into_iter().map(|(name, _)| name.to_owned()).collect();
    let names: BTreeSet<_> = sampled.iter().cloned().collect();
    assert_eq!(names.len(), sampled.len(), "two samples of one name");
    let stem = |entry: std::io::Result<fs::DirEntry>| {
        entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned()
    };
    let files: BTreeSet<_> = fs::read_dir(dir()).unwrap().map(stem).collect();
    assert_eq!(files, names, "golden files and samples");
    let variants = [
        samples::SERVER_MESSAGES,
        samples::HUB_MESSAGES,
        samples::SKEW_NOTICES,
        samples::CLIENT_FRAMES,
        samples::SERVER_FRAMES,
    ];
    for name in variants.concat() {
        assert!(names.contains(name), "no sample of {name}");
    }
}

/// Reads each message's file back, alone and all of them as one batch.
fn read_back<M: Message + PartialEq + Debug>(values: &[M], name_of: fn(&M) -> &'static str) {
    let mut batch = Vec::new();
    for value in values {
        let bytes = golden(name_of(value));
        let read = codec::decode::<M>(&bytes).unwrap();
        assert_eq!(read.messages, std::slice::from_ref(value), "{}", name_of(value));
        assert_eq!((read.unknown, read.malformed), (0, 0));
        batch.extend(bytes);
    }
    assert_eq!(codec::decode::<M>(&batch).unwrap().messages, values);
}

#[test]
fn messages_in_the_files_read_back() {
    read_back(&samples::server_messages(), samples::name_of_server_message);
    read_back(&samples::hub_messages(), samples::name_of_hub_message);
    read_back(&samples::skew_notices(), samples::name_of_skew_notice);
}

fn frames_read_back<F: Frame + PartialEq>(values: &[F], name_of: fn(&F) -> &'static str) {
    for value in values {
        let bytes = golden(name_of(value));
        let (prefix, body) = bytes.split_first_chunk().unwrap();
        assert_eq!(frames::frame_length(*prefix), Ok(body.len()), "{}", name_of(value));
        assert!(frames::decode::<F>(body).is_ok_and(|read| read == *value), "{}", name_of(value));
    }
}

#[test]
fn frames_in_the_files_read_back() {
    frames_read_back(&samples::client_frames(), samples::name_of_client_frame);
    frames_read_back(&samples::server_frames(), samples::name_of_server_frame);
}

fn text(name: &str) -> String {
    String::from_utf8(golden(name)).unwrap()
}

#[test]
fn keys_tokens_and_envelopes_in_the_files_are_genuine() {
    let fleet = FleetKeys::parse(&text("fleet-key-file")).unwrap();
    let key: ServerKey = text("server-key-line").parse().unwrap();
    assert_eq!(*fleet.server_key(&samples::server(), 1).to_line(), text("server-key-line"));
    assert_eq!(*key.mqtt_password(), text("mqtt-password"));

    let genuine = samples::token_tag().verify(&text("token"), samples::NOW).unwrap();
    assert_eq!(genuine.expires_at, samples::EXPIRY);
    assert_eq!(genuine.hash.0.as_slice(), golden("token-hash"));

    let server = samples::server();
    for (name, topic, purpose, message) in [
        ("envelope-inbox", Topic::Inbox(server.clone()), Purpose::Inbox, "hub-order-grant"),
        ("envelope-will", Topic::Status(server), Purpose::Will, "server-gone"),
    ] {
        let opened = Opener::new(1)
            .open(&topic, &[purpose], &golden(name), samples::NOW, |_| Some(key.clone()))
            .unwrap_or_else(|err| panic!("{name}: {err}"));
        assert_eq!((opened.issued_at, opened.stream), (samples::NOW, samples::STREAM), "{name}");
        assert_eq!(opened.batch, golden(message), "{name}");
    }
}

/// The names follow the types; this follows the wire: a kind of the wire's that no sample has.
#[test]
fn every_tag_of_the_wire_has_a_sample() {
    // The length's bytes, then the version (messages only), then the tag: below 128 all of them, so one byte each.
    let tags = |names: &[&str], at: usize| -> BTreeSet<u32> {
        names.iter().map(|name| u32::from(golden(name)[at])).collect()
    };
    let all = |count: u32| (0..count).collect::<BTreeSet<_>>();
    assert_eq!(tags(samples::SERVER_MESSAGES, 3), all(ServerMessage::VARIANTS));
    assert_eq!(tags(samples::HUB_MESSAGES, 3), all(HubMessage::VARIANTS));
    assert_eq!(tags(samples::SKEW_NOTICES, 3), all(SkewNotice::VARIANTS));
    assert_eq!(tags(samples::CLIENT_FRAMES, 4), all(frames::ClientFrame::TAGS));
    assert_eq!(tags(samples::SERVER_FRAMES, 4), all(frames::ServerFrame::TAGS));
    let orders = u32::try_from(samples::HUB_MESSAGES.len()).unwrap();
    let unknown = postcard::from_bytes::<Order>(&[u8::try_from(orders).unwrap(); 64]);
    assert_eq!(unknown, Err(postcard::Error::SerdeDeCustom), "an order without a sample");
}
