//! The real binaries, as child processes on free ports: for kill -9, and for the demo.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};
use tokio::sync::watch;

/// A debug binary starts well within this, or not at all.
const START_TIME: Duration = Duration::from_mins(1);

/// The unit of times in /proc: USER_HZ, 100 on every Linux that there is.
const TICK_MS: u64 = 10;

/// What a process has used.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    /// Processor time since its start, in steps of 10 ms.
    pub cpu: Duration,
    /// Resident memory.
    pub rss_kib: u64,
    /// Open file descriptors.
    pub descriptors: usize,
}

/// Builds the workspace's binaries, once per process, and tells where they are. A cargo that is already at work on the same
/// target folder has built them: then this only waits for its lock.
///
/// # Errors
/// When the build fails.
pub fn binaries() -> anyhow::Result<PathBuf> {
    static BUILT: Mutex<Option<PathBuf>> = Mutex::new(None);
    let mut built = BUILT.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(dir) = &*built {
        return Ok(dir.clone());
    }
    // Others than those of the tests' own build, as they are: to measure what ships.
    if let Some(dir) = std::env::var_os("HUB_BINARIES") {
        return Ok(PathBuf::from(dir));
    }
    // tests/…/deps/test-binary or …/demo: the binaries lie beside it or one folder up.
    let exe = std::env::current_exe()?;
    let dir = exe.ancestors().skip(1).find(|dir| !dir.ends_with("deps")).context("no target folder")?;
    let profile = if dir.ends_with("release") { "release" } else { "dev" };
    let target = dir.parent().context("no target folder")?;
    let status = std::process::Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["build", "--quiet", "--workspace", "--bins", "--profile", profile, "--target-dir"])
        .arg(target)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::null())
        .status()
        .context("cargo build")?;
    ensure!(status.success(), "cargo build failed");
    *built = Some(dir.to_path_buf());
    Ok(dir.to_path_buf())
}

/// A running program. Killed when dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    stdout: Lines<BufReader<ChildStdout>>,
    /// Everything it logged so far.
    log: watch::Receiver<Vec<String>>,
}

