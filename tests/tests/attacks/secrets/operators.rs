//! What operators hold: keys and passwords in files, in settings and on standard input, many of them in the wrong place. Each start fails, each
//! check tells why, and none quotes what it read.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context as _, ensure};
use hub_tests::pki::Pki;
use hub_tests::process::Process;
use hub_tests::site::{PATIENCE, Site, env};
use serde_json::json;
use shared_msgs::keys::FleetKeys;
use shared_msgs::rng::SystemRng;

use super::hunt::Hunt;
use super::{alone, beside, loud_hub, run};
use crate::rig::Setting;

/// A file that only its owner may read, or everybody.
pub(super) fn write(path: &Path, text: &str, mode: u32) -> anyhow::Result<String> {
    std::fs::write(path, text)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    Ok(path.display().to_string())
}

struct Desk<'a> {
    hunt: &'a mut Hunt,
    site: &'a Site,
}

impl Desk<'_> {
    /// Runs a program; it must end with this code.
    async fn run(
        &mut self,
        code: i32,
        (binary, args): (&str, &[&str]),
        env: &BTreeMap<String, String>,
        stdin: &str,
    ) -> anyhow::Result<String> {
        let ended = run((binary, args), env, stdin, self.site.path()).await?;
        ensure!(ended.code == Some(code), "{binary} {args:?}: {ended:?}");
        self.hunt.heard(&format!("{binary} {args:?}"), ended.err);
        // Keys that were asked for.
        if args.first() != Some(&"server-key") {
            self.hunt.heard(&format!("{binary} {args:?}"), ended.out.clone());
        }
        Ok(ended.out)
    }

    /// A hub that does not start with this setting, and whose check says so.
    async fn no_hub(&mut self, setting: (&'static str, String)) -> anyhow::Result<()> {
        let what = setting.0;
        let env = beside(&[setting]);
        for args in [&["serve"][..], &["check"], &["check", "--json"]] {
            self.run(1, ("auth-hub", args), &env, "").await.context(what)?;
        }
        Ok(())
    }

    /// A game server that does not start with these, and whose check says so.
    async fn no_server(&mut self, settings: &[Setting]) -> anyhow::Result<()> {
        for args in [&[][..], &["check"], &["check", "--json"]] {
            let env = alone(settings);
            self.run(1, ("game-server", args), &env, "").await.with_context(|| format!("{settings:?}"))?;
        }
        Ok(())
    }

    /// A game server that starts, finds no hub, and says why.
    async fn lonely(&mut self, words: &[&str], settings: &[Setting]) -> anyhow::Result<()> {
        let env = alone(settings);
        let mut process = Process::start("lonely", "game-server", &[], &env, self.site.path())?;
        process.ready().await?;
        let words = [&["link.down"], words].concat();
        process.logged(&words, PATIENCE).await?;
        process.kill().await?;
        self.hunt.heard_all("a lonely server", &mut process).await?;
        self.run(1, ("game-server", &["check"]), &env, "").await.map(drop)
    }
}

/// Accounts on the command line.
async fn accounts(desk: &mut Desk<'_>) -> anyhow::Result<()> {
    let names =
        ["added", "changed to", "taken", "too long a one", "imported", "imported badly", "of no account"];
    for name in names {
        desk.hunt.make(name);
    }
    let secrets = names.map(|name| desk.hunt.spend(name));
    let [added, changed, taken, long, imported, badly, nobody] = secrets;
    let env = beside(&[]);
    let (salt, hash) = ("c2FsdHNhbHRzYWx0", "tWFcYQmAOQ9hQLGBMXMxDh7V4vBhBd8n9n2eBMd1hZ0");
    // Too short for a hash, so that it is refused.
    let short = &imported[..16];
    desk.hunt.found("imported, and too short", short);
    let phc = format!("$argon2id$v=19$m=8,t=1,p=1${salt}${hash}");
    desk.hunt.found("an imported hash", hash);
    desk.hunt.found("an imported salt", salt);
    let line = |login: &str, phc: &str| {
        json!({ "login": login, "display_name": "X", "phc": phc }).to_string() + "\n"
    };
    let lines = line("eve", &phc)
        + &line("eve", &phc)
        + &line("fay", &format!("$argon2id$v=19$m=8,t=1,p=1${salt}${short}"))
        + &line("gus", &badly)
        + &json!({ "login": "hal", "display_name": "X", "password": badly }).to_string()
        + "\n{\"login\":\"ian\",\"phc\":\""
        + &badly;
    for (code, args, stdin) in [
        (0, &["account", "add", "ada"][..], added),
        (0, &["account", "set-password", "ada", "--why", "x"], changed),
        (1, &["account", "add", "ada"], taken),
        (1, &["account", "add", "bob"], long.repeat(20)),
        (1, &["account", "set-password", "nobody", "--why", "x"], nobody),
        (1, &["account", "import", "-"], lines),
        (0, &["account", "list"], String::new()),
        (0, &["account", "show", "ada"], String::new()),
    ] {
        desk.run(code, ("auth-hub", args), &env, &stdin).await?;
    }
    Ok(())
}

