//! Layers, kinds and blame, without touching the process's environment.

use serde::Deserialize;

use super::*;
use crate::process::Secret;

#[derive(Debug, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
struct Config {
    name: String,
    mqtt: Mqtt,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
struct Mqtt {
    port: u16,
    tls: bool,
    brokers: Vec<String>,
    ports: Vec<u16>,
    ratio: f64,
    password: Option<Secret>,
    password_file: Option<PathBuf>,
    format: crate::process::LogFormat,
}

impl Default for Config {
    fn default() -> Self {
        Self { name: "default".to_owned(), mqtt: Mqtt::default() }
    }
}

impl Default for Mqtt {
    fn default() -> Self {
        Self {
            port: 1883,
            tls: false,
            brokers: vec!["localhost".to_owned()],
            ports: Vec::new(),
            ratio: 0.5,
            password: None,
            password_file: None,
            format: crate::process::LogFormat::Auto,
        }
    }
}

fn env(variables: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    variables.iter().map(|&(name, value)| (name.into(), value.into())).collect()
}

fn from_env(variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
    load_from(ConfigFile::None, "HUB", env(variables))
}

fn from_file(text: &str, variables: &[(&str, &str)]) -> Result<Config, String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    load_from(ConfigFile::Named(file.path()), "HUB", env(variables))
        .map_err(|error| error.to_string().replace(file.path().to_str().unwrap(), "FILE"))
}

#[test]
fn the_environment_beats_the_file_and_the_file_the_defaults() {
    let text = "name = 'file'\n[mqtt]\nport = 1\nratio = 1.5";
    let config =
        from_file(text, &[("HUB__MQTT__PORT", "2"), ("OTHER__NAME", "x"), ("HUBRIS__NAME", "x")]).unwrap();
    assert_eq!((config.name.as_str(), config.mqtt.port, config.mqtt.ratio), ("file", 2, 1.5));
    assert_eq!(config.mqtt.brokers, ["localhost"]);
    assert_eq!(from_env(&[]).unwrap(), Config::default());
}

#[test]
fn a_variable_takes_the_kind_of_its_key() {
    let config = from_env(&[
        ("HUB__NAME", "true"),
        ("HUB__MQTT__PORT", "443"),
        ("HUB__MQTT__TLS", "true"),
        ("HUB__MQTT__BROKERS", "[a:1, \"b:2\"]"),
        ("HUB__MQTT__PORTS", "[1, 2]"),
        ("HUB__MQTT__RATIO", "0.25"),
        ("HUB__MQTT__FORMAT", "json"),
        ("HUB__MQTT__PASSWORD_FILE", "/run/secrets/7"),
    ])
    .unwrap();
    assert_eq!(config.name, "true");
    let mqtt = config.mqtt;
    assert_eq!((mqtt.port, mqtt.tls, mqtt.ratio), (443, true, 0.25));
    assert_eq!((mqtt.brokers, mqtt.ports), (vec!["a:1".to_owned(), "b:2".to_owned()], vec![1, 2]));
    assert_eq!(mqtt.format, crate::process::LogFormat::Json);
    assert_eq!(mqtt.password_file, Some("/run/secrets/7".into()));
}

#[test]
fn a_text_stays_exactly_as_it_stands() {
    for password in ["1234", "0123", "true", "[x]", "\"quoted\"", "{a=1}", " spaced ", "1.50", "-0", ""] {
        // Beside a variable that needs its second reading, which must not touch this one.
        let config =
            from_env(&[("HUB__MQTT__PASSWORD", password), ("HUB__NAME", password), ("HUB__MQTT__PORT", "5")])
                .unwrap();
        assert_eq!(config.mqtt.password.unwrap().expose(), password);
        assert_eq!(config.name, password);
    }
}

#[test]
fn an_unknown_key_is_named_with_its_place() {
    let error = from_env(&[("HUB__MQTT__PROT", "1")]).unwrap_err().to_string();
    assert!(error.starts_with("environment variable HUB__MQTT__PROT: `mqtt.prot`: unknown key"), "{error}");
    assert!(error.contains("port"), "{error}");
    assert!(error.contains("did you mean `port`?"), "{error}");
    let error = from_env(&[("HUB__MQQT__PORT", "1")]).unwrap_err().to_string();
    assert!(error.starts_with("environment variable HUB__MQQT__PORT: `mqqt`"), "{error}");
    assert!(error.contains("unknown section or key, did you mean `mqtt`?"), "{error}");
    let error = from_file("[mqtt]\nprot = 1", &[("HUB__MQTT__PORT", "1")]).unwrap_err();
    assert!(error.starts_with("configuration file FILE: `mqtt.prot`: unknown key"), "{error}");
}

#[test]
fn a_wrong_kind_is_named_and_no_value_is_ever_quoted() {
    let cases = [
        from_env(&[("HUB__MQTT__PORT", "hunter2")]).unwrap_err().to_string(),
        from_env(&[("HUB__MQTT", "hunter2")]).unwrap_err().to_string(),
        from_env(&[("HUB__MQTT__FORMAT", "hunter2")]).unwrap_err().to_string(),
        from_env(&[("HUB__MQTT", "hunter2"), ("HUB__MQTT__PORT", "1")]).unwrap_err().to_string(),
    ];
    for error in cases {
        assert!(error.starts_with("environment variable HUB__MQTT"), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
    for text in [
        "[mqtt]\nport = 'hunter2'",
        "[mqtt]\npassword = ['hunter2']",
        "[mqtt]\npassword = 'hunter2",
        "mqtt = 'hunter2'",
        "name = 'x'\nhunter2hunter2 ! 'x'",
    ] {
        let error = from_file(text, &[]).unwrap_err();
        assert!(error.starts_with("configuration file FILE"), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
    let error = from_file("[mqtt]\nport = 70000", &[]).unwrap_err();
    assert!(
        error.contains("`mqtt.port`: expected a whole number, 0 to 65535, found a number that does not fit"),
        "{error}"
    );
    let error = from_file("[mqtt]\npassword = 'x", &[]).unwrap_err();
    assert!(error.starts_with("configuration file FILE, line 2:"), "{error}");
}

#[test]
fn a_file_that_was_asked_for_must_exist() {
    let path = Path::new("/nonexistent/hub.toml");
    let none = || std::iter::empty();
    let error = load_from::<Config>(ConfigFile::Named(path), "HUB", none()).unwrap_err().to_string();
    assert!(error.contains("/nonexistent/hub.toml"), "{error}");
    let config: Config = load_from(ConfigFile::IfPresent(path), "HUB", none()).unwrap();
    assert_eq!(config, Config::default());
}

#[test]
fn broken_variables_are_errors() {
    for (name, value) in [("HUB__", "1"), ("HUB__MQTT____PORT", "1")] {
        let error = from_env(&[(name, value)]).unwrap_err().to_string();
        assert!(error.contains(name), "{error}");
    }
    let error = from_env(&[("HUB__NAME", "a"), ("HUB__name", "b")]).unwrap_err().to_string();
    assert!(error.contains("set twice"), "{error}");
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Required {
    #[expect(dead_code, reason = "only its absence is of interest")]
    server_id: String,
}

#[test]
fn a_key_without_a_default_is_reported_missing() {
    let error = load_from::<Required>(ConfigFile::None, "GS", []).unwrap_err().to_string();
    assert_eq!(error, "configuration: `server_id`: missing");
}
