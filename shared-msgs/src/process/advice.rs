//! What an operator is told when something of the system is not to be had.
//!
//! Owns the words only. Invariant: a remedy says what to do, and quotes nothing but what the error itself tells.

use std::error::Error;
use std::io;

/// What to do about an error of a file, a folder or an address.
pub fn io_remedy(error: &io::Error) -> &'static str {
    use io::ErrorKind as Kind;
    match error.kind() {
        Kind::NotFound => "make it, or correct the path (relative paths start where the program was started)",
        Kind::PermissionDenied => {
            "let the user of this program in (chown, chmod), also into the folders above"
        }
        Kind::IsADirectory => "name a file, this is a folder",
        Kind::NotADirectory => "something above it is a file, not a folder: correct the path",
        Kind::AlreadyExists => "something else has this name: move it away, or choose another",
        Kind::ReadOnlyFilesystem => {
            "the file system is mounted read-only: choose another place, or mount it for writing"
        }
        Kind::StorageFull | Kind::QuotaExceeded => "the disk is full: make room",
        Kind::InvalidData => "it must be a text in UTF-8",
        Kind::FileTooLarge => "it is longer than such a file ever is: is this the right one?",
        Kind::AddrInUse => {
            "another program (a copy of this one?) listens there: stop it, or set another port"
        }
        Kind::AddrNotAvailable => "this machine has no such address: set one that it has",
        _ => "see what the system says, and correct the setting",
    }
}

/// An error and its causes in one line. A cause that the line tells already is left out.
pub fn explain(error: &(dyn Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !line.contains(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
        cause = error.source();
    }
    line.replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    enum Outer {
        #[error("outer: {0}")]
        Told(#[source] io::Error),
        #[error("outer")]
        Untold(#[source] io::Error),
    }

    #[test]
    fn each_cause_is_told_once() {
        let inner = || io::Error::other("inner\nline");
        assert_eq!(explain(&Outer::Told(inner())), "outer: inner line");
        assert_eq!(explain(&Outer::Untold(inner())), "outer: inner line");
    }
}
