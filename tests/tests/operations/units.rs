//! The systemd units: what they run exists, fits the settings' defaults, and is closed as far as systemd can close it.

use auth_hub::config::Config;
use clap::Parser as _;
use game_server::server::settings::Settings;

use crate::shipped;

const UNITS: [&str; 2] = ["config/auth-hub.service", "config/game-server.service"];
/// Descriptors that are no clients' connections: files, listeners, links, the runtime's own.
const OTHERS_HUB: usize = 128;
const OTHERS_SERVER: usize = 64;

pub(crate) fn value(unit: &str, key: &str) -> String {
    let text = shipped(unit);
    let found = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    found.unwrap_or_else(|| panic!("{unit} has no {key}")).to_owned()
}

#[test]
fn units_fit_the_defaults() {
    let hub = Config::default();
    let files: usize = value(UNITS[0], "LimitNOFILE").parse().unwrap();
    assert!(files >= hub.http.connections_max + hub.mqtt.connections_max + OTHERS_HUB, "{files}");
    let server = Settings::default();
    let files: usize = value(UNITS[1], "LimitNOFILE").parse().unwrap();
    assert!(files >= server.connections_max() + OTHERS_SERVER, "{files}");

    // Where the hub writes by default is where the unit lets it.
    let (works_in, may_write) = (value(UNITS[0], "WorkingDirectory"), value(UNITS[0], "StateDirectory"));
    assert_eq!(works_in, format!("/var/lib/{may_write}"));
    assert!(hub.database.path.is_relative() && hub.keys.fleet_key_file.is_relative());

    // Long enough for a soft stop that turns hard.
    let stop_s = |unit| value(unit, "TimeoutStopSec").parse::<u64>().unwrap();
    assert!(stop_s(UNITS[0]) > shared_msgs::process::STOP_GRACE.as_secs() + 1);
    assert!(stop_s(UNITS[1]) > server.drain().as_secs() + 6);
    let never_again: Vec<_> =
        value(UNITS[1], "RestartPreventExitStatus").split(' ').map(str::to_owned).collect();
    assert!(never_again.contains(&game_server::server::EXIT_SUPERSEDED.to_string()));
}

#[test]
fn units_run_what_the_binaries_take() {
    let command = value(UNITS[0], "ExecStart");
    let cli = auth_hub::cli::Cli::try_parse_from(command.split(' ')).unwrap();
    assert!(matches!(cli.command, auth_hub::cli::Command::Serve));
    for unit in UNITS {
        let (start, check) = (value(unit, "ExecStart"), value(unit, "ExecStartPre"));
        let file = |command: &str| command.rsplit(' ').next().unwrap().to_owned();
        assert_eq!(file(&start), file(&check), "what is checked is what is run");
        assert!(file(&start).starts_with(&format!("/etc/{}/", value(unit, "ConfigurationDirectory"))));
    }
}

/// By `systemd-analyze`, with the binaries of this build in place of the installed ones.
#[cfg(feature = "operations")]
#[test]
fn systemd_takes_the_units_and_finds_them_closed() {
    /// Tenths of systemd's measure, where 100 is wide open.
    const EXPOSURE_MAX: &str = "12";
    let dir = tempfile::tempdir().unwrap();
    let binaries = hub_tests::process::binaries().unwrap();
    for unit in UNITS {
        let text = shipped(unit).replace("/usr/local/bin", &binaries.display().to_string());
        let file = dir.path().join(unit.rsplit('/').next().unwrap());
        std::fs::write(&file, text).unwrap();
        for args in
            [&["verify", "--man=no"] as &[_], &["security", "--offline=true", "--threshold", EXPOSURE_MAX]]
        {
            let output =
                std::process::Command::new("systemd-analyze").args(args).arg(&file).output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success() && said.is_empty(), "{unit} {args:?}: {said}");
        }
    }
}
