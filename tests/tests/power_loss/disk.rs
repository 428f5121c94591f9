//! A disk that keeps what was synced, and of the rest whatever chance leaves: the state of files after a power cut.
//!
//! Knows no database. A file's content is durable once it was synced, its name once its folder was; of writes that were not, any subset of their
//! 512-byte sectors may have arrived, in any order. Invariant: what a sync covered as it began is there after it returned, and nothing else is sure.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use shared_msgs::rng::Rng;

use crate::trace::Op;

const SECTOR_BYTES: usize = 512;

/// Files by their names below the root.
pub(crate) type Image = BTreeMap<PathBuf, Vec<u8>>;

/// What is left of the changes that were not synced.
pub(crate) enum Left<'a> {
    Nothing,
    Everything,
    /// Of each file and folder: none, all, or some of them.
    Chance(&'a dyn Rng),
}

#[derive(Clone)]
enum Change {
    Write(usize, Vec<u8>),
    Truncate(usize),
}

impl Change {
    /// As much of it as `sector` says.
    fn apply(&self, to: &mut Vec<u8>, mut sector: impl FnMut() -> bool) {
        match self {
            Self::Truncate(len) => {
                if sector() {
                    to.resize(*len, 0);
                }
            }
            Self::Write(at, bytes) => {
                let mut at = *at;
                let mut rest = bytes.as_slice();
                while !rest.is_empty() {
                    let (piece, after) = rest.split_at((SECTOR_BYTES - at % SECTOR_BYTES).min(rest.len()));
                    if sector() {
                        let end = at + piece.len();
                        to.resize(to.len().max(end), 0);
                        to[at..end].copy_from_slice(piece);
                    }
                    at += piece.len();
                    rest = after;
                }
            }
        }
    }
}

/// A file's content, or a folder's names: as synced, and the changes since.
struct Node<T, C> {
    synced: T,
    pending: Vec<C>,
    /// How many of the pending changes a sync under way covers, by its thread.
    syncing: BTreeMap<String, usize>,
}

impl<T: Default, C> Default for Node<T, C> {
    fn default() -> Self {
        Self { synced: T::default(), pending: Vec::new(), syncing: BTreeMap::new() }
    }
}

impl<T, C> Node<T, C> {
    fn synced(&mut self, thread: &str, mut apply: impl FnMut(&mut T, C)) {
        let Some(covered) = self.syncing.remove(thread) else { return };
        self.pending.drain(..covered).for_each(|change| apply(&mut self.synced, change));
        // Another thread's sync covers so many fewer of those that are left.
        self.syncing.values_mut().for_each(|other| *other = other.saturating_sub(covered));
    }
}

type Names = BTreeMap<OsString, Entry>;

#[derive(Clone, Copy)]
enum Entry {
    File(usize),
    Folder(usize),
}

/// All files and folders below a root that exists and is durable.
pub(crate) struct Disk {
    root: PathBuf,
    files: Vec<Node<Vec<u8>, Change>>,
    folders: Vec<Node<Names, (OsString, Option<Entry>)>>,
    /// As a program sees it.
    paths: BTreeMap<PathBuf, Entry>,
}

fn rename(names: &mut Names, (name, entry): (OsString, Option<Entry>)) {
    match entry {
        Some(entry) => drop(names.insert(name, entry)),
        None => drop(names.remove(&name)),
    }
}

impl Disk {
    pub(crate) fn new(root: &Path) -> Self {
        let paths = BTreeMap::from([(root.to_owned(), Entry::Folder(0))]);
        Self { root: root.to_owned(), files: Vec::new(), folders: vec![Node::default()], paths }
    }

