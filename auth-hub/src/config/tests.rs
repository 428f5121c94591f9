//! The shipped file and the code say the same; layers, ranges and relations hold.

use std::collections::BTreeSet;
use std::io::Write as _;

use super::*;

const SHIPPED: &str = include_str!("../../../config/auth-hub.toml");

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn load(text: &str, variables: &[(&str, &str)]) -> Result<Config, LoadError> {
    let file = file(text);
    let variables = variables.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
    Config::load_from(Some(file.path()), variables)
}

#[test]
fn the_shipped_file_is_the_defaults_and_mentions_every_key() {
    assert_eq!(load(SHIPPED, &[]).unwrap(), Config::default());

    let mut section = "";
    let mut written = BTreeSet::new();
    for line in SHIPPED.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name;
        } else if let Some((key, _)) = line.split_once(" = ") {
            // A key without a default stands behind a "# ".
            let key = key.trim_start_matches("# ");
            if !key.contains(' ') {
                written.insert(format!("{section}.{key}"));
            }
        }
    }
    let defaults = serde_json::to_value(Config::default()).unwrap();
    let mut known = BTreeSet::new();
    for (section, keys) in defaults.as_object().unwrap() {
        known.extend(keys.as_object().unwrap().keys().map(|key| format!("{section}.{key}")));
    }
    assert_eq!(written, known);
}

#[test]
fn the_defaults_are_valid_and_need_no_file() {
    assert_eq!(Config::default().validate(), Ok(()));
    let config: Config = shared_msgs::process::load_from(ConfigFile::None, ENV_PREFIX, []).unwrap();
    assert_eq!(config, Config::default());
}

#[test]
fn defaults_agree_with_the_rooms_they_are_for() {
    let config = Config::default();
    assert_eq!(config.throttle.logins(), crate::accounts::ThrottleConfig::default());
    let (ours, theirs) = (config.passwords.pool().unwrap(), crate::accounts::PoolConfig::default());
    assert_eq!(
        (ours.threads, ours.queue_checks_max, ours.cost),
        (theirs.threads, theirs.queue_checks_max, theirs.cost)
    );
}

#[test]
fn the_environment_wins_over_the_file_and_the_file_over_the_defaults() {
    let text = "[http]\nlisten = \"127.0.0.1:1\"\nrequests_max = 7\n[log]\nformat = \"json\"";
    let config = load(
        text,
        &[
            ("AUTH_HUB__HTTP__LISTEN", "127.0.0.1:0"),
            ("AUTH_HUB__ACCOUNTS__REGISTRATION", "false"),
            ("AUTH_HUB__LOG__FILTER", "debug"),
            ("UNRELATED__HTTP__LISTEN", "0.0.0.0:1"),
        ],
    )
    .unwrap();
    assert_eq!(config.http.listen.to_string(), "127.0.0.1:0");
    assert_eq!(config.http.requests_max, 7);
    assert_eq!(config.http.connections_max, HttpListen::default().connections_max);
    assert!(!config.accounts.registration);
    assert_eq!(
        (config.log.format, config.log.filter.as_str()),
        (shared_msgs::process::LogFormat::Json, "debug")
    );
}

#[test]
fn unknown_keys_and_missing_files_are_named() {
    let err = load("[http]\nlissten = \"127.0.0.1:1\"", &[]).unwrap_err().to_string();
    assert!(err.contains("lissten"), "{err}");
    let err = load("[placement]\npolicy = \"fullest\"", &[]).unwrap_err().to_string();
    assert!(
        ["placement.policy", "least-loaded", "packed", "weighted"].iter().all(|name| err.contains(name)),
        "{err}"
    );
    let err = load("", &[("AUTH_HUB__HTTPS__LISTEN", "127.0.0.1:1")]).unwrap_err().to_string();
    assert!(err.contains("AUTH_HUB__HTTPS__LISTEN"), "{err}");
    let err = Config::load_from(Some(Path::new("/nonexistent/hub.toml")), []).unwrap_err().to_string();
    assert!(err.contains("/nonexistent/hub.toml"), "{err}");
}

#[test]
fn nothing_listens_beyond_this_machine_without_tls_unasked() {
    for key in ["http", "mqtt", "operators"] {
        let open = format!("[{key}]\nlisten = \"0.0.0.0:1\"\n");
        let err = load(&open, &[]).unwrap_err().to_string();
        assert!(err.contains(&format!("{key}.listen")) && err.contains("TLS"), "{err}");
        assert!(load(&format!("{open}plaintext_to_network = true"), &[]).is_ok());
    }
    for key in ["http", "mqtt", "admin"] {
        let with_tls =
            format!("[{key}]\nlisten = \"0.0.0.0:1\"\ntls_cert_file = \"a\"\ntls_key_file = \"b\"");
        assert!(load(&with_tls, &[]).is_ok());
    }
}

