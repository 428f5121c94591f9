//! Folders for what must survive: private, and still there after a power cut.
//!
//! Knows no file. Invariant: a folder made here has its name on disk before anything is put into it.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

/// Makes the folder (0700), and those above it, where they are missing.
pub(crate) fn create_private(folder: &Path) -> io::Result<()> {
    if folder.as_os_str().is_empty() || folder.is_dir() {
        return Ok(());
    }
    let above = folder.parent().unwrap_or(Path::new(""));
    create_private(above)?;
    match fs::DirBuilder::new().mode(0o700).create(folder) {
        // Somebody was faster; if it is no folder, whoever uses it will say so.
        Err(err) if err.kind() == io::ErrorKind::AlreadyExists => {}
        made => made?,
    }
    // A file's own sync does not cover the names of the folders above it.
    let above = if above.as_os_str().is_empty() { Path::new(".") } else { above };
    fs::File::open(above)?.sync_all()
}

/// The folder that a file lies in.
pub(crate) fn of(file: &Path) -> &Path {
    file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
