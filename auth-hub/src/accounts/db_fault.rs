//! SQLite's error codes in words for an operator.
//!
//! Knows codes, no table and no path. Invariant: each fault says what to do about it.

use std::fmt;

/// What is the matter with a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Another process holds it for longer than we wait.
    Locked,
    /// The file, or what lies beside it, cannot be written.
    ReadOnly,
    /// No room on the disk.
    Full,
    /// Its pages contradict each other.
    Corrupt,
    /// Some other file.
    NotADatabase,
    /// The file or those beside it cannot be opened.
    CannotOpen,
    /// The disk failed.
    Disk,
    /// Anything else.
    Other,
}

impl Fault {
    /// Of an error.
    pub(super) fn of(error: &sqlx::Error) -> Self {
        let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
        // The low byte is the kind of fault, the rest its circumstances.
        match code.and_then(|code| code.parse::<u32>().ok()).map(|code| code & 0xff) {
            Some(5 | 6) => Self::Locked,
            Some(3 | 8) => Self::ReadOnly,
            Some(13) => Self::Full,
            Some(11) => Self::Corrupt,
            Some(26) => Self::NotADatabase,
            Some(14) => Self::CannotOpen,
            Some(10) => Self::Disk,
            _ => Self::Other,
        }
    }

    /// Whether the write that met it has left nothing behind, and may well work later.
    pub(super) fn passes(self) -> bool {
        matches!(self, Self::Locked | Self::Full)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Locked => {
                "the database is locked by another process: end what holds it (a backup, a database shell), or wait for it"
            }
            Self::ReadOnly => {
                "the database cannot be written: let this program's user write the file, its -wal and -shm, and their folder (chown, chmod)"
            }
            Self::Full => "the disk is full: make room on the disk of the database",
            Self::Corrupt => "the database is damaged: restore it from its backup",
            Self::NotADatabase => "the file is not a database: correct database.path, or restore the file from its backup",
            Self::CannotOpen => {
                "the database cannot be opened: database.path must name a file, and this program's user must be able to write it and its folder"
            }
            Self::Disk => "the disk failed: see the system's log, then restore the database from its backup if it is damaged",
            Self::Other => "the database failed: see what it says",
        })
    }
}
