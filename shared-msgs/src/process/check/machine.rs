//! Checks of the machine that every program needs: file descriptors, room on a disk, addresses, the clock.
//!
//! Knows no setting but by the name it is given. Invariant: looking changes nothing; an address is tried without ever listening on it,
//! so a program that starts at the same moment gets it.

use std::io;
use std::net::SocketAddr;
use std::path::Path;

use rustix::fs::{Access, AtFlags, CWD};
use rustix::process::{Resource, getrlimit};
use tokio::net::TcpSocket;

use super::Finding;
use crate::clock::UnixMs;
use crate::process::io_remedy;

/// Below this, what is written soon fails.
const ROOM_MIB_MIN: u64 = 16;
/// Below this, somebody should look.
const ROOM_MIB_LOW: u64 = 256;
/// Below this a program hardly opens its own files.
const DESCRIPTORS_MIN: u64 = 128;
/// 2025-01-01: before this program was written.
const LONG_AGO: UnixMs = UnixMs(1_735_689_600_000);

/// Whether the limit of file descriptors allows as many as the settings do.
pub fn descriptors(wanted: u64, settings: &str) -> Finding {
    // A start raises the other limit up to this one.
    judge_descriptors(getrlimit(Resource::Nofile).maximum, wanted, settings)
}

fn judge_descriptors(limit: Option<u64>, wanted: u64, settings: &str) -> Finding {
    let what = "descriptors";
    let remedy = || {
        format!(
            "raise the limit to {wanted} (LimitNOFILE in the unit, ulimit -n in a shell), or lower {settings}"
        )
    };
    match limit {
        None => Finding::ok(what, "no limit"),
        Some(limit) if limit >= wanted => {
            Finding::ok(what, format!("{limit} allowed, {wanted} wanted at most"))
        }
        Some(limit) if limit < DESCRIPTORS_MIN => {
            Finding::fail(what, format!("{limit} allowed: too few to run at all"), remedy())
        }
        Some(limit) => Finding::warn(
            what,
            format!("{limit} allowed, {settings} ask for up to {wanted}: listeners get fewer"),
            remedy(),
        ),
    }
}

/// Whether there is room on the disk of a folder.
pub fn room(what: &str, folder: &Path) -> Finding {
    match rustix::fs::statvfs(folder) {
        Ok(disk) => judge_room(what, disk.f_bavail.saturating_mul(disk.f_frsize) >> 20),
        Err(error) => {
            let error = io::Error::from(error);
            Finding::fail(what, format!("{}: {error}", folder.display()), io_remedy(&error))
        }
    }
}

fn judge_room(what: &str, free_mib: u64) -> Finding {
    let (detail, remedy) = (format!("{free_mib} MiB free"), "make room on this disk");
    if free_mib < ROOM_MIB_MIN {
        Finding::fail(what, detail, remedy)
    } else if free_mib < ROOM_MIB_LOW {
        Finding::warn(what, detail, remedy)
    } else {
        Finding::ok(what, detail)
    }
}

/// Who may have an address already, and be the right one to have it.
#[derive(Clone, Copy, Debug)]
pub enum Holder<'a> {
    /// Nobody of ours.
    Nobody,
    /// This one, if it runs; that cannot be told.
    Maybe(&'a str),
    /// This one, which runs.
    Running(&'a str),
}

/// Whether an address can be listened on, or is in the right hands.
pub fn listen(setting: &str, addr: SocketAddr, holder: Holder<'_>) -> Finding {
    let what = format!("listen.{setting}");
    if addr.port() == 0 {
        return Finding::ok(what, format!("{addr}: any free port"));
    }
    match (try_address(addr), holder) {
        (Ok(()), Holder::Nobody | Holder::Maybe(_)) => Finding::ok(what, format!("{addr} is free")),
        (Ok(()), Holder::Running(holder)) => Finding::warn(
            what,
            format!("{addr} is free, though {holder} runs"),
            "it was started with other settings, or is just starting: compare them",
        ),
        (Err(error), Holder::Running(holder)) if error.kind() == io::ErrorKind::AddrInUse => {
            Finding::ok(what, format!("{addr} is in use, and {holder} runs"))
        }
        (Err(error), Holder::Maybe(holder)) if error.kind() == io::ErrorKind::AddrInUse => Finding::warn(
            what,
            format!("{addr} is in use"),
            format!(
                "if {holder} runs, all is well; if not, stop the program that listens there, or set another port"
            ),
        ),
        (Err(error), _) => Finding::fail(what, format!("{addr}: {error}"), io_remedy(&error)),
    }
}

fn try_address(addr: SocketAddr) -> io::Result<()> {
    let socket = if addr.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // As listeners do: what a closed connection has left behind is not in the way.
    socket.set_reuseaddr(true)?;
    socket.bind(addr)
}

/// Whether the wall clock can be believed at all.
pub fn clock(now: UnixMs) -> Finding {
    if now < LONG_AGO {
        let remedy = "set the clock by a time service (timedatectl, chronyc tracking)";
        return Finding::fail("clock", "it says that this program is not written yet", remedy);
    }
    Finding::ok("clock", "it has been set")
}

/// Whether this program's user may write here.
pub fn may_write(path: &Path) -> bool {
    rustix::fs::accessat(CWD, path, Access::WRITE_OK, AtFlags::EACCESS).is_ok()
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    #[test]
    fn limits_and_room_have_three_levels() {
        for (limit, level) in
            [(None, Level::Ok), (Some(500), Level::Ok), (Some(499), Level::Warn), (Some(127), Level::Fail)]
        {
            let finding = judge_descriptors(limit, 500, "`a.connections_max`");
            assert_eq!(finding.level, level, "{finding:?}");
            assert_eq!(finding.remedy.is_empty(), level == Level::Ok);
        }
        for (mib, level) in [(256, Level::Ok), (255, Level::Warn), (16, Level::Warn), (15, Level::Fail)] {
            assert_eq!(judge_room("room", mib).level, level, "{mib}");
        }
        assert_eq!(room("room", Path::new("/nonexistent")).level, Level::Fail);
        assert_eq!((clock(UnixMs(0)).level, clock(UnixMs(LONG_AGO.0)).level), (Level::Fail, Level::Ok));
    }

    #[test]
    fn an_address_is_free_taken_or_held_by_whom_we_know() {
        let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let taken = held.local_addr().unwrap();
        let [nobody, maybe, running] = [Holder::Nobody, Holder::Maybe("it"), Holder::Running("it")];
        for (holder, level) in [(nobody, Level::Fail), (maybe, Level::Warn), (running, Level::Ok)] {
            assert_eq!(listen("a.listen", taken, holder).level, level, "{holder:?}");
        }
        drop(held);
        for (holder, level) in [(nobody, Level::Ok), (maybe, Level::Ok), (running, Level::Warn)] {
            assert_eq!(listen("a.listen", taken, holder).level, level, "{holder:?}");
        }
        assert_eq!(listen("a.listen", "127.0.0.1:0".parse().unwrap(), nobody).level, Level::Ok);
        let absent = listen("a.listen", "192.0.2.1:1".parse().unwrap(), nobody);
        assert_eq!(
            (absent.level, absent.remedy.contains("no such address")),
            (Level::Fail, true),
            "{absent:?}"
        );
    }
}
