//! "Registered" survives power loss: the real hub's writes, as strace recorded them, replayed up to many moments at which the power could have
//! gone, on a disk that keeps what was synced and of the rest what chance leaves; the store must open each and hold whoever was told so before.
//!
//! Needs strace (feature `power-loss`). `POWER_LOSS_CUTS` sets how many moments are tried.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod disk;
mod record;
mod trace;

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::Path;
use std::sync::Arc;

use auth_hub::accounts::Store;
use disk::{Disk, Image, Left};
use record::{DATABASE, KEY, Recorded, recorded};
use shared_msgs::clock::SystemClock;
use shared_msgs::rng::SeededRng;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use trace::Op;

/// Login names, and the ids they were told.
type Accounts = BTreeMap<String, String>;

/// What the store finds in what is left: an error, or all accounts.
async fn restart(image: &Image) -> Result<Accounts, String> {
    let dir = record::scratch().unwrap();
    for (name, bytes) in image {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    let (tasks, process) = (TaskTracker::new(), CancellationToken::new());
    let (rng, clock) = (Arc::new(SeededRng::new(1)), Arc::new(SystemClock::new()));
    let store = Store::open(&dir.path().join(DATABASE), &tasks, &process, rng, clock).await;
    let store = store.map_err(|err| format!("{err:?}"))?;
    let (mut found, mut after) = (Accounts::new(), None);
    loop {
        let page = store.list(after.as_ref(), 1000).await.map_err(|err| format!("{err:?}"))?;
        after = page.last().map(|account| account.login.clone());
        found.extend(page.into_iter().map(|account| (account.login.to_string(), account.id.to_string())));
        if after.is_none() {
            store.close().await;
            return Ok(found);
        }
    }
}

#[derive(Default)]
struct Report {
    images: usize,
    checks: usize,
    wrong: Vec<String>,
}

/// The moments after which the power goes: some of each kind, evenly spread, and all of the beginning.
fn cuts(ops: &[Op], most: usize) -> Vec<usize> {
    let kind = |op: &Op| match op {
        Op::Tells(_) => 0,
        Op::Write(path, ..) | Op::Syncs(_, path) if path.to_string_lossy().ends_with("-wal") => 1,
        _ => 2,
    };
    let mut cuts: Vec<usize> = (0..ops.len().min(most / 4)).collect();
    for wanted in 0..3 {
        let all: Vec<_> = (0..ops.len()).filter(|n| kind(&ops[*n]) == wanted).collect();
        cuts.extend(all.iter().step_by((all.len() / (most / 4)).max(1)));
    }
    cuts.push(ops.len() - 1);
    cuts.sort_unstable();
    cuts.dedup();
    cuts
}

/// Cuts the power at each of `cuts`, four times: nothing left of what was not synced, all of it, and twice what chance leaves.
async fn cut_power(recorded: &Recorded, ops: &[Op], cuts: &[usize]) -> Report {
    let (mut disk, mut told, mut report) = (Disk::new(&recorded.root), Accounts::new(), Report::default());
    let mut known: HashMap<u64, Result<Accounts, String>> = HashMap::new();
    let mut cuts = cuts.iter().copied().peekable();
    for (n, op) in ops.iter().enumerate() {
        disk.apply(op).unwrap();
        if let Op::Tells(answer) = op {
            told.extend([record::registered(answer)]);
        }
        if cuts.next_if_eq(&n).is_none() {
            continue;
        }
        for left in 0..4 {
            let rng = SeededRng::new(u64::try_from(n * 4 + left).unwrap());
            let left = [Left::Nothing, Left::Everything, Left::Chance(&rng), Left::Chance(&rng)]
                .into_iter()
                .nth(left);
            let image = disk.image(&left.unwrap());
            let mut hash = DefaultHasher::new();
            image.hash(&mut hash);
            let hash = hash.finish();
            let found = match known.entry(hash) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => new.insert(restart(&image).await),
            };
            report.checks += 1;
            report
                .wrong
                .extend(judge(found, &told, &image, recorded).map(|what| format!("after step {n}: {what}")));
        }
    }
    report.images = known.len();
    report
}

/// What is wrong with what was found.
fn judge(
    found: &Result<Accounts, String>,
    told: &Accounts,
    image: &Image,
    recorded: &Recorded,
) -> Option<String> {
    let found = match found {
        Ok(found) => found,
        Err(err) => return Some(format!("the store does not open: {err}")),
    };
    if let Some((login, _)) = told.iter().find(|(login, id)| found.get(*login) != Some(id)) {
        return Some(format!("{login} of {} told is lost, {} found", told.len(), found.len()));
    }
    if let Some((login, _)) = found.iter().find(|(login, id)| recorded.told.get(*login) != Some(id)) {
        return Some(format!("{login} was never registered so"));
    }
    if !told.is_empty() && image.get(Path::new(KEY)) != Some(&recorded.key) {
        return Some("the fleet key is lost".to_owned());
    }
    None
}

fn cuts_wanted() -> usize {
    std::env::var("POWER_LOSS_CUTS").map_or(240, |text| text.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_was_told_so_is_registered_after_the_power_was_cut() -> anyhow::Result<()> {
    let recorded = recorded().await?;
    let ops = &recorded.ops;
    let checkpoints = ops.windows(2).filter(|two| {
        let into_database = |op: &Op| matches!(op, Op::Write(path, ..) if path.ends_with(DATABASE));
        into_database(&two[1]) && !into_database(&two[0])
    });
    // Else the hardest part, the log's start over, was not tried.
    assert!(checkpoints.count() >= 3, "too few writes to the database itself");
    let cuts = cuts(ops, cuts_wanted());
    let report = cut_power(recorded, ops, &cuts).await;
    println!(
        "{} steps, {} told, {} cuts, {} checks of {} images",
        ops.len(),
        recorded.told.len(),
        cuts.len(),
        report.checks,
        report.images
    );
    assert!(
        report.wrong.is_empty(),
        "{} wrong:\n{}",
        report.wrong.len(),
        report.wrong[..report.wrong.len().min(20)].join("\n")
    );
    Ok(())
}

/// The checker can fail: the same run on a disk that ignores some of the syncs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_kind_of_sync_registrations_are_lost() -> anyhow::Result<()> {
    let recorded = recorded().await?;
    let kind = |path: &Path| match path {
        log if log.to_string_lossy().ends_with("-wal") => "log",
        database if database.ends_with(DATABASE) => "database",
        folder if folder.extension().is_none() => "folder",
        _ => "other",
    };
    for ignored in ["log", "database", "folder"] {
        let heeded = |op: &&Op| !matches!(op, Op::Syncs(_, path) if kind(path) == ignored);
        let ops: Vec<_> = recorded.ops.iter().filter(heeded).cloned().collect();
        assert!(ops.len() < recorded.ops.len(), "the hub never syncs the {ignored}");
        let report = cut_power(recorded, &ops, &cuts(&ops, 60)).await;
        assert!(!report.wrong.is_empty(), "the {ignored}'s syncs change nothing");
    }
    Ok(())
}
