//! `torture`: kills and faults without end, or as many as one asks for. Run it by `scripts/torture`.
//!
//! Exit codes: 0 nothing lost, doubled or stuck; 1 something was, or it could not run.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use hub_tests::torture::{Plan, run};
use shared_msgs::rng::{Rng, SystemRng};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Tortures real processes and checks the books.
#[derive(Parser)]
struct Cli {
    /// Kills and faults, each with its recovery
    #[arg(long, default_value_t = 200)]
    cycles: usize,
    /// Decides what is done when; by default another each time
    #[arg(long)]
    seed: Option<u64>,
    /// Game servers
    #[arg(long, default_value_t = 4)]
    servers: usize,
    /// Accounts; half of them play on two devices
    #[arg(long, default_value_t = 40)]
    accounts: usize,
}

#[tokio::main(worker_threads = 2)]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let rng = SystemRng::new();
    let seed = cli.seed.unwrap_or_else(|| (&rng as &dyn Rng).below(1 << 32));
    let plan = Plan {
        cycles: cli.cycles,
        seed,
        servers: cli.servers.max(1),
        // Two servers down, and the others are full.
        slots: cli.accounts.div_ceil(cli.servers.max(3) - 2).max(1),
        accounts: cli.accounts.max(1),
        second_devices: cli.accounts / 2,
        pause_max: Duration::from_millis(500),
    };
    // Whoever closed our output does not want it.
    let mut out = std::io::stdout();
    let _ = writeln!(out, "{} cycles, seed {seed}; Ctrl-C ends it early and checks the books", plan.cycles);
    let cut_short = CancellationToken::new();
    let (stop, tasks) = (cut_short.clone(), TaskTracker::new());
    tasks.spawn(async move {
        // Without it there would be nobody left to end the processes.
        let Ok(mut term) = signal(SignalKind::terminate()) else { return };
        tokio::select! {
            _ = term.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        stop.cancel();
    });
    match run(&plan, cut_short).await {
        Ok((report, kept)) => {
            let _ = writeln!(out, "{report}");
            if let Some(dir) = kept {
                let _ = writeln!(out, "the logs are in {}", dir.display());
            }
            if report.findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("the torture could not run: {error:#}");
            ExitCode::FAILURE
        }
    }
}
