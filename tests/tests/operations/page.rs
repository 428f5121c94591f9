//! `docs/OPERATIONS.md` names every metric, event and exit code that there is, and none that there is not.

use std::collections::{BTreeMap, BTreeSet};

use game_server::server::EXIT_SUPERSEDED;
use shared_msgs::process::ExitReason;

use crate::{shipped, site, sources};

const PAGE: &str = "docs/OPERATIONS.md";

/// The cells of the table rows under a heading that begins with these words.
fn rows(heading: &str) -> Vec<Vec<String>> {
    let page = shipped(PAGE);
    let mut lines = page.lines().skip_while(|line| !line.trim_start_matches('#').trim().starts_with(heading));
    assert!(lines.next().is_some(), "no heading {heading:?}");
    let table = lines.take_while(|line| !line.starts_with('#')).filter(|line| line.starts_with('|'));
    let cells = |line: &str| -> Vec<String> {
        line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()
    };
    table.filter(|line| !line.starts_with("|---")).map(cells).skip(1).collect()
}

fn bare(cell: &str) -> String {
    cell.trim_matches('`').to_owned()
}

fn same<T: Ord + std::fmt::Debug>(what: &str, page: &BTreeSet<T>, real: &BTreeSet<T>) {
    let missing: Vec<_> = real.difference(page).collect();
    let stale: Vec<_> = page.difference(real).collect();
    assert!(
        missing.is_empty() && stale.is_empty(),
        "{what}: not in {PAGE}: {missing:#?}\nonly in {PAGE}: {stale:#?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_metric_is_explained() -> anyhow::Result<()> {
    let live = site::live().await?;
    for (heading, shown) in [("Metrics of the hub", live.hub), ("Metrics of a game server", live.server)] {
        let kind = |row: &Vec<String>| (bare(&row[0]), row[1].clone());
        let page: BTreeSet<_> = rows(heading).iter().map(kind).collect();
        same(heading, &page, &shown.into_iter().collect());
    }
    Ok(())
}

#[test]
fn every_event_is_explained() {
    let mut page = BTreeMap::new();
    for (heading, program) in
        [("Events of the hub", "hub"), ("Events of a game server", "server"), ("Events of both", "both")]
    {
        for row in rows(heading) {
            assert!(row.len() == 4 && row[2..].iter().all(|cell| !cell.is_empty()), "{row:?}");
            let levels: BTreeSet<String> = row[1].split(", ").map(str::to_owned).collect();
            let twice = page.insert((program, bare(&row[0])), levels);
            assert_eq!(twice, None, "{row:?} stands there twice");
        }
    }
    let mut real = sources::events();
    // What each program logs itself may stand there once, if it means the same.
    let of_both: Vec<_> = page.keys().filter(|(program, _)| *program == "both").cloned().collect();
    for (both, event) in of_both {
        let of = |program| real.get(&(program, event.clone())).cloned();
        if let (Some(mut levels), Some(of_server)) = (of("hub"), of("server")) {
            real.retain(|(program, text), _| *program == both || *text != event);
            levels.extend(of_server);
            real.entry((both, event)).or_default().extend(levels);
        }
    }
    same("events", &page.into_iter().collect(), &real.into_iter().collect());
}

#[test]
fn every_exit_code_is_explained() {
    let lifecycle = [ExitReason::Clean, ExitReason::TaskDied("x"), ExitReason::Forced].map(ExitReason::code);
    // By `main`: 1 for what did not start, and clap's 2.
    let real: BTreeSet<u8> = lifecycle.into_iter().chain([1, 2, EXIT_SUPERSEDED]).collect();
    let page: BTreeSet<u8> = rows("Exit codes").iter().map(|row| bare(&row[0]).parse().unwrap()).collect();
    same("exit codes", &page, &real);
}

/// The findings that have a name of their own. The others are named after settings.
fn findings() -> BTreeSet<String> {
    let rows = rows("Findings of the checks");
    let names = rows.iter().flat_map(|row| row[0].split(", ")).map(bare);
    names.filter(|name| !name.contains('…')).collect()
}

#[test]
fn every_finding_that_the_page_names_exists() {
    let made_up: Vec<_> = findings().into_iter().filter(|name| !sources::quote(name)).collect();
    assert!(made_up.is_empty(), "{PAGE} names findings that are not: {made_up:#?}");
}

/// `section.key` of each line of a settings file that sets one, or would if it were not commented out.
fn settings(file: &str) -> BTreeSet<String> {
    let (mut section, mut found) = (String::new(), BTreeSet::new());
    for line in shipped(file).lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            name.clone_into(&mut section);
        } else if let Some((key, _)) = line.trim_start_matches("# ").split_once(" = ")
            && key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
        {
            found.insert(format!("{section}.{key}"));
        }
    }
    found
}

/// Words in code, in the text and in blocks, of the form `name.name`.
fn dotted(page: &str) -> BTreeSet<String> {
    let code = page.split('`').skip(1).step_by(2);
    let words =
        code.flat_map(|code| code.split(|c: char| !(c.is_ascii_alphanumeric() || "_.-/".contains(c))));
    let is_dotted = |word: &&str| {
        let mut parts = word.split('.');
        let name = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
        parts.clone().count() == 2 && parts.all(name)
    };
    words.filter(is_dotted).map(str::to_owned).collect()
}

#[test]
fn every_setting_that_the_page_names_exists() {
    let known: BTreeSet<_> =
        ["config/auth-hub.toml", "config/game-server.toml"].into_iter().flat_map(settings).collect();
    assert!(known.contains("http.listen") && known.contains("game.advertise"), "{known:?}");
    let events: BTreeSet<_> = sources::events().into_keys().map(|(_, event)| event).collect();
    let findings = findings();
    let files = ["key", "new", "pem", "service", "sqlite", "tar", "toml"];
    let page = shipped(PAGE);
    let named = dotted(&page);
    let is_strange = |word: &&String| {
        let ending = word.rsplit('.').next().unwrap();
        !known.contains(*word)
            && !events.contains(*word)
            && !findings.contains(*word)
            && !files.contains(&ending)
    };
    let strange: Vec<_> = named.iter().filter(is_strange).collect();
    assert!(strange.is_empty(), "{PAGE} names settings that are not: {strange:#?}");

    // The same, as environment variables.
    for variable in page.split(|c: char| !(c.is_ascii_uppercase() || c == '_')) {
        let rest = variable.strip_prefix("AUTH_HUB__").or(variable.strip_prefix("GAME_SERVER__"));
        let Some((section, key)) = rest.and_then(|rest| rest.split_once("__")) else { continue };
        let setting = format!("{section}.{key}").to_lowercase();
        assert!(known.contains(&setting) || setting == "section.key", "{PAGE}: {variable}");
    }
}
