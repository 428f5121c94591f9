//! What the inlet lets through, and that what it refuses leaves no trace.

use std::sync::Arc;
use std::time::Duration;

use shared_msgs::clock::{Mono, Now, UnixMs};
use shared_msgs::codec;
use shared_msgs::envelope::Sealer;
use shared_msgs::ids::{BootId, Fence, PlayerId, ServerId, StreamId, TokenHash};
use shared_msgs::keys::{FleetKeys, KeyName, Purpose};
use shared_msgs::limits;
use shared_msgs::messages::{EntryKind, Occupancy, RosterEntry, ServerMessage, SkewNotice, Stamp};
use shared_msgs::rng::SeededRng;
use shared_msgs::topics::Topic;

use super::{Inlet, PEERS_SPARE, Received};
use crate::bus::KeyRing;

const SERVERS_MAX: usize = 2;

struct Bench {
    fleet: Arc<FleetKeys>,
    keys: Arc<KeyRing>,
    inlet: Inlet,
    now: Now,
}

fn id(server: &str) -> ServerId {
    server.parse().unwrap()
}

impl Bench {
    fn new() -> Self {
        let rng = SeededRng::new(1);
        let fleet = Arc::new(FleetKeys::generate(&rng));
        let lowest = [(id("beta"), 2)];
        let keys = Arc::new(KeyRing::new(Arc::clone(&fleet), lowest, "hub-1".parse().unwrap(), &rng));
        let inlet = Inlet::new(Arc::clone(&keys), SERVERS_MAX);
        Self { fleet, keys, inlet, now: Now { mono: Mono(0), unix: UnixMs(1_700_000_000_000) } }
    }

    fn sealer(&self, server: &str, generation: u32, purpose: Purpose, stream: u8) -> Sealer {
        let topic = match purpose {
            Purpose::Status | Purpose::Will => Topic::Status(id(server)),
            _ => Topic::Events(id(server)),
        };
        let key = self.fleet.server_key(&id(server), generation);
        Sealer::new(&key, purpose, StreamId([stream; 16]), &topic)
    }

    fn status(&mut self, server: &str, payload: &[u8]) -> Received {
        self.inlet.receive(&Topic::Status(id(server)), payload, self.now)
    }

    fn events(&mut self, server: &str, payload: &[u8]) -> Received {
        self.inlet.receive(&Topic::Events(id(server)), payload, self.now)
    }

    fn seal(&self, sealer: &mut Sealer, message: &ServerMessage) -> Vec<u8> {
        sealer.seal(self.now.unix, &codec::encode(message).unwrap()).unwrap()
    }

    fn pass(&mut self, ms: u64) {
        let by = Duration::from_millis(ms);
        self.now = Now { mono: self.now.mono + by, unix: self.now.unix + by };
    }

    fn key_in_use(&self, server: &str) -> Option<KeyName> {
        self.keys.for_orders(&id(server)).map(|key| key.name())
    }
}

fn joined() -> ServerMessage {
    let occupancy = Occupancy { players: 1, held: 0, parked: 0, max_players: 9 };
    let stamp = Stamp { boot: BootId::default(), rev: 1, is_change: true, occupancy };
    let (hash, player) = (TokenHash([1; 32]), PlayerId([2; 16]));
    ServerMessage::Joined {
        stamp,
        entry: RosterEntry { hash, player, fence: Fence::ZERO, kind: EntryKind::Live },
    }
}

fn gone() -> ServerMessage {
    ServerMessage::Gone { boot: BootId::default() }
}

fn is_refused(received: &Received) -> bool {
    received.refused && received.messages.is_empty() && received.skew.is_none()
}

#[test]
fn what_opens_names_its_proven_sender() {
    let mut bench = Bench::new();
    let mut sealer = bench.sealer("alpha", 1, Purpose::Events, 5);
    let payload = bench.seal(&mut sealer, &joined());
    let received = bench.events("alpha", &payload);
    let (from, message) = &received.messages[0];
    assert_eq!(
        (from.server.as_str(), from.stream, from.key),
        ("alpha", StreamId([5; 16]), sealer.key_name())
    );
    assert_eq!((message, received.refused), (&joined(), false));
    assert_eq!(bench.key_in_use("alpha"), Some(sealer.key_name()));
}

