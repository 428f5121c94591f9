//! Accounts from elsewhere: one JSON object per line, with the hash that the other system made.
//!
//! Knows the line's format; who prints the troubles is the caller's business. Invariant: every line is either imported
//! or reported with its number, memory is bounded whatever the file holds, and no report repeats what the line said.

use serde::Deserialize;
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _};

use super::account::{Account, LoginNameError, NewAccount};
use super::display_name::DisplayNameError;
use super::phc::PhcError;
use super::store::{Store, StoreError};
use super::writer::{GROUP_WRITES_MAX, Pending};

/// Longest line, without its end.
pub const LINE_BYTES_MAX: usize = 4096;

/// What is wrong with a line.
#[derive(Debug, thiserror::Error)]
pub enum LineProblem {
    /// Longer than [`LINE_BYTES_MAX`].
    #[error("the line is longer than {LINE_BYTES_MAX} bytes")]
    TooLong,
    /// Not the object we expect.
    #[error("not a JSON object with the texts `login`, `display_name` and `phc`, see column {column}")]
    Json {
        /// Where reading stopped.
        column: usize,
    },
    /// No valid login name.
    #[error("login: {0}")]
    Login(#[from] LoginNameError),
    /// No valid display name.
    #[error("display_name: {0}")]
    DisplayName(#[from] DisplayNameError),
    /// No hash that we can verify.
    #[error("phc: {0}")]
    Phc(#[from] PhcError),
    /// The name is taken, by an account of before or by an earlier line; what stands there is left as it is.
    #[error("login: the name is taken")]
    NameTaken,
}

/// A line that was not imported.
#[derive(Debug, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct LineError {
    /// Counted from 1.
    pub line: u64,
    /// What is wrong with it.
    pub problem: LineProblem,
}

/// Why an import stopped. Lines before the one named are done; doing them again reports their names as taken.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The input could not be read.
    #[error("cannot read line {line}")]
    Read {
        /// The line that was being read.
        line: u64,
        /// Why.
        source: std::io::Error,
    },
    /// The database did not take a line.
    #[error("cannot store line {line}")]
    Store {
        /// The line that was being stored.
        line: u64,
        /// Why.
        source: StoreError,
    },
}

/// How an import went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ImportSummary {
    /// Accounts made.
    pub imported: u64,
    /// Lines reported.
    pub refused: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    #[serde(borrow)]
    login: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    display_name: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    phc: std::borrow::Cow<'a, str>,
}

/// Reads one line of an import.
///
/// # Errors
/// What is wrong with it.
pub fn parse_line(line: &[u8]) -> Result<NewAccount, LineProblem> {
    if line.len() > LINE_BYTES_MAX {
        return Err(LineProblem::TooLong);
    }
    // serde's own words may quote the line, and with it a hash.
    let line: Line<'_> =
        serde_json::from_slice(line).map_err(|err| LineProblem::Json { column: err.column() })?;
    Ok(NewAccount {
        login: line.login.parse()?,
        display_name: line.display_name.parse()?,
        phc: line.phc.parse()?,
    })
}

/// Imports every line that can be, in groups that share a commit, and reports the others. Empty lines are skipped.
///
/// # Errors
/// When reading or storing fails as such; a bad line is only reported.
pub async fn import_lines(
    store: &Store,
    mut input: impl AsyncBufRead + Unpin,
    mut report: impl FnMut(LineError),
) -> Result<ImportSummary, ImportError> {
    let mut summary = ImportSummary::default();
    let mut group = Vec::with_capacity(GROUP_WRITES_MAX);
    let mut text = Vec::new();
    let mut line = 0;
    loop {
        line += 1;
        let more =
            read_line(&mut input, &mut text).await.map_err(|source| ImportError::Read { line, source })?;
        if !more {
            break;
        }
        if text.trim_ascii().is_empty() {
            continue;
        }
        match parse_line(&text) {
            Ok(new) => {
                let made = store.submit_register(new);
                group.push((line, made.map_err(|source| ImportError::Store { line, source })?));
            }
            Err(problem) => {
                summary.refused += 1;
                report(LineError { line, problem });
            }
        }
        if group.len() == GROUP_WRITES_MAX {
            settle(&mut group, &mut summary, &mut report).await?;
        }
    }
    settle(&mut group, &mut summary, &mut report).await?;
    Ok(summary)
}

async fn settle(
    group: &mut Vec<(u64, Pending<Account, StoreError>)>,
    summary: &mut ImportSummary,
    report: &mut impl FnMut(LineError),
) -> Result<(), ImportError> {
    for (line, made) in group.drain(..) {
        match made.committed().await {
            Ok(_account) => summary.imported += 1,
            Err(StoreError::NameTaken) => {
                summary.refused += 1;
                report(LineError { line, problem: LineProblem::NameTaken });
            }
            Err(source) => return Err(ImportError::Store { line, source }),
        }
    }
    Ok(())
}

/// Reads a line without its end into `text`; of a longer one than we take, one byte more than we take. False at the end.
async fn read_line(input: &mut (impl AsyncBufRead + Unpin), text: &mut Vec<u8>) -> std::io::Result<bool> {
    const LIMIT: u64 = LINE_BYTES_MAX as u64 + 1;
    text.clear();
    if (&mut *input).take(LIMIT).read_until(b'\n', text).await? == 0 {
        return Ok(false);
    }
    if text.last() == Some(&b'\n') {
        text.pop();
        return Ok(true);
    }
    let mut rest = Vec::new();
    while text.len() > LINE_BYTES_MAX {
        rest.clear();
        let read = (&mut *input).take(LIMIT).read_until(b'\n', &mut rest).await?;
        if read == 0 || rest.last() == Some(&b'\n') {
            break;
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests;
