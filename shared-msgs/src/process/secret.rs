//! Secrets in the configuration: by value or by file, never both.
//!
//! Invariant: a [`Secret`] is wiped when dropped, and never shown nor serialized; errors name its setting and file only.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer};
use zeroize::Zeroizing;

use super::config::ConfigError;
use crate::keys::is_key_text;

/// A secret file is read up to this size: no key or password is longer.
const SECRET_BYTES_MAX: u64 = 64 * 1024;

/// A secret text.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes over `text`.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// Shows it to who needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Hands it on, still wiped when dropped.
    pub fn into_inner(self) -> Zeroizing<String> {
        self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(redacted)")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // serde's own "invalid type" message would quote the value.
        let text = String::deserialize(deserializer)
            .map_err(|_| serde::de::Error::custom("a secret must be a text in quotes"))?;
        Ok(Self::new(text))
    }
}

/// The secret that a pair of settings `name` / `name_file` gives; `None` when neither is set. White space around the content of a
/// file is ignored.
///
/// # Errors
/// When both are set, or the file cannot be read or is empty.
pub fn resolve(
    value: Option<Secret>,
    file: Option<PathBuf>,
    name: &'static str,
) -> Result<Option<Secret>, ConfigError> {
    match (value, file) {
        (Some(_), Some(_)) => Err(ConfigError::BothSecrets { name }),
        (Some(value), None) => Ok(Some(value)),
        (None, None) => Ok(None),
        (None, Some(path)) => read(name, &path).map(Some),
    }
}

fn read(name: &'static str, path: &Path) -> Result<Secret, ConfigError> {
    let failed = |source: io::Error| {
        if source.kind() == io::ErrorKind::NotFound && is_key_text(&path.to_string_lossy()) {
            ConfigError::SecretForFile { name }
        } else {
            ConfigError::SecretFile { name, path: path.to_owned(), source }
        }
    };
    // Before it is opened: to open a pipe waits for who writes into it.
    judge(name, path, &std::fs::metadata(path).map_err(failed)?)?;
    let file = File::open(path).map_err(failed)?;
    // Asked of the open file, so that it cannot be swapped in between.
    let metadata = file.metadata().map_err(failed)?;
    judge(name, path, &metadata)?;
    // One allocation of the size it needs: a text that grows leaves unwiped copies behind.
    let size = usize::try_from(metadata.len().min(SECRET_BYTES_MAX)).unwrap_or(0);
    let mut text = Zeroizing::new(String::with_capacity(size + 1));
    file.take(SECRET_BYTES_MAX + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > SECRET_BYTES_MAX {
        return Err(failed(io::ErrorKind::FileTooLarge.into()));
    }
    if text.trim().is_empty() {
        return Err(ConfigError::EmptySecretFile { name, path: path.to_owned() });
    }
    Ok(Secret::new(text.trim().to_owned()))
}

/// A file or a pipe that nobody else can read. Who keeps a secret for others, as root does for its services, may let their group read
/// it; who owns it has no use for that.
fn judge(name: &'static str, path: &Path, metadata: &std::fs::Metadata) -> Result<(), ConfigError> {
    use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
    if !metadata.is_file() && !metadata.file_type().is_fifo() {
        return Err(ConfigError::NoSecretFile { name, path: path.to_owned() });
    }
    let is_ours = metadata.uid() == rustix::process::geteuid().as_raw();
    let (mode, allowed) = (metadata.mode() & 0o777, if is_ours { 0o700 } else { 0o740 });
    if mode & !allowed != 0 {
        return Err(ConfigError::ExposedSecretFile { name, path: path.to_owned(), mode });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    #[test]
    fn value_or_file_but_never_both() {
        let file = file("  from file\n");
        let path = || Some(file.path().to_owned());
        let value = || Some(Secret::new("hunter2".to_owned()));
        assert_eq!(resolve(None, None, "mqtt.password").unwrap(), None);
        assert_eq!(resolve(value(), None, "mqtt.password").unwrap().unwrap().expose(), "hunter2");
        assert_eq!(resolve(None, path(), "mqtt.password").unwrap().unwrap().expose(), "from file");
        let error = resolve(value(), path(), "mqtt.password").unwrap_err().to_string();
        assert!(error.contains("mqtt.password") && error.contains("mqtt.password_file"), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }

    #[test]
    fn a_missing_empty_or_huge_file_is_a_named_error() {
        let huge = "x".repeat(usize::try_from(SECRET_BYTES_MAX).unwrap() + 1);
        for text in ["", " \n", &huge] {
            let file = file(text);
            let error = resolve(None, Some(file.path().to_owned()), "key").unwrap_err().to_string();
            assert!(error.contains("key_file") && error.contains(file.path().to_str().unwrap()), "{error}");
        }
        let error = resolve(None, Some("/nonexistent/secret".into()), "key").unwrap_err().to_string();
        assert!(error.contains("/nonexistent/secret"), "{error}");
    }

    #[test]
    fn what_others_may_read_or_is_no_file_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let file = file("hunter2");
        let path = || Some(file.path().to_owned());
        for mode in [0o644, 0o640, 0o604, 0o620, 0o602] {
            std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(mode)).unwrap();
            let error = resolve(None, path(), "key").unwrap_err().to_string();
            assert!(error.contains(&format!("{mode:o}")) && error.contains("chmod 600"), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(0o400)).unwrap();
        assert!(resolve(None, path(), "key").is_ok());
        for path in ["/", "/dev/null"] {
            let error = resolve(None, Some(path.into()), "key").unwrap_err();
            assert!(matches!(error, ConfigError::NoSecretFile { .. }), "{error}");
        }
    }

    #[test]
    fn a_key_in_place_of_its_path_is_not_quoted() {
        for path in ["hub-server-1.alpha.1.1.hunter2", " hub-fleet-1.1.hunter2"] {
            let error = resolve(None, Some(path.into()), "key").unwrap_err();
            assert!(matches!(error, ConfigError::SecretForFile { name: "key" }), "{error}");
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn debug_tells_nothing() {
        assert_eq!(format!("{:?}", Secret::new("hunter2".to_owned())), "Secret(redacted)");
    }
}
