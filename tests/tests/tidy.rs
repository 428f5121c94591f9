//! House rules that a machine can check.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::path::{Path, PathBuf};

const LINES_MAX: usize = 400;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

fn files(ending: &str) -> Vec<(PathBuf, String)> {
    fn walk(dir: &Path, ending: &str, out: &mut Vec<PathBuf>) {
        let mut entries: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
        entries.sort();
        for path in entries {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                if !name.starts_with('.') && name != "target" && name != "var" {
                    walk(&path, ending, out);
                }
            } else if name.ends_with(ending) {
                out.push(path);
            }
        }
    }
    let mut paths = Vec::new();
    walk(&root(), ending, &mut paths);
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        (path.strip_prefix(root()).unwrap().to_path_buf(), text)
    };
    paths.into_iter().map(read).collect()
}

fn complain(what: &str, found: &[String]) {
    assert!(found.is_empty(), "{what}:\n  {}", found.join("\n  "));
}

#[test]
fn no_source_file_is_long() {
    let long = files(".rs").into_iter().map(|(path, text)| (path, text.lines().count()));
    let long = long.filter(|(_, lines)| *lines > LINES_MAX);
    complain(
        "longer than the limit",
        &long.map(|(path, lines)| format!("{} ({lines})", path.display())).collect::<Vec<_>>(),
    );
}

#[test]
fn every_source_file_says_what_it_is() {
    let bare = files(".rs").into_iter().filter(|(_, text)| !text.starts_with("//!"));
    complain("no //! at the top", &bare.map(|(path, _)| path.display().to_string()).collect::<Vec<_>>());
}

#[test]
fn each_vendor_is_named_in_one_room() {
    let rooms: [(&str, &[&str]); 5] = [
        ("rumqttd", &["auth-hub/src/mqtt/"]),
        ("rumqttc", &["shared-msgs/src/link/", "auth-hub/src/mqtt/tests/"]),
        ("moka", &["game-server/src/token_cache.rs"]),
        ("argon2", &["auth-hub/src/accounts/"]),
        ("sqlx", &["auth-hub/src/accounts/"]),
    ];
    let mut found = Vec::new();
    for (path, text) in files(".rs") {
        let at = path.display().to_string();
        for (vendor, allowed) in rooms {
            let uses = text.contains(&format!("{vendor}::")) || text.contains(&format!("use {vendor};"));
            if uses && !allowed.iter().any(|room| at.starts_with(room)) && at != "tests/tests/tidy.rs" {
                found.push(format!("{at} names {vendor}"));
            }
        }
    }
    complain("a vendor outside its room", &found);
}

#[test]
fn rooms_do_not_import_their_neighbours() {
    let apart: [(&str, &[&str]); 8] = [
        ("auth-hub/src/accounts/", &["crate::fleet", "crate::sessions", "crate::handover", "crate::http"]),
        ("auth-hub/src/fleet/", &["crate::accounts", "crate::sessions", "crate::handover", "crate::http"]),
        ("auth-hub/src/sessions/", &["crate::accounts", "crate::fleet", "crate::handover", "crate::http"]),
        ("auth-hub/src/mqtt/", &["crate::accounts", "crate::fleet", "crate::handover", "crate::http"]),
        ("auth-hub/src/bus/", &["crate::accounts", "crate::handover", "crate::http"]),
        ("auth-hub/src/handover/", &["crate::http", "crate::sessions", "crate::mqtt"]),
        ("auth-hub/", &["game_server"]),
        ("game-server/", &["auth_hub"]),
    ];
    let mut found = Vec::new();
    for (path, text) in files(".rs") {
        let at = path.display().to_string();
        for (room, foreign) in apart {
            if at.starts_with(room) {
                let hits = foreign.iter().filter(|import| text.contains(**import));
                found.extend(hits.map(|import| format!("{at} imports {import}")));
            }
        }
    }
    complain("an import against the direction", &found);
}

#[test]
fn nothing_is_left_unfinished_or_switched_off() {
    // Spelled in two halves, so that this file does not find itself.
    let words = [
        concat!("todo", "!("),
        concat!("unimplemented", "!("),
        concat!("#[ign", "ore"),
        concat!("FIX", "ME"),
    ];
    let mut found = Vec::new();
    for (path, text) in files(".rs") {
        found.extend(words.iter().filter(|w| text.contains(**w)).map(|w| format!("{}: {w}", path.display())));
    }
    complain("unfinished", &found);
}

#[test]
fn tests_order_events_and_never_nap() {
    let is_test = |path: &Path| {
        let at = path.display().to_string();
        at.starts_with("tests/") || at.contains("/tests/") || at.ends_with("tests.rs")
    };
    let naps = files(".rs").into_iter().filter(|(path, _)| is_test(path));
    let naps = naps.filter(|(_, text)| text.contains(concat!("sleep", "(")));
    complain("sleeps", &naps.map(|(path, _)| path.display().to_string()).collect::<Vec<_>>());
}

#[test]
fn paths_in_the_documents_exist() {
    let mut broken = Vec::new();
    for (path, text) in files(".md") {
        for quoted in text.split('`').skip(1).step_by(2) {
            let looks_like_a_path = quoted.contains('/')
                && quoted.bytes().all(|b| b.is_ascii_alphanumeric() || b"/._-".contains(&b))
                && [
                    "auth-hub/",
                    "game-server/",
                    "shared-msgs/",
                    "tests/",
                    "config/",
                    "scripts/",
                    "docs/",
                    ".ci/",
                ]
                .iter()
                .any(|top| quoted.starts_with(top));
            if looks_like_a_path && !root().join(quoted).exists() {
                broken.push(format!("{}: {quoted}", path.display()));
            }
        }
    }
    complain("no such path", &broken);
}
