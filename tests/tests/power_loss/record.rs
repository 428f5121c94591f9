//! The run that is recorded: the real hub under strace, registering from several clients at once, stopped, started again, stopped.
//!
//! Invariant: the recording, replayed, gives the very files that the hub left; else something escaped it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use hub_tests::client::HubClient;
use hub_tests::hub::PASSWORD;
use hub_tests::process::{Process, binaries};
use tempfile::TempDir;
use tokio::sync::OnceCell;
use tokio::task::JoinSet;

use crate::disk::{Disk, Image};
use crate::trace::{Op, Reader, STRACE};

/// Below folders that do not exist yet: their names must survive, too.
pub(crate) const DATABASE: &str = "var/data/hub.sqlite";
pub(crate) const KEY: &str = "var/keys/fleet.key";

/// Registrations per client in each run: few, then enough for the log to start over.
const RUNS: [usize; 2] = [30, 130];
const CLIENTS: usize = 3;
const PATIENCE: Duration = Duration::from_mins(2);

/// What the hub did.
pub(crate) struct Recorded {
    _dir: TempDir,
    pub(crate) root: PathBuf,
    pub(crate) ops: Vec<Op>,
    /// Everybody who was told to be registered in the end.
    pub(crate) told: BTreeMap<String, String>,
    pub(crate) key: Vec<u8>,
}

/// One recording for all tests of this process.
pub(crate) async fn recorded() -> anyhow::Result<&'static Recorded> {
    static RECORDED: OnceCell<Recorded> = OnceCell::const_new();
    RECORDED.get_or_try_init(record).await
}

/// Login name and id in the answer to a registration.
pub(crate) fn registered(answer: &[u8]) -> (String, String) {
    let text = String::from_utf8_lossy(answer);
    let (_, body) = text.split_once("\r\n\r\n").unwrap();
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    let member = |name: &str| body[name].as_str().unwrap().to_owned();
    (member("login"), member("account_id"))
}

/// A folder in memory where there is such a place: nothing here depends on the real disk, whose syncs take their time.
pub(crate) fn scratch() -> std::io::Result<TempDir> {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }
}

async fn record() -> anyhow::Result<Recorded> {
    let dir = scratch()?;
    let root = dir.path().canonicalize()?.join("site");
    std::fs::create_dir(&root)?;
    let mut reader = Reader::new(&root);
    for (run, registrations) in RUNS.into_iter().enumerate() {
        let trace = dir.path().join(format!("run-{run}.strace"));
        one_run(run, registrations, dir.path(), &root, &trace).await?;
        reader.read(&std::fs::read_to_string(trace)?)?;
        let mut disk = Disk::new(&root);
        reader.ops.iter().try_for_each(|op| disk.apply(op))?;
        let differences = disk.differences(&files(&root, &root)?);
        ensure!(differences.is_empty(), "the recording missed changes of {differences:?}");
    }
    let tells =
        reader.ops.iter().filter_map(|op| if let Op::Tells(answer) = op { Some(answer) } else { None });
    let told: BTreeMap<_, _> = tells.map(|answer| registered(answer)).collect();
    ensure!(told.len() == RUNS.iter().sum::<usize>() * CLIENTS, "{} answers were recorded", told.len());
    let key = std::fs::read(root.join(KEY))?;
    Ok(Recorded { _dir: dir, root, ops: reader.ops, told, key })
}

/// Ends the hub when its tracer has failed to.
struct Tracee(u32);

impl Drop for Tracee {
    fn drop(&mut self) {
        let _ = std::process::Command::new("kill").args(["-KILL", &self.0.to_string()]).output();
    }
}

async fn one_run(
    run: usize,
    registrations: usize,
    dir: &Path,
    root: &Path,
    trace: &Path,
) -> anyhow::Result<()> {
    let paths = std::env::var_os("PATH").context("no PATH")?;
    let mut places = std::env::split_paths(&paths).map(|place| place.join("strace"));
    let strace = places.find(|path| path.is_file()).context("strace is not installed")?;
    let (hub, trace) = (binaries()?.join("auth-hub"), trace.to_string_lossy().into_owned());
    let mut args = STRACE.to_vec();
    let hub = hub.to_string_lossy().into_owned();
    args.extend(["-o", trace.as_str(), hub.as_str(), "serve"]);
    let path = |name: &str| root.join(name).to_string_lossy().into_owned();
    let env = [
        ("HTTP__LISTEN", "127.0.0.1:0".to_owned()),
        ("MQTT__LISTEN", "127.0.0.1:0".to_owned()),
        ("OPERATORS__LISTEN", "127.0.0.1:0".to_owned()),
        ("ADMIN__LISTEN", "127.0.0.1:0".to_owned()),
        ("DATABASE__PATH", path(DATABASE)),
        ("KEYS__FLEET_KEY_FILE", path(KEY)),
        ("PASSWORDS__MEMORY_KIB", "64".to_owned()),
        ("PASSWORDS__PASSES", "1".to_owned()),
        ("THROTTLE__REGISTRATION_BURST", "100000".to_owned()),
    ];
    let env = env.map(|(name, value)| (format!("AUTH_HUB__{name}"), value)).into();
    let mut process = Process::start("hub", &strace.to_string_lossy(), &args, &env, dir)?;
    let ready = process.ready().await?;
    // strace does not hand signals on.
    let strace_id = process.id().context("strace has ended")?;
    let children = std::fs::read_to_string(format!("/proc/{strace_id}/task/{strace_id}/children"))?;
    let hub_process =
        Tracee(children.trim().parse().with_context(|| format!("one child, not {children:?}"))?);

    let http = Process::addr(&ready, "http")?;
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        clients.spawn(async move {
            let hub = HubClient::new(format!("http://{http}"))?;
            for n in 0..registrations {
                hub.register(&format!("player-{run}-{client}-{n}"), PASSWORD).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(done) = tokio::time::timeout(PATIENCE, clients.join_next()).await? {
        done??;
    }
    let asked = std::process::Command::new("kill").args(["-TERM", &hub_process.0.to_string()]).status()?;
    ensure!(asked.success(), "the hub is gone");
    let code = process.exit_code(PATIENCE).await?;
    ensure!(code == Some(0), "the hub ended with {code:?}:\n{}", process.tail());
    // Its id may be somebody else's from now on.
    std::mem::forget(hub_process);
    Ok(())
}

/// The real files below a folder, without the log's index.
fn files(folder: &Path, root: &Path) -> anyhow::Result<Image> {
    let mut image = Image::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            image.extend(files(&path, root)?);
        } else if !path.to_string_lossy().ends_with("-shm") {
            image.insert(path.strip_prefix(root)?.to_owned(), std::fs::read(&path)?);
        }
    }
    Ok(image)
}
