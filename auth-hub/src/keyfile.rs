//! Key files, that of the fleet and that of the admin API: made once, private, never half-written.
//!
//! Knows files, not what the keys are for. Invariants: whoever races to make a file, all get the same key; a file that
//! others may read is refused; once [`load_or_create`] or [`load_or_create_admin`] returned, the key survives power loss.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use shared_msgs::keys::{FleetKeys, KeyError, is_key_text};
use shared_msgs::process::io_remedy;
use shared_msgs::rng::Rng;
use zeroize::Zeroizing;

use crate::admin_key::AdminKey;

/// A key file has two short lines at most.
const FILE_BYTES_MAX: u64 = 4096;

const FLEET: &str = "fleet key";
const ADMIN: &str = "admin key";

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// Reading or making it failed.
    #[error("{what} file {}: {source}; {}", path.display(), io_remedy(source))]
    Io {
        /// Whose key.
        what: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A key where its path should be; a file of that name would give it away.
    #[error(
        "{setting} holds a key and not the path of its file: put the key into a file (chmod 600) and name that"
    )]
    KeyForPath {
        /// Which setting.
        setting: &'static str,
    },
    /// Not a file.
    #[error("{what} file {} is not a regular file: name a file, or a path where one can be made", path.display())]
    NotAFile {
        /// Whose key.
        what: &'static str,
        /// Which.
        path: PathBuf,
    },
    /// Its mode lets others in.
    #[error("{what} file {} has mode {mode:03o}: nobody but its owner may touch it (chmod 600)", path.display())]
    Exposed {
        /// Whose key.
        what: &'static str,
        /// Which.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Not what we wrote.
    #[error(
        "fleet key file {}: {source}; restore it from its backup, or move it away: a new one is made then, and every game server \
         needs a new key",
        path.display()
    )]
    Content {
        /// Which.
        path: PathBuf,
        /// Why.
        source: KeyError,
    },
    /// Not an admin key.
    #[error("admin key file {} holds no admin key: move it away, a new one is made at the hub's next start", path.display())]
    NoAdminKey {
        /// Which.
        path: PathBuf,
    },
}

/// Reads the fleet key's file; makes it, and its folder, where it is missing.
///
/// # Errors
/// [`KeyFileError`].
pub fn load_or_create(path: &Path, rng: &dyn Rng) -> Result<FleetKeys, KeyFileError> {
    keep(FLEET, path, load, || FleetKeys::generate(rng).to_file_text(), rng)
}

/// Reads the fleet key's file and changes nothing.
///
/// # Errors
/// [`KeyFileError`].
pub(crate) fn load(path: &Path) -> Result<FleetKeys, KeyFileError> {
    let text = read(FLEET, path).map_err(|error| match error {
        KeyFileError::Io { source, .. }
            if source.kind() == io::ErrorKind::NotFound && is_key_text(&path.to_string_lossy()) =>
        {
            KeyFileError::KeyForPath { setting: "keys.fleet_key_file" }
        }
        error => error,
    })?;
    FleetKeys::parse(&text).map_err(|source| KeyFileError::Content { path: path.to_owned(), source })
}

/// Reads the admin key's file; makes it, and its folder, where it is missing.
///
/// # Errors
/// [`KeyFileError`].
pub fn load_or_create_admin(path: &Path, rng: &dyn Rng) -> Result<AdminKey, KeyFileError> {
    keep(ADMIN, path, load_admin, || AdminKey::generate(rng).to_file_text(), rng)
}

/// Reads the admin key's file and changes nothing.
///
/// # Errors
/// [`KeyFileError`].
pub(crate) fn load_admin(path: &Path) -> Result<AdminKey, KeyFileError> {
    let text = read(ADMIN, path).map_err(|error| match error {
        KeyFileError::Io { source, .. }
            if source.kind() == io::ErrorKind::NotFound
                && AdminKey::parse(&path.to_string_lossy()).is_some() =>
        {
            KeyFileError::KeyForPath { setting: "admin.key_file" }
        }
        error => error,
    })?;
    AdminKey::parse(&text).ok_or_else(|| KeyFileError::NoAdminKey { path: path.to_owned() })
}

/// Reads a file; makes it where it is missing.
fn keep<T>(
    what: &'static str,
    path: &Path,
    load: fn(&Path) -> Result<T, KeyFileError>,
    fresh: impl FnOnce() -> Zeroizing<String>,
    rng: &dyn Rng,
) -> Result<T, KeyFileError> {
    let failed = |source| KeyFileError::Io { what, path: path.to_owned(), source };
    let key = match load(path) {
        Err(KeyFileError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            create(path, &fresh(), rng).map_err(failed)?;
            // What stands there now: ours, or that of who was faster.
            load(path)?
        }
        loaded => loaded?,
    };
    // Who was faster may not have come to this yet, and nothing may be derived from a key that could vanish.
    match sync_folder(path) {
        // Ours can be read: such a folder was made by somebody else, and no hub raced to put a key into it.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
        synced => synced.map_err(failed)?,
    }
    Ok(key)
}

