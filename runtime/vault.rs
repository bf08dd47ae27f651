//! Where tokens of servers lie: encrypted files in the user's config folder, readable by their owner only, under a key in the
//! system's keyring where there is one, else in a file of its own. It knows nothing of what is in them, and prints nothing.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use abide_mcp::{Held, Vault};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

use crate::config::{Env, make_private_folders};
use crate::os;

/// What a file begins with: its layout, of which there has been one.
const LAYOUT: &[u8] = b"abide sealed 1\n";

/// The bytes of a key.
const KEY_LEN: usize = 32;

/// The largest file that is read, in bytes.
const MOST: u64 = 1 << 20;

/// Encrypted files in one folder. The key lies apart from what it opens only where the system has a keyring; elsewhere the files'
/// modes protect both, and encryption keeps tokens out of backups of single files, of searches and of accidents.
pub(crate) struct FileVault {
    folder: Option<PathBuf>,
    keyring: bool,
}

impl FileVault {
    /// In the user's config folder. Without one nothing can be kept.
    pub(crate) fn new(env: &Env) -> Self {
        // Whoever names the folder means all of it.
        Self { folder: env.user_dir().map(|dir| dir.join("oauth")), keyring: env.var("ABIDE_CONFIG_DIR").is_none() }
    }

    fn folder(&self) -> io::Result<&Path> {
        let missing = || io::Error::new(io::ErrorKind::NotFound, "you have no config folder: set ABIDE_CONFIG_DIR");
        self.folder.as_deref().ok_or_else(missing)
    }

    fn path(&self, name: &str, ending: &str) -> io::Result<PathBuf> {
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "this is no name of a secret"));
        }
        Ok(self.folder()?.join(format!("{name}.{ending}")))
    }

    /// The key, made if there is none and `make` says so.
    fn key(&self, make: bool) -> io::Result<Option<LessSafeKey>> {
        let path = self.folder()?.join("key");
        let known = match read(&path)? {
            Some(known) => Some(known),
            None if self.keyring => os::keyring_key(),
            None => None,
        };
        let bytes = match known {
            Some(known) => known,
            None if !make => return Ok(None),
            None => {
                let mut fresh = vec![0; KEY_LEN];
                getrandom::fill(&mut fresh).map_err(io::Error::other)?;
                if self.keyring && os::keep_keyring_key(&fresh) { fresh } else { keep_key(&path, &fresh)? }
            }
        };
        let damaged = |_| io::Error::new(io::ErrorKind::InvalidData, format!("{} is damaged", path.display()));
        let key = UnboundKey::new(&CHACHA20_POLY1305, &bytes).map_err(damaged)?;
        Ok(Some(LessSafeKey::new(key)))
    }
}

impl Vault for FileVault {
    fn load(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        if self.folder.is_none() {
            return Ok(None);
        }
        let path = self.path(name, "sealed")?;
        let Some(sealed) = read(&path)? else { return Ok(None) };
        let unreadable = |why: &str| io::Error::new(io::ErrorKind::InvalidData, format!("{} {why}", path.display()));
        let key = self.key(false)?.ok_or_else(|| unreadable("has lost its key"))?;
        let rest =
            sealed.strip_prefix(LAYOUT).ok_or_else(|| unreadable("is of a layout that this abide does not know"))?;
        let (nonce, secret) = rest.split_at_checked(NONCE_LEN).ok_or_else(|| unreadable("is cut off"))?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| unreadable("is cut off"))?;
        let mut secret = secret.to_vec();
        let opened = key.open_in_place(nonce, Aad::from(name.as_bytes()), &mut secret);
        Ok(Some(opened.map_err(|_| unreadable("is damaged, or was sealed with another key"))?.to_vec()))
    }

    fn save(&self, name: &str, secret: &[u8]) -> io::Result<()> {
        let path = self.path(name, "sealed")?;
        let folder = self.folder()?;
        make_private_folders(folder)?;
        let key = self.key(true)?.ok_or_else(|| io::Error::other("there is no key"))?;
        let mut nonce = [0; NONCE_LEN];
        getrandom::fill(&mut nonce).map_err(io::Error::other)?;
        let mut sealed = secret.to_vec();
        key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(name.as_bytes()), &mut sealed)
            .map_err(|_| io::Error::other("it cannot be encrypted"))?;
        // Readable by its owner only, which it keeps when it takes the place.
        let mut file = tempfile::Builder::new().prefix(".sealed-").tempfile_in(folder)?;
        for part in [LAYOUT, &nonce, &sealed] {
            file.write_all(part)?;
        }
        file.as_file().sync_all()?;
        file.persist(&path).map_err(|error| error.error)?;
        os::sync_dir(folder)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        match std::fs::remove_file(self.path(name, "sealed")?) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn try_lock(&self, name: &str) -> io::Result<Option<Held>> {
        let path = self.path(name, "lock")?;
        make_private_folders(self.folder()?)?;
        let file = match os::create_private(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                OpenOptions::new().read(true).write(true).open(&path)?
            }
            other => other?,
        };
        match file.try_lock() {
            Ok(()) => Ok(Some(Box::new(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

/// Keeps a key, unless another process was faster: then that one's is the key.
fn keep_key(path: &Path, fresh: &[u8]) -> io::Result<Vec<u8>> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new().prefix(".key-").tempfile_in(folder)?;
    file.write_all(fresh)?;
    file.as_file().sync_all()?;
    match file.persist_noclobber(path) {
        Ok(_) => {
            os::sync_dir(folder)?;
            Ok(fresh.to_vec())
        }
        Err(error) => read(path)?.ok_or(error.error),
    }
}

/// The bytes of a file; none if it is not there.
fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let mut bytes = Vec::new();
    file.take(MOST).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

#[cfg(test)]
#[path = "vault_tests.rs"]
mod tests;
