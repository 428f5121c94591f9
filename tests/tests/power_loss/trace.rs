//! What a program did to the files below a folder, and whom it answered, as strace saw it.
//!
//! Knows strace's text and no database. Invariant: a call that could change these files and is not understood is an error, never left out.
//! The index of SQLite's log (`-shm`) is left out: it is shared memory, made anew after a crash.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};

/// How strace is to be run: every change of a file and every answer to a client, whole and unabridged.
pub(crate) const STRACE: [&str; 8] = ["-f", "-yy", "-xx", "-s", "1000000", "--seccomp-bpf", "-e", CALLS];

const CALLS: &str = "trace=open,openat,openat2,creat,write,writev,pwrite64,pwritev,pwritev2,sendto,sendmsg,sendfile,\
copy_file_range,splice,fsync,fdatasync,sync_file_range,truncate,ftruncate,fallocate,unlink,unlinkat,rename,renameat,\
renameat2,link,linkat,symlink,symlinkat,mkdir,mkdirat,rmdir,mmap,io_uring_setup,io_submit";

/// One step. Writes and answers stand where they began, changes of names where they had returned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    /// A folder made.
    Folder(PathBuf),
    /// An empty file made.
    Create(PathBuf),
    /// Another name, the second, for a file.
    Link(PathBuf, PathBuf),
    /// A name gone.
    Unlink(PathBuf),
    /// Bytes at an offset; at the end for want of one.
    Write(PathBuf, Option<u64>, Vec<u8>),
    /// A new length.
    Truncate(PathBuf, u64),
    /// A thread begins to sync a file or a folder.
    Syncs(String, PathBuf),
    /// That thread's sync has returned.
    Synced(String),
    /// A client is told this.
    Tells(Vec<u8>),
}

/// Reads traces of programs that worked below one folder, one after the other.
pub(crate) struct Reader {
    root: PathBuf,
    names: BTreeSet<PathBuf>,
    pub(crate) ops: Vec<Op>,
}