#[test]
fn an_envelope_with_any_bit_changed_is_refused_and_changes_nothing() {
    let mut bench = Bench::new();
    let mut sealer = bench.sealer("alpha", 1, Purpose::Events, 5);
    let payload = bench.seal(&mut sealer, &joined());
    for at in 0..payload.len() {
        for bit in 0..8 {
            let mut altered = payload.clone();
            altered[at] ^= 1 << bit;
            assert!(is_refused(&bench.events("alpha", &altered)), "byte {at} bit {bit}");
        }
    }
    for cut in 0..payload.len() {
        assert!(is_refused(&bench.events("alpha", &payload[..cut])), "cut to {cut}");
    }
    assert_eq!(
        (bench.inlet.peers.len(), bench.key_in_use("alpha")),
        (0, None),
        "kept for an unproven sender"
    );
    assert!(!bench.events("alpha", &payload).refused, "the true one is no worse for it");
}

#[test]
fn a_replayed_payload_is_refused() {
    let mut bench = Bench::new();
    let mut sealer = bench.sealer("alpha", 1, Purpose::Events, 5);
    let payload = bench.seal(&mut sealer, &joined());
    assert!(!bench.events("alpha", &payload).refused);
    assert!(is_refused(&bench.events("alpha", &payload)));
}

#[test]
fn a_payload_on_another_servers_topic_or_another_topic_is_refused() {
    let mut bench = Bench::new();
    let mut sealer = bench.sealer("alpha", 1, Purpose::Events, 5);
    let payload = bench.seal(&mut sealer, &joined());
    assert!(is_refused(&bench.events("gamma", &payload)));
    assert!(is_refused(&bench.status("alpha", &payload)));
    let inbox = bench.inlet.receive(&Topic::Inbox(id("alpha")), &payload, bench.now);
    assert!(is_refused(&inbox));
    let canary = bench.inlet.receive(&Topic::Canary("hub-1".parse().unwrap()), &payload, bench.now);
    assert!(is_refused(&canary) && canary.canary.is_none());
    assert!(!bench.events("alpha", &payload).refused);
}

#[test]
fn a_stale_payload_is_refused_and_its_server_told_at_most_every_five_seconds() {
    let mut bench = Bench::new();
    let mut sealer = bench.sealer("alpha", 1, Purpose::Events, 5);
    let behind = Duration::from_millis(1) + limits::CLOCK_SKEW_MAX;
    let mut told = Vec::new();
    for second in 0..12_u64 {
        let theirs = bench.now.unix - behind;
        let payload = sealer.seal(theirs, &codec::encode(&joined()).unwrap()).unwrap();
        let received = bench.events("alpha", &payload);
        assert!(received.refused && received.messages.is_empty());
        if let Some((server, notice)) = received.skew {
            assert_eq!(notice, SkewNotice::Clocks { ours: bench.now.unix, yours: theirs });
            assert_eq!(server, id("alpha"));
            told.push(second);
        }
        bench.pass(1_000);
    }
    assert_eq!(told, [0, 5, 10]);
    assert!(bench.key_in_use("alpha").is_some(), "the notice could not be sealed");
}

#[test]
fn a_clock_just_within_the_allowance_passes() {
    let mut bench = Bench::new();
    let mut sealer = bench.sealer("alpha", 1, Purpose::Events, 5);
    let payload =
        sealer.seal(bench.now.unix + limits::CLOCK_SKEW_MAX, &codec::encode(&joined()).unwrap()).unwrap();
    assert!(!bench.events("alpha", &payload).refused);
}

#[test]
fn a_skew_notice_is_never_answered() {
    let mut bench = Bench::new();
    let mut sealer = bench.sealer("alpha", 1, Purpose::SkewToHub, 5);
    let notice = SkewNotice::Clocks { ours: UnixMs(5), yours: bench.now.unix };
    let payload = sealer.seal(UnixMs(5), &codec::encode(&notice).unwrap()).unwrap();
    let received = bench.events("alpha", &payload);
    assert!(!received.refused && received.messages.is_empty() && received.skew.is_none());
}

#[test]
fn unknown_newer_messages_are_counted_and_the_rest_is_read() {
    let mut bench = Bench::new();
    let mut sealer = bench.sealer("alpha", 1, Purpose::Events, 5);
    let newer_kind = [0, 3, limits::MSG_VERSION, 99, 1];
    let newer_version = [0, 2, limits::MSG_VERSION + 1, 1];
    let batch = [&newer_kind[..], &newer_version, &codec::encode(&joined()).unwrap()].concat();
    let payload = sealer.seal(bench.now.unix, &batch).unwrap();
    let received = bench.events("alpha", &payload);
    assert_eq!((received.unknown, received.messages.len(), received.refused), (2, 1, false));
}

