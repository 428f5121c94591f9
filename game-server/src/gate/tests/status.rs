//! When statuses go out, and what they echo.

use super::*;
use shared_msgs::messages::Status;

fn statuses(out: &[Effect]) -> Vec<&Status> {
    let mut found = Vec::new();
    for effect in out {
        if let Effect::Status(status) = effect {
            found.push(status.as_ref());
        }
    }
    found
}

fn up(max_players: u32) -> Bench {
    let mut bench = Bench::new(max_players);
    assert_eq!(bench.gate.next_deadline(bench.now), None, "nobody would hear it");
    assert_eq!(statuses(&bench.handle(Input::Link { up: true })).len(), 1, "at once on a fresh link");
    bench
}

fn probe(hub: u32, n: u64) -> Order {
    Order::Probe { hub: format!("hub-{hub:04}").parse().unwrap(), n }
}

#[test]
fn a_status_beats_and_stops_with_the_link() {
    let mut bench = up(1);
    assert_eq!(bench.gate.next_deadline(bench.now), Some(bench.now.mono + limits::STATUS_BEAT));
    assert!(statuses(&bench.pass(just_under(limits::STATUS_BEAT))).is_empty());
    assert_eq!(statuses(&bench.pass(ms(1))).len(), 1);
    bench.handle(Input::Link { up: false });
    assert!(statuses(&bench.pass(limits::STATUS_BEAT)).is_empty());
    assert_eq!(statuses(&bench.handle(Input::Link { up: true })).len(), 1);
}

#[test]
fn changes_are_told_at_once_but_no_closer_than_the_gap() {
    let mut bench = up(100);
    bench.pass(limits::STATUS_GAP_MIN);
    let mut sent = 0;
    for n in 0..30 {
        let issued = bench.issue(n, 1);
        sent += statuses(&bench.grant(&issued)).len();
        sent += statuses(&bench.pass(ms(10))).len();
    }
    assert!((3..=4).contains(&sent), "{sent} statuses for 30 changes in 300 ms");
    let out = bench.pass(limits::STATUS_GAP_MIN);
    let occupancy = bench.gate.occupancy();
    assert!(statuses(&out).iter().all(|s| s.stamp.occupancy == occupancy && s.digest.count == 30));
    bench.pass(limits::STATUS_GAP_MIN);
    let out = bench.handle(Input::SetLoad(250));
    assert_eq!(statuses(&out)[0].load_percent, 100);
    bench.pass(limits::STATUS_GAP_MIN);
    let out = bench.handle(Input::SetMessage("Season 2".into()));
    assert_eq!(statuses(&out)[0].message, "Season 2");
    bench.pass(limits::STATUS_GAP_MIN);
    assert_eq!(statuses(&bench.handle(Input::SetMessage("Season 2".into()))).len(), 0, "nothing new");
    let out = bench.handle(Input::SetState(ServerState::Degraded));
    assert_eq!(statuses(&out)[0].state, ServerState::Degraded);
}

#[test]
fn probes_are_answered_at_once_with_the_greatest_number_of_each_hub() {
    let mut bench = up(1);
    for (n, echoed) in [(5, 5), (3, 5), (6, 6)] {
        bench.pass(limits::STATUS_GAP_MIN);
        let out = bench.order(probe(1, n));
        assert_eq!(statuses(&out)[0].echoes.iter().map(|e| e.n).collect::<Vec<_>>(), [echoed]);
    }
}

#[test]
fn echoes_are_bounded_and_the_longest_unheard_hub_goes() {
    let mut bench = up(1);
    for hub in 0..u32::try_from(limits::PROBE_ECHOES_MAX).unwrap() {
        bench.order(probe(hub, 1));
        bench.pass(ms(1));
    }
    bench.order(probe(0, 2));
    bench.order(probe(9_999, 1));
    let out = bench.pass(limits::STATUS_GAP_MIN);
    let echoes = &statuses(&out)[0].echoes;
    assert_eq!(echoes.len(), limits::PROBE_ECHOES_MAX);
    let has = |hub: &str| echoes.iter().any(|echo| echo.hub.as_str() == hub);
    assert!(has("hub-0000") && has("hub-9999") && !has("hub-0001"));
}
