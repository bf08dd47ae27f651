//! Windows and whatever else: the same functions where the system has no such notion. Files are as private as their folder.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;

/// Creates a file, or fails if there is one.
pub(crate) fn create_private(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create_new(true).open(path)
}

/// Makes a folder; one that exists is left as it is.
pub(crate) fn make_private_dir(path: &Path) -> io::Result<()> {
    match std::fs::create_dir(path) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        other => other,
    }
}

/// Folders cannot be synced here; the filesystem journals their entries itself.
pub(crate) fn sync_dir(_path: &Path) -> io::Result<()> {
    Ok(())
}

/// A path that names a server lies on the network.
pub(crate) fn network_filesystem(path: &Path) -> Option<&'static str> {
    let text = path.to_string_lossy();
    let unc = text.starts_with(r"\\?\UNC\")
        || (text.starts_with(r"\\") && !text.starts_with(r"\\?\") && !text.starts_with(r"\\.\"));
    unc.then_some("a network share")
}

/// Ends this process without any clean-up, for the crash tests.
pub(crate) fn kill_self() -> ! {
    std::process::abort()
}

/// There is no such signal here.
pub(crate) fn ignore_file_size_signal() {}