/// Settings and files of a hub that hold the wrong thing.
async fn hubs(desk: &mut Desk<'_>) -> anyhow::Result<()> {
    let dir = desk.site.path().to_owned();
    let fleet = FleetKeys::generate(&SystemRng::new()).to_file_text();
    let key = fleet.trim().rsplit('.').next().context("a key")?;
    desk.hunt.found("a fleet key that all may read", key);
    let torn = FleetKeys::generate(&SystemRng::new()).to_file_text();
    desk.hunt.found("a torn fleet key", &torn[14..40]);
    for name in [
        "garbage for a fleet key",
        "a setting that is none",
        "a section that is none",
        "garbage for a TLS key",
        "an address",
        "a number",
        "a switch",
    ] {
        desk.hunt.make(name);
    }
    let mut secret = |name: &str| desk.hunt.spend(name);
    let (hub, pki) = ("AUTH_HUB__KEYS__FLEET_KEY_FILE", Pki::create(&dir.join("pki"))?);
    let files = pki.issue("hub", &["localhost"])?;
    let garbage = format!(
        "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
        secret("garbage for a TLS key")
    );
    let settings = [
        (hub, write(&dir.join("open.key"), &fleet, 0o644)?),
        // The key itself where its file should be named.
        (hub, fleet.trim().to_owned()),
        (hub, write(&dir.join("torn.key"), &torn[..40], 0o600)?),
        (hub, write(&dir.join("garbage.key"), &secret("garbage for a fleet key"), 0o600)?),
        ("AUTH_HUB__HTTP__PASSWORD", secret("a setting that is none")),
        ("AUTH_HUB__SECRETS__KEY", secret("a section that is none")),
        ("AUTH_HUB__HTTP__LISTEN", secret("an address")),
        ("AUTH_HUB__PASSWORDS__PASSES", secret("a number")),
        ("AUTH_HUB__ACCOUNTS__REGISTRATION", secret("a switch")),
    ];
    for setting in settings {
        desk.no_hub(setting).await?;
    }
    let cert = ("AUTH_HUB__HTTP__TLS_CERT_FILE", files.cert.display().to_string());
    desk.hunt.found_tls_key("a hub, for all to read", &files.key)?;
    let open = write(&dir.join("open.tls"), &std::fs::read_to_string(&files.key)?, 0o644)?;
    for key in [write(&dir.join("garbage.tls"), &garbage, 0o600)?, open, files.cert.display().to_string()] {
        let env = beside(&[cert.clone(), ("AUTH_HUB__HTTP__TLS_KEY_FILE", key)]);
        for args in [["serve"], ["check"]] {
            desk.run(1, ("auth-hub", &args), &env, "").await?;
        }
    }
    // A file of settings with secrets where none belong.
    desk.hunt.make("in a file of settings");
    let text = desk.hunt.spend("in a file of settings");
    for (n, toml) in [
        "[http]\npassword = 'X'",
        "[http]\nlisten = 'X'",
        "[http\nX",
        "x = 'X'",
        "[keys]\nfleet_key_file = ['X']",
    ]
    .iter()
    .enumerate()
    {
        let file = write(&dir.join(format!("{n}.toml")), &toml.replace('X', &text), 0o600)?;
        for (binary, more) in [("auth-hub", "serve"), ("auth-hub", "check"), ("game-server", "check")] {
            let env = env(&loud_hub());
            desk.run(1, (binary, &["--config", &file, more]), &env, "").await?;
        }
    }
    Ok(())
}

