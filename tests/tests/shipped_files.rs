//! What ships is run: the configuration files, the commands of the README, the demo.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use hub_tests::process::{Process, binaries};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

const PATIENCE: Duration = Duration::from_secs(30);

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// The lines of the README's first shell block under a heading.
fn readme_commands(heading: &str) -> Vec<String> {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let section = readme.split(&format!("## {heading}\n")).nth(1).unwrap();
    let block = section.split("```sh\n").nth(1).unwrap().split("```").next().unwrap();
    let code = |line: &str| line.split("  #").next().unwrap().trim().to_owned();
    block.lines().map(code).filter(|line| !line.is_empty()).collect()
}

#[test]
fn the_shipped_settings_load_and_are_the_defaults() {
    let nothing = std::iter::empty::<(std::ffi::OsString, std::ffi::OsString)>;
    let hub = root().join("config/auth-hub.toml");
    let hub = auth_hub::config::Config::load_from(Some(&hub), nothing()).unwrap();
    assert_eq!(hub, auth_hub::config::Config::default());
    let server = root().join("config/game-server.toml");
    let server = game_server::server::settings::Settings::load_from(&server, nothing()).unwrap();
    assert_eq!(format!("{server:?}"), format!("{:?}", game_server::server::settings::Settings::default()));
}

/// Runs a script to its end, and gives what it printed; it must end well.
async fn run(script: &str) -> anyhow::Result<String> {
    let target = binaries()?;
    let run = Command::new(root().join("scripts").join(script))
        .env("CARGO_TARGET_DIR", target.parent().context("a target folder")?)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(Duration::from_mins(4), run).await??;
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "scripts/{script} failed:\n{out}\n{err}");
    Ok(out.into_owned())
}

#[tokio::test]
async fn the_demo_runs_to_its_end() -> anyhow::Result<()> {
    assert_eq!(readme_commands("See it"), ["scripts/demo", "cargo test --workspace"]);
    let out = run("demo").await?;
    for said in ["delayed", "token-spent", "token-not-genuine", "gets a ticket", "superseded", "p99"] {
        assert!(out.contains(said), "the demo says nothing of {said}:\n{out}");
    }
    Ok(())
}

#[tokio::test]
async fn the_rolling_update_loses_nobody() -> anyhow::Result<()> {
    let out = run("rolling-update").await?;
    for said in [
        "server-draining",
        "Build 2.0.0",
        "no slot counted twice",
        "12 tickets are good",
        "never noticed",
        "refused for good: 0",
        "p99",
    ] {
        assert!(out.contains(said), "the show says nothing of {said}:\n{out}");
    }
    // The page for operators has each command of the show.
    let page = std::fs::read_to_string(root().join("docs/ROLLING_UPDATES.md"))?;
    let commands: Vec<_> = out.lines().filter_map(|line| line.trim().strip_prefix("$ ")).collect();
    assert_eq!(commands.len(), 3, "{commands:?}");
    for command in commands {
        let start = command.split(" --").next().unwrap_or_default().split(" '").next().unwrap_or_default();
        assert!(page.contains(start), "the page says nothing of {start}");
    }
    Ok(())
}

