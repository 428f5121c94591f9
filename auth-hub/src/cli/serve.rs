//! `auth-hub serve`: the hub, from its settings to its exit code.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context as _;
use shared_msgs::process::{ExitReason, Lifecycle, STOP_GRACE};
use tracing::error;

use crate::config::Config;
use crate::heartbeat;
use crate::hub::{Environment, Hub};

/// Binds everything, prints the READY line, runs until asked to stop.
///
/// # Errors
/// What could not be bound.
pub async fn serve(config: Config, output: &mut (dyn Write + Send)) -> anyhow::Result<ExitCode> {
    let lifecycle = Lifecycle::new();
    lifecycle.listen_for_signals().context("signal handlers")?;
    let bound = Hub::bind(config, Environment::default(), &lifecycle).await;
    // What was started before the fault is asked to end: it did not die.
    let hub = bound.inspect_err(|_| lifecycle.soft().cancel())?;
    let (http, mqtt) = (hub.http_addr(), hub.mqtt_addr());
    let heart = hub.start(&lifecycle)?;
    let _watch = heartbeat::watch(heart, heartbeat::LOOK_EVERY, || {
        // The runtime hangs, so nothing of it can be asked to stop.
        error!(target: "handover", "hub.hangs");
        std::process::exit(ExitReason::TaskDied("desk").code().into());
    })?;
    writeln!(output, "READY http={http} mqtt={mqtt}")?;
    output.flush()?;
    Ok(lifecycle.run_to_end(STOP_GRACE).await.into())
}
