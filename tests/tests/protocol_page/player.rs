//! A client written from the page alone: `tests/python/player.py` against the page's bytes, and against real processes.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use hub_tests::process::{Process, binaries};
use hub_tests::setup::HUB;
use hub_tests::site::env;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::process::Command;

use super::{blocks, page, root, samples};

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
    assert!(said.contains("14 frames"), "{said}");
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
    let hub_env = env(&HUB);
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
        ("GAME_SERVER__HUB__KEY", key.as_str()),
        ("GAME_SERVER__HUB__BROKERS", brokers.as_str()),
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

/// A frame of a tag that no version has yet.
const NEWER_FRAME: &[u8] = &[0, 0, 0, 3, 99, 1, 2];

#[tokio::test]
async fn a_client_of_another_language_is_refused_as_the_page_says() {
    let samples: BTreeMap<_, _> = samples::all().into_iter().collect();
    let (hub, game) =
        (TcpListener::bind("127.0.0.1:0").await.unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let (base, address) = (format!("http://{}", hub.local_addr().unwrap()), game.local_addr().unwrap());

    let answer_login = async {
        let (page, (mut client, _)) = (page(), hub.accept().await.unwrap());
        let (_, range) = blocks(&page, "json").into_iter().find(|(name, _)| *name == "login-reply").unwrap();
        let reply = page[range].replace("play.example.org:7000", &address.to_string());
        // The request is small; whatever came, this is the answer to it.
        let _ = client.read(&mut [0; 4096]).await.unwrap();
        let head = format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", reply.len());
        client.write_all((head + &reply).as_bytes()).await.unwrap();
        client
    };
    let refuse = async {
        let (mut client, _) = game.accept().await.unwrap();
        let mut prefix = [0; 4];
        client.read_exact(&mut prefix).await.unwrap();
        let mut hello = vec![0; u32::from_be_bytes(prefix) as usize];
        client.read_exact(&mut hello).await.unwrap();
        let refused = &samples["frame-server-refused-new-handover"];
        let frames = [&samples["frame-server-delayed"], NEWER_FRAME, refused].concat();
        client.write_all(&frames).await.unwrap();
        (client, hello)
    };
    let account = ["--hub", &base, "--login", "ada", "--password", "correct horse"];
    let ((code, said), _, (_, hello)) = tokio::join!(play(&account), answer_login, refuse);
    assert_eq!(
        said,
        "delayed deadline_ms=10000\n\
         refused code=server-full retry=new-handover after_ms=2000 handover=48484848-4848-4848-4848-484848484848\n"
    );
    assert_eq!(code, Some(3));
    let token = samples::token().0;
    assert!(hello.windows(76).any(|bytes| bytes == token.expose().as_bytes()), "the page's token is shown");
}
