//! The images, as an engine would run them: the staged archives unpacked, and the Containerfile's command run with that as its root.
//!
//! As root by `chroot` and as the image's user, else by `unshare`, as the root of a namespace of its own. Invariant: the same binary gives
//! the same archive, and a container writes nowhere but below /var/lib/handover.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};
use hub_tests::client::{GameClient, HubClient, Outcome};
use hub_tests::hub::PASSWORD;
use hub_tests::process::{Process, binaries};

use crate::site::{Env, PATIENCE, hub_env, is_root, server_env, tool};
use crate::{root, shipped};

/// One stage of the Containerfile, unpacked.
struct Image {
    root: PathBuf,
    user: String,
    env: Env,
    command: Vec<String>,
}

/// What the Containerfile says under `FROM scratch AS name`.
fn instructions(name: &str) -> Vec<(String, String)> {
    let file = shipped("Containerfile");
    let stage = file.split(&format!("FROM scratch AS {name}\n")).nth(1).unwrap();
    let lines = stage.lines().take_while(|line| !line.starts_with("FROM"));
    let lines = lines.filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| line.split_once(' '))
        .map(|(what, rest)| (what.to_owned(), rest.to_owned()))
        .collect()
}

fn stage(binary: &Path, dir: &Path) -> anyhow::Result<Vec<u8>> {
    let output = Command::new(root().join("scripts/rootfs")).arg(binary).arg(dir).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(std::fs::read(dir.with_extension("tar"))?)
}

fn unpack(name: &str, dir: &Path) -> anyhow::Result<Image> {
    let binary = binaries()?.join(name);
    let [first, second] = ["first", "second"].map(|place| dir.join(place).join(name));
    for place in [&first, &second] {
        std::fs::create_dir_all(place.parent().context("a folder")?)?;
    }
    ensure!(stage(&binary, &first)? == stage(&binary, &second)?, "two archives of one {name} differ");

    let mut image = Image {
        root: dir.join("root").join(name),
        user: String::new(),
        env: Env::new(),
        command: Vec::new(),
    };
    for (what, rest) in instructions(name) {
        match what.as_str() {
            "ADD" => {
                let archive = first.with_file_name(rest.strip_suffix(" /").context("ADD … /")?);
                std::fs::create_dir_all(&image.root)?;
                let tar = Command::new("tar").arg("-xpf").arg(archive).arg("-C").arg(&image.root).status()?;
                ensure!(tar.success(), "tar failed");
            }
            "USER" => image.user = rest,
            "ENV" => {
                let (name, value) = rest.split_once('=').context("ENV NAME=VALUE")?;
                image.env.insert(name.to_owned(), value.to_owned());
            }
            "ENTRYPOINT" | "CMD" => image.command.extend(serde_json::from_str::<Vec<String>>(&rest)?),
            "WORKDIR" | "VOLUME" | "STOPSIGNAL" => {}
            other => anyhow::bail!("the Containerfile says {other}, which no test runs"),
        }
    }
    Ok(image)
}

impl Image {
    /// The words that run the image's command, or other arguments for its program.
    fn words(&self, instead: Option<&str>) -> anyhow::Result<Vec<String>> {
        let root = self.root.to_string_lossy().into_owned();
        let mut words = if is_root() {
            vec![tool("chroot")?, format!("--userspec={}", self.user), root]
        } else {
            vec![tool("unshare")?, "-r".to_owned(), tool("chroot")?, root]
        };
        match instead {
            None => words.extend(self.command.iter().cloned()),
            Some(argument) => words.extend([self.command[0].clone(), argument.to_owned()]),
        }
        Ok(words)
    }

    fn start(&self, more: Env, dir: &Path) -> anyhow::Result<Process> {
        let mut env = self.env.clone();
        env.extend(more);
        let words = self.words(None)?;
        let args: Vec<_> = words[1..].iter().map(String::as_str).collect();
        Process::start("contained", &words[0], &args, &env, dir)
    }

