//! A client written from the page alone: `tests/python/player.py` against the page's bytes, and against real processes.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use hub_tests::process::{Process, binaries};
use tokio::process::Command;

use super::root;

const PATIENCE: Duration = Duration::from_secs(30);

fn player(args: &[&str]) -> Command {
    let mut command = Command::new("python3");
    command.arg(root().join("tests/python/player.py")).args(args).current_dir(root()).kill_on_drop(true);
    command
}

/// Runs it to its end: exit code, and what it printed.
async fn play(args: &[&str]) -> (Option<i32>, String) {
    let output = tokio::time::timeout(PATIENCE, player(args).output()).await.unwrap().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.code(), text + &String::from_utf8_lossy(&output.stderr))
}

#[tokio::test]
async fn a_client_of_another_language_reads_and_writes_the_pages_frames() {
    let (code, said) = play(&["--hex", "docs/PROTOCOL.md"]).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("10 frames"), "{said}");
}

fn env(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

async fn server_key(env: &BTreeMap<String, String>, dir: &Path) -> String {
    let mut command = Command::new(binaries().unwrap().join("auth-hub"));
    let output = command.args(["server-key", "alpha"]).envs(env).current_dir(dir).output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[tokio::test]
async fn a_client_of_another_language_plays() {
    let dir = tempfile::tempdir().unwrap();
    let hub_env = env(&[
        ("AUTH_HUB__HTTP__LISTEN", "127.0.0.1:0"),
        ("AUTH_HUB__MQTT__LISTEN", "127.0.0.1:0"),
        ("AUTH_HUB__PASSWORDS__MEMORY_KIB", "64"),
        ("AUTH_HUB__PASSWORDS__PASSES", "1"),
    ]);
    let mut hub = Process::start("hub", "auth-hub", &["serve"], &hub_env, dir.path()).unwrap();
    let ready = hub.ready().await.unwrap();
    let base = format!("http://{}", Process::addr(&ready, "http").unwrap());
    let brokers = format!("[\"{}\"]", Process::addr(&ready, "mqtt").unwrap());
    let key = server_key(&hub_env, dir.path()).await;
    let account = ["--hub", &base, "--login", "ada", "--password", "correct horse"];

    // Nowhere to play yet.
    let (code, said) = play(&[&account[..], &["--register"]].concat()).await;
    assert_eq!((code, said.trim()), (Some(1), "problem status=503 code=no-server-online retry_after_s=2"));

    let game_env = env(&[
        ("GAME_SERVER__HUB__KEY", &key),
        ("GAME_SERVER__HUB__BROKERS", &brokers),
        ("GAME_SERVER__GAME__LISTEN", "127.0.0.1:0"),
    ]);
    let mut game = Process::start("alpha", "game-server", &[], &game_env, dir.path()).unwrap();
    game.ready().await.unwrap();
    hub.logged(&["server.eligible"], PATIENCE).await.unwrap();

    let (code, said) = play(&account).await;
    assert_eq!(code, Some(0), "{said}");
    let lines: Vec<_> = said.lines().filter(|line| !line.starts_with("delayed ")).collect();
    let [welcome, who, echo] = lines[..] else { panic!("{said}") };
    let session =
        welcome.strip_prefix("welcome name=ada server=alpha session=").unwrap_or_else(|| panic!("{said}"));
    hub.logged(&["login.answered", session], PATIENCE).await.unwrap();
    assert_eq!((who, echo), (r#"app data="ada""#, r#"app data="hello, world""#));
    // It said that it leaves, and was understood.
    game.logged(&["session.left", session], PATIENCE).await.unwrap();
}
