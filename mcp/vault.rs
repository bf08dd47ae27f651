//! The seam to where tokens are kept: named secrets, each behind a lock that other processes respect. It knows nothing of what is
//! in them, and the one of its own forgets everything when the process ends.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Keeps secrets by name, safe from others. A name is a few dozen of `a-z`, `0-9`.
pub trait Vault: Send + Sync + 'static {
    /// The secret of this name, if there is one.
    ///
    /// # Errors
    /// It is there and cannot be read.
    fn load(&self, name: &str) -> io::Result<Option<Vec<u8>>>;

    /// Keeps a secret under this name, in the place of what was there, durably.
    ///
    /// # Errors
    /// It cannot be kept; what was there still is.
    fn save(&self, name: &str, secret: &[u8]) -> io::Result<()>;

    /// Forgets the secret of this name.
    ///
    /// # Errors
    /// It is still there.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// The right to change what is kept under this name, alone among all processes; `None` while another has it.
    ///
    /// # Errors
    /// Nobody can have it.
    fn try_lock(&self, name: &str) -> io::Result<Option<Held>>;
}

/// The right to change a secret, until it is dropped.
pub type Held = Box<dyn Send + Sync>;

/// Keeps secrets in the memory of this process. A clone is the same.
#[derive(Clone, Default)]
pub struct MemoryVault {
    kept: Arc<Mutex<Kept>>,
}

#[derive(Default)]
struct Kept {
    secrets: BTreeMap<String, Vec<u8>>,
    locked: BTreeSet<String>,
}

struct Lock {
    name: String,
    vault: MemoryVault,
}

impl MemoryVault {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Vault for MemoryVault {
    fn load(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        Ok(self.kept().secrets.get(name).cloned())
    }

    fn save(&self, name: &str, secret: &[u8]) -> io::Result<()> {
        self.kept().secrets.insert(name.to_owned(), secret.to_owned());
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.kept().secrets.remove(name);
        Ok(())
    }

    fn try_lock(&self, name: &str) -> io::Result<Option<Held>> {
        let free = self.kept().locked.insert(name.to_owned());
        Ok(free.then(|| Box::new(Lock { name: name.to_owned(), vault: self.clone() }) as Held))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.vault.kept().locked.remove(&self.name);
    }
}
