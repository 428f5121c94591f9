//! `demo`: one hub, two game servers, eight scenes, one table. Run it by `scripts/demo`.
//!
//! Everything is real: the binaries, their sockets, kill -9. Tells what happens as it happens; ends by itself with exit code 0, or says
//! what went wrong and ends with 1.

mod scenes;
mod stage;

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use stage::Stage;

/// No scene waits for anything that takes longer; a demo that does not end by itself is broken.
const TIME_MAX: Duration = Duration::from_mins(3);

/// Shows the handover on real processes.
#[derive(Parser)]
struct Cli {
    /// Leave everything running afterwards, until Ctrl-C
    #[arg(long)]
    keep: bool,
}

/// Prints a line of the story. Whoever closed our output does not want it.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

#[tokio::main(worker_threads = 2)]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli.keep).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nthe demo failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(keep: bool) -> anyhow::Result<()> {
    let mut stage = Stage::set().await?;
    match tokio::time::timeout(TIME_MAX, scenes::play(&mut stage)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            eprintln!("{}", stage.last_words());
            return Err(error);
        }
        Err(_) => {
            eprintln!("{}", stage.last_words());
            anyhow::bail!("it did not end within {} s", TIME_MAX.as_secs());
        }
    }
    say(&format!("\n{}", stage.table));
    if keep {
        say(&stage.how_to_log_in());
        tokio::signal::ctrl_c().await?;
    }
    stage.clear().await
}
