//! `auth-hub serve`: the hub, from its settings to its exit code.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context as _;
use shared_msgs::process::{Lifecycle, STOP_GRACE};

use crate::config::Config;
use crate::hub::{Environment, Hub};

/// Binds everything, prints the READY line, runs until asked to stop.
///
/// # Errors
/// What could not be bound.
pub async fn serve(config: Config, output: &mut (dyn Write + Send)) -> anyhow::Result<ExitCode> {
    let lifecycle = Lifecycle::new();
    lifecycle.listen_for_signals().context("signal handlers")?;
    let hub = Hub::bind(config, Environment::default(), &lifecycle).await?;
    let (http, mqtt) = (hub.http_addr(), hub.mqtt_addr());
    hub.start(&lifecycle)?;
    writeln!(output, "READY http={http} mqtt={mqtt}")?;
    output.flush()?;
    Ok(lifecycle.run_to_end(STOP_GRACE).await.into())
}
