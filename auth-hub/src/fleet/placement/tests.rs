//! What each policy promises, for any fleet; and how a herd spreads.

use proptest::prelude::*;
use shared_msgs::rng::SeededRng;

use super::*;
use crate::fleet::Regions;

const ALL: [Policy; 3] = [Policy::LeastLoaded, Policy::Packed, Policy::Weighted];

fn id(text: &str) -> ServerId {
    text.parse().unwrap()
}

/// Servers `s0`, `s1`, … for candidates to name.
fn ids(count: usize) -> Vec<ServerId> {
    (0..count).map(|n| id(&format!("s{n}"))).collect()
}

fn healthy(server: &ServerId, taken: u32, max_players: u32) -> Candidate<'_> {
    Candidate {
        server,
        is_degraded: false,
        region_rank: 0,
        is_last: false,
        taken,
        max_players,
        load_percent: 0,
    }
}

fn by(policy: Policy) -> Placement {
    Placement { policy, ..Placement::default() }
}

fn exact() -> Placement {
    Placement { near_percent: 0, ..Placement::default() }
}

/// Lets so many players in, each counted before the next comes; gives how many each server got.
fn fill(placement: Placement, fleet: &mut [Candidate<'_>], players: u32) -> Vec<u32> {
    let rng = SeededRng::new(7);
    let before: Vec<_> = fleet.iter().map(|one| one.taken).collect();
    for _ in 0..players {
        let open = fleet.iter().filter(|one| one.taken < one.max_players).cloned();
        let server = placement.choose(open, &rng).unwrap().server;
        fleet.iter_mut().find(|one| one.server == server).unwrap().taken += 1;
    }
    fleet.iter().zip(before).map(|(one, before)| one.taken - before).collect()
}

/// Draws so often from a fleet whose counts stand still.
fn draw(placement: Placement, fleet: &[Candidate<'_>], times: u32) -> Vec<u32> {
    let rng = SeededRng::new(7);
    let mut got = vec![0; fleet.len()];
    for _ in 0..times {
        let chosen = placement.choose(fleet.iter().cloned(), &rng).unwrap();
        got[fleet.iter().position(|one| one.server == chosen.server).unwrap()] += 1;
    }
    got
}

#[test]
fn without_equals_it_is_least_filled_first_then_load_then_name_and_degraded_last() {
    let ids = ids(5);
    let fleet = [
        Candidate { is_degraded: true, ..healthy(&ids[0], 0, 100) },
        healthy(&ids[1], 50, 100),
        Candidate { load_percent: 90, ..healthy(&ids[2], 4, 10) },
        Candidate { load_percent: 20, ..healthy(&ids[3], 4, 10) },
        Candidate { load_percent: 20, ..healthy(&ids[4], 40, 100) },
    ];
    let backwards = fleet.iter().rev().cloned().collect();
    for mut fleet in [fleet.to_vec(), backwards] {
        let mut order = Vec::new();
        while let Some(best) = exact().choose(fleet.iter().cloned(), &SeededRng::new(1)) {
            fleet.retain(|c| c.server != best.server);
            order.push(best.server.as_str());
        }
        assert_eq!(order, ["s3", "s4", "s2", "s1", "s0"]);
    }
}

#[test]
fn the_region_asked_for_comes_before_a_lower_fill_but_not_before_health() {
    let (a, b, c) = (id("a"), id("b"), id("c"));
    let near_and_full = healthy(&a, 9, 10);
    let far_and_empty = Candidate { region_rank: 1, ..healthy(&b, 0, 10) };
    let near_and_ill = Candidate { is_degraded: true, ..healthy(&c, 0, 10) };
    let fleet = [near_and_ill, far_and_empty, near_and_full.clone()];
    for policy in ALL {
        let best = by(policy).choose(fleet.iter().cloned(), &SeededRng::new(1));
        assert_eq!(best.as_ref(), Some(&near_and_full), "{policy:?}");
    }
}

#[test]
fn a_region_ranks_by_its_place_in_the_list_and_the_rest_comes_last_or_never() {
    let wanted = ["eu-west", "eu"].map(String::from);
    let strict = Placement { region_fallback: false, ..exact() };
    let ranks = |placement: Placement, wanted: &[String]| {
        ["eu-west", "eu", "us", ""]
            .map(|region| Regions::listed(wanted, placement.region_fallback).rank(region))
    };
    assert_eq!(ranks(exact(), &wanted), [Some(0), Some(1), Some(2), Some(2)]);
    assert_eq!(ranks(strict, &wanted), [Some(0), Some(1), None, None]);
    assert_eq!(ranks(strict, &[]), [Some(0); 4], "who asks for none goes anywhere");
}

#[test]
fn the_last_server_wins_among_healthy_equals_of_the_first_region_alone() {
    let ids = ids(4);
    let last = |candidate| Candidate { is_last: true, ..candidate };
    let chosen = |policy, fleet: &[Candidate<'_>]| {
        by(policy).choose(fleet.iter().cloned(), &SeededRng::new(1)).unwrap().server.as_str().to_owned()
    };
    for policy in ALL {
        // However full it is, and wherever the policy would rather send the player.
        let fleet = [healthy(&ids[0], 0, 100), last(healthy(&ids[1], 60, 100)), healthy(&ids[2], 99, 100)];
        assert_eq!(chosen(policy, &fleet), "s1", "{policy:?}");
        let elsewhere = last(Candidate { region_rank: 1, ..healthy(&ids[3], 1, 100) });
        assert_eq!(chosen(policy, &[healthy(&ids[0], 0, 100), elsewhere]), "s0", "{policy:?}");
        let ill = last(Candidate { is_degraded: true, ..healthy(&ids[3], 1, 100) });
        assert_eq!(chosen(policy, &[healthy(&ids[0], 0, 100), ill.clone()]), "s0", "{policy:?}");
    }
    let all_ill = [&ids[0], &ids[1]].map(|id| Candidate { is_degraded: true, ..healthy(id, 0, 9) });
    let fuller = last(Candidate { taken: 5, ..all_ill[1].clone() });
    assert_eq!(
        chosen(Policy::LeastLoaded, &[all_ill[0].clone(), fuller]),
        "s0",
        "among the ill the emptiest"
    );
}

#[test]
fn equals_end_where_the_setting_says() {
    let ids = ids(5);
    // 5 of 100 above the emptiest, by another number of slots too; 6 of 100; as empty, but busier by 6.
    let fleet = [
        healthy(&ids[0], 10, 100),
        healthy(&ids[1], 15, 100),
        healthy(&ids[2], 3, 20),
        healthy(&ids[3], 16, 100),
        Candidate { load_percent: 6, ..healthy(&ids[4], 10, 100) },
    ];
    let got = draw(Placement::default(), &fleet, 300);
    assert!(got[..3].iter().all(|got| *got > 0), "{got:?}");
    assert_eq!(got[3..], [0, 0]);
    assert_eq!(draw(exact(), &fleet, 300), [300, 0, 0, 0, 0]);
}

#[test]
fn a_herd_of_a_thousand_spreads_over_ten_equal_servers() {
    let ids = ids(10);
    let mut fleet: Vec<_> = ids.iter().map(|id| healthy(id, 0, 200)).collect();
    // Counts that lag behind: all by chance. The standard deviation of each is below 10.
    let got = draw(Placement::default(), &fleet, 1_000);
    assert!(got.iter().all(|got| (60..=140).contains(got)), "{got:?}");
    // Counts that are up to date: nobody is ever more than the equals' 10 slots and one player above the emptiest.
    let got = fill(Placement::default(), &mut fleet, 1_000);
    let (low, high) = (got.iter().min().unwrap(), got.iter().max().unwrap());
    assert!(high - low <= 11, "{got:?}");
}

#[test]
fn packed_fills_one_before_the_next() {
    let ids = ids(3);
    let mut fleet = vec![healthy(&ids[0], 0, 10), healthy(&ids[1], 2, 10), healthy(&ids[2], 0, 10)];
    assert_eq!(fill(by(Policy::Packed), &mut fleet, 5), [0, 5, 0]);
    assert_eq!(fill(by(Policy::Packed), &mut fleet, 4), [1, 3, 0], "full, then the first of two empty ones");
    assert_eq!(fill(by(Policy::Packed), &mut fleet, 12), [9, 0, 3]);
}

#[test]
fn weighted_is_in_proportion_to_free_slots() {
    let ids = ids(4);
    let free = [10, 20, 30, 40];
    let fleet: Vec<_> = ids.iter().zip(free).map(|(id, free)| healthy(id, 50 - free, 50)).collect();
    let got = draw(by(Policy::Weighted), &fleet, 10_000);
    let chi_square: f64 = got
        .iter()
        .zip(free)
        .map(|(got, free)| {
            let expected = f64::from(free) * 100.0;
            (f64::from(*got) - expected).powi(2) / expected
        })
        .sum();
    // One in a thousand fair draws is beyond 16.27 with three degrees of freedom; the seed is fixed.
    assert!(chi_square < 16.27, "{chi_square}: {got:?}");
}

/// `(degraded, region rank, taken, free, load)` of servers that have room, or one slot of this player's own.
fn fleets() -> impl Strategy<Value = Vec<(bool, usize, u32, u32, u8)>> {
    let counts = prop_oneof![0..50_u32, 0..=u32::MAX / 2];
    prop::collection::vec((any::<bool>(), 0..3_usize, counts.clone(), counts, 0..=100_u8), 1..12)
}

fn is_like(filled: &Candidate<'_>, than: &Candidate<'_>, points: u8) -> bool {
    let share = |one: &Candidate<'_>| f64::from(one.taken) / f64::from(one.max_players.max(1));
    share(filled) <= share(than) + f64::from(points) / 100.0 + 1e-9
}

proptest! {
    #[test]
    fn every_policy_keeps_its_word_for_any_fleet(fleet in fleets(), seed: u64, near_percent in 0..=100_u8) {
        let ids = ids(fleet.len());
        let fleet: Vec<_> = ids.iter().zip(&fleet).map(|(id, &(ill, region_rank, taken, free, load_percent))| {
            Candidate { is_degraded: ill, region_rank, load_percent, ..healthy(id, taken, taken + free) }
        }).collect();
        for policy in ALL {
            let placement = Placement { policy, near_percent, ..Placement::default() };
            let rng = SeededRng::new(seed);
            let Some(chosen) = placement.choose(fleet.iter().cloned(), &rng) else {
                return Err(TestCaseError::fail("some server may take the player"));
            };
            prop_assert!(fleet.contains(&chosen));
            let is_ill = |one: &&Candidate<'_>| one.is_degraded;
            let rivals: Vec<_> = fleet.iter().filter(|one| is_ill(one) == is_ill(&&chosen)).collect();
            prop_assert!(!is_ill(&&chosen) || rivals.len() == fleet.len(), "ill before healthy");
            prop_assert!(rivals.iter().all(|one| chosen.region_rank <= one.region_rank), "a later region");
            for rival in rivals.iter().filter(|one| one.region_rank == chosen.region_rank) {
                match policy {
                    Policy::LeastLoaded => prop_assert!(is_like(&chosen, rival, near_percent), "{rival:?}"),
                    Policy::Packed => prop_assert!(is_like(rival, &chosen, 0), "{rival:?}"),
                    Policy::Weighted => {}
                }
            }
        }
    }

    #[test]
    fn one_fleet_and_one_seed_give_one_answer(taken in prop::collection::vec(0..10_u32, 1..8), seed: u64) {
        let ids = ids(taken.len());
        let fleet: Vec<_> = ids.iter().zip(&taken).map(|(id, taken)| healthy(id, *taken, 10)).collect();
        for policy in ALL {
            let once = || by(policy).choose(fleet.iter().cloned(), &SeededRng::new(seed));
            prop_assert_eq!(once(), once());
        }
    }
}
