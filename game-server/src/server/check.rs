//! `game-server check`: what stands between these settings and a server that gets players, found without starting one.
//!
//! Owns the list of checks. Invariants: nothing is made, changed or held, and a server of the same id that runs meanwhile keeps its
//! link; no finding shows a secret.

mod hub_clock;

use std::net::SocketAddr;

use shared_msgs::clock::UnixMs;
use shared_msgs::link::{self, LinkError};
use shared_msgs::net::require_guard;
use shared_msgs::process::check::certificates;
use shared_msgs::process::check::machine::{self, Holder};
use shared_msgs::process::check::{Finding, Level};
use shared_msgs::process::{check_filter, explain};

use super::settings::{Game, Metrics, Settings, SettingsError};
use crate::Config;

/// Descriptors beyond those of connections: listeners, the link, what the runtime needs.
pub(super) const DESCRIPTORS_SPARE: u64 = 64;
const UNREACHABLE: &str = "start the hub, or correct hub.brokers; the server waits for it when it runs";
const SEE_THERE: &str = "every setting stands with its meaning in config/game-server.toml";

/// Looks at everything, in the order in which a start would meet it. `hub` is where the hub's HTTP answers, if that is known: the
/// broker tells no time.
pub async fn findings(
    loaded: Result<Settings, SettingsError>,
    hub: Option<&str>,
    now: UnixMs,
) -> Vec<Finding> {
    let settings = match loaded {
        Ok(settings) => settings,
        Err(error) => return vec![Finding::fail("configuration", explain(&error), SEE_THERE)],
    };
    // A new check is one more line here.
    let mut found = vec![log_filter(&settings)];
    found.extend(ports(&settings));
    found.extend(certificates(&settings, now));
    found.push(descriptors(&settings));
    found.push(machine::clock(now));
    if let Some(hub) = hub {
        // A link's TLS that cannot be used is a finding of its own.
        let tls = settings.link_tls().ok().flatten();
        found.push(hub_clock::compare(hub, tls.as_ref(), now).await);
    }
    match config(settings) {
        Ok(config) => {
            found.push(Finding::ok("hub.key", format!("a key of server {}", config.server_id())));
            found.extend(brokers(&config).await);
        }
        Err(finding) => found.push(finding),
    }
    found
}

fn log_filter(settings: &Settings) -> Finding {
    let what = "configuration";
    match check_filter(&settings.log.filter) {
        Ok(()) => Finding::ok(what, "every setting is known"),
        Err(error) => {
            let remedy = "write it like \"info\" or \"info,link=debug\"";
            Finding::fail(what, format!("log.filter: {}", explain(&error)), remedy)
        }
    }
}

fn ports(settings: &Settings) -> Vec<Finding> {
    let Game { listen, tls_cert_file, plaintext_to_network, .. } = &settings.game;
    let game = ("game", "game.listen", *listen, tls_cert_file.is_some() || *plaintext_to_network);
    let Metrics { listen, plaintext_to_network } = settings.metrics;
    let metrics = listen.map(|addr| ("metrics", "metrics.listen", addr, plaintext_to_network));
    let look = |(section, setting, addr, guarded): (&'static str, &'static str, SocketAddr, bool)| {
        match require_guard(section, addr, guarded) {
            Ok(()) => machine::listen(setting, addr, Holder::Maybe("this server")),
            Err(error) => Finding::fail(format!("listen.{setting}"), error.to_string(), SEE_THERE),
        }
    };
    [game].into_iter().chain(metrics).map(look).collect()
}

/// Certificates: ours for clients, ours for the hub. Whether the hub's is believed is seen when the broker is asked.
fn certificates(settings: &Settings, now: UnixMs) -> Vec<Finding> {
    let host = settings.game.advertise.as_deref().and_then(|advertised| advertised.rsplit_once(':'));
    let host = host.map(|(host, _)| host.trim_start_matches('[').trim_end_matches(']'));
    let of_game = settings.game_tls().map(drop).map_err(|error| explain(&error));
    let of_link = settings.link_tls().map(drop).map_err(|error| explain(&error));
    let game = certificates::certificate("game", settings.game.tls_cert_file.as_deref(), of_game, host, now);
    let link = certificates::certificate("hub", settings.hub.tls_cert_file.as_deref(), of_link, None, now);
    game.into_iter().chain(link).collect()
}

fn descriptors(settings: &Settings) -> Finding {
    machine::descriptors(settings.connections_max() as u64 + DESCRIPTORS_SPARE, "game.connections_max")
}

/// What the server would start with, its key read from where the settings say.
fn config(settings: Settings) -> Result<Config, Finding> {
    let mut bound = settings.game.listen;
    if bound.port() == 0 {
        // Any port stands for the one that a start would get.
        bound.set_port(1);
    }
    let config = settings.into_config(bound).map_err(|error| {
        let is_key = matches!(error, SettingsError::Read(_) | SettingsError::NoKey | SettingsError::Key(_));
        let (what, remedy) = if is_key {
            ("hub.key", "`auth-hub server-key SERVER-ID` prints one; keep it in a file of mode 600")
        } else {
            ("configuration", SEE_THERE)
        };
        Finding::fail(what, explain(&error), remedy)
    })?;
    config.validate().map_err(|error| Finding::fail("configuration", error.to_string(), SEE_THERE))?;
    Ok(config)
}

/// Whether each broker is there and takes our key. One is enough.
async fn brokers(config: &Config) -> Vec<Finding> {
    let link = crate::sdk::link_config(config);
    let mut answers = Vec::new();
    for (at, broker) in link.brokers.iter().enumerate() {
        answers.push((format!("broker.{broker}"), link::probe(&link, at).await));
    }
    let level = if answers.iter().any(|(_, answer)| answer.is_ok()) { Level::Warn } else { Level::Fail };
    let tell = |(what, answer)| match answer {
        Ok(()) => Finding::ok(what, "reachable, takes our key"),
        Err(error) => {
            let (detail, remedy) = told(&error);
            Finding { level, what, detail, remedy: remedy.to_owned() }
        }
    };
    answers.into_iter().map(tell).collect()
}

fn told(error: &LinkError) -> (String, &'static str) {
    match error {
        LinkError::BadCredentials => (
            "it refused our key".to_owned(),
            "make the key anew with the fleet key of this hub (`auth-hub server-key SERVER-ID`); was it revoked, or made for another hub?",
        ),
        // Its own text says "unreachable".
        LinkError::Unreachable(_) => (error.to_string(), UNREACHABLE),
        LinkError::Tls(_) => (
            error.to_string(),
            "does hub.tls_ca_file hold the authority of the hub's certificate, and is that for the host in hub.brokers? does the hub ask for one of ours?",
        ),
        LinkError::Timeout | LinkError::Lost(_) => (format!("unreachable: {error}"), UNREACHABLE),
        LinkError::Refused(_)
        | LinkError::SubscriptionRefused(_)
        | LinkError::Silent
        | LinkError::Unacknowledged
        | LinkError::Protocol(_)
        | LinkError::Session(_) => (error.to_string(), "is this the hub's mqtt.listen? see the hub's log"),
    }
}
