//! `auth-hub serve`: the hub, from its settings to its exit code.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use shared_msgs::clock::{Clock as _, SystemClock};
use shared_msgs::process::{ExitReason, Lifecycle, Reloader, STOP_GRACE};
use tracing::{error, info, warn};

use super::Settings;
use crate::config::Config;
use crate::heartbeat;
use crate::hub::{Environment, Hub};

/// Binds everything, prints the READY line, runs until asked to stop. SIGHUP reads certificates and the log's filter again.
///
/// # Errors
/// What could not be bound.
pub async fn serve(settings: Settings, output: &mut (dyn Write + Send)) -> anyhow::Result<ExitCode> {
    let Settings { file, config, log } = settings;
    let lifecycle = Lifecycle::new();
    let hangups = lifecycle.listen_for_signals().context("signal handlers")?;
    let bound = Hub::bind(config.clone(), Environment::default(), &lifecycle).await;
    // What was started before the fault is asked to end: it did not die.
    let hub = bound.inspect_err(|_| lifecycle.soft().cancel())?;
    let reloader = Reloader { listeners: hub.tls(), link: None, log };
    lifecycle.on_hangup(hangups, move || reload(file.as_deref(), &config, &reloader));
    let (http, mqtt) = (hub.http_addr(), hub.mqtt_addr());
    let (operators, admin) = (hub.operators_addr(), hub.admin_addr());
    let heart = hub.start(&lifecycle)?;
    let _watch = heartbeat::watch(heart, heartbeat::LOOK_EVERY, || {
        // The runtime hangs, so nothing of it can be asked to stop.
        error!(target: "handover", "hub.hangs");
        std::process::exit(ExitReason::TaskDied("desk").code().into());
    })?;
    writeln!(output, "READY http={http} mqtt={mqtt} operators={operators} admin={admin}")?;
    output.flush()?;
    Ok(lifecycle.run_to_end(STOP_GRACE).await.into())
}

/// What changed beside the log's filter needs a restart, and is named. Certificates are read whatever the settings say now.
fn reload(file: Option<&Path>, started_with: &Config, reloader: &Reloader) {
    reloader.reload_tls(SystemClock::new().now().unix);
    let loaded = Config::load(file).map_err(anyhow::Error::from);
    let applied = loaded.and_then(|config| {
        reloader.set_log_filter(&config.log.filter)?;
        Ok(config)
    });
    match applied {
        Err(error) => error!(target: "process", %error, "config.reload_failed"),
        Ok(config) => {
            for key in changed_keys(started_with, &config) {
                warn!(target: "process", key, "config.needs_restart");
            }
            info!(target: "process", "config.reloaded");
        }
    }
}

fn changed_keys(old: &Config, new: &Config) -> Vec<String> {
    let of = |config: &Config| serde_json::to_value(config).unwrap_or_default();
    let (old, new) = (of(old), of(new));
    let sections = new.as_object().into_iter().flatten();
    let keys = sections
        .flat_map(|(section, keys)| keys.as_object().into_iter().flatten().map(move |key| (section, key)));
    keys.filter(|(section, (key, value))| old[section.as_str()][key.as_str()] != **value)
        .map(|(section, (key, _))| format!("{section}.{key}"))
        .filter(|key| key != "log.filter")
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_needs_a_restart_is_named_and_the_filter_does_not() {
        let (old, mut new) = (Config::default(), Config::default());
        assert_eq!(changed_keys(&old, &new), Vec::<String>::new());
        new.http.requests_max += 1;
        new.mqtt.tls_cert_file = Some("a.pem".into());
        new.log.filter = "debug".to_owned();
        assert_eq!(changed_keys(&old, &new), ["http.requests_max", "mqtt.tls_cert_file"]);
    }
}
