//! The record of what the user has consented to (DESIGN section 6): a set of hashes in the user's config folder. It
//! asks nobody, holds no text of what was consented to, and a damaged record is an error, never consent.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::discover::{Env, read_text};
use super::error::ConfigError;
use crate::os;

/// The only layout there has been.
const VERSION: u32 = 1;

/// The file's name in the user's config folder.
const FILE: &str = "trust.json";

/// What stands in the file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    version: u32,
    granted: BTreeSet<String>,
}

/// What the user has consented to, as it was when opened.
#[derive(Debug)]
pub struct TrustStore {
    path: PathBuf,
    granted: BTreeSet<String>,
}

impl TrustStore {
    /// Opens the record in the user's config folder. None is an empty one; a damaged one is an error.
    pub fn open(env: &Env) -> Result<Self, ConfigError> {
        let path = env.user_dir().ok_or(ConfigError::NoUserFolder)?.join(FILE);
        let granted = read(&path)?;
        Ok(Self { path, granted })
    }

    /// The file, which need not exist.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Has the user consented to what has this hash ([`super::ConsentRequest::hash`])?
    pub fn granted(&self, hash: &str) -> bool {
        self.granted.contains(hash)
    }

    /// Records consent and syncs it. What another process has recorded meanwhile is kept, unless both write in the same
    /// instant: then one of them is asked again.
    pub fn grant<S: AsRef<str>>(&mut self, hashes: &[S]) -> Result<(), ConfigError> {
        let mut granted = read(&self.path)?;
        let before = granted.len();
        granted.extend(hashes.iter().map(|hash| hash.as_ref().to_owned()));
        if granted.len() > before {
            let unwritable =
                |e: std::io::Error| ConfigError::Unwritable { path: self.path.clone(), problem: e.to_string() };
            write(&self.path, &granted).map_err(unwritable)?;
        }
        self.granted = granted;
        Ok(())
    }
}

fn read(path: &Path) -> Result<BTreeSet<String>, ConfigError> {
    // Anything but a certain absence is read, so that what cannot be read is an error.
    if matches!(path.symlink_metadata(), Err(e) if e.kind() == std::io::ErrorKind::NotFound) {
        return Ok(BTreeSet::new());
    }
    let damaged = |problem: String| ConfigError::TrustStore { path: path.to_path_buf(), problem };
    let record: Record = serde_json::from_str(&read_text(path)?).map_err(|e| damaged(e.to_string()))?;
    if record.version != VERSION {
        return Err(damaged(format!("it is of version {}, and this abide knows {VERSION}", record.version)));
    }
    let is_hash =
        |hash: &String| hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    match record.granted.iter().find(|hash| !is_hash(hash)) {
        Some(odd) => Err(damaged(format!("{odd:?} is not a hash"))),
        None => Ok(record.granted),
    }
}

/// Replaces the file in one step, so that a crash leaves the old one or the new one. A temporary file is readable by
/// its owner only, and keeps that when it takes the place.
fn write(path: &Path, granted: &BTreeSet<String>) -> std::io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    make_private_folders(dir)?;
    let mut text = serde_json::to_string_pretty(&Record { version: VERSION, granted: granted.clone() })?;
    text.push('\n');
    let mut file = tempfile::Builder::new().prefix(".trust-").tempfile_in(dir)?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|e| e.error)?;
    os::sync_dir(dir)
}

/// Makes the user's config folder, and those above it that are missing, for their owner alone; others are left as they are.
pub(crate) fn make_private_folders(dir: &Path) -> std::io::Result<()> {
    let missing: Vec<&Path> =
        dir.ancestors().take_while(|folder| !folder.as_os_str().is_empty() && !folder.exists()).collect();
    missing.into_iter().rev().try_for_each(os::make_private_dir)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn env(dir: &Path) -> Env {
        Env { cwd: dir.to_path_buf(), config_base: Some(dir.join("config")), ..Env::default() }
    }

    fn hash(seed: &str) -> String {
        blake3::hash(seed.as_bytes()).to_hex().to_string()
    }

    #[test]
    fn consent_is_kept_and_adds_up() {
        let dir = tempfile::tempdir().unwrap();
        let mut one = TrustStore::open(&env(dir.path())).unwrap();
        let mut other = TrustStore::open(&env(dir.path())).unwrap();
        assert!(!one.granted(&hash("a")) && !one.path().exists(), "nothing is trusted, and nothing written");
        one.grant(&[hash("a")]).unwrap();
        other.grant(&[hash("b")]).unwrap();
        let again = TrustStore::open(&env(dir.path())).unwrap();
        assert!(again.granted(&hash("a")) && again.granted(&hash("b")) && !again.granted(&hash("c")));
        let left = std::fs::read_dir(again.path().parent().unwrap()).unwrap().count();
        assert_eq!(left, 1, "no temporary file stays");
    }

    #[test]
    fn a_damaged_record_trusts_nothing_and_is_not_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = TrustStore::open(&env(dir.path())).unwrap();
        store.grant(&[hash("a")]).unwrap();
        for text in [
            "",
            "{",
            "[]",
            r#"{"version":1}"#,
            r#"{"version":2,"granted":[]}"#,
            r#"{"version":1,"granted":["*"]}"#,
            r#"{"version":1,"granted":[],"all":true}"#,
        ] {
            std::fs::write(store.path(), text).unwrap();
            let error = TrustStore::open(&env(dir.path())).unwrap_err();
            assert!(error.to_string().contains("trust.json"), "{text}: {error}");
            assert_eq!(error.code(), "trust_store_damaged", "{text}");
            assert!(error.help().contains("abide trust"));
            assert!(store.grant(&[hash("b")]).is_err());
            assert_eq!(std::fs::read_to_string(store.path()).unwrap(), text);
        }
    }

    #[test]
    fn without_a_folder_of_the_users_nothing_can_be_trusted() {
        let error = TrustStore::open(&Env::default()).unwrap_err();
        assert!(error.help().contains("ABIDE_CONFIG_DIR"), "{error}");
    }

    #[test]
    fn what_cannot_be_written_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("config"), "a file in the way").unwrap();
        let error = TrustStore::open(&env(dir.path())).and_then(|mut store| store.grant(&[hash("a")])).unwrap_err();
        assert!(matches!(error.code(), "config_unwritable" | "config_unreadable"), "{error}");
    }
}
