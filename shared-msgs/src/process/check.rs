//! What a program finds when it is asked to look at its surroundings: findings as data, and how they are told.
//!
//! Owns levels, text, JSON and exit codes; the programs own their checks, [`machine`] those that all of them need. Invariant: what is
//! not well says what to do; no finding holds a secret, for a finding is made to be shown.

pub mod certificates;
pub mod machine;

use std::io::{self, Write};

/// How well it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Well.
    Ok,
    /// The program starts; something will want attention.
    Warn,
    /// The program does not start, or serves nobody.
    Fail,
}

impl Level {
    /// As it is printed.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "FAIL",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How it stands.
    pub level: Level,
    /// What was looked at: stable, for scripts.
    pub what: String,
    /// What was found.
    pub detail: String,
    /// What to do; empty when all is well.
    pub remedy: String,
}

impl Finding {
    /// All is well.
    pub fn ok(what: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { level: Level::Ok, what: what.into(), detail: detail.into(), remedy: String::new() }
    }

    /// Wants attention.
    pub fn warn(what: impl Into<String>, detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { level: Level::Warn, what: what.into(), detail: detail.into(), remedy: remedy.into() }
    }

    /// Cannot work.
    pub fn fail(what: impl Into<String>, detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { level: Level::Fail, what: what.into(), detail: detail.into(), remedy: remedy.into() }
    }
}

/// For scripts: 0 when nothing fails, else 1.
pub fn exit_code(findings: &[Finding]) -> u8 {
    u8::from(findings.iter().any(|finding| finding.level == Level::Fail))
}

/// Tells them, one a line: for people, or as JSON objects.
///
/// # Errors
/// When `output` fails.
pub fn tell(findings: &[Finding], json: bool, output: &mut (dyn Write + Send)) -> io::Result<()> {
    for Finding { level, what, detail, remedy } in findings {
        let level = level.as_str();
        if json {
            let line =
                serde_json::json!({ "level": level, "what": what, "detail": detail, "remedy": remedy });
            writeln!(output, "{line}")?;
        } else {
            let line = format!("{level:<4}  {what}: {detail}");
            let line = if remedy.is_empty() { line } else { format!("{line}; {remedy}") };
            writeln!(output, "{}", line.replace('\n', " "))?;
        }
    }
    output.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_are_one_line_each_and_only_failures_count() {
        let mut findings = vec![Finding::ok("a", "well"), Finding::warn("b", "so\nso", "look \"there\"")];
        assert_eq!(exit_code(&findings), 0);
        findings.push(Finding::fail("c", "ill", "mend it"));
        assert_eq!(exit_code(&findings), 1);
        let told = |json| {
            let mut out = Vec::new();
            tell(&findings, json, &mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(told(false), "ok    a: well\nwarn  b: so so; look \"there\"\nFAIL  c: ill; mend it\n");
        let json: Vec<serde_json::Value> =
            told(true).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(json.len(), 3);
        assert_eq!((&json[0]["remedy"], &json[1]["remedy"]), (&"".into(), &"look \"there\"".into()));
        assert_eq!((&json[2]["level"], &json[2]["what"]), (&"FAIL".into(), &"c".into()));
    }
}
