//! All code that depends on the operating system, and nothing else: file modes, network filesystems, process groups, the keyring, the browser, the one signal a test needs.

#[cfg(unix)]
mod unix;
#[cfg(unix)]
use unix as here;

#[cfg(not(unix))]
mod other;
#[cfg(not(unix))]
use other as here;

#[cfg(feature = "agents")]
mod keyring;
#[cfg(feature = "agents")]
mod launch;
#[cfg(feature = "agents")]
mod pathext;

#[cfg(feature = "serve")]
pub(crate) use here::is_private;
pub(crate) use here::{
    FileIdentity, create_private, file_identity, ignore_file_size_signal, kill_self, make_private_dir,
    network_filesystem, sync_dir,
};
#[cfg(feature = "cli")]
pub(crate) use here::{StopSignals, ansi_terminal, open_in_browser};
#[cfg(feature = "agents")]
pub(crate) use keyring::{keep_keyring_key, keyring_key};
#[cfg(feature = "agents")]
pub(crate) use launch::GroupLauncher;
#[cfg(feature = "cli")]
pub(crate) use launch::spawn_detached;
