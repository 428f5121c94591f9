//! Invariant 6 for any payload on any topic: what opens was sealed by us for that topic, once; what does not open leaves no trace.

use std::sync::LazyLock;

use crate::clock::UnixMs;
use crate::envelope::{OpenError, Opener, Sealer};
use crate::ids::{ServerId, StreamId};
use crate::keys::{FleetKeys, KeyName, Purpose, ServerKey};
use crate::rng::SeededRng;
use crate::topics::Topic;

const NOW: UnixMs = UnixMs(1_767_225_600_000);
const KNOWN: StreamId = StreamId([1; 16]);
const SPENT: Purpose = Purpose::SkewToHub;

/// A payload that was sealed, and where it belongs.
struct Sealed {
    topic: usize,
    purpose: Purpose,
    /// Whether its sequence number is one that [`envelope`] has spent.
    spent: bool,
    payload: Vec<u8>,
}

impl Sealed {
    fn batch(topic: usize, purpose: Purpose) -> Vec<u8> {
        format!("{topic} {purpose:?}").into()
    }
}

fn id(name: &str) -> ServerId {
    name.parse().expect("a name")
}

static KEY: LazyLock<ServerKey> =
    LazyLock::new(|| FleetKeys::generate(&SeededRng::new(7)).server_key(&id("alpha"), 1));

static TOPICS: LazyLock<[Topic; 4]> = LazyLock::new(|| {
    [
        Topic::Inbox(id("alpha")),
        Topic::Status(id("alpha")),
        Topic::Events(id("alpha")),
        Topic::Inbox(id("beta")),
    ]
});

/// Every purpose on every topic, on a stream that the opener knows and on a new one.
static SEALED: LazyLock<Vec<Sealed>> = LazyLock::new(|| {
    let mut all = Vec::new();
    for (n, topic) in TOPICS.iter().enumerate() {
        for stream in [KNOWN, StreamId([2; 16])] {
            for purpose in (1..).map_while(Purpose::from_wire) {
                let mut sealer = Sealer::new(&KEY, purpose, stream, topic);
                let payload = sealer.seal(NOW, &Sealed::batch(n, purpose)).expect("small");
                all.push(Sealed { topic: n, purpose, spent: stream == KNOWN && purpose == SPENT, payload });
            }
        }
    }
    all
});

/// The payloads that [`envelope`] knows to be genuine.
pub fn sealed() -> Vec<Vec<u8>> {
    SEALED.iter().map(|sealed| sealed.payload.clone()).collect()
}

impl Opener {
    /// All that it remembers, as text.
    fn memory(&self) -> String {
        let lane = |stream: &super::Stream| {
            let lanes =
                stream.lanes.iter().map(|lane| lane.as_ref().map(|lane| (lane.key_name, &lane.window)));
            format!("{:?} {} {:?}", stream.id, stream.used, lanes.collect::<Vec<_>>())
        };
        format!("{} {:?}", self.uses, self.streams.iter().map(lane).collect::<Vec<_>>())
    }
}

/// A payload that arrives on one of four topics, at an opener that already knows a stream and holds the keys of one server.
///
/// # Panics
/// When it does not hold.
pub fn envelope(topic: u8, payload: &[u8]) {
    let n = usize::from(topic) % TOPICS.len();
    let topic = &TOPICS[n];
    let all: Vec<_> = (1..).map_while(Purpose::from_wire).collect();
    let key_for = |name: KeyName| (name == KEY.name()).then(|| KEY.clone());
    let mut opener = Opener::new(2);
    let first = Sealer::new(&KEY, SPENT, KNOWN, topic).seal(NOW, b"spends a number").expect("small");
    opener.open(topic, &all, &first, NOW, key_for).expect("genuine");

    let before = opener.memory();
    let outcome = opener.open(topic, &all, payload, NOW, key_for);
    let genuine = SEALED.iter().find(|sealed| sealed.topic == n && sealed.payload == payload);
    match (outcome, genuine) {
        (Ok(read), Some(sealed)) if !sealed.spent => {
            assert_eq!((read.purpose, read.issued_at), (sealed.purpose, NOW));
            assert_eq!(read.batch, Sealed::batch(n, sealed.purpose));
            let again = opener.open(topic, &all, payload, NOW, key_for);
            assert_eq!(again, Err(OpenError::Replayed), "opened twice");
        }
        (Err(OpenError::Replayed), Some(sealed)) if sealed.spent => assert_eq!(opener.memory(), before),
        (Err(_), None) => assert_eq!(opener.memory(), before, "a forgery left a trace"),
        (outcome, genuine) => panic!("{outcome:?}, yet genuine: {}", genuine.is_some()),
    }
}
