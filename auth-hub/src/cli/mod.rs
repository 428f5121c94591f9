//! The command line: what an operator may ask of the binary.
//!
//! Owns arguments, exit codes and what is printed; the work is done in the rooms it calls. Results go to standard output, logs and
//! questions to standard error. Invariants: a password is never an argument; no hash or row id is printed. Exit codes: 0 done,
//! 1 not done, 2 misused; `serve` adds those of its lifecycle, `admin` 75 for what may work when it is said again.

mod account;
mod admin;
mod serve;
mod server_key;
#[cfg(test)]
mod tests;

use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use shared_msgs::clock::{Clock as _, SystemClock};
use shared_msgs::ids::ServerId;
use shared_msgs::process::LogFilter;
use shared_msgs::process::check::{exit_code, tell};
use shared_msgs::rng::SystemRng;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::accounts::Store;
use crate::config::{Config, LoadError};
pub use account::AccountCommand;
pub use admin::AdminArgs;
pub use serve::serve;

/// Accounts, HTTP API, MQTT broker and handover for a fleet of game servers.
#[derive(Debug, Parser)]
#[command(name = "auth-hub", version)]
pub struct Cli {
    /// Settings file [default: config/auth-hub.toml if it exists]; AUTH_HUB__SECTION__KEY in the environment wins over it
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the hub
    Serve,
    /// Look at settings, keys, database, addresses and clock without starting or changing anything; one line per finding
    Check {
        /// One JSON object per line
        #[arg(long)]
        json: bool,
    },
    /// Print the key line for a game server's configuration (secret)
    ServerKey {
        /// The server's name: 1 to 32 characters of a-z, 0-9 and '-'
        server_id: ServerId,
        /// Which of the server's keys [default: the lowest that is accepted]
        #[arg(long, value_name = "N")]
        generation: Option<u32>,
    },
    /// Make, show and change accounts
    #[command(subcommand)]
    Account(AccountCommand),
    /// Command a running hub: bans, drains, maintenance
    Admin(AdminArgs),
}

/// Where a command reads and writes, besides its files.
pub struct Terminal<'a> {
    /// Passwords, and what is imported from `-`.
    pub input: &'a mut (dyn BufRead + Send),
    /// Results.
    pub output: &'a mut (dyn Write + Send),
    /// Whether somebody types the input, and wants to be asked.
    pub interactive: bool,
    /// Questions, and complaints about single lines.
    pub complaints: &'a mut (dyn Write + Send),
}

impl std::fmt::Debug for Terminal<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Terminal")
    }
}

/// What a command runs with.
#[derive(Debug)]
pub struct Settings {
    /// Where the settings came from, to read them again.
    pub file: Option<PathBuf>,
    /// What they say.
    pub config: Config,
    /// What is logged.
    pub log: LogFilter,
}

/// Does it.
///
/// # Errors
/// Why it was not done.
pub async fn run(
    command: Command,
    settings: Settings,
    terminal: &mut Terminal<'_>,
) -> anyhow::Result<ExitCode> {
    let config = settings.config.clone();
    match command {
        Command::Check { json } => check(Ok(&config), json, terminal.output).await,
        Command::Serve => serve(settings, terminal.output).await,
        Command::ServerKey { server_id, generation } => {
            let line = server_key::line(&config, &server_id, generation).await?;
            writeln!(terminal.output, "{}", *line)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Account(command) => account::run(command, &config, terminal).await,
        Command::Admin(args) => admin::run(args, &config, terminal).await,
    }
}

/// Tells what it finds, settings that could not be loaded included. Exit codes: 0 nothing fails, 1 something does.
///
/// # Errors
/// When `output` fails.
pub async fn check(
    loaded: Result<&Config, &LoadError>,
    json: bool,
    output: &mut (dyn Write + Send),
) -> anyhow::Result<ExitCode> {
    let found = crate::check::findings(loaded, SystemClock::new().now().unix).await;
    tell(&found, json, output)?;
    Ok(exit_code(&found).into())
}

/// The database, for one command.
async fn open_store(config: &Config, process: &CancellationToken) -> anyhow::Result<Store> {
    let (rng, clock) = (Arc::new(SystemRng::new()), Arc::new(SystemClock::new()));
    Store::open(&config.database.path, &TaskTracker::new(), process, rng, clock)
        .await
        .context("database.path")
}