/// The README's commands, as written, but with free ports and the binaries of this build.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_readme_s_commands_work() -> anyhow::Result<()> {
    let commands = readme_commands("Run it");
    let [build, serve, key, server, add, play] = commands.as_slice() else { panic!("{commands:#?}") };
    assert_eq!(build, "cargo build --release");
    assert_eq!(serve, "target/release/auth-hub serve");
    assert_eq!(server, "GAME_SERVER__HUB__KEY_FILE=alpha.key target/release/game-server");
    let dir = tempfile::tempdir()?;
    let bin = binaries()?;

    let any = "127.0.0.1:0".to_owned();
    let free_ports = ["HTTP", "MQTT", "OPERATORS", "ADMIN"]
        .map(|section| (format!("AUTH_HUB__{section}__LISTEN"), any.clone()));
    let mut hub = Process::start("hub", "auth-hub", &["serve"], &free_ports.into(), dir.path())?;
    let ready = hub.ready().await?;
    let (http, mqtt) = (Process::addr(&ready, "http")?, Process::addr(&ready, "mqtt")?);

    let shell = |line: &str| {
        let line = line.replace("target/release", &bin.display().to_string());
        let line = line.replace("http://127.0.0.1:8080", &format!("http://{http}"));
        let mut command = Command::new("sh");
        command.args(["-c", &line]).current_dir(dir.path()).stdin(Stdio::null()).kill_on_drop(true);
        command
    };
    ensure!(shell(key).status().await?.success(), "{key}");
    let settings = BTreeMap::from([
        ("GAME_SERVER__HUB__KEY_FILE".to_owned(), "alpha.key".to_owned()),
        ("GAME_SERVER__HUB__BROKERS".to_owned(), format!("[\"{mqtt}\"]")),
    ]);
    let mut alpha = Process::start("alpha", "game-server", &[], &settings, dir.path())?;
    alpha.ready().await?;
    hub.logged(&["server.eligible", "\"alpha\""], PATIENCE).await?;
    ensure!(shell(add).status().await?.success(), "{add}");

    let mut player = shell(play).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut typed = player.stdin.take().context("stdin")?;
    typed.write_all(b"who\n").await?;
    drop(typed);
    let output = tokio::time::timeout(PATIENCE, player.wait_with_output()).await??;
    let out = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "{play}:\n{out}");
    assert!(out.contains("welcome to alpha, ada") && out.contains("left"), "{out}");

    // "Follow one login": the id in the reply finds every step in both logs.
    let id =
        out.split("(handover ").nth(1).and_then(|rest| rest.split(')').next()).context("no handover id")?;
    for step in ["handover.placed", "grant.sent", "grant.accepted", "handover.answered"] {
        hub.logged(&[step, id], PATIENCE).await?;
    }
    for step in ["grant.received", "grant.held", "token.redeemed", "session.left"] {
        alpha.logged(&[step, id], PATIENCE).await?;
    }
    Ok(())
}

/// The README's TLS, as written, but on a free port: the certificate is believed, and the hub answers (nobody is online).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_readme_s_tls_commands_work() -> anyhow::Result<()> {
    let commands = readme_commands("Beyond this machine");
    let [certs, serve, play] = commands.as_slice() else { panic!("{commands:#?}") };
    assert_eq!(certs, "scripts/dev-certs certs");
    let (dir, bin) = (tempfile::tempdir()?, binaries()?);
    let made = Command::new(bin.join("dev-certs")).arg("certs").current_dir(dir.path()).output().await?;
    ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let words = serve.split(' ').map_while(|word| word.split_once('='));
    let mut settings: BTreeMap<_, _> =
        words.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    assert_eq!(settings.len(), 2, "{serve}");
    for section in ["HTTP", "MQTT", "OPERATORS", "ADMIN"] {
        settings.insert(format!("AUTH_HUB__{section}__LISTEN"), "127.0.0.1:0".to_owned());
    }
    let mut hub = Process::start("hub", "auth-hub", &["serve"], &settings, dir.path())?;
    let http = Process::addr(&hub.ready().await?, "http")?;
    let play = play.replace("target/release", &bin.display().to_string());
    let play = play.replace("https://localhost:8080", &format!("https://localhost:{}", http.port()));
    let register = play.replace(" play ", " register ");
    for (line, code, said) in [(register, 0, "registered ada"), (play, 3, "no-server-online")] {
        let mut command = Command::new("sh");
        let output =
            command.args(["-c", &line]).current_dir(dir.path()).stdin(Stdio::null()).output().await?;
        let text =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        ensure!(output.status.code() == Some(code) && text.contains(said), "{line}:\n{text}");
    }
    Ok(())
}
