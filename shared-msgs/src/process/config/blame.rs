//! Turns a parser's complaint into words for an operator: which key, where, what is wanted there.
//!
//! Knows no key of ours. Invariant: quotes keys, never values.

use std::path::Path;

use figment::error::{Actual, Kind};

use super::ConfigError;

/// The error of a key, blamed on the variable or file it came from.
pub(super) fn key_error(error: &figment::Error, variable: Option<&str>, file: Option<&Path>) -> ConfigError {
    let place = match (variable, file) {
        (Some(variable), _) => format!("environment variable {variable}"),
        (None, Some(path)) => format!("configuration file {}", path.display()),
        (None, None) => "configuration".to_owned(),
    };
    let mut path = error.path.clone();
    let key = path.last().map(String::as_str).unwrap_or_default();
    let problem = match &error.kind {
        Kind::Message(text) => of_text(text),
        Kind::InvalidType(actual, expected) | Kind::InvalidValue(actual, expected) => {
            format!("expected {}, found {}", wanted(expected, key), kind_of(actual))
        }
        Kind::InvalidLength(length, expected) => format!("expected {expected}, found {length} entries"),
        Kind::UnknownVariant(_, known) => format!("expected one of {}", known.join(", ")),
        Kind::UnknownField(_, known) => {
            let what = if path.len() > 1 { "key" } else { "section or key" };
            let meant = nearest(key, known).map_or(String::new(), |key| format!(", did you mean `{key}`?"));
            format!("unknown {what}{meant}; known here: {}", known.join(", "))
        }
        Kind::MissingField(name) => {
            path.push(name.to_string());
            "missing".to_owned()
        }
        Kind::DuplicateField(name) => {
            path.push((*name).to_owned());
            "set twice".to_owned()
        }
        Kind::ISizeOutOfRange(_) | Kind::USizeOutOfRange(_) => "number out of range".to_owned(),
        Kind::Unsupported(_) | Kind::UnsupportedKey(..) => "not supported here".to_owned(),
    };
    ConfigError::Key { place, key: path.join("."), problem }
}

/// The text of a type's own check; the standard library's says too little.
fn of_text(text: &str) -> String {
    if text == "invalid socket address syntax" {
        return "expected an IP address and a port, like \"127.0.0.1:8080\" or \"[::1]:8080\"".to_owned();
    }
    text.to_owned()
}

/// What belongs there, with its unit, which keys carry in their names.
fn wanted(expected: &str, key: &str) -> String {
    let unit = [("_ms", "milliseconds"), ("_s", "seconds"), ("_kib", "KiB"), ("_bytes", "bytes")]
        .into_iter()
        .find_map(|(ending, unit)| key.ends_with(ending).then_some(unit));
    let most = match expected {
        "u8" => Some(u64::from(u8::MAX)),
        "u16" => Some(u64::from(u16::MAX)),
        "u32" => Some(u64::from(u32::MAX)),
        "u64" | "usize" => Some(i64::MAX.unsigned_abs()),
        _ => None,
    };
    match (expected, most, unit) {
        (_, Some(most), Some(unit)) => format!("a whole number of {unit} without a unit, 0 to {most}"),
        (_, Some(most), None) => format!("a whole number, 0 to {most}"),
        ("f32" | "f64", ..) => "a number".to_owned(),
        ("a boolean", ..) => "true or false".to_owned(),
        ("a string", ..) => "a text in quotes".to_owned(),
        ("a sequence", ..) => "a list, like [\"a\", \"b\"]".to_owned(),
        (expected, ..) => expected
            .strip_prefix("struct ")
            .map_or_else(|| expected.to_owned(), |_| "a section with keys of its own".to_owned()),
    }
}

/// What a value is, without the value.
fn kind_of(actual: &Actual) -> &'static str {
    match actual {
        Actual::Bool(_) => "a boolean",
        Actual::Unsigned(_) | Actual::Signed(_) => "a number that does not fit",
        Actual::Float(_) => "a fraction",
        Actual::Char(_) | Actual::Str(_) => "a text",
        Actual::Bytes(_) => "bytes",
        Actual::Seq => "a list",
        Actual::Map => "a section",
        Actual::Unit | Actual::Option => "nothing",
        Actual::NewtypeStruct
        | Actual::Enum
        | Actual::UnitVariant
        | Actual::NewtypeVariant
        | Actual::TupleVariant
        | Actual::StructVariant
        | Actual::Other(_) => "something else",
    }
}

/// The known key that is fewest edits away, if it is near enough to have been meant.
fn nearest<'a>(key: &str, known: &[&'a str]) -> Option<&'a str> {
    let (distance, best) = known.iter().map(|known| (edits(key, known), *known)).min()?;
    (distance <= (best.len() / 3).max(1)).then_some(best)
}

/// Letters to insert, remove or replace, and neighbours to swap, until `a` reads `b`.
fn edits(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![(0..=b.len()).collect::<Vec<_>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = replaced.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_key_is_meant_unless_none_is_near() {
        let known = ["listen", "requests_max", "connections_max"];
        for (key, meant) in [
            ("listn", Some("listen")),
            ("lissten", Some("listen")),
            ("lisetn", Some("listen")),
            ("request_max", Some("requests_max")),
            ("connection_max", Some("connections_max")),
            ("port", None),
            ("", None),
        ] {
            assert_eq!(nearest(key, &known), meant, "{key}");
        }
        assert_eq!(nearest("x", &[]), None);
        assert_eq!(
            (edits("", "abc"), edits("abc", "abc"), edits("ab", "ba"), edits("abcd", "xbc")),
            (3, 0, 1, 2)
        );
    }
}
