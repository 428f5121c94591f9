//! What operators are given holds: the page of operations, units, images, alerts, the dashboard, and back-up and restore as the page has them.
//!
//! Knows the shipped files and the real binaries. The feature `operations` adds what needs systemd-analyze, promtool, strace, sqlite3 and
//! chroot (as root) or unshare; without it the files are only compared with the sources and with what live processes show.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[cfg(feature = "operations")]
mod image;
mod monitoring;
mod page;
#[cfg(feature = "operations")]
mod restore;
mod site;
mod sources;
#[cfg(feature = "operations")]
mod traced;
mod units;

use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

fn shipped(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}