#[test]
fn what_cannot_work_is_named() {
    for (text, named) in [
        ("[http]\nlisten = \"127.0.0.1:1883\"", "must be four addresses"),
        ("[operators]\nlisten = \"127.0.0.1:1883\"", "must be four addresses"),
        ("[admin]\nlisten = \"127.0.0.1:8081\"", "must be four addresses"),
        ("[admin]\nlisten = \"0.0.0.0:8082\"", "admin.tls_cert_file"),
        ("[admin]\ntls_key_file = \"a.key\"", "admin.tls_cert_file and admin.tls_key_file go together"),
        ("[admin]\nkey_file = \"\"", "admin.key_file is empty"),
        ("[admin]\nkey_file = \"var/fleet.key\"", "keys.fleet_key_file and admin.key_file are the same file"),
        ("[http]\ntls_cert_file = \"a.pem\"", "http.tls_cert_file and http.tls_key_file go together"),
        ("[mqtt]\ntls_client_ca_file = \"a.pem\"", "mqtt.tls_cert_file and mqtt.tls_key_file go together"),
        ("[http]\nconnections_per_address_max = 0", "http.connections_per_address_max"),
        ("[http]\nrequests_max = 0", "http.requests_max must be 1"),
        ("[http]\nconnections_max = 100000", "http.connections_max"),
        ("[http]\nconnections_max = 10", "at least http.requests_max"),
        ("[mqtt]\nservers_max = 0", "mqtt.servers_max"),
        ("[mqtt]\nconnections_max = 511", "at least mqtt.servers_max"),
        ("[placement]\nnear_percent = 101", "placement.near_percent must be 0 to 100"),
        ("[overload]\nlogins_percent = 0", "overload.logins_percent must be 1 to 100"),
        ("[overload]\nlogins_percent = 49", "registrations_percent must be at most overload.logins_percent"),
        ("[overload]\ndesk_lag_ms = 249", "overload.desk_lag_ms must be 250 to 60000"),
        ("[overload]\ncalm_ms = 0", "overload.calm_ms must be 250 to 600000"),
        ("[placement]\nlatency_band_ms = 1001", "placement.latency_band_ms must be 0 to 1000"),
        ("[placement]\nload_low_percent = 0", "placement.load_low_percent must be 1"),
        ("[placement]\nload_full_percent = 102", "placement.load_full_percent must be 1 to 101"),
        ("[placement]\nload_low_percent = 90", "load_low_percent must be below load_high_percent"),
        ("[placement]\nload_high_percent = 101", "at most load_full_percent"),
        ("[passwords]\nmemory_kib = 7", "passwords.memory_kib"),
        ("[passwords]\nmemory_kib = 1000000", "at most m="),
        ("[passwords]\nthreads = 257", "passwords.threads"),
        ("[passwords]\nqueue_max = 100000", "passwords.queue_max"),
        ("[throttle]\nname_burst = 0", "throttle.name_burst"),
        ("[throttle]\nregistration_refill_ms = 0", "throttle.registration_refill_ms"),
        ("[throttle]\nhandover_burst = 0", "throttle.handover_burst must be 1"),
        ("[throttle]\nhandover_refill_ms = 0", "throttle.handover_refill_ms"),
        ("[sessions]\naccess_token_life_s = 0", "sessions.access_token_life_s"),
        ("[sessions]\naccess_token_life_s = 3601", "1 to 3600"),
        ("[database]\npath = \"\"", "database.path is empty"),
        ("[keys]\nfleet_key_file = \"\"", "keys.fleet_key_file is empty"),
        ("[database]\npath = \"x\"\n[keys]\nfleet_key_file = \"x\"", "same file"),
    ] {
        let err = load(text, &[]).unwrap_err();
        assert!(matches!(err, LoadError::Invalid(_)), "{text}: {err}");
        assert!(err.to_string().contains(named), "{text}: {err}");
    }
    assert_eq!(
        load("[http]\nlisten = \"127.0.0.1:0\"\n[mqtt]\nlisten = \"127.0.0.1:0\"", &[]).unwrap().validate(),
        Ok(())
    );
}