    pub(crate) fn apply(&mut self, op: &Op) -> anyhow::Result<()> {
        match op {
            Op::Folder(path) => {
                self.folders.push(Node::default());
                self.name(path, Some(Entry::Folder(self.folders.len() - 1)))
            }
            Op::Create(path) => {
                self.files.push(Node::default());
                self.name(path, Some(Entry::File(self.files.len() - 1)))
            }
            Op::Link(old, new) => {
                let entry = self.paths.get(old).copied();
                self.name(new, Some(entry.context("a link to nothing")?))
            }
            Op::Unlink(path) => self.name(path, None),
            Op::Write(path, at, bytes) => {
                let file = self.file(path)?;
                let at = match at {
                    Some(at) => usize::try_from(*at)?,
                    None => content(file, || true).len(),
                };
                file.pending.push(Change::Write(at, bytes.clone()));
                Ok(())
            }
            Op::Truncate(path, len) => {
                let len = usize::try_from(*len)?;
                self.file(path)?.pending.push(Change::Truncate(len));
                Ok(())
            }
            Op::Syncs(thread, path) => {
                match self.paths.get(path).with_context(|| format!("no {}", path.display()))? {
                    Entry::File(n) => {
                        let file = &mut self.files[*n];
                        file.syncing.insert(thread.clone(), file.pending.len());
                    }
                    Entry::Folder(n) => {
                        let folder = &mut self.folders[*n];
                        folder.syncing.insert(thread.clone(), folder.pending.len());
                    }
                }
                Ok(())
            }
            Op::Synced(thread) => {
                for file in &mut self.files {
                    file.synced(thread, |bytes, change| change.apply(bytes, || true));
                }
                self.folders.iter_mut().for_each(|folder| folder.synced(thread, rename));
                Ok(())
            }
            Op::Tells(_) => Ok(()),
        }
    }

    fn name(&mut self, path: &Path, entry: Option<Entry>) -> anyhow::Result<()> {
        let (folder, name) = path.parent().zip(path.file_name()).context("a path without a name")?;
        let Some(Entry::Folder(folder)) = self.paths.get(folder) else {
            anyhow::bail!("{} is in no folder that we know", path.display())
        };
        self.folders[*folder].pending.push((name.to_owned(), entry));
        match entry {
            Some(entry) => drop(self.paths.insert(path.to_owned(), entry)),
            None => ensure!(self.paths.remove(path).is_some(), "{} was not there", path.display()),
        }
        Ok(())
    }

    fn file(&mut self, path: &Path) -> anyhow::Result<&mut Node<Vec<u8>, Change>> {
        match self.paths.get(path) {
            Some(Entry::File(n)) => Ok(&mut self.files[*n]),
            _ => anyhow::bail!("no file {}", path.display()),
        }
    }

    /// What the next start would find if the power went now.
    pub(crate) fn image(&self, left: &Left<'_>) -> Image {
        let mut image = Image::new();

        self.gather(0, Path::new(""), left, &mut image);
        image
    }

    fn gather(&self, folder: usize, at: &Path, left: &Left<'_>, image: &mut Image) {
        let folder = &self.folders[folder];
        let mut names = folder.synced.clone();
        let mut survives = luck(left);
        for change in &folder.pending {
            if survives() {
                rename(&mut names, change.clone());
            }
        }
        for (name, entry) in names {
            let path = at.join(name);
            match entry {
                Entry::Folder(n) => self.gather(n, &path, left, image),
                Entry::File(n) => drop(image.insert(path, content(&self.files[n], luck(left)))),
            }
        }
    }

    /// Where the model's files, as a program sees them, differ from the real ones.
    pub(crate) fn differences(&self, real: &Image) -> Vec<PathBuf> {
        let ours = self.image(&Left::Everything);
        let all: BTreeSet<_> = ours.keys().chain(real.keys()).collect();
        all.into_iter().filter(|path| ours.get(*path) != real.get(*path)).map(|p| self.root.join(p)).collect()
    }
}

fn content(file: &Node<Vec<u8>, Change>, mut survives: impl FnMut() -> bool) -> Vec<u8> {
    let mut bytes = file.synced.clone();
    file.pending.iter().for_each(|change| change.apply(&mut bytes, &mut survives));
    bytes
}

/// Whether the next change of one file or folder arrived.
fn luck<'a>(left: &Left<'a>) -> impl FnMut() -> bool + use<'a> {
    let (of_eight, rng): (u64, Option<&'a dyn Rng>) = match left {
        Left::Nothing => (0, None),
        Left::Everything => (8, None),
        Left::Chance(rng) => ([0, 1, 4, 7, 8][usize::try_from(rng.below(5)).unwrap_or(0)], Some(*rng)),
    };
    move || match rng {
        Some(rng) if (1..8).contains(&of_eight) => rng.below(8) < of_eight,
        _ => of_eight == 8,
    }
}
