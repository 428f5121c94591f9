//! Torture: real processes, killed and cut off at random while players log in all the time; then the books are checked.
//!
//! [`run`] starts a [`site`], lets devices ([`player`]) live on it, carries out [`faults`] at random moments, then [`settle`]s and judges every
//! handover by what was promised ([`verdicts`], where LOST and DOUBLED are defined; STUCK is what settling does not see happen within its
//! bounds, and a process that ends by itself). What is done when comes from a seed; what comes of it is up to the machine's timing.

pub mod faults;
pub mod journal;
pub mod player;
pub mod settle;
pub mod site;
pub mod story;
pub mod table;
pub mod verdicts;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use shared_msgs::rng::{Rng, SeededRng};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use faults::{Cycle, Fault, Target};
use player::{Device, Diary, PASSWORD, Phase};
use settle::Seat;
use site::Site;
use story::Heard;
use table::{Finding, Kind, Report};
use verdicts::{Facts, Verdict};

/// So many offending handovers are shown with their log lines.
const SHOWN_MAX: usize = 10;
/// So many lines of each.
const LINES_MAX: usize = 80;

/// What is to be done.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Cycles: kills and faults.
    pub cycles: usize,
    /// All decisions follow from it.
    pub seed: u64,
    /// Game servers.
    pub servers: usize,
    /// Slots of each.
    pub slots: usize,
    /// Accounts.
    pub accounts: usize,
    /// How many of them have a second device.
    pub second_devices: usize,
    /// Longest pause between the starts of two faults; the shortest is a quarter of it.
    pub pause_max: Duration,
}

/// Carries out a plan. The logs' folder is kept when something was found, and told.
///
/// # Errors
/// When nothing could be set up.
pub async fn run(plan: &Plan, cut_short: CancellationToken) -> anyhow::Result<(Report, Option<PathBuf>)> {
    let site = Arc::new(Site::start(plan.servers, plan.slots).await?);
    let began = site.now();
    let hub = site.client()?;
    for n in 0..plan.accounts {
        hub.register(&login(n), PASSWORD).await?;
    }
    let phase = watch::Sender::new(Phase::Storm);
    let (mut seats, mut devices) = (Vec::new(), JoinSet::new());
    for n in 0..plan.accounts + plan.second_devices {
        let (login, is_first) = (login(n % plan.accounts), n < plan.accounts);
        let seed = plan.seed.wrapping_mul(1_000_003).wrapping_add(n as u64 + 1);
        let (device, presence) = Device::new(&site, login.clone(), is_first, seed, phase.subscribe())?;
        seats.push(Seat { login, is_first, presence });
        devices.spawn(device.live());
    }
    let mut report = Report { seed: plan.seed, ..Report::default() };
    storm(plan, &site, &cut_short, &mut report).await;
    let settled = settle::settle(&site, &seats, &phase).await?;
    phase.send_replace(Phase::Over);
    report.agreed_in = settled.agreed_in;
    report.findings.extend(settled.findings);
    let mut diaries = Vec::new();
    while let Some(diary) = devices.join_next().await {
        diaries.push(diary.context("a device panicked")?);
    }
    report.took = site.now().since(began);
    judge(&site, &diaries, &mut report);
    let dir = site.dir().to_path_buf();
    if let Err(error) = site.kill_all().await {
        report.findings.push(Finding::new(Kind::Stuck, format!("{error:#}")));
    }
    if report.findings.is_empty() {
        std::fs::remove_dir_all(&dir)?;
        return Ok((report, None));
    }
    show_lines(&dir, &mut report.findings)?;
    Ok((report, Some(dir)))
}

fn login(n: usize) -> String {
    format!("player-{n}")
}

/// Faults at random moments until there were enough; returns when all are over.
async fn storm(plan: &Plan, site: &Arc<Site>, cut_short: &CancellationToken, report: &mut Report) {
    let rng = SeededRng::new(plan.seed);
    let rng: &dyn Rng = &rng;
    let calm = CancellationToken::new();
    let (mut under_way, mut hit, mut begun) = (JoinSet::new(), BTreeSet::new(), 0);
    let ended = |ended: Result<(Target, anyhow::Result<Cycle>), _>, hit: &mut BTreeSet<Target>| match ended {
        Ok((target, Ok(cycle))) => {
            hit.remove(&target);
            Ok(cycle)
        }
        // Its target stays out of the draw: what has ended by itself has no recovery.
        Ok((target, Err(error))) => Err(Finding::new(Kind::Stuck, format!("{target:?}: {error:#}"))),
        Err(error) => Err(Finding::new(Kind::Stuck, format!("the torture itself failed: {error}"))),
    };
    let take = |cycle: Result<Cycle, Finding>, report: &mut Report| match cycle {
        Ok(cycle) => report.cycles.push(cycle),
        Err(finding) => report.findings.push(finding),
    };
    while begun < plan.cycles && !cut_short.is_cancelled() && report.findings.is_empty() {
        let most = u64::try_from(plan.pause_max.as_millis()).unwrap_or(u64::MAX);
        let pause = Duration::from_millis(most / 4 + rng.below(most - most / 4));
        faults::pass(pause, cut_short).await;
        while let Some(done) = under_way.try_join_next() {
            take(ended(done, &mut hit), report);
        }
        let fault = Fault::draw(rng, plan.servers);
        if hit.insert(fault.target) {
            begun += 1;
            let (site, slots, calm) = (Arc::clone(site), plan.slots, calm.clone());
            under_way.spawn(async move { (fault.target, fault.carry_out(site, slots, calm).await) });
        }
    }
    // The last ones get as long to recover as the others had; then whoever still waits is told to stop.
    let all = async {
        while let Some(done) = under_way.join_next().await {
            take(ended(done, &mut hit), report);
        }
    };
    if tokio::time::timeout_at(faults::deadline(plan.pause_max * 10), all).await.is_err() {
        calm.cancel();
        while let Some(done) = under_way.join_next().await {
            take(ended(done, &mut hit), report);
        }
    }
}

