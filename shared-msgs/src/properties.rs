//! What the decoders of the wire hold for any bytes whatever.
//!
//! Each function asserts it of one input and panics when it does not hold; this crate's tests feed them altered golden bytes, `tests/fuzz`
//! feeds them what libFuzzer thinks of. Compiled for those two only. Knows no generator of inputs. The envelope's stands beside its private parts.

use std::fmt::Debug;
use std::fs;
use std::path::Path;

use crate::clock::UnixMs;
use crate::codec;
use crate::codes::Code;
use crate::frames::{self, ClientFrame, Frame, FrameError, Hello, LENGTH_BYTES, Resume};
use crate::ids::{BootId, Fence, PlayerId, ServerId, TokenHash};
use crate::keys::FleetKeys;
use crate::limits;
use crate::messages::{End, HubMessage, Message, Occupancy, Order, ServerMessage, Stamp};
use crate::moves::{Luggage, Move, MoveTarget};
use crate::rng::SeededRng;
use crate::token::{Token, TokenError, TokenTag};

pub use crate::envelope::properties::{envelope, sealed};

/// The golden files whose names begin so, as bytes.
///
/// # Panics
/// When they cannot be read.
pub fn golden(prefix: &str) -> Vec<Vec<u8>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1");
    let entries = fs::read_dir(dir).expect("the golden files");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("a golden file").path()).collect();
    paths.retain(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix)));
    paths.sort();
    let hex = paths.iter().map(|path| fs::read_to_string(path).expect("a golden file"));
    hex.map(|text| {
        let digits: Vec<_> = text.chars().filter_map(|c| c.to_digit(16)).collect();
        digits.chunks(2).map(|pair| pair.iter().fold(0, |byte, d| byte << 4 | d.to_le_bytes()[0])).collect()
    })
    .collect()
}

/// Well-formed but for one thing: over a limit. Batches and, after them, frames.
///
/// # Panics
/// When one cannot be written.
pub fn over_limits() -> [Vec<Vec<u8>>; 2] {
    let (boot, player) = (BootId::default(), PlayerId([1; 16]));
    let stamp = Stamp { boot, rev: 1, is_change: false, occupancy: Occupancy::default() };
    let hashes = vec![TokenHash([2; 32]); limits::END_HASHES_MAX + 1];
    let end =
        End { player, below: Fence::ZERO, hashes: hashes.clone(), reason: Code::Banned, save_within_ms: 0 };
    let page = ServerMessage::RosterPage { stamp, request: 1, page: 1, pages: 1, entries: Vec::new() };
    let luggage = Luggage::from(vec![0; limits::LUGGAGE_BYTES_MAX + 1]);
    let (target, fence) = (MoveTarget::Anywhere, Fence::ZERO);
    let big = Move { stamp, request: 1, player, fence, target, luggage, within_ms: 1 };
    let regions = vec!["r".to_owned(); limits::MOVE_REGIONS_MAX + 1];
    let many = Move { luggage: Luggage::default(), target: MoveTarget::Regions(regions), ..big.clone() };
    let batches = [
        postcard::to_stdvec(&ServerMessage::Ended { stamp, player, below: Fence::ZERO, hashes }),
        postcard::to_stdvec(&page),
        postcard::to_stdvec(&HubMessage::Order { boot, order: Order::End(end) }),
        postcard::to_stdvec(&ServerMessage::Move(Box::new(big))),
        postcard::to_stdvec(&ServerMessage::Move(Box::new(many))),
    ];
    let hello = Hello { version: 1, token: String::new(), build: String::new(), app_data: Vec::new() };
    let resume = Resume { version: 1, credential: String::new(), build: String::new(), app_data: Vec::new() };
    let frames = [
        postcard::to_stdvec(&ClientFrame::Hello(Hello { token: "t".repeat(81), ..hello.clone() })),
        postcard::to_stdvec(&ClientFrame::Hello(Hello { build: "b".repeat(65), ..hello.clone() })),
        postcard::to_stdvec(&ClientFrame::Hello(Hello { app_data: vec![0; 1025], ..hello })),
        postcard::to_stdvec(&ClientFrame::Resume(Resume { credential: "c".repeat(81), ..resume.clone() })),
        postcard::to_stdvec(&ClientFrame::Resume(Resume { app_data: vec![0; 1025], ..resume })),
    ];
    let batches = batches.map(|body| {
        let body = [vec![limits::MSG_VERSION], body.expect("plain data")].concat();
        [u16::try_from(body.len()).expect("short").to_be_bytes().to_vec(), body].concat()
    });
    let frames = frames.map(|body| {
        let body = body.expect("plain data");
        [u32::try_from(body.len()).expect("short").to_be_bytes().to_vec(), body].concat()
    });
    [batches.into(), frames.into()]
}

