//! The fleet's bound, and its moments: when a server is no longer fresh, when its lease is over, when it is forgotten.

use std::time::Duration;

use shared_msgs::clock::{Mono, Now, UnixMs};
use shared_msgs::ids::{BootId, ServerId, StreamId};
use shared_msgs::keys::KeyName;
use shared_msgs::limits;
use shared_msgs::messages::{
    Occupancy, Order, ProbeEcho, Profile, RosterDigest, ServerMessage, ServerState, Stamp, Status,
};

use super::server::SUSPECT_AFTER;
use super::{Addressed, FORGET_AFTER, Fleet, LoadLimits, News, Pressure, Sender};

fn at(after: Duration) -> Now {
    let ms = u64::try_from(after.as_millis()).unwrap();
    Now { mono: Mono(ms), unix: UnixMs(1_700_000_000_000 + ms) }
}

fn status(fleet: &mut Fleet, server: &str, boot: u64, now: Now) -> Vec<News> {
    status_with(fleet, server, boot, None, now).0
}

/// A status that echoes this probe, with what the fleet then orders.
fn status_with(
    fleet: &mut Fleet,
    server: &str,
    boot: u64,
    echo: Option<u64>,
    now: Now,
) -> (Vec<News>, Vec<Addressed>) {
    let echo = echo.map(|n| ProbeEcho { hub: "hub-1".parse().unwrap(), n });
    let key = KeyName { epoch: 1, generation: 1 };
    let from = Sender { server: server.parse().unwrap(), stream: StreamId([1; 16]), key };
    let boot = BootId { started: UnixMs(boot), random: 0 };
    let profile = Profile {
        name: server.into(),
        realm: "r".parse().unwrap(),
        region: String::new(),
        build: String::new(),
        msg_version_max: 1,
        endpoints: Vec::new(),
        labels: Vec::new(),
    };
    let message = ServerMessage::Status(Box::new(Status {
        stamp: Stamp { boot, rev: 0, is_change: false, occupancy: Occupancy::default() },
        profile,
        state: ServerState::Online,
        load_percent: 0,
        digest: RosterDigest::default(),
        echoes: echo.into_iter().collect(),
        message: String::new(),
    }));
    let mut orders = Vec::new();
    (fleet.on_message(&from, &message, now, &mut orders), orders)
}

fn names(fleet: &Fleet) -> Vec<&str> {
    fleet.iter().map(|(id, _)| id.as_str()).collect()
}

fn just_before(moment: Duration) -> Duration {
    moment.saturating_sub(Duration::from_millis(1))
}

fn fleet() -> Fleet {
    Fleet::new("hub-1".parse().unwrap(), 2, LoadLimits::default())
}

#[test]
fn a_full_fleet_refuses_a_new_server_until_one_of_its_own_is_lost() {
    let mut fleet = fleet();
    status(&mut fleet, "a", 1, at(Duration::ZERO));
    status(&mut fleet, "b", 1, at(Duration::from_secs(3)));
    assert_eq!(status(&mut fleet, "c", 1, at(Duration::from_secs(4))), []);
    assert_eq!(names(&fleet), ["a", "b"]);
    status(&mut fleet, "c", 1, at(Duration::from_secs(10)));
    assert_eq!(names(&fleet), ["b", "c"], "the longest lost goes");
}

#[test]
fn a_lost_server_is_remembered_for_a_while_and_then_forgotten() {
    for (after, left) in [(just_before(FORGET_AFTER), 1), (FORGET_AFTER, 0)] {
        let mut fleet = fleet();
        status(&mut fleet, "a", 1, at(Duration::ZERO));
        fleet.tick(at(after), &mut Vec::new());
        assert_eq!(names(&fleet).len(), left, "{after:?}");
    }
}

#[test]
fn a_server_is_fresh_for_two_beats_and_a_little_after_the_probe_it_answered() {
    let mut fleet = fleet();
    status(&mut fleet, "a", 1, at(Duration::ZERO));
    status_with(&mut fleet, "a", 1, Some(1), at(Duration::from_secs(1)));
    let state = |fleet: &Fleet, after| fleet.summaries(|_| Pressure::Calm, at(after))[0].state;
    assert_eq!(state(&fleet, just_before(SUSPECT_AFTER)), "online");
    assert_eq!(state(&fleet, SUSPECT_AFTER), "offline");
    assert_eq!(fleet.tick(at(just_before(limits::LEASE)), &mut Vec::new()), [], "only suspect yet");
    assert_eq!(fleet.tick(at(limits::LEASE), &mut Vec::new()), [News::LeaseEnded("a".parse().unwrap())]);
}

#[test]
fn an_older_boot_takes_over_when_the_lease_of_the_newer_is_over_and_not_before() {
    let mut fleet = fleet();
    status(&mut fleet, "a", 2, at(Duration::ZERO));
    assert_eq!(status(&mut fleet, "a", 1, at(just_before(limits::LEASE))), []);
    let taken_over = [News::NewBoot("a".parse().unwrap())];
    assert_eq!(status(&mut fleet, "a", 1, at(limits::LEASE)), taken_over);
}

#[test]
fn a_server_nobody_remembers_is_news_of_a_boot() {
    let mut fleet = fleet();
    let id: ServerId = "a".parse().unwrap();
    assert_eq!(status(&mut fleet, "a", 1, at(Duration::ZERO)), [News::NewBoot(id.clone())]);
    assert_eq!(status(&mut fleet, "a", 1, at(Duration::ZERO)), []);
    assert_eq!(status(&mut fleet, "a", 2, at(Duration::ZERO)), [News::NewBoot(id)]);
}

#[test]
fn each_older_boot_is_told_to_stop_only_once_the_newer_has_outlived_it() {
    let mut fleet = fleet();
    let says = [(9, Some(1)), (8, None), (9, Some(2)), (8, None), (7, None)];
    status(&mut fleet, "a", 9, at(Duration::ZERO));
    let told = (1..).zip(says).map(|(after, (boot, echo))| {
        let now = at(Duration::from_secs(after));
        let (_, orders) = status_with(&mut fleet, "a", boot, echo, now);
        orders.iter().any(|order| matches!(order.order, Order::Superseded { .. }))
    });
    assert_eq!(told.collect::<Vec<_>>(), [false, false, false, true, false]);
}
