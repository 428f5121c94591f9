//! Good lines, bad lines, and lines that try it on.

use std::io::Cursor;

use super::super::fixture::TestStore;
use super::*;

const PHC: &str = "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHRzYWx0$tWFcYQmAOQ9hQLGBMXMxDh7V4vBhBd8n9n2eBMd1hZ0";

fn line(login: &str, display_name: &str, phc: &str) -> String {
    format!("{{\"login\": \"{login}\", \"display_name\": \"{display_name}\", \"phc\": \"{phc}\"}}")
}

async fn import(test: &TestStore, lines: &str) -> (ImportSummary, Vec<LineError>) {
    let mut errors = Vec::new();
    // A small buffer, so that lines arrive in pieces.
    let input = tokio::io::BufReader::with_capacity(16, Cursor::new(lines.as_bytes()));
    let summary = import_lines(&test.store, input, |err| errors.push(err)).await.unwrap();
    errors.sort_by_key(|err| err.line);
    (summary, errors)
}

#[tokio::test]
async fn good_lines_are_imported_and_bad_ones_named() {
    let test = TestStore::open().await;
    let filler = " ".repeat(LINE_BYTES_MAX);
    let full = format!("{:<width$}", line("full", "Full", PHC), width = LINE_BYTES_MAX);
    let lines = [
        line("Bob", "Bob \\u2602", PHC),
        String::new(),
        "not json".into(),
        line("x", "X", PHC),
        line("eve", " ", PHC),
        line("mixed", "p\\u0430ypal", PHC),
        line("mallory", "Mallory", &PHC.replace("m=8", "m=9999999")),
        line("bob", "Other Bob", PHC),
        format!("{}{filler}{filler}{filler}", line("long", "Long", PHC)),
        line("crlf", "After the long one", PHC) + "\r",
        full.clone(),
        format!("{full} "),
        "{\"login\":\"extra\",\"display_name\":\"E\",\"phc\":\"x\",\"password\":\"hunter2hunter2\"}".into(),
        "{\"login\":\"missing\"}".into(),
        line("last", "No newline after it", PHC),
    ];
    let (summary, errors) = import(&test, &lines.join("\n")).await;
    assert_eq!(summary, ImportSummary { imported: 4, refused: 10 });
    let shown: Vec<_> = errors.iter().map(ToString::to_string).collect();
    let expected = [
        (3, "not a JSON object"),
        (4, "login: a login name has 3 to 32"),
        (5, "display_name: a display name has 1 to 64"),
        (6, "display_name: a display name keeps to one script"),
        (7, "phc: the cost is too high"),
        (8, "login: the name is taken"),
        (9, "longer than 4096 bytes"),
        (12, "longer than 4096 bytes"),
        (13, "not a JSON object"),
        (14, "not a JSON object"),
    ];
    assert_eq!(shown.len(), expected.len());
    for (shown, (line, problem)) in shown.iter().zip(expected) {
        assert!(shown.starts_with(&format!("line {line}: ")) && shown.contains(problem), "{shown}");
        assert!(!shown.contains("hunter2") && !shown.contains("c2Fsd"), "{shown}");
    }
    let names: Vec<_> = test.store.list(None, 100).await.unwrap();
    let names: Vec<_> =
        names.iter().map(|account| (account.login.as_str(), account.display_name.as_str())).collect();
    assert_eq!(
        names,
        [("bob", "Bob ☂"), ("crlf", "After the long one"), ("full", "Full"), ("last", "No newline after it")]
    );
}

#[tokio::test]
async fn many_lines_share_commits_and_a_second_import_changes_nothing() {
    let test = TestStore::open().await;
    let lines: Vec<_> = (0..200).map(|n| line(&format!("user{n}"), "U", PHC)).collect();
    let lines = lines.join("\n") + "\n";
    let (summary, errors) = import(&test, &lines).await;
    assert_eq!((summary, errors.len()), (ImportSummary { imported: 200, refused: 0 }, 0));
    assert!(test.store.writer().commits() < 100, "{} commits", test.store.writer().commits());

    let (summary, errors) = import(&test, &lines).await;
    assert_eq!(summary, ImportSummary { imported: 0, refused: 200 });
    assert!(errors.iter().all(|err| matches!(err.problem, LineProblem::NameTaken)));
}

#[tokio::test]
async fn a_store_that_fails_stops_the_import() {
    let test = TestStore::open().await;
    test.store.close().await;
    let input = Cursor::new(line("bob", "Bob", PHC).into_bytes());
    let stopped = import_lines(&test.store, input, |_| {}).await;
    assert!(matches!(stopped, Err(ImportError::Store { line: 1, .. })));
}