impl Reader {
    pub(crate) fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), names: BTreeSet::new(), ops: Vec::new() }
    }

    /// One program's trace, of its whole life.
    pub(crate) fn read(&mut self, trace: &str) -> anyhow::Result<()> {
        // What each thread is in the middle of.
        let mut begun: BTreeMap<&str, (&str, &str)> = BTreeMap::new();
        for line in trace.lines() {
            let (thread, rest) = line.split_once(' ').context("a line without a thread")?;
            let rest = rest.trim_start();
            let done = if rest.starts_with("+++") || rest.starts_with("---") {
                Ok(())
            } else if let Some((_, end)) = rest.strip_prefix("<... ").and_then(|r| r.split_once(" resumed>"))
            {
                let (call, args) = begun.remove(thread).context("resumed, yet never begun")?;
                self.returned(thread, call, &format!("{args}{end}"))
            } else {
                let (call, args) = rest.split_once('(').context("no call")?;
                let unfinished = args.strip_suffix(" <unfinished ...>");
                let is_busy = |(other, theirs): &(&str, &str)| {
                    call.ends_with("sync") && other.contains("write") && file_of(theirs) == file_of(args)
                };
                ensure!(!begun.values().any(is_busy), "a sync during a write of the same file: not modelled");
                self.begins(thread, call, unfinished.unwrap_or(args))?;
                match unfinished {
                    Some(args) => drop(begun.insert(thread, (call, args))),
                    None => self.returned(thread, call, args)?,
                }
                Ok(())
            };
            done.with_context(|| line.chars().take(400).collect::<String>())?;
        }
        Ok(())
    }

    /// The path, if it is one of ours.
    fn ours(&self, path: Option<PathBuf>) -> Option<PathBuf> {
        path.filter(|path| path.starts_with(&self.root) && !path.to_string_lossy().ends_with("-shm"))
    }

    /// What may have an effect from its beginning on.
    fn begins(&mut self, thread: &str, call: &str, args: &str) -> anyhow::Result<()> {
        let of_ours = self.ours(file_of(args));
        match (call, of_ours) {
            ("write" | "pwrite64", Some(path)) => {
                let bytes = strings(args)?.pop().context("nothing to write")?;
                let offset = if call == "write" { None } else { Some(last_number(args)?) };
                self.ops.push(Op::Write(path, offset, bytes));
            }
            ("fsync" | "fdatasync", Some(path)) => self.ops.push(Op::Syncs(thread.to_owned(), path)),
            ("write" | "writev" | "sendto" | "sendmsg", None) => {
                let told = strings(args)?.concat();
                if told.starts_with(b"HTTP/1.1 201 ") {
                    self.ops.push(Op::Tells(told));
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// What has an effect once it has returned.
    fn returned(&mut self, thread: &str, call: &str, line: &str) -> anyhow::Result<()> {
        let (args, result) = line.rsplit_once(" = ").context("no result")?;
        let of_ours = self.ours(file_of(args));
        let failed = result.starts_with(['-', '?']);
        match (call, &of_ours) {
            // Four characters a byte; what they spell was read when it began.
            ("write" | "pwrite64", Some(_)) => {
                let length = args.split('"').nth(1).map_or(0, str::len) / 4;
                ensure!(result.trim().parse() == Ok(length), "a write that was not done: not modelled");
                return Ok(());
            }
            ("write" | "writev" | "sendto" | "sendmsg", None) => return Ok(()),
            _ => {}
        }
        let mut named =
            strings(args)?.into_iter().map(|path| self.ours(Some(path_of(path)))).collect::<Vec<_>>();
        match (call, of_ours, named.as_mut_slice()) {
            ("fsync" | "fdatasync", Some(_), _) => {
                ensure!(!failed, "a sync that failed: not modelled");
                self.ops.push(Op::Synced(thread.to_owned()));
            }
            _ if failed => {}
            ("open" | "openat" | "creat", ..) => {
                let Some(path) = self.ours(file_of(result)) else { return Ok(()) };
                if args.contains("O_CREAT") && self.names.insert(path.clone()) {
                    self.ops.push(Op::Create(path));
                } else if args.contains("O_TRUNC") {
                    self.ops.push(Op::Truncate(path, 0));
                }
            }
            ("ftruncate", Some(path), _) => self.ops.push(Op::Truncate(path, last_number(args)?)),
            ("mkdir" | "mkdirat", _, [Some(path)]) => self.ops.push(Op::Folder(path.clone())),
            ("link" | "linkat", _, [Some(old), Some(new)]) => {
                self.names.insert(new.clone());
                self.ops.push(Op::Link(old.clone(), new.clone()));
            }
            ("unlink" | "unlinkat", _, [Some(path)]) => {
                self.names.remove(path);
                self.ops.push(Op::Unlink(path.clone()));
            }
            ("mmap", Some(_), _) => ensure!(
                !(args.contains("MAP_SHARED") && args.contains("PROT_WRITE")),
                "a file written through memory: not modelled"
            ),
            ("io_uring_setup" | "io_submit", ..) => bail!("asynchronous writes: not modelled"),
            (_, None, named) if named.iter().all(Option::is_none) => {}
            _ => bail!("not modelled"),
        }
        Ok(())
    }
}

/// What `\x2f\x76…` spells.
fn unescape(hex: &str) -> anyhow::Result<Vec<u8>> {
    let digit = |of: u8| char::from(of).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let byte = |four: &[u8]| match four {
        [b'\\', b'x', high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    };
    hex.as_bytes().chunks(4).map(byte).collect::<Option<_>>().context("not all in hexadecimal")
}

/// The texts in quotes, all of them whole.
fn strings(args: &str) -> anyhow::Result<Vec<Vec<u8>>> {
    ensure!(!args.contains("\"..."), "a text cut short");
    args.split('"').skip(1).step_by(2).map(unescape).collect()
}

fn path_of(bytes: Vec<u8>) -> PathBuf {
    std::ffi::OsString::from_vec(bytes).into()
}

/// The file behind the first descriptor: `4<\x2f…>`. None for sockets and the like, and for a file without a name.
fn file_of(args: &str) -> Option<PathBuf> {
    let (_, rest) = args.split('"').next()?.split_once('<')?;
    let (path, after) = rest.split_once('>')?;
    let is_file = path.starts_with("\\x") && !after.starts_with("(deleted)");
    is_file.then(|| unescape(path).ok().map(path_of)).flatten()
}

/// The last argument, whether or not the call has returned.
fn last_number(line: &str) -> anyhow::Result<u64> {
    let args = line.split_once(") = ").map_or(line, |(args, _)| args).trim_end_matches(')');
    let number = args.rsplit(", ").next().unwrap_or_default();
    number.parse().with_context(|| format!("{number:?} is no number"))
}
