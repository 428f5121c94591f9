//! The places by themselves: examples, and any history against a plain model.

use std::collections::BTreeMap;
use std::net::IpAddr;

use proptest::prelude::*;

use super::*;

fn address(n: u8) -> ClientAddr {
    IpAddr::from([192, 0, 2, n]).into()
}

fn places(places_max: usize, per_address_max: usize) -> Places<&'static str> {
    Places::new(Bounds { places_max, per_address_max })
}

fn enter<T: std::fmt::Debug>(arrival: Arrival<T>) -> Place {
    match arrival {
        Arrival::In(place) | Arrival::InsteadOf(place, _) => place,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_newcomer_replaces_the_oldest_stranger_of_the_most_crowded_address() {
    let mut places = places(4, 4);
    places.arrive(address(1), "honest, first of all");
    for name in ["flood 1", "flood 2", "flood 3"] {
        places.arrive(address(2), name);
    }
    let newcomer = places.arrive(address(3), "newcomer");
    assert!(matches!(newcomer, Arrival::InsteadOf(_, "flood 1")), "{newcomer:?}");
    assert_eq!(places.count(), (4, 0));
}

/// Whatever an attacker's addresses: a newcomer from the highest of all would otherwise go first, each time.
#[test]
fn of_many_addresses_with_a_stranger_each_the_longest_there_goes() {
    let mut places = places(3, 3);
    places.arrive(address(1), "first");
    places.arrive(address(9), "second, and honest");
    places.arrive(address(2), "third");
    for (n, goes) in [(3, "first"), (4, "second, and honest"), (5, "third")] {
        let newcomer = places.arrive(address(n), "another");
        assert!(matches!(newcomer, Arrival::InsteadOf(_, gone) if gone == goes), "{newcomer:?}");
    }
}

/// Each of them is an address with one stranger, and still they are one crowd.
#[test]
fn the_addresses_of_one_network_are_one_crowd() {
    let of = |text: &str| ClientAddr::from(text.parse::<IpAddr>().unwrap());
    let mut places = places(5, 5);
    places.arrive(address(1), "behind one address");
    places.arrive(address(1), "with another");
    for (n, name) in [(1, "flood 1"), (2, "flood 2"), (3, "flood 3"), (4, "flood 4")] {
        places.arrive(of(&format!("2001:db8:0:{n}::1")), name);
    }
    let newcomer = places.arrive(of("2001:db8:7::1"), "newcomer");
    assert!(matches!(newcomer, Arrival::InsteadOf(_, "flood 2")), "{newcomer:?}");
}

#[test]
fn an_address_that_is_full_crowds_out_only_itself() {
    let mut places = places(100, 2);
    places.arrive(address(1), "other");
    let first = enter(places.arrive(address(2), "first"));
    places.arrive(address(2), "second");
    assert!(places.welcome(first));
    let third = places.arrive(address(2), "third");
    assert!(matches!(third, Arrival::InsteadOf(_, "second")), "{third:?}");
    assert!(places.welcome(enter(third)));
    assert_eq!(places.arrive(address(2), "fourth"), Arrival::AddressFull);
    assert_eq!(places.count(), (1, 2));
}

#[test]
fn guests_stay_and_who_was_sent_away_is_no_guest() {
    let mut places = places(2, 2);
    let guest = enter(places.arrive(address(1), "guest"));
    assert!(places.welcome(guest) && places.welcome(guest));
    let slow = enter(places.arrive(address(1), "slow"));
    let quick = enter(places.arrive(address(2), "quick"));
    assert!(!places.welcome(slow), "it had to go");
    assert!(places.welcome(quick));
    assert_eq!(places.arrive(address(3), "late"), Arrival::Full);
    assert_eq!(places.make_room(), None);
    places.estrange(guest);
    assert!(matches!(places.arrive(address(3), "late"), Arrival::InsteadOf(_, "guest")));
    assert_eq!(places.leave(guest), None, "nobody's place is left twice");
}

#[derive(Clone, Debug)]
enum Step {
    Arrive(u8),
    Welcome(usize),
    Estrange(usize),
    Leave(usize),
    MakeRoom,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..4_u8).prop_map(Step::Arrive),
        2 => (0..40_usize).prop_map(Step::Welcome),
        1 => (0..40_usize).prop_map(Step::Estrange),
        1 => (0..40_usize).prop_map(Step::Leave),
        1 => Just(Step::MakeRoom),
    ]
}

proptest! {
    /// The model knows who is in and as what; it does not know which stranger goes, only that it must be one, and the right one's neighbour.
    #[test]
    fn any_history_keeps_the_bounds(steps in prop::collection::vec(step(), 0..200), max in 1..8_usize, per in 1..5_usize) {
        let mut places = Places::new(Bounds { places_max: max, per_address_max: per });
        // Serial number → (place, address, is a stranger); the serial is what the places keep.
        let mut model: BTreeMap<usize, (Place, u8, bool)> = BTreeMap::new();
        let mut ever: Vec<Place> = Vec::new();
        for step in steps {
            let of = |n: usize| ever.get(n % ever.len().max(1)).copied();
            let serial = |place| model.iter().find(|(_, (p, ..))| *p == place).map(|(n, _)| *n);
            match step {
                Step::Arrive(n) => {
                    let here = model.values().filter(|(_, a, _)| *a == n).count();
                    let strangers_here = model.values().filter(|(_, a, s)| *a == n && *s).count();
                    let strangers = model.values().filter(|(.., s)| *s).count();
                    let arrival = places.arrive(address(n), ever.len());
                    match &arrival {
                        Arrival::AddressFull => prop_assert!(here >= per && strangers_here == 0),
                        Arrival::Full => prop_assert!(here < per && model.len() >= max && strangers == 0),
                        Arrival::In(_) => prop_assert!(here < per && model.len() < max),
                        Arrival::InsteadOf(_, gone) => {
                            let (_, of, stranger) = model.remove(gone).unwrap();
                            prop_assert!(stranger && (here < per || of == n));
                            prop_assert!(here >= per || model.len() + 1 >= max);
                        }
                    }
                    if let Arrival::In(place) | Arrival::InsteadOf(place, _) = arrival {
                        model.insert(ever.len(), (place, n, true));
                        ever.push(place);
                    }
                }
                Step::Welcome(n) => if let Some(place) = of(n) {
                    let known = serial(place);
                    prop_assert_eq!(places.welcome(place), known.is_some());
                    if let Some(known) = known { model.get_mut(&known).unwrap().2 = false; }
                },
                Step::Estrange(n) => if let Some(place) = of(n) {
                    let known = serial(place);
                    places.estrange(place);
                    if let Some(known) = known { model.get_mut(&known).unwrap().2 = true; }
                },
                Step::Leave(n) => if let Some(place) = of(n) {
                    let known = serial(place);
                    prop_assert_eq!(places.leave(place), known);
                    if let Some(known) = known { model.remove(&known); }
                },
                Step::MakeRoom => {
                    let gone = places.make_room();
                    prop_assert_eq!(gone.is_some(), model.values().any(|(.., s)| *s));
                    if let Some(gone) = gone { prop_assert!(model.remove(&gone).unwrap().2); }
                }
            }
            let strangers = model.values().filter(|(.., s)| *s).count();
            prop_assert_eq!(places.count(), (strangers, model.len() - strangers));
            prop_assert!(model.len() <= max);
            for n in 0..4 {
                prop_assert!(model.values().filter(|(_, a, _)| *a == n).count() <= per);
            }
        }
    }
}