    fn version(&self) -> anyhow::Result<String> {
        let words = self.words(Some("--version"))?;
        let output = Command::new(&words[0]).args(&words[1..]).output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?)
    }

    /// All paths but those below the one folder that is written to.
    fn paths(&self) -> anyhow::Result<BTreeSet<PathBuf>> {
        let state = self.root.join("var/lib/handover");
        let (mut found, mut open) = (BTreeSet::new(), vec![self.root.clone()]);
        while let Some(dir) = open.pop() {
            for entry in std::fs::read_dir(dir)? {
                let path = entry?.path();
                if path.is_dir() && path != state {
                    open.push(path.clone());
                }
                found.insert(path);
            }
        }
        Ok(found)
    }
}

/// For the container's user alone, as an engine is told to give a secret.
fn private(file: &Path, user: &str) -> anyhow::Result<()> {
    std::fs::set_permissions(file, std::os::unix::fs::PermissionsExt::from_mode(0o400))?;
    if is_root() {
        let (user, group) = user.split_once(':').context("USER user:group")?;
        std::os::unix::fs::chown(file, Some(user.parse()?), Some(group.parse()?))?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_through_both_images() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    // A container's user goes through it.
    std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let (hub_image, server_image) = (unpack("auth-hub", dir.path())?, unpack("game-server", dir.path())?);
    assert_eq!(hub_image.version()?, format!("auth-hub {}\n", env!("CARGO_PKG_VERSION")));
    assert_eq!(server_image.version()?, format!("game-server {}\n", env!("CARGO_PKG_VERSION")));
    let before = hub_image.paths()?;
    for tempting in ["bin", "usr/bin", "sbin"] {
        assert!(!hub_image.root.join(tempting).exists(), "there is a /{tempting}");
    }

    // The files are where the image says, not where the tests would have them.
    let mut env = hub_env("/nowhere");
    env.retain(|name, _| !hub_image.env.contains_key(name));
    let mut hub = hub_image.start(env.clone(), dir.path())?;
    let ready = hub.ready().await?;
    let key = hub_image.root.join("var/lib/handover/fleet.key");
    ensure!(key.is_file(), "no {}", key.display());

    env.insert("AUTH_HUB__KEYS__FLEET_KEY_FILE".to_owned(), key.to_string_lossy().into_owned());
    let line = crate::site::auth_hub(&["server-key", "alpha"], &env, dir.path()).await?;
    // A host name, which glibc looks up by what was staged; the key where the image expects an engine's secret.
    let port = Process::addr(&ready, "mqtt")?.port();
    let mut env = server_env(&format!("localhost:{port}"), "");
    env.remove("GAME_SERVER__HUB__KEY");
    let secret =
        server_image.root.join(server_image.env["GAME_SERVER__HUB__KEY_FILE"].trim_start_matches('/'));
    std::fs::create_dir_all(secret.parent().context("a folder")?)?;
    std::fs::write(&secret, line)?;
    private(&secret, &server_image.user)?;
    let mut server = server_image.start(env, dir.path())?;
    server.ready().await?;
    hub.logged(&["server.eligible", "\"alpha\""], PATIENCE).await?;

    let client = HubClient::new(format!("http://{}", ready["http"]))?;
    client.register("ada", PASSWORD).await?;
    let ticket = client.login("ada", PASSWORD, None).await?.handover.context("no place")?;
    let (player, outcome) = GameClient::enter(ticket.tcp()?, &ticket.token).await?;
    ensure!(matches!(outcome, Outcome::Welcome { .. }), "{outcome:?}");
    drop(player);

    for (process, name) in [(&mut server, "game-server"), (&mut hub, "auth-hub")] {
        process.signal("TERM").await?;
        assert_eq!(process.exit_code(PATIENCE).await?, Some(0), "{name}");
    }
    assert_eq!(hub_image.paths()?, before, "the hub wrote outside /var/lib/handover");
    Ok(())
}

#[test]
fn a_folder_that_was_not_staged_here_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let users = dir.path().join("etc/passwd");
    std::fs::create_dir(dir.path().join("etc")).unwrap();
    std::fs::write(&users, "root:x:0:0::/root:/bin/sh\ndaemon:x:1:1::/:/bin/false\n").unwrap();
    let refused = stage(&binaries().unwrap().join("auth-hub"), dir.path()).unwrap_err().to_string();
    assert!(refused.contains("was not made here"), "{refused}");
    assert!(users.exists() && !dir.path().join("usr").exists());
}
