//! `auth-hub serve`: the hub, from its settings to its exit code.

use std::process::ExitCode;

use crate::config::Config;

/// Binds everything, prints the READY line, runs until asked to stop.
///
/// # Errors
/// What could not be bound.
pub async fn serve(config: Config) -> anyhow::Result<ExitCode> {
    let _ = config;
    anyhow::bail!("serve is not wired yet")
}