/// A batch: every byte is accounted for, what was understood can be said again and is then understood the same, in no more bytes.
///
/// # Panics
/// When it does not hold.
pub fn messages<M: Message + PartialEq + Debug>(bytes: &[u8]) {
    let Ok(batch) = codec::decode::<M>(bytes) else { return };
    let (mut rest, mut prefixes) = (bytes, 0);
    while let Some((len, after)) = rest.split_first_chunk::<2>() {
        rest = &after[usize::from(u16::from_be_bytes(*len))..];
        prefixes += 1;
    }
    assert!(rest.is_empty(), "a batch that ends inside a message was read");
    assert_eq!(
        batch.messages.len() + batch.unknown + batch.malformed,
        prefixes,
        "a message was lost or made up"
    );
    let mut again = Vec::new();
    for message in &batch.messages {
        assert!(message.is_within_limits());
        let encoded = codec::encode(message).expect("what was read can be written");
        assert!(encoded.len() <= 2 + limits::MESSAGE_BYTES_MAX, "a message over its bound was read");
        again.extend(encoded);
    }
    assert!(again.len() <= bytes.len(), "more came out than went in");
    let read = codec::decode::<M>(&again).expect("what we write is whole");
    assert_eq!((read.messages, read.unknown, read.malformed), (batch.messages, 0, 0));
}

/// One frame with its length in front: within its bound, and said again it is the same in no more bytes.
///
/// # Panics
/// When it does not hold.
pub fn frame<F: Frame + PartialEq>(bytes: &[u8]) {
    let Some((prefix, rest)) = bytes.split_first_chunk::<LENGTH_BYTES>() else { return };
    let Ok(len) = frames::frame_length(*prefix) else { return };
    assert!((1..=limits::FRAME_BYTES_MAX).contains(&len));
    let Some(body) = rest.get(..len) else { return };
    match frames::decode::<F>(body) {
        Ok(frame) => {
            assert!(frame.is_within_limits());
            let again = frames::encode(&frame).expect("what was read can be written");
            assert!(again.len() <= LENGTH_BYTES + len, "more came out than went in");
            assert!(frames::decode::<F>(&again[LENGTH_BYTES..]).is_ok_and(|read| read == frame));
        }
        Err(FrameError::UnknownTag(tag)) => assert!(tag >= F::TAGS),
        Err(FrameError::Malformed) => {}
        Err(FrameError::Length(_)) => panic!("a body has no length of its own"),
    }
}

const EXPIRY: UnixMs = UnixMs(1_767_225_690_000);

fn tag(server: &str, random: u64) -> TokenTag {
    let server: ServerId = server.parse().expect("a name");
    let key = FleetKeys::generate(&SeededRng::new(1)).server_key(&server, 1);
    TokenTag::new(&key, &server, BootId { started: UnixMs(5), random })
}

/// The one token that [`token`] takes for genuine.
pub fn minted() -> Token {
    tag("alpha", 6).mint(EXPIRY, &SeededRng::new(2)).0
}

/// A text shown as a token: genuine if it is the minted one to the letter, at its place and in its time, and never else.
///
/// # Panics
/// When it does not hold.
pub fn token(text: &str) {
    let is_it = text == minted().expose();
    let before = UnixMs(EXPIRY.0 - 1);
    let refused = Err(TokenError::NotGenuine);
    let verified = tag("alpha", 6).verify(text, before);
    assert_eq!(verified.is_ok(), is_it, "{verified:?}");
    assert!(is_it || verified == refused, "{verified:?}");
    let late = if is_it { Err(TokenError::Expired) } else { refused };
    assert_eq!(tag("alpha", 6).verify(text, EXPIRY), late);
    for elsewhere in [tag("alpha", 7), tag("beta", 6)] {
        assert_eq!(elsewhere.verify(text, before), refused);
    }
}

#[cfg(test)]
mod altered;
#[cfg(test)]
mod tests;
