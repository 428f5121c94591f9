//! A short torture of the real binaries, and the rules by which stories are judged.

#[cfg(test)]
#[path = "torture/verdicts.rs"]
mod verdicts;

use std::time::Duration;

use hub_tests::torture::{Plan, run};
use tokio_util::sync::CancellationToken;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_doubled_or_stuck_in_a_short_storm() -> anyhow::Result<()> {
    let plan = Plan {
        cycles: 15,
        seed: 12,
        servers: 3,
        slots: 16,
        accounts: 16,
        second_devices: 6,
        pause_max: Duration::from_millis(400),
    };
    let (report, kept) = run(&plan, CancellationToken::new()).await?;
    println!("{report}");
    assert!(report.findings.is_empty(), "see above; the logs are in {kept:?}");
    assert_eq!(report.cycles.len(), plan.cycles);
    assert_eq!(report.rolled_ms.len(), plan.accounts, "everybody was welcomed at the last roll-call");
    let welcomes = report.fates.get("welcome").copied().unwrap_or(0);
    assert!(welcomes > 2 * report.rolled_ms.len() as u64, "{:?}", report.fates);
    Ok(())
}