/// Everything that was promised against everything that came of it.
fn judge(site: &Site, diaries: &[Diary], report: &mut Report) {
    let facts = Facts::new(&site.journal.entries(), site.deeds());
    for diary in diaries {
        for story in &diary.stories {
            report.unconfirmed += u64::from(!story.confirmed);
            let fate = match facts.judge(story) {
                Verdict::Welcomed => "welcome".to_owned(),
                Verdict::Refused(code) => format!("refused {code}"),
                Verdict::Excused(why) => format!("excused: {why}"),
                Verdict::Unshown => "not shown".to_owned(),
                Verdict::Lost(words) => {
                    let words = format!("{words}; {story:?}");
                    report.findings.push(Finding::of(Kind::Lost, &story.handover, words));
                    "LOST".to_owned()
                }
                Verdict::Doubled(words) => {
                    let words = format!("{words}; {story:?}");
                    report.findings.push(Finding::of(Kind::Doubled, &story.handover, words));
                    "DOUBLED".to_owned()
                }
            };
            *report.fates.entry(fate).or_default() += 1;
            for show in &story.shows {
                report.parked += u64::from(show.delayed);
                match &show.heard {
                    Heard::Welcome { .. } => {}
                    Heard::Refused { code } => *report.refusals.entry(code.clone()).or_default() += 1,
                    Heard::Gone(_) => *report.refusals.entry("(no word)".to_owned()).or_default() += 1,
                }
            }
            if let Some(end) = &story.end {
                let word = match &end.heard {
                    Heard::Refused { code } => code.clone(),
                    _ => "(no word)".to_owned(),
                };
                *report.ends.entry(word).or_default() += 1;
                if let Some(words) = facts.judge_end(story, end) {
                    let words = format!("{words}; {story:?}");
                    report.findings.push(Finding::of(Kind::Lost, &story.handover, words));
                }
            }
        }
        report.unanswered += diary.unanswered.len() as u64;
        let lost = diary.unanswered.iter().filter_map(|ask| facts.judge_unanswered(ask));
        report.findings.extend(lost.map(|words| Finding::new(Kind::Lost, words)));
        add(&mut report.problems, &diary.problems);
        report.asked_ms.extend(&diary.asked_ms);
        report.entered_ms.extend(&diary.entered_ms);
        report.rolled_ms.extend(diary.rolled_ms);
    }
    if let Some(count) = report.problems.get("internal") {
        report.findings.push(Finding::new(Kind::Lost, format!("{count} × 500 from the hub")));
    }
    for (run, line) in site.journal.odd() {
        report.findings.push(Finding::new(Kind::Stuck, format!("{run:?} wrote {line:?}")));
    }
}

fn add(to: &mut BTreeMap<String, u64>, from: &BTreeMap<String, u64>) {
    for (name, count) in from {
        *to.entry(name.clone()).or_default() += count;
    }
}

/// Adds to the first findings what all logs say of their handovers, players included.
fn show_lines(dir: &Path, findings: &mut [Finding]) -> anyhow::Result<()> {
    let mut lines: Vec<(String, String)> = Vec::new();
    for file in std::fs::read_dir(dir)? {
        let path = file?.path();
        if path.extension().is_some_and(|extension| extension == "log") {
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let text = std::fs::read_to_string(&path)?;
            lines.extend(text.lines().map(|line| (name.clone(), line.to_owned())));
        }
    }
    // Each line begins with its time.
    lines.sort_by(|one, other| one.1.cmp(&other.1));
    for finding in findings.iter_mut().filter(|finding| !finding.handovers.is_empty()).take(SHOWN_MAX) {
        let mut words: BTreeSet<String> = finding.handovers.iter().cloned().collect();
        for (_, line) in lines.iter().filter(|(_, line)| finding.handovers.iter().any(|id| line.contains(id)))
        {
            let fields: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
            let hash = fields["token_hash"].as_str().filter(|hash| !hash.is_empty());
            words.extend(hash.map(str::to_owned));
        }
        let about = lines.iter().filter(|(_, line)| words.iter().any(|word| line.contains(word)));
        finding.lines = about.take(LINES_MAX).map(|(name, line)| format!("{name} {line}")).collect();
    }
    Ok(())
}
