//! Runs seeds: one with its history, or as many as asked, with progress and a table.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use hub_simulation::{Outcome, Tally, run};
use shared_msgs::clock::{Clock as _, SystemClock};

/// Hubs, game servers and players on one virtual clock, with everything going wrong.
#[derive(Parser)]
struct Args {
    /// Run this seed alone.
    #[arg(long, conflicts_with_all = ["seeds", "minutes"])]
    seed: Option<u64>,
    /// With --seed: print the whole history.
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Run so many seeds.
    #[arg(long, default_value_t = 1_000)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Stop after so many minutes.
    #[arg(long, default_value_t = 60)]
    minutes: u64,
}

/// Lines of a failing run's history that are shown.
const SHORT_HISTORY_LINES: usize = 40;

fn main() -> ExitCode {
    let args = Args::parse();
    match args.seed {
        Some(seed) => one(seed, args.trace),
        None => many(&args),
    }
}

/// Whoever reads us may have stopped reading; then there is nobody to tell.
fn say(line: impl std::fmt::Display) {
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

fn one(seed: u64, trace: bool) -> ExitCode {
    let outcome = run(seed, true);
    if trace {
        outcome.history.iter().for_each(say);
    }
    say(format_args!("{}", outcome.tally));
    verdict(seed, &outcome, trace)
}

fn verdict(seed: u64, outcome: &Outcome, was_traced: bool) -> ExitCode {
    let Some(violation) = &outcome.violation else { return ExitCode::SUCCESS };
    if !was_traced {
        let from = outcome.history.len().saturating_sub(SHORT_HISTORY_LINES);
        outcome.history[from..].iter().for_each(say);
    }
    say(format_args!("seed {seed}: {} at {} ms: {}", violation.checker, violation.at_ms, violation.what));
    say(format_args!("replay: scripts/simulate --seed {seed} --trace"));
    ExitCode::FAILURE
}

fn many(args: &Args) -> ExitCode {
    let clock = SystemClock::new();
    let limit = Duration::from_secs(args.minutes * 60);
    let (mut all, mut next_report) = (Tally::default(), Duration::from_secs(10));
    for seed in args.from..args.from.saturating_add(args.seeds) {
        let outcome = run(seed, false);
        all.add(&outcome.tally);
        let passed = Duration::from_millis(clock.now().mono.0);
        if outcome.violation.is_some() {
            say(format_args!("{all}"));
            return verdict(seed, &run(seed, true), false);
        }
        if passed >= next_report {
            next_report = passed + Duration::from_secs(10);
            let rate = u128::from(all.placed) * 60_000 / passed.as_millis().max(1);
            say(format_args!("{} seeds, {} places given, {rate} a minute", all.runs, all.placed));
        }
        if passed >= limit {
            break;
        }
    }
    let passed = clock.now().mono.0.max(1);
    say(format_args!("{all}"));
    say(format_args!("{:<28}{:>12}", "places given a minute", all.placed * 60_000 / passed));
    say(format_args!("{:<28}{:>12}", "seconds", passed / 1_000));
    ExitCode::SUCCESS
}
