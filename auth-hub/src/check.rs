//! `auth-hub check`: what stands between these settings and a hub that serves, found without starting one.
//!
//! Owns the list of checks; each room knows its own matter. Invariants: nothing is made, changed or held, so it may run beside a hub;
//! no finding shows a secret.

mod files;

use shared_msgs::clock::UnixMs;
use shared_msgs::net::tls::{ServerTls, ServerTlsFiles, TlsError};
use shared_msgs::process::check::machine::{self, Holder};
use shared_msgs::process::check::{Finding, certificates};
use shared_msgs::process::{check_filter, explain};

use crate::config::{Config, LoadError};
use crate::hub::DESCRIPTORS_SPARE;
use crate::sole;

/// Looks at everything, in the order in which a start would meet it.
pub async fn findings(loaded: Result<&Config, &LoadError>, now: UnixMs) -> Vec<Finding> {
    let config = match loaded {
        Ok(config) => config,
        Err(error) => {
            let remedy = "every setting stands with its meaning in config/auth-hub.toml; the other checks need valid ones";
            return vec![Finding::fail("configuration", explain(error), remedy)];
        }
    };
    let running = sole::is_taken(&config.database.path);
    // A new check is one more line here.
    let mut found = vec![configuration(config)];
    found.push(files::fleet_key(config));
    found.push(files::admin_key(config));
    found.extend(files::database(config, running, now).await);
    found.extend(ports(config, running));
    found.extend(certificates(config, now));
    found.push(descriptors(config));
    found.push(machine::clock(now));
    found
}

fn configuration(config: &Config) -> Finding {
    let what = "configuration";
    match check_filter(&config.log.filter) {
        Ok(()) => Finding::ok(what, "every setting is known and in range"),
        Err(error) => Finding::fail(
            what,
            format!("log.filter: {}", explain(&error)),
            "write it like \"info\" or \"info,link=debug\"",
        ),
    }
}

/// Whom clients take the hub for is not in its settings, so the names are shown and not judged.
fn certificates(config: &Config, now: UnixMs) -> Vec<Finding> {
    let loads = |files: Result<Option<ServerTlsFiles>, TlsError>| {
        let loaded = files.and_then(|files| files.map(ServerTls::load).transpose());
        loaded.map(drop).map_err(|error| explain(&error))
    };
    let Config { http, mqtt, admin, .. } = config;
    let of_http =
        certificates::certificate("http", http.tls_cert_file.as_deref(), loads(http.tls()), None, now);
    let of_mqtt =
        certificates::certificate("mqtt", mqtt.tls_cert_file.as_deref(), loads(mqtt.tls()), None, now);
    let of_admin =
        certificates::certificate("admin", admin.tls_cert_file.as_deref(), loads(admin.tls()), None, now);
    of_http.into_iter().chain(of_mqtt).chain(of_admin).collect()
}

fn ports(config: &Config, running: bool) -> [Finding; 4] {
    let holder = if running { Holder::Running("a hub on this database") } else { Holder::Nobody };
    let Config { http, mqtt, operators, admin, .. } = config;
    [
        ("http.listen", http.listen),
        ("mqtt.listen", mqtt.listen),
        ("operators.listen", operators.listen),
        ("admin.listen", admin.listen),
    ]
    .map(|(setting, addr)| machine::listen(setting, addr, holder))
}

fn descriptors(config: &Config) -> Finding {
    let connections = config.http.connections_max.saturating_add(config.mqtt.connections_max) as u64;
    machine::descriptors(connections + DESCRIPTORS_SPARE, "http.connections_max and mqtt.connections_max")
}
