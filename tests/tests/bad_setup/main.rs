//! What an operator can get wrong before a login is possible: each has a named error and a remedy, and nothing is lost.
//!
//! The real binaries, started with bad settings, files, ports and databases; and clocks that are an hour off.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod clocks;
mod configuration;
mod database;
mod files;
mod ports;
