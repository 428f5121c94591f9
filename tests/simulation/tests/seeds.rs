//! A fixed set of seeds holds every invariant, and a seed is one history.

use std::fmt::Write as _;

use hub_simulation::{Tally, checkers, run};

const SEEDS: u64 = 200;
const SHORT_HISTORY_LINES: usize = 40;

/// Runs seeds `from..to`; panics with the history's end at the first violation.
fn run_all(from: u64, to: u64) -> Tally {
    let mut all = Tally::default();
    for seed in from..to {
        let outcome = run(seed, false);
        if let Some(violation) = outcome.violation {
            let history = run(seed, true).history;
            let last = history.len().saturating_sub(SHORT_HISTORY_LINES);
            panic!(
                "seed {seed}: {violation:?}\n{}\nreplay: scripts/simulate --seed {seed} --trace",
                history[last..].join("\n")
            );
        }
        all.add(&outcome.tally);
    }
    all
}

#[test]
fn two_hundred_storms_hold_every_invariant() {
    let halves = [(0, SEEDS / 2), (SEEDS / 2, SEEDS)];
    let tallies = std::thread::scope(|scope| {
        let runs = halves.map(|(from, to)| scope.spawn(move || run_all(from, to)));
        runs.map(|run| run.join().expect("a storm broke an invariant"))
    });
    let mut all = Tally::default();
    for tally in &tallies {
        all.add(tally);
    }
    println!("{all}");
    // What never happens proves nothing.
    assert!(
        all.welcomes > 20_000 && all.parked > 1_000 && all.unconfirmed > 1_000 && all.kicks > 2_000,
        "{all}"
    );
    assert!(all.operators_ends > 500 && all.returns > 1_000, "{all}");
    assert!(all.moves > 1_000 && all.moved > 500 && all.luggage > 300, "{all}");
    assert!(all.tickets > 1_000 && all.restored > 100, "{all}");
    let faults = [
        "hub killed",
        "server killed",
        "wire cut",
        "process frozen",
        "connection severed",
        "broker restarted",
        "database out",
        "clock set",
        "clock stepped",
        "twin started",
        "drain",
        "dropped",
        "duplicated",
        "altered",
        "replayed",
        "acknowledgement lost",
        "clock skew noticed by",
    ];
    for fault in faults {
        assert!(all.faults.get(fault).is_some_and(|n| *n > 25), "too little of: {fault}\n{all}");
    }
    for code in [
        "superseded",
        "server-full",
        "token-expired",
        "token-spent",
        "server-draining",
        "server-busy",
        "party-broken",
        "party-incomplete",
        "ticket-unknown",
        "kicked",
        "banned",
        "reconnect-refused",
    ] {
        assert!(all.refusals.get(code).is_some_and(|n| *n > 20), "too little of: {code}\n{all}");
    }
}

/// A digest that needs no library and no other run: FNV-1a.
fn digest(history: &[String]) -> u64 {
    let bytes = history.iter().flat_map(|line| line.bytes().chain([b'\n']));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[test]
fn a_seed_is_one_history_byte_for_byte() {
    let histories = || (0..5).map(|seed| run(seed, true).history).collect::<Vec<_>>();
    let here = histories();
    let there = std::thread::spawn(histories).join().expect("no run panics");
    assert!(here == there, "two runs of one seed differ");
    assert_ne!(here[0], here[1]);
    // Another process, with another address space and other hash keys, has the same history.
    let mut digests = String::new();
    for history in &here {
        let _ = writeln!(digests, "{:016x}", digest(history));
    }
    let run =
        std::process::Command::new(env!("CARGO_BIN_EXE_simulate")).args(["--seed", "0", "--trace"]).output();
    let printed = String::from_utf8(run.expect("simulate runs").stdout).expect("histories are text");
    let lines: Vec<String> = printed.lines().take(here[0].len()).map(str::to_owned).collect();
    assert_eq!(digest(&lines), digest(&here[0]), "another process has another history\n{digests}");
}

#[test]
fn every_checker_has_a_name_of_its_own() {
    let names = checkers();
    let distinct: std::collections::BTreeSet<_> = names.iter().collect();
    assert!(names.len() >= 20 && distinct.len() == names.len(), "{names:?}");
}