fn read(what: &'static str, path: &Path) -> Result<Zeroizing<String>, KeyFileError> {
    let failed = |source: io::Error| KeyFileError::Io { what, path: path.to_owned(), source };
    // Before it is opened: to open a pipe waits for who writes into it.
    if !fs::metadata(path).map_err(failed)?.is_file() {
        return Err(KeyFileError::NotAFile { what, path: path.to_owned() });
    }
    let file = File::open(path).map_err(failed)?;
    // Asked of the open file, so that it cannot be swapped in between.
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(KeyFileError::NotAFile { what, path: path.to_owned() });
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = metadata.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(KeyFileError::Exposed { what, path: path.to_owned(), mode });
        }
    }
    // One allocation: a text that grows leaves unwiped copies behind.
    let mut text = Zeroizing::new(String::with_capacity(8192));
    file.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(failed)?;
    Ok(text)
}

fn create(path: &Path, text: &str, rng: &dyn Rng) -> io::Result<()> {
    let folder = crate::folder::of(path);
    crate::folder::create_private(folder)?;

    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_string_lossy();
    let draft = folder.join(format!(".{name}.{:016x}", u64::from_be_bytes(rng.array())));
    let written = write_new(&draft, text.as_bytes());
    // A link never replaces what is there: the first one wins.
    let linked = written.and_then(|()| match fs::hard_link(&draft, path) {
        Err(err) if err.kind() != io::ErrorKind::AlreadyExists => Err(err),
        _ => Ok(()),
    });
    let removed = fs::remove_file(&draft);
    linked?;
    removed
}

fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(crate::folder::of(path))?.sync_all()
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.write(true).create_new(true).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::sync::{Arc, Barrier};

    use super::*;
    use shared_msgs::rng::{SeededRng, SystemRng};

    fn text(path: &Path, rng: &dyn Rng) -> String {
        load_or_create(path, rng).unwrap().to_file_text().to_string()
    }

    #[test]
    fn a_missing_file_is_made_private_and_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("made/by/us/fleet.key");
        let first = text(&path, &SeededRng::new(1));
        assert_eq!(first, text(&path, &SeededRng::new(2)), "the second run reads what the first made");
        assert_eq!(first, fs::read_to_string(&path).unwrap());
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        let left: Vec<_> = fs::read_dir(path.parent().unwrap()).unwrap().collect();
        assert_eq!(left.len(), 1, "no draft is left");
    }

    #[test]
    fn whoever_races_gets_the_same_key() {
        for _ in 0..20 {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("var/fleet.key");
            let barrier = Arc::new(Barrier::new(4));
            let racers: Vec<_> = (0..4)
                .map(|_| {
                    let (path, barrier) = (path.clone(), Arc::clone(&barrier));
                    std::thread::spawn(move || {
                        let rng = SystemRng::new();
                        barrier.wait();
                        text(&path, &rng)
                    })
                })
                .collect();
            let keys: Vec<_> = racers.into_iter().map(|racer| racer.join().unwrap()).collect();
            assert!(keys.iter().all(|key| *key == keys[0]), "{} different", keys.len());
            assert_eq!(fs::read_dir(dir.path().join("var")).unwrap().count(), 1);
        }
    }

    #[test]
    fn a_file_that_others_may_touch_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fleet.key");
        let key = text(&path, &SeededRng::new(1));
        for mode in [0o640, 0o604, 0o620, 0o601] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let err = load_or_create(&path, &SeededRng::new(1)).unwrap_err().to_string();
            assert!(err.contains("fleet.key") && err.contains("chmod 600"), "{err}");
            assert!(err.contains(&format!("{mode:o}")), "{err}");
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
        assert_eq!(text(&path, &SeededRng::new(1)), key);
    }

    #[test]
    fn what_is_no_key_file_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fleet.key");
        for content in ["", "hub-fleet-1.1.c2VjcmV0", &"x".repeat(10_000)] {
            fs::write(&path, content).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            let err = load_or_create(&path, &SeededRng::new(1)).unwrap_err();
            assert!(matches!(err, KeyFileError::Content { .. }));
            assert!(!err.to_string().contains("c2Vj"), "{err}");
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
        }
        let err = load_or_create(dir.path(), &SeededRng::new(1)).unwrap_err();
        assert!(matches!(err, KeyFileError::NotAFile { .. }), "{err}");
        let socket = dir.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let err = load_or_create(&socket, &SeededRng::new(1)).unwrap_err();
        assert!(matches!(err, KeyFileError::NotAFile { .. }), "{err}");
    }

    #[test]
    fn the_admin_key_s_file_is_kept_the_same_way() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("var/admin.key");
        let made = load_or_create_admin(&path, &SeededRng::new(1)).unwrap();
        assert!(load_or_create_admin(&path, &SeededRng::new(2)).unwrap().is(made.expose()));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        // The key itself where its path belongs makes no file that is called like it.
        let error = load_or_create_admin(Path::new(made.expose()), &SeededRng::new(1)).unwrap_err();
        assert!(matches!(error, KeyFileError::KeyForPath { .. }));
        assert!(!error.to_string().contains(&made.expose()[..8]) && !Path::new(made.expose()).exists());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let error = load_or_create_admin(&path, &SeededRng::new(1)).unwrap_err().to_string();
        assert!(error.contains("admin key file") && error.contains("chmod 600"), "{error}");
        fs::write(&path, "hunter2").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let error = load_or_create_admin(&path, &SeededRng::new(1)).unwrap_err().to_string();
        assert!(error.contains("holds no admin key") && !error.contains("hunter2"), "{error}");
    }
}
