//! What lives longer than a login: the credentials that a broken connection is mended with, and the operators' key.

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hub_tests::client::{GameClient, HubClient};

use super::hunt::Hunt;
use super::players::altered;
use super::{beside, run};
use crate::rig::Stage;

fn found_credential(hunt: &mut Hunt, name: &str, credential: &str) -> anyhow::Result<()> {
    hunt.found(name, credential);
    hunt.found(&format!("{name}, bytes"), URL_SAFE_NO_PAD.decode(credential)?);
    Ok(())
}

/// A player comes back twice, each time with another credential; between, with one that is altered and one that is used up.
pub(super) async fn returns(stage: &Stage, hub: &HubClient, hunt: &mut Hunt) -> anyhow::Result<()> {
    let login = hub.login("ada", &hunt.spend("ada's password"), Some("alpha")).await?;
    let place = login.handover.context("no handover")?;
    let trust = stage.trust()?;
    let mut game = GameClient::go(&place, trust.as_ref()).await?;
    game.say_hello(&place.token).await?;
    ensure!(game.outcome().await?.code() == "welcome");
    let mut used = Vec::new();
    for round in ["first", "second"] {
        // The answer comes behind what to come back with.
        ensure!(game.ask(b"hello").await? == b"hello");
        let (credential, _) = game.way_back().context("nothing to come back with")?;
        let credential = credential.to_owned();
        found_credential(hunt, &format!("{round} credential"), &credential)?;
        let forged = altered(&credential);
        hunt.found(&format!("{round} credential, forged"), forged.get(20..).context("short")?);
        for bad in used.iter().chain([&forged]) {
            let mut stranger = GameClient::go(&place, trust.as_ref()).await?;
            stranger.ask_back(bad).await?;
            ensure!(stranger.outcome().await?.code() != "welcome", "{round}: a bad credential is taken");
        }
        let mut back = GameClient::go(&place, trust.as_ref()).await?;
        back.ask_back(&credential).await?;
        ensure!(back.outcome().await?.code() == "welcome", "{round}: a good credential is refused");
        used.push(credential);
        game = back;
    }
    Ok(())
}

/// The operators' key: right, another's, garbage, for all to read, and where its file should be named.
pub(super) async fn commands(stage: &Stage, hunt: &mut Hunt) -> anyhow::Result<()> {
    let dir = stage.site.path();
    let key = std::fs::read_to_string(dir.join("admin.key"))?;
    let key = key.trim();
    hunt.found("admin key", key);
    hunt.found("admin key, bytes", URL_SAFE_NO_PAD.decode(key)?);
    let another = altered(key);
    hunt.found("another admin key", another.get(..12).context("short")?);
    hunt.make("garbage for an admin key");
    let garbage = hunt.spend("garbage for an admin key");
    let file = |name: &str, text: &str, mode: u32| super::operators::write(&dir.join(name), text, mode);
    let files = [
        (0, dir.join("admin.key").display().to_string()),
        (1, file("another.admin", &another, 0o600)?),
        (1, file("garbage.admin", &garbage, 0o600)?),
        (1, file("open.admin", key, 0o644)?),
        (1, key.to_owned()),
    ];
    let url = format!("http://{}", stage.hub.admin);
    for (code, key_file) in files {
        for command in [&["servers"][..], &["find", "ada"], &["kick", "ada", "--why", "hunted"]] {
            let args =
                [&["admin", "--as", "grace"], command, &["--url", &url, "--key-file", &key_file]].concat();
            let ended = run(("auth-hub", &args), &beside(&[]), "", dir).await?;
            ensure!(ended.code == Some(code), "{args:?}: {ended:?}");
            hunt.heard("auth-hub admin", ended.out + &ended.err);
        }
    }
    Ok(())
}