#[test]
fn a_batch_that_ends_inside_a_message_is_refused_whole() {
    let mut bench = Bench::new();
    let mut sealer = bench.sealer("alpha", 1, Purpose::Events, 5);
    let mut batch = codec::encode(&joined()).unwrap();
    batch.extend([0, 9, 1]);
    let payload = sealer.seal(bench.now.unix, &batch).unwrap();
    assert!(is_refused(&bench.events("alpha", &payload)));
}

#[test]
fn a_will_counts_under_its_own_purpose_only_and_once_per_stream() {
    let mut bench = Bench::new();
    let mut as_status = bench.sealer("alpha", 1, Purpose::Status, 5);
    let payload = bench.seal(&mut as_status, &gone());
    assert!(is_refused(&bench.status("alpha", &payload)));
    let mut as_event = bench.sealer("alpha", 1, Purpose::Events, 5);
    let payload = bench.seal(&mut as_event, &gone());
    assert!(is_refused(&bench.events("alpha", &payload)));
    let mut will = bench.sealer("alpha", 1, Purpose::Will, 5);
    let other = bench.seal(&mut will, &joined());
    assert!(is_refused(&bench.status("alpha", &other)), "an event under the will's purpose");
    let mut will = bench.sealer("alpha", 1, Purpose::Will, 6);
    let payload = bench.seal(&mut will, &gone());
    bench.pass(3_600_000);
    assert_eq!(bench.status("alpha", &payload).messages.len(), 1, "a will may be old");
    assert!(is_refused(&bench.status("alpha", &payload)));
    let second = bench.seal(&mut will, &gone());
    assert!(is_refused(&bench.status("alpha", &second)), "a second will of one stream");
}

#[test]
fn a_revoked_generation_is_refused() {
    let mut bench = Bench::new();
    let mut revoked = bench.sealer("beta", 1, Purpose::Events, 5);
    let payload = bench.seal(&mut revoked, &joined());
    assert!(is_refused(&bench.events("beta", &payload)));
    let mut will = bench.sealer("beta", 1, Purpose::Will, 5);
    let payload = bench.seal(&mut will, &gone());
    assert!(is_refused(&bench.status("beta", &payload)));
    let mut current = bench.sealer("beta", 2, Purpose::Events, 6);
    let payload = bench.seal(&mut current, &joined());
    assert!(!bench.events("beta", &payload).refused);
}

#[test]
fn an_old_will_or_a_stale_payload_does_not_change_the_key_that_orders_are_sealed_under() {
    let mut bench = Bench::new();
    let mut old_will = bench.sealer("alpha", 1, Purpose::Will, 5);
    let mut old = bench.sealer("alpha", 1, Purpose::Events, 5);
    let (will, stale) = (bench.seal(&mut old_will, &gone()), bench.seal(&mut old, &joined()));
    bench.pass(3_600_000);
    let mut new = bench.sealer("alpha", 2, Purpose::Events, 6);
    let payload = bench.seal(&mut new, &joined());
    assert!(!bench.events("alpha", &payload).refused);
    bench.status("alpha", &will);
    bench.events("alpha", &stale);
    assert_eq!(bench.key_in_use("alpha"), Some(new.key_name()));
}

#[test]
fn windows_are_kept_for_a_bounded_number_of_servers_the_longest_idle_goes() {
    let mut bench = Bench::new();
    let names: Vec<String> = (0..SERVERS_MAX + PEERS_SPARE + 3).map(|n| format!("s{n}")).collect();
    let mut first = Vec::new();
    for name in &names {
        let mut sealer = bench.sealer(name, 1, Purpose::Events, 5);
        let payload = bench.seal(&mut sealer, &joined());
        assert!(!bench.events(name, &payload).refused);
        first.push(payload);
        bench.pass(1);
    }
    assert_eq!(bench.inlet.peers.len(), SERVERS_MAX + PEERS_SPARE);
    let (name, payload) = (names.last().unwrap().clone(), first.last().unwrap().clone());
    assert!(is_refused(&bench.events(&name, &payload)), "the newest has no window");
}

#[test]
fn the_canary_comes_back_to_its_own_hub_only() {
    let mut bench = Bench::new();
    let topic = Topic::Canary("hub-1".parse().unwrap());
    let key = bench.keys.canary_key().unwrap();
    let mut sealer = Sealer::new(&key, Purpose::Canary, StreamId([5; 16]), &topic);
    let payload = sealer.seal(bench.now.unix, &7_u64.to_be_bytes()).unwrap();
    let other = bench.inlet.receive(&Topic::Canary("hub-2".parse().unwrap()), &payload, bench.now);
    assert_eq!((other.canary, other.refused), (None, true));
    let received = bench.inlet.receive(&topic, &payload, bench.now);
    assert_eq!((received.canary, received.refused), (Some(7), false));
}
