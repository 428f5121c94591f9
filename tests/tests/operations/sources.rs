//! Which events the sources can log: the texts of their tracing macros, with levels, by the program that logs them.
//!
//! Reads Rust as far as it must: the macro's name, its brackets, its strings. Code behind `#[cfg(test)]` does not count.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Program and text of each event, and the levels it is logged at.
pub(crate) type Events = BTreeMap<(&'static str, String), BTreeSet<String>>;

const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];

pub(crate) fn events() -> Events {
    let mut found = Events::new();
    for (folder, program) in
        [("auth-hub/src", "hub"), ("game-server/src", "server"), ("shared-msgs/src", "both")]
    {
        for text in files(&crate::root().join(folder)) {
            let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
            let code: Vec<_> = code.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
            for (level, event) in logged(&code.join("\n")) {
                found.entry((program, event)).or_default().insert(level);
            }
        }
    }
    found
}

fn files(dir: &Path) -> Vec<String> {
    let mut texts = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "tests" {
            texts.extend(files(&path));
        } else if path.extension().is_some_and(|of| of == "rs") && !name.ends_with("tests.rs") {
            texts.push(std::fs::read_to_string(&path).unwrap());
        }
    }
    texts
}

/// Whether the text stands in the code of either program, in quotes.
pub(crate) fn quote(text: &str) -> bool {
    let quoted = format!("\"{text}\"");
    let folders = ["auth-hub/src", "game-server/src", "shared-msgs/src"];
    folders
        .into_iter()
        .flat_map(|folder| files(&crate::root().join(folder)))
        .any(|code| code.contains(&quoted))
}

/// Level and text of each tracing macro.
fn logged(code: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("!(") {
        let name_of = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let name = &code[..at][code[..at].rfind(|c| !name_of(c)).map_or(0, |i| i + 1)..];
        let (words, texts) = arguments(&code[at + 2..]);
        let word = |n: usize| words.get(n).map(String::as_str);
        let level = match name {
            "note" | "note_limited" => word(1),
            "limited" | "step" => word(0),
            _ => Some(name),
        };
        let level = level.filter(|level| LEVELS.contains(level));
        if let (Some(level), Some(text)) = (level, texts.first()) {
            found.push((level.to_owned(), text.clone()));
        }
    }
    found
}

/// The arguments of a macro up to its closing bracket: bare words, and texts that stand for themselves.
fn arguments(code: &str) -> (Vec<String>, Vec<String>) {
    let (mut words, mut texts, mut argument, mut depth) = (Vec::new(), Vec::new(), String::new(), 0);
    let mut chars = code.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => {
                let mut text = String::new();
                while let Some(c) = chars.next().filter(|c| *c != '"') {
                    text.push(if c == '\\' { chars.next().unwrap() } else { c });
                }
                if depth == 0 && argument.trim().is_empty() {
                    texts.push(text);
                }
                argument.push('"');
                continue;
            }
            ')' if depth == 0 => break,
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            ',' if depth == 0 => {
                words.push(argument.trim().to_owned());
                argument.clear();
                continue;
            }
            _ => {}
        }
        argument.push(c);
    }
    words.push(argument.trim().to_owned());
    (words, texts)
}

#[test]
fn macros_are_read_as_they_are_written() {
    let code = r#"
        info!(target: "x", id = %a.b("no", c), reason = "no", "a.b");
        tracing::warn!(
            target: "x", ?filter,
            "c \" d"
        );
        note!(self, debug, "e.f", n = 1); limited!(warn, target: "x", n, "g.h"); println!("no"); warn!(target: "x", %error);"#;
    let found = logged(code);
    let found: Vec<_> = found.iter().map(|(level, text)| (level.as_str(), text.as_str())).collect();
    assert_eq!(found, [("info", "a.b"), ("warn", "c \" d"), ("debug", "e.f"), ("warn", "g.h")]);
}

#[test]
fn the_known_events_are_found() {
    let events = events();
    for known in [("hub", "grant.sent"), ("server", "grant.held"), ("both", "link.up")] {
        assert!(events.contains_key(&(known.0, known.1.to_owned())), "{known:?}");
    }
}