/// Settings and files of a game server that hold the wrong thing.
async fn servers(desk: &mut Desk<'_>) -> anyhow::Result<()> {
    let dir = desk.site.path().to_owned();
    let line = desk.run(0, ("auth-hub", &["server-key", "alpha"]), &beside(&[]), "").await?;
    let line = line.trim();
    desk.hunt.found_server_key("alpha", line)?;
    let foreign = FleetKeys::generate(&SystemRng::new()).server_key(&"alpha".parse()?, 1).to_line();
    desk.hunt.found_server_key("alpha in another fleet", &foreign)?;
    for name in
        ["garbage for a server key", "a setting of a server", "MQTT password", "a password in an address"]
    {
        desk.hunt.make(name);
    }
    let mut secret = |name: &str| desk.hunt.spend(name);
    let mqtt_password = secret("MQTT password");
    let (key, file) = ("GAME_SERVER__HUB__KEY", "GAME_SERVER__HUB__KEY_FILE");
    let good = (key, line.to_owned());
    let torn = &line[..line.len() - 9];
    let bad = [
        vec![(file, write(&dir.join("open"), line, 0o644)?)],
        vec![(file, write(&dir.join("torn"), torn, 0o600)?)],
        vec![(file, write(&dir.join("garbage"), &secret("garbage for a server key"), 0o600)?)],
        vec![(file, write(&dir.join("fleet"), &std::fs::read_to_string(dir.join("fleet.key"))?, 0o600)?)],
        vec![(key, torn.to_owned())],
        vec![(key, secret("garbage for a server key"))],
        vec![good.clone(), (file, write(&dir.join("both"), line, 0o600)?)],
        vec![good.clone(), ("GAME_SERVER__HUB__SECRET", secret("a setting of a server"))],
        vec![good.clone(), ("GAME_SERVER__HUB__MQTT_PASSWORD", mqtt_password.clone())],
        vec![
            good.clone(),
            (
                "GAME_SERVER__HUB__BROKERS",
                format!("[\"alpha:{}@localhost:1\"]", secret("a password in an address")),
            ),
        ],
        // The key itself where its file should be named.
        vec![(file, line.to_owned())],
    ];
    for settings in bad {
        desk.no_server(&settings).await?;
    }
    // Those that start.
    let (pki, stranger) = (Pki::create(&dir.join("pki"))?, Pki::create(&dir.join("stranger"))?);
    let files = pki.issue("hub", &["localhost"])?;
    let path = |path: &Path| path.display().to_string();
    let mut of_hub = loud_hub().to_vec();
    of_hub.push(("AUTH_HUB__MQTT__TLS_CERT_FILE", path(&files.cert)));
    of_hub.push(("AUTH_HUB__MQTT__TLS_KEY_FILE", path(&files.key)));
    let mut hub = desk.site.hub(&of_hub).await?;
    let broker = ("GAME_SERVER__HUB__BROKERS", format!("[\"localhost:{}\"]", hub.mqtt.port()));
    let tls = ("GAME_SERVER__HUB__TLS", "true".to_owned());
    let trusting = |ca: &Pki| ("GAME_SERVER__HUB__TLS_CA_FILE", path(&ca.ca_file()));
    let of_file = (file, write(&dir.join("foreign"), &foreign, 0o600)?);
    let own = [
        ("GAME_SERVER__HUB__MQTT_USER", "alpha".to_owned()),
        ("GAME_SERVER__HUB__MQTT_PASSWORD", mqtt_password.clone()),
    ];
    desk.lonely(&[], &[broker.clone(), tls.clone(), trusting(&pki), of_file]).await?;
    desk.lonely(&["certificate"], &[broker.clone(), tls.clone(), trusting(&stranger), good.clone()]).await?;
    desk.lonely(&[], &[broker.clone(), good.clone()]).await?;
    desk.lonely(&[], &[&[broker, tls, trusting(&pki), good], &own[..]].concat()).await?;
    hub.process.signal("TERM").await?;
    ensure!(hub.process.exit_code(PATIENCE).await? == Some(0));
    ensure!(hub.process.count_logged(&["\"TRACE\""]) > 0, "the hub is not at trace");
    desk.hunt.heard_all("hub", &mut hub.process).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_of_operators_is_told_by_a_start_a_check_or_a_command() -> anyhow::Result<()> {
    let (mut hunt, site) = (Hunt::default(), Site::new()?);
    let mut desk = Desk { hunt: &mut hunt, site: &site };
    accounts(&mut desk).await?;
    hubs(&mut desk).await?;
    servers(&mut desk).await?;
    ensure!(hunt.found_hashes(&site.path().join("hub.sqlite"))? >= 2);
    let fleet = std::fs::read_to_string(site.path().join("fleet.key"))?;
    hunt.found("fleet key", fleet.trim().rsplit('.').next().context("a key")?);
    ensure!(!site.path().join("session.keys").exists(), "session keys were written");
    let (secrets, bytes) = hunt.size();
    println!("{secrets} secrets looked for in {bytes} bytes");
    hunt.finds_nothing();
    Ok(())
}
