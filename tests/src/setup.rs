//! A folder with a program's files, and runs of the real binaries in it that are expected to end by themselves.
//!
//! Knows how a program is started and what it said; not what it should have said. Invariant: a run that does not end is ended and is
//! an error; no variable of ours leaks in from the environment of the tests.

pub mod shell;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tempfile::TempDir;
use tokio::process::Command;

use crate::process::binaries;

/// The longest run: a start that waits for a lock, on a busy machine.
const RUN_TIME: Duration = Duration::from_mins(1);

/// Settings of a hub that harms nobody: free ports, its files in the folder, cheap passwords.
pub const HUB: [(&str, &str); 10] = [
    ("AUTH_HUB__HTTP__LISTEN", "127.0.0.1:0"),
    ("AUTH_HUB__MQTT__LISTEN", "127.0.0.1:0"),
    ("AUTH_HUB__OPERATORS__LISTEN", "127.0.0.1:0"),
    ("AUTH_HUB__ADMIN__LISTEN", "127.0.0.1:0"),
    ("AUTH_HUB__ADMIN__KEY_FILE", "admin.key"),
    ("AUTH_HUB__DATABASE__PATH", "hub.sqlite"),
    ("AUTH_HUB__KEYS__FLEET_KEY_FILE", "fleet.key"),
    ("AUTH_HUB__PASSWORDS__MEMORY_KIB", "64"),
    ("AUTH_HUB__PASSWORDS__PASSES", "1"),
    // Who finds all full is refused: those who test the queue turn it on.
    ("AUTH_HUB__QUEUE__ENABLED", "false"),
];

/// A folder to break things in.
#[derive(Debug)]
pub struct Scene {
    dir: TempDir,
}

/// How a program ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code.
    pub code: Option<i32>,
    /// What it printed.
    pub out: String,
    /// What it complained of.
    pub err: String,
}

impl Scene {
    /// An empty folder.
    ///
    /// # Errors
    /// When there is none to be had.
    pub fn new() -> anyhow::Result<Self> {
        Ok(Self { dir: tempfile::tempdir()? })
    }

