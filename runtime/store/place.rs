//! Are the files at a database's path still the ones that are open? Whoever removes or replaces them leaves SQLite writing to files without a
//! name, and says nothing. It only looks at names: it never opens anything.

use std::path::{Path, PathBuf};

use crate::{HostError, os};

/// The database's files and which ones they were when they were opened.
#[derive(Default)]
pub(crate) struct Place {
    db: PathBuf,
    files: Vec<(PathBuf, os::FileIdentity)>,
}

impl Place {
    /// Looks at the files of a database that was opened just now.
    pub(crate) fn of(db: &Path) -> Self {
        let files = ["", "-wal", "-shm"].into_iter().filter_map(|suffix| {
            let mut name = db.as_os_str().to_owned();
            name.push(suffix);
            let path = PathBuf::from(name);
            let identity = os::file_identity(&path).ok().flatten()?;
            Some((path, identity))
        });
        Self { db: db.to_owned(), files: files.collect() }
    }

    /// Fails if one of the files is gone or another one.
    pub(crate) fn check(&self) -> Result<(), HostError> {
        for (path, was) in &self.files {
            let what = match os::file_identity(path) {
                Ok(Some(now)) if now != *was => "replaced",
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => "removed",
                // If it cannot be looked at, that says nothing about it.
                _ => continue,
            };
            return Err(HostError::Database {
                path: self.db.clone(),
                why: format!("{} was {what} while this process had it open", path.display()),
                help: "nothing more was acknowledged: put the file back with the -wal that belongs to it, then resume \
                       with a new process"
                    .to_owned(),
            });
        }
        Ok(())
    }
}
