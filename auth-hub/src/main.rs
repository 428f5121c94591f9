//! `auth-hub`: arguments, settings, logs, and then what was asked.

use std::io::{self, IsTerminal as _};
use std::process::ExitCode;

use anyhow::Context as _;
use auth_hub::cli::{Cli, Command, Settings, Terminal};
use auth_hub::config::Config;
use clap::Parser as _;
use shared_msgs::process::{explain, init_telemetry};

fn main() -> ExitCode {
    run(Cli::parse()).unwrap_or_else(|err| {
        eprintln!("auth-hub: {}", explain(&*err));
        ExitCode::FAILURE
    })
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let loaded = Config::load(cli.config.as_deref());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("runtime")?;
    if let Command::Check { json } = cli.command {
        // Settings that cannot be used are what it was asked to find.
        return runtime.block_on(auth_hub::cli::check(loaded.as_ref(), json, &mut io::stdout()));
    }
    let config = loaded?;
    let log = init_telemetry(config.log.format, &config.log.filter)?;
    let stdin = io::stdin();
    let mut terminal = Terminal {
        interactive: stdin.is_terminal(),
        input: &mut io::BufReader::new(stdin),
        output: &mut io::stdout(),
        complaints: &mut io::stderr(),
    };
    let settings = Settings { file: cli.config, config, log };
    runtime.block_on(auth_hub::cli::run(cli.command, settings, &mut terminal))
}
