//! `rolling-update`: a game server, then the hub, are updated under players in game, and nobody is lost. Run it by `scripts/rolling-update`.
//!
//! Everything is real: the binaries, their sockets, SIGTERM, the admin command. Each step is checked as it is told; ends by itself with
//! exit code 0, or says what went wrong and ends with 1.

mod crew;
mod game_server;
mod hub;
mod player;
mod stage;

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use crew::Crew;
use stage::Stage;

/// No step waits for anything that takes longer; a show that does not end by itself is broken.
const TIME_MAX: Duration = Duration::from_mins(3);
/// Slots of each game server.
const SLOTS: usize = 28;
/// Who plays at first: half of them on each server, and one server can take them all.
const FIRST: usize = 24;

/// Shows rolling updates on real processes.
#[derive(Parser)]
struct Cli {}

/// Prints a line of the story. Whoever closed our output does not want it.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

#[tokio::main(worker_threads = 2)]
async fn main() -> ExitCode {
    let Cli {} = Cli::parse();
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nthe rolling update failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> anyhow::Result<()> {
    let mut stage = Stage::set().await?;
    let played = tokio::time::timeout(TIME_MAX, play(&mut stage)).await;
    let played =
        played.unwrap_or_else(|_| Err(anyhow::anyhow!("it did not end within {} s", TIME_MAX.as_secs())));
    if played.is_err() {
        eprintln!("{}", stage.last_words());
    }
    played?;
    say(&format!("\n{}", stage.table));
    stage.clear().await
}

async fn play(stage: &mut Stage) -> anyhow::Result<()> {
    let mut crew = Crew::register(&stage.client).await?;
    game_server::update(stage, &mut crew).await?;
    hub::update(stage, &mut crew).await?;
    crew.sum_up(&mut stage.table);
    crew.leave().await
}
