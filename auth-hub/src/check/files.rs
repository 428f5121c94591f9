//! The checks of what the hub keeps on disk: the fleet key and the database.
//!
//! Invariant: a file that is missing is not made; one that is there is only read.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use shared_msgs::clock::UnixMs;
use shared_msgs::process::check::{Finding, machine};
use shared_msgs::process::explain;

use crate::accounts::inspect::{Inspection, inspect};
use crate::config::Config;
use crate::folder;
use crate::handover::{fence_clock, fences_are_startable};
use crate::keyfile::{self, KeyFileError};

/// The fleet key: there, whole and private.
pub(super) fn fleet_key(config: &Config) -> Finding {
    let (what, path) = ("keys.fleet_key_file", &config.keys.fleet_key_file);
    match keyfile::load(path) {
        Ok(_) => Finding::ok(what, format!("{}: whole and private", path.display())),
        Err(KeyFileError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => missing(
            what,
            path,
            "the first start makes it; if this hub has run before, restore it from its backup: a new one means a new key for every game server",
        ),
        // Its text says what to do.
        Err(error) => Finding::fail(what, explain(&error), "see there"),
    }
}

/// The admin key: whole and private, if it is there.
pub(super) fn admin_key(config: &Config) -> Finding {
    let (what, path) = ("admin.key_file", &config.admin.key_file);
    match keyfile::load_admin(path) {
        Ok(_) => Finding::ok(what, format!("{}: whole and private", path.display())),
        Err(KeyFileError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            missing(what, path, "the next start makes it")
        }
        // Its text says what to do.
        Err(error) => Finding::fail(what, explain(&error), "see there"),
    }
}

/// A file that the first start makes, if its folder lets it.
fn missing(what: &str, path: &Path, remedy: &str) -> Finding {
    let folder = nearest_folder(path);
    if machine::may_write(folder) {
        return Finding::warn(what, format!("{} does not exist yet", path.display()), remedy);
    }
    let detail = format!("{} does not exist, and {} cannot be written", path.display(), folder.display());
    Finding::fail(what, detail, "let the hub's user write the folder (chown, chmod), or name another one")
}

/// The folder of a file, or the nearest one above it that exists.
fn nearest_folder(file: &Path) -> &Path {
    let mut folder = folder::of(file);
    while !folder.exists() {
        folder = folder::of(folder);
    }
    folder
}

/// The database: there, writable, private, whole, of a version that we know, with room to grow; and the clock it knows.
pub(super) async fn database(config: &Config, running: bool, now: UnixMs) -> Vec<Finding> {
    let (what, path) = ("database.path", &config.database.path);
    let room = machine::room("database.room", nearest_folder(path));
    if matches!(fs::metadata(path), Err(error) if error.kind() == io::ErrorKind::NotFound) {
        let remedy = "the first start makes it; if this hub has run before, correct database.path or restore the file from its backup";
        return vec![missing(what, path, remedy), room];
    }
    let mut found = vec![file(what, path, running), room];
    match inspect(path).await {
        Ok(inspection) => found.extend(content(inspection, now)),
        Err(fault) => found.push(Finding::fail("database.content", explain(&fault), "see there")),
    }
    found
}

fn file(what: &str, path: &Path, running: bool) -> Finding {
    let metadata = match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => metadata,
        Ok(_) => return Finding::fail(what, format!("{} is no file", path.display()), "name a file"),
        Err(error) => {
            let remedy = shared_msgs::process::io_remedy(&error);
            return Finding::fail(what, format!("{}: {error}", path.display()), remedy);
        }
    };
    for place in [path, folder::of(path)] {
        if !machine::may_write(place) {
            let detail = format!("{} cannot be written", place.display());
            return Finding::fail(
                what,
                detail,
                "let the hub's user write it (chown, chmod): SQLite keeps its log beside the file",
            );
        }
    }
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        let detail =
            format!("{} has mode {mode:03o}: others may read names and password hashes", path.display());
        return Finding::warn(what, detail, "chmod 600 it, and its -wal and -shm");
    }
    let user = if running { "a hub runs on it" } else { "no hub runs on it" };
    Finding::ok(what, format!("{}: private and writable; {user}", path.display()))
}

fn content(Inspection { schema, known, ceiling }: Inspection, now: UnixMs) -> [Finding; 2] {
    let what = "database.content";
    let content = match schema {
        Some(version) if version < known => {
            Finding::ok(what, format!("whole; the next start takes it from version {version} to {known}"))
        }
        Some(version) => Finding::ok(what, format!("whole, version {version}")),
        None => Finding::ok(what, "whole and empty"),
    };
    let stored = fence_clock(ceiling);
    let clock = if fences_are_startable(ceiling, now) {
        Finding::ok("database.clock", "this machine's clock is not behind the one the hub ran by")
    } else {
        let behind_s = stored.abs_diff(now).as_secs();
        let remedy = "set the clock right by a time service, or wait until it has caught up";
        Finding::fail(
            "database.clock",
            format!("this machine's clock is {behind_s} s behind the one the hub ran by"),
            remedy,
        )
    };
    [content, clock]
}
