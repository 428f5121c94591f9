//! Secrets, and a search for them in every log: players' and servers', right and wrong, on real processes that say all they can.
//!
//! `players` and `requests` use those that clients hold, `sessions` those of players in game and of operators at work, `operators` those
//! that stand in files and settings; `hunt` looks for them. Invariant: a scene
//! that did not happen as told (another status, a log that is not at its most talkative) fails before the search.

mod hunt;
mod operators;
mod players;
mod requests;
mod sessions;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use hub_tests::process::{Process, binaries};
use hub_tests::setup::Ended;
use hub_tests::site::{PATIENCE, hub_settings};
use shared_msgs::keys::ServerKey;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::rig::Setting;
use hunt::Hunt;

/// What makes a process say all it can. rustls would write session keys to the last one's file, if it were asked to.
fn talkative(filter: &'static str) -> [Setting; 4] {
    [
        (filter, "trace".to_owned()),
        ("RUST_BACKTRACE", "full".to_owned()),
        ("RUST_LOG", "trace".to_owned()),
        ("SSLKEYLOGFILE", "session.keys".to_owned()),
    ]
}

fn loud_hub() -> [Setting; 4] {
    talkative("AUTH_HUB__LOG__FILTER")
}

fn loud_server() -> [Setting; 4] {
    talkative("GAME_SERVER__LOG__FILTER")
}

/// A hub's settings for a command beside it, or for one that does not start.
fn beside(more: &[Setting]) -> BTreeMap<String, String> {
    let mut env = hub_settings();
    env.extend(loud_hub().iter().chain(more).map(|(name, value)| ((*name).to_owned(), value.clone())));
    env
}

/// A game server's, and nothing but these.
fn alone(more: &[Setting]) -> BTreeMap<String, String> {
    loud_server().iter().chain(more).map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
}

/// Runs a program to its end.
async fn run(
    (binary, args): (&str, &[&str]),
    env: &BTreeMap<String, String>,
    stdin: &str,
    dir: &Path,
) -> anyhow::Result<Ended> {
    let mut child = Command::new(binaries()?.join(binary))
        .args(args)
        .envs(env)
        .current_dir(dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    // One that has no use for it may have ended by now.
    let _ = child.stdin.take().context("no stdin")?.write_all(stdin.as_bytes()).await;
    let output = tokio::time::timeout(PATIENCE, child.wait_with_output()).await;
    let output = output.with_context(|| format!("{binary} {args:?} does not end"))??;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok(Ended { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) })
}

impl Hunt {
    /// What a process that has ended has said.
    async fn heard_all(&mut self, who: &str, process: &mut Process) -> anyhow::Result<()> {
        let words = process.last_words().await?;
        self.heard(who, words);
        Ok(())
    }

    /// A server's key line, and what derives from it.
    fn found_server_key(&mut self, who: &str, line: &str) -> anyhow::Result<()> {
        let text = line.rsplit('.').next().context("a key")?;
        self.found(&format!("key of {who}"), text);
        self.found(&format!("key of {who}, bytes"), URL_SAFE_NO_PAD.decode(text)?);
        let password = line.parse::<ServerKey>()?.mqtt_password();
        let secret = password.rsplit('.').next().context("a password")?;
        self.found(&format!("MQTT password of {who}"), secret);
        self.found(&format!("MQTT password of {who}, bytes"), URL_SAFE_NO_PAD.decode(secret)?);
        Ok(())
    }

    /// A private key's file: its lines, and the number that is the key (PKCS #8 of a P-256 key).
    fn found_tls_key(&mut self, who: &str, file: &Path) -> anyhow::Result<()> {
        let pem = std::fs::read_to_string(file)?;
        let lines: Vec<_> = pem.lines().filter(|line| !line.starts_with("-----")).collect();
        for (n, line) in lines.iter().enumerate() {
            self.found(&format!("TLS key of {who}, line {n}"), line);
        }
        let der = STANDARD.decode(lines.concat())?;
        anyhow::ensure!(der[34..36] == [0x04, 0x20], "another form of key");
        self.found(&format!("TLS key of {who}, bytes"), &der[36..68]);
        Ok(())
    }

    /// The password hashes in a database, and how many there are.
    fn found_hashes(&mut self, database: &Path) -> anyhow::Result<usize> {
        let mut hashes = std::collections::BTreeSet::new();
        for ending in ["", "-wal"] {
            let mut file = database.as_os_str().to_owned();
            file.push(ending);
            let bytes = std::fs::read(&file).unwrap_or_default();
            let is_phc = |byte: &u8| byte.is_ascii_alphanumeric() || b"$,=+/".contains(byte);
            for at in 0..bytes.len() {
                if bytes[at..].starts_with(b"$argon2id$") {
                    let phc: Vec<u8> = bytes[at..].iter().copied().take_while(is_phc).collect();
                    hashes.insert(String::from_utf8(phc)?);
                }
            }
        }
        for (n, phc) in hashes.iter().enumerate() {
            let mut parts = phc.rsplit('$');
            // What follows in the page may look like more of it.
            let (hash, salt) = (parts.next().context("a hash")?, parts.next().context("a salt")?);
            let hash = hash.get(..43).context("a short hash")?;
            self.found(&format!("hash {n}"), hash);
            self.found(&format!("salt {n}"), salt);
            self.found(&format!("hash {n}, bytes"), STANDARD_NO_PAD.decode(hash)?);
        }
        Ok(hashes.len())
    }
}
