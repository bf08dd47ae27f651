//! The two secrets of a server: the key that its handles are made with, and the token that its clients over HTTP must bring. Each is
//! a file that only its owner can read, made when it is first needed. Neither is ever printed.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use abide_engine::hex;
use abide_mcp::serve::{Seal, Token};

/// A secret cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    /// The file cannot be read or made.
    #[error("{path} cannot be used: {why}", path = .path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// Others can read it.
    #[error("{path} can be read by others than its owner", path = .path.display())]
    Open {
        /// Which file.
        path: PathBuf,
    },
    /// What stands in it is no secret.
    #[error("{path} holds no token: at least 16 visible characters of ASCII without a space", path = .path.display())]
    Weak {
        /// Which file.
        path: PathBuf,
    },
}

impl SecretError {
    /// What to do next.
    pub fn help(&self) -> String {
        let path = |path: &Path| crate::shell::quote(&path.to_string_lossy()).into_owned();
        match self {
            Self::File { .. } => "check the permissions of its folder, or name another".to_owned(),
            Self::Open { path: open } => format!("chmod 600 {}", path(open)),
            Self::Weak { path: weak } => format!("remove {} and a good one is made", path(weak)),
        }
    }
}

/// The key for handles, from the file beside this database. It must outlive the process: so do the handles.
pub fn seal_beside(db: &Path) -> Result<Arc<Seal>, SecretError> {
    let mut name = db.file_name().unwrap_or_default().to_owned();
    name.push(".serve-key");
    let path = db.with_file_name(name);
    let text = read_or_make(&path)?.0;
    // Whatever length it has: the key is a hash of it.
    Ok(Arc::new(Seal::new(blake3::derive_key("abide 2026-11 handles of served runs", text.as_bytes()))))
}

/// The token in this file; true if the file was made just now.
pub fn token(path: &Path) -> Result<(Token, bool), SecretError> {
    let (text, new) = read_or_make(path)?;
    Token::new(text.trim()).map(|token| (token, new)).ok_or_else(|| SecretError::Weak { path: path.to_owned() })
}

fn read_or_make(path: &Path) -> Result<(String, bool), SecretError> {
    let failed = |error: std::io::Error| SecretError::File { path: path.to_owned(), why: error.to_string() };
    if let Some(text) = read(path)? {
        return Ok((text, false));
    }
    let secret = hex::encode(&[crate::random::bytes16(), crate::random::bytes16()].concat());
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Under another name first: nobody ever reads half of it, and of two that are made at once one stays.
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
    file.write_all(secret.as_bytes()).and_then(|()| file.as_file().sync_all()).map_err(failed)?;
    match file.persist_noclobber(path) {
        Ok(_) => Ok((secret, true)),
        Err(_) => read(path)?
            .map(|text| (text, false))
            .ok_or_else(|| SecretError::File { path: path.to_owned(), why: "it cannot be made".to_owned() }),
    }
}

fn read(path: &Path) -> Result<Option<String>, SecretError> {
    match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(SecretError::File { path: path.to_owned(), why: error.to_string() }),
        Ok(_) => {}
    }
    if !crate::os::is_private(path) {
        return Err(SecretError::Open { path: path.to_owned() });
    }
    let text = std::fs::read_to_string(path);
    text.map(Some).map_err(|error| SecretError::File { path: path.to_owned(), why: error.to_string() })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn a_key_is_made_once_and_handles_outlive_the_process() {
        let dir = tempfile::tempdir().unwrap();
        let db = dir.path().join("runs.db");
        let handle = seal_beside(&db).unwrap().handle("r1");
        assert_eq!(seal_beside(&db).unwrap().id_of(&handle), Some("r1"));
        assert_ne!(seal_beside(&dir.path().join("other.db")).unwrap().handle("r1"), handle);
    }

    #[test]
    fn a_token_is_made_where_there_is_none_and_a_weak_one_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        assert!(token(&path).unwrap().1);
        assert!(!token(&path).unwrap().1, "it is read the second time");
        std::fs::write(&path, "short\n").unwrap();
        assert!(matches!(token(&path), Err(SecretError::Weak { .. })));
        assert!(matches!(token(&dir.path().join("none/token")), Err(SecretError::File { .. })));
    }
}