impl Process {
    /// Starts a binary of the workspace; its log goes to `log_file` as well.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(
        name: &str,
        binary: &str,
        args: &[&str],
        env: &BTreeMap<String, String>,
        dir: &Path,
    ) -> anyhow::Result<Self> {
        let mut command = Command::new(binaries()?.join(binary));
        command.args(args);
        Self::spawn(name, command, env, dir)
    }

    /// As [`Process::start`], with no more file descriptors than this.
    ///
    /// # Errors
    /// As [`Process::start`].
    pub fn start_with_descriptors(
        descriptors_max: u32,
        name: &str,
        binary: &str,
        args: &[&str],
        env: &BTreeMap<String, String>,
        dir: &Path,
    ) -> anyhow::Result<Self> {
        let mut command = Command::new("sh");
        let script = format!("ulimit -n {descriptors_max} && exec \"$0\" \"$@\"");
        command.arg("-c").arg(script).arg(binaries()?.join(binary)).args(args);
        Self::spawn(name, command, env, dir)
    }

    fn spawn(
        name: &str,
        mut command: Command,
        env: &BTreeMap<String, String>,
        dir: &Path,
    ) -> anyhow::Result<Self> {
        let mut child = command
            .envs(env)
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A Ctrl-C at the terminal is for whoever started it, who then asks it to stop.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("start {name}"))?;
        let stdout = child.stdout.take().context("no stdout")?;
        let stderr = child.stderr.take().context("no stderr")?;
        let (lines, log) = watch::channel(Vec::new());
        let file = dir.join(format!("{name}.log"));
        let file = std::fs::OpenOptions::new().create(true).append(true).open(file)?;
        tokio_util::task::TaskTracker::new().spawn(collect(stderr, lines, file));
        Ok(Self { name: name.to_owned(), child, stdout: BufReader::new(stdout).lines(), log })
    }

    /// Waits for its `READY` line and gives the words after it, by name.
    ///
    /// # Errors
    /// When it ends or stays silent; the error shows the end of its log.
    pub async fn ready(&mut self) -> anyhow::Result<BTreeMap<String, String>> {
        let line = tokio::time::timeout(START_TIME, self.stdout.next_line()).await;
        let line =
            line.with_context(|| format!("{} is not ready in time:\n{}", self.name, self.tail()))??;
        let line =
            line.with_context(|| format!("{} ended before it was ready:\n{}", self.name, self.tail()))?;
        let Some(words) = line.strip_prefix("READY ") else { bail!("{} said {line:?}", self.name) };
        let pairs = words.split_whitespace().filter_map(|word| word.split_once('='));
        Ok(pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect())
    }

    /// One of the addresses of the `READY` line.
    ///
    /// # Errors
    /// When it is not there.
    pub fn addr(ready: &BTreeMap<String, String>, key: &str) -> anyhow::Result<SocketAddr> {
        Ok(ready.get(key).with_context(|| format!("READY names no {key}"))?.parse()?)
    }

    /// Its process id.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// What the kernel counts of it now.
    ///
    /// # Errors
    /// When it has ended.
    pub fn usage(&self) -> anyhow::Result<Usage> {
        let id = self.id().with_context(|| format!("{} has ended", self.name))?;
        let read = |file: &str| std::fs::read_to_string(format!("/proc/{id}/{file}"));
        let stat = read("stat")?;
        // The name in parentheses may hold anything; user and system time are the 12th and 13th fields behind it.
        let fields: Vec<&str> =
            stat.rsplit(')').next().unwrap_or_default().split_ascii_whitespace().collect();
        let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok());
        let cpu_ticks = ticks(11).zip(ticks(12)).context("no times in stat")?;
        let status = read("status")?;
        let rss =
            status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS in status")?;
        let rss_kib = rss.trim().trim_end_matches(" kB").parse()?;
        let descriptors = std::fs::read_dir(format!("/proc/{id}/fd"))?.count();
        Ok(Usage { cpu: Duration::from_millis((cpu_ticks.0 + cpu_ticks.1) * TICK_MS), rss_kib, descriptors })
    }

    /// Waits for a log line that contains all of `words`.
    ///
    /// # Errors
    /// When the program ends or `within` is over; the error shows the end of its log.
    pub async fn logged(&self, words: &[&str], within: Duration) -> anyhow::Result<String> {
        self.logged_times(words, 1, within).await
    }

    /// Waits for the `count`th log line that contains all of `words`.
    ///
    /// # Errors
    /// As [`Process::logged`].
    pub async fn logged_times(
        &self,
        words: &[&str],
        count: usize,
        within: Duration,
    ) -> anyhow::Result<String> {
        let is_it = |line: &&String| words.iter().all(|word| line.contains(word));
        let nth = |lines: &[String]| lines.iter().filter(is_it).nth(count - 1).cloned();
        let mut log = self.log.clone();
        let found = tokio::time::timeout(within, log.wait_for(|lines| nth(lines).is_some())).await;
        match found {
            Ok(Ok(lines)) => Ok(nth(&lines).unwrap_or_default()),
            _ => bail!("{} never logged {count} × {words:?}:\n{}", self.name, self.tail()),
        }
    }

    /// How many log lines contain all of `words` so far.
    pub fn count_logged(&self, words: &[&str]) -> usize {
        self.log.borrow().iter().filter(|line| words.iter().all(|word| line.contains(word))).count()
    }

    /// Everything it logged so far, and what it logs from now on.
    pub fn log(&self) -> watch::Receiver<Vec<String>> {
        self.log.clone()
    }

    /// All that it has logged, and what it printed after its `READY` line; for one that has ended.
    ///
    /// # Errors
    /// When something still holds its output open.
    pub async fn last_words(&mut self) -> anyhow::Result<String> {
        let mut said = String::new();
        let all = async {
            while let Some(line) = self.stdout.next_line().await? {
                said.push_str(&line);
                said.push('\n');
            }
            // The sender goes when nothing more can come.
            while self.log.changed().await.is_ok() {}
            anyhow::Ok(())
        };
        tokio::time::timeout(START_TIME, all)
            .await
            .with_context(|| format!("{} goes on talking", self.name))??;
        Ok(said + &self.log.borrow().join("\n"))
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// When the system cannot tell.
    pub fn ended(&mut self) -> std::io::Result<Option<std::process::ExitStatus>> {
        self.child.try_wait()
    }

    /// kill -9.
    ///
    /// # Errors
    /// When there is nothing to kill.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        Ok(self.child.kill().await?)
    }

    /// Sends a signal by name (`TERM`, `STOP`, `CONT`).
    ///
    /// # Errors
    /// When it has ended.
    pub async fn signal(&self, name: &str) -> anyhow::Result<()> {
        let id = self.id().with_context(|| format!("{} has ended", self.name))?;
        let status = Command::new("kill").args([format!("-{name}"), id.to_string()]).status().await?;
        ensure!(status.success(), "kill -{name} {id} failed");
        Ok(())
    }

    /// Waits for its end and gives its exit code; `None` after a signal.
    ///
    /// # Errors
    /// When it does not end within `within`.
    pub async fn exit_code(&mut self, within: Duration) -> anyhow::Result<Option<i32>> {
        let ended = tokio::time::timeout(within, self.child.wait()).await;
        let status = ended.with_context(|| format!("{} does not end:\n{}", self.name, self.tail()))??;
        Ok(status.code())
    }

    /// The last lines of its log.
    pub fn tail(&self) -> String {
        let lines = self.log.borrow();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }
}

async fn collect(stderr: ChildStderr, lines: watch::Sender<Vec<String>>, mut file: std::fs::File) {
    use std::io::Write as _;
    let mut stderr = BufReader::new(stderr).lines();
    while let Ok(Some(line)) = stderr.next_line().await {
        // The copy on disk is for people; the tests read the lines in memory.
        let _ = writeln!(file, "{line}");
        lines.send_modify(|lines| lines.push(line));
    }
}
