//! Alerts and dashboard ask for metrics that there are, with labels that there are, and say what they are for.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::{shipped, site};

const RULES: &str = "config/prometheus-rules.yml";
const DASHBOARD: &str = "config/grafana-dashboard.json";
/// Of Prometheus itself.
const ITS_OWN: [&str; 1] = ["up"];

/// Names in an expression that are series of ours, or that look like it.
fn series(expression: &str) -> BTreeSet<String> {
    let words = expression.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let ours = |word: &&str| word.starts_with("hub_") || word.starts_with("game_server_");
    words.filter(ours).map(str::to_owned).collect()
}

#[test]
fn series_are_found_in_expressions() {
    let found = series("sum by (code) (rate(hub_logins_total{code!=\"ok\"}[5m])) / game_server_players");
    assert_eq!(found, ["game_server_players", "hub_logins_total"].map(str::to_owned).into());
}

fn panels() -> Vec<Value> {
    let dashboard: Value = serde_json::from_str(&shipped(DASHBOARD)).unwrap();
    dashboard["panels"].as_array().unwrap().iter().filter(|panel| panel["type"] != "row").cloned().collect()
}

fn text<'a>(of: &'a Value, path: &str) -> &'a str {
    of.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_asked_for_is_shown() -> anyhow::Result<()> {
    let live = site::live().await?;
    let expressions = |panel: &Value| -> Vec<String> {
        panel["targets"].as_array().unwrap().iter().map(|target| text(target, "/expr").to_owned()).collect()
    };
    let of_panels: Vec<String> = panels().iter().flat_map(expressions).collect();
    for (file, asked) in [(RULES, shipped(RULES)), (DASHBOARD, of_panels.join("\n"))] {
        let asked = series(&asked);
        assert!(asked.len() > 10, "{file}: {asked:?}");
        let unknown: Vec<_> = asked.difference(&live.series).collect();
        assert!(unknown.is_empty(), "{file} asks for {unknown:?}");
    }
    // And nothing is shown that nobody ever looks at.
    let looked_at: BTreeSet<_> =
        series(&of_panels.join("\n")).union(&series(&shipped(RULES))).cloned().collect();
    let unseen = live.series.iter().filter(|name| {
        // Two of a histogram's three parts.
        let stem = name.trim_end_matches("_sum").trim_end_matches("_count");
        !looked_at.contains(*name) && !looked_at.contains(&format!("{stem}_bucket"))
    });
    assert_eq!(unseen.collect::<Vec<_>>(), Vec::<&String>::new(), "neither on the dashboard nor in a rule");
    Ok(())
}

#[test]
fn every_panel_says_what_it_shows() {
    let (mut ids, mut titles) = (BTreeSet::new(), BTreeSet::new());
    for panel in panels() {
        let title = text(&panel, "/title");
        assert!(!title.is_empty() && titles.insert(title.to_owned()), "{panel:#}");
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}: id");
        assert!(text(&panel, "/description").len() > 20, "{title}: description");
        assert!(!text(&panel, "/fieldConfig/defaults/unit").is_empty(), "{title}: unit");
        for asks in panel["targets"].as_array().unwrap().iter().chain([&panel]) {
            assert_eq!(text(asks, "/datasource/uid"), "${datasource}", "{title}: datasource");
        }
    }
    let dashboard: Value = serde_json::from_str(&shipped(DASHBOARD)).unwrap();
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    assert!(variables.iter().any(|one| one["name"] == "datasource" && one["type"] == "datasource"));
}

#[test]
fn every_alert_leads_to_its_step_in_the_page() {
    let (rules, page) = (shipped(RULES), shipped("docs/OPERATIONS.md"));
    let alerts: Vec<_> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() > 10 && ITS_OWN.iter().all(|own| rules.contains(own)));
    for alert in &alerts {
        assert!(page.contains(&format!("\n#### {alert}\n")), "the page has no step for {alert}");
        let link = format!("runbook: docs/OPERATIONS.md#{}", alert.to_lowercase());
        assert!(rules.contains(&link), "{alert} leads nowhere: {link}");
        let tested = shipped("tests/tests/operations/prometheus-rules.test.yml");
        assert!(tested.contains(&format!("alertname=\"{alert}\",")), "{alert} has no test");
    }
    let steps = page.lines().filter_map(|line| line.strip_prefix("#### "));
    assert_eq!(steps.collect::<Vec<_>>(), alerts, "the page's steps are those of the alerts, in their order");
}

/// By `promtool`, where PROMTOOL says it is.
#[cfg(feature = "operations")]
#[test]
fn prometheus_takes_the_rules_and_they_fire_as_they_should() {
    let promtool = std::env::var_os("PROMTOOL").unwrap_or_else(|| "promtool".into());
    for args in
        [["check", "rules", RULES], ["test", "rules", "tests/tests/operations/prometheus-rules.test.yml"]]
    {
        let run = std::process::Command::new(&promtool).args(args).current_dir(crate::root()).output();
        let output = run.unwrap_or_else(|error| panic!("{}: {error}", promtool.display()));
        let said = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "{args:?}:\n{}", String::from_utf8_lossy(&said));
    }
}