    /// A file in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file, private to its owner.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, name: &str, content: &[u8]) -> anyhow::Result<()> {
        std::fs::write(self.path(name), content)?;
        self.mode(name, 0o600)
    }

    /// Sets a file's mode.
    ///
    /// # Errors
    /// When there is no such file.
    pub fn mode(&self, name: &str, mode: u32) -> anyhow::Result<()> {
        Ok(std::fs::set_permissions(self.path(name), std::fs::Permissions::from_mode(mode))?)
    }

    /// Overwrites part of a file.
    ///
    /// # Errors
    /// When there is no such file.
    pub fn overwrite(&self, name: &str, at: u64, bytes: &[u8]) -> anyhow::Result<()> {
        let mut file = std::fs::OpenOptions::new().write(true).open(self.path(name))?;
        file.seek(SeekFrom::Start(at))?;
        Ok(file.write_all(bytes)?)
    }

    /// Every file directly in it, with what is in it.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn snapshot(&self) -> anyhow::Result<BTreeMap<OsString, Vec<u8>>> {
        let mut found = BTreeMap::new();
        for entry in std::fs::read_dir(self.dir.path())? {
            let entry = entry?;
            let content = if entry.path().is_file() { std::fs::read(entry.path())? } else { Vec::new() };
            found.insert(entry.file_name(), content);
        }
        Ok(found)
    }

    /// Runs a binary of the workspace to its end.
    ///
    /// # Errors
    /// When it does not start or does not end.
    pub async fn run(&self, binary: &str, args: &[&str], env: &[(&str, &str)]) -> anyhow::Result<Ended> {
        let mut command = Command::new(binaries()?.join(binary));
        command.args(args);
        self.end_of(command, env).await
    }

    /// As [`Scene::run`], with no more file descriptors than this.
    ///
    /// # Errors
    /// As [`Scene::run`].
    pub async fn run_with_descriptors(
        &self,
        descriptors_max: u32,
        binary: &str,
        args: &[&str],
        env: &[(&str, &str)],
    ) -> anyhow::Result<Ended> {
        let mut command = Command::new("sh");
        let script = format!("ulimit -n {descriptors_max} && exec \"$0\" \"$@\"");
        command.arg("-c").arg(script).arg(binaries()?.join(binary)).args(args);
        self.end_of(command, env).await
    }

    /// As [`Scene::run`], bound by file modes even when the tests are root's.
    ///
    /// # Errors
    /// As [`Scene::run`].
    pub async fn run_bound(
        &self,
        binary: &str,
        args: &[&str],
        env: &[(&str, &str)],
    ) -> anyhow::Result<Ended> {
        if std::fs::metadata(self.dir.path())?.uid() != 0 {
            return self.run(binary, args, env).await;
        }
        let mut command = Command::new("setpriv");
        command.arg("--bounding-set=-dac_override,-dac_read_search").arg(binaries()?.join(binary)).args(args);
        self.end_of(command, env).await
    }

    /// A hub's start that is expected to fail; variables of `more` win over [`HUB`].
    ///
    /// # Errors
    /// As [`Scene::run`].
    pub async fn hub(&self, more: &[(&str, &str)]) -> anyhow::Result<Ended> {
        self.run("auth-hub", &["serve"], &hub_with(more)).await
    }

    /// As [`Scene::hub`], bound by file modes.
    ///
    /// # Errors
    /// As [`Scene::run`].
    pub async fn hub_bound(&self, more: &[(&str, &str)]) -> anyhow::Result<Ended> {
        self.run_bound("auth-hub", &["serve"], &hub_with(more)).await
    }

    /// Makes the hub's files as a first start would, with one account in them.
    ///
    /// # Errors
    /// When it cannot.
    pub async fn make_hub_files(&self, more: &[(&str, &str)]) -> anyhow::Result<String> {
        let env = hub_with(more);
        let key = self.run("auth-hub", &["server-key", "alpha"], &env).await?;
        ensure!(key.code == Some(0), "{key:?}");
        let list = self.run("auth-hub", &["account", "list"], &env).await?;
        ensure!(list.code == Some(0), "{list:?}");
        Ok(key.out.trim().to_owned())
    }

    async fn end_of(&self, mut command: Command, env: &[(&str, &str)]) -> anyhow::Result<Ended> {
        let ours = |name: &OsString| {
            name.to_str()
                .is_some_and(|name| name.starts_with("AUTH_HUB__") || name.starts_with("GAME_SERVER__"))
        };
        for (name, _) in std::env::vars_os().filter(|(name, _)| ours(name)) {
            command.env_remove(name);
        }
        let run = command
            .envs(env.iter().copied())
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(RUN_TIME, run).await;
        let output = output.with_context(|| format!("it does not end: {env:?}"))??;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok(Ended { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) })
    }
}

/// [`HUB`], and what wins over it.
pub fn hub_with<'a>(more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    HUB.iter().chain(more).copied().collect()
}

impl Ended {
    /// That a check ended with this code, and a line of it begins with `start` and names all of `words`.
    ///
    /// # Errors
    /// When it found something else.
    pub fn found(&self, code: i32, start: &str, words: &[&str]) -> anyhow::Result<()> {
        ensure!(self.code == Some(code), "ended with {:?}:\n{}\n{}", self.code, self.out, self.err);
        let told = |line: &str| line.starts_with(start) && words.iter().all(|word| line.contains(word));
        ensure!(self.out.lines().any(told), "no line {start:?} with all of {words:?}:\n{}", self.out);
        let is_finding =
            |line: &str| ["ok    ", "warn  ", "FAIL  "].iter().any(|level| line.starts_with(level));
        ensure!(self.out.lines().all(is_finding) && self.err.is_empty(), "{}\n{}", self.out, self.err);
        Ok(())
    }

    /// That it failed with this code, and one line on stderr names all of `words`.
    ///
    /// # Errors
    /// When it did something else.
    pub fn failed(&self, code: i32, words: &[&str]) -> anyhow::Result<()> {
        ensure!(self.code == Some(code), "ended with {:?}:\n{}\n{}", self.code, self.out, self.err);
        let told = self.err.lines().any(|line| words.iter().all(|word| line.contains(word)));
        ensure!(told, "no line with all of {words:?}:\n{}", self.err);
        // Beside the log's lines, and those are no cause for alarm.
        let said = self.err.lines().filter(|line| !line.starts_with('{') || line.contains("\"ERROR\""));
        ensure!(said.count() == 1, "more than one line:\n{}", self.err);
        Ok(())
    }
}
