//! Linux and macOS. It never decides what is private: callers do.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
#[cfg(feature = "cli")]
use std::process::Stdio;
#[cfg(feature = "agents")]
use std::{collections::BTreeMap, ffi::OsString, os::unix::process::CommandExt as _, path::PathBuf, process::Command};

/// Creates a file that only its owner can read, or fails if there is one.
pub(crate) fn create_private(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)
}

/// Can nobody but its owner read this file?
#[cfg(feature = "serve")]
pub(crate) fn is_private(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|meta| meta.mode().trailing_zeros() >= 6)
}

/// Makes a folder that only its owner can enter; one that exists is left as it is.
pub(crate) fn make_private_dir(path: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        other => other,
    }
}

/// Makes the names in a folder durable.
pub(crate) fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Which file a name leads to: its device and number.
pub(crate) type FileIdentity = (u64, u64);

/// Which file this name leads to, without opening it.
pub(crate) fn file_identity(path: &Path) -> io::Result<Option<FileIdentity>> {
    let meta = std::fs::symlink_metadata(path)?;
    Ok(Some((meta.dev(), meta.ino())))
}

/// The kind of network filesystem a path lies on, if it is known to be one.
#[cfg(target_os = "linux")]
pub(crate) fn network_filesystem(path: &Path) -> Option<&'static str> {
    // Magic numbers of statfs(2).
    let kind = rustix::fs::statfs(path).ok()?.f_type;
    let known: [(i64, &str); 6] = [
        (0x6969, "NFS"),
        (0x517b, "SMB"),
        (0xff53_4d42, "CIFS"),
        (0xfe53_4d42, "SMB2"),
        (0x0102_1997, "9P"),
        (0x00c3_6400, "Ceph"),
    ];
    known.iter().find(|(magic, _)| (kind as i64 & 0xffff_ffff) == *magic).map(|(_, name)| *name)
}

/// The kind of network filesystem a path lies on, if it is known to be one.
#[cfg(not(target_os = "linux"))]
pub(crate) fn network_filesystem(path: &Path) -> Option<&'static str> {
    let stat = rustix::fs::statfs(path).ok()?;
    let name: Vec<u8> = stat.f_fstypename.iter().map(|c| *c as u8).take_while(|c| *c != 0).collect();
    ["nfs", "smbfs", "afpfs", "webdav"].into_iter().find(|known| known.as_bytes() == name)
}

/// Ends this process as `kill -9` would, for the crash tests.
pub(crate) fn kill_self() -> ! {
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    std::process::abort()
}

/// A write beyond `RLIMIT_FSIZE` must be an error, not the end of the process.
pub(crate) fn ignore_file_size_signal() {
    // The standard library offers no way without unsafe code; signal-hook's flag replaces the default action.
    let flag = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let _ = signal_hook::flag::register(signal_hook::consts::SIGXFSZ, flag);
}

/// What to start for this program: the system looks in the `PATH` of the new environment by itself.
#[cfg(feature = "agents")]
pub(crate) fn program(program: &Path, _env: &BTreeMap<OsString, OsString>) -> PathBuf {
    program.to_owned()
}

/// Makes the process the head of a group of its own.
#[cfg(feature = "agents")]
pub(crate) fn own_group(command: &mut Command) {
    command.process_group(0);
}

/// Cuts a process off from the terminal's signals: they go to the terminal's groups only.
#[cfg(feature = "cli")]
pub(crate) fn detach(command: &mut Command) {
    command.process_group(0);
}

/// Ends every process of the group that this one heads, at once. The head must not have been waited for.
#[cfg(feature = "agents")]
pub(crate) fn kill_group(head: u32) {
    let Some(group) = i32::try_from(head).ok().and_then(rustix::process::Pid::from_raw) else { return };
    // An error means that all have ended already.
    let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
}

/// Opens an http or https address in the user's browser; no shell sees it. An error if there is nothing to open it with.
#[cfg(feature = "cli")]
pub(crate) fn open_in_browser(address: &str) -> io::Result<()> {
    let program = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    let mut command = Command::new(program);
    command.arg(address).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    detach(&mut command);
    command.spawn().map(drop)
}

/// True if a terminal here understands colours and moves of the cursor.
#[cfg(feature = "cli")]
pub(crate) fn ansi_terminal() -> bool {
    std::env::var_os("TERM").is_some_and(|term| !term.is_empty() && term != "dumb")
}

/// What asks this process to end: Ctrl-C, or `kill`.
#[cfg(feature = "cli")]
pub(crate) struct StopSignals(Option<[tokio::signal::unix::Signal; 2]>);

#[cfg(feature = "cli")]
impl StopSignals {
    /// From here on they do not end the process by themselves.
    pub(crate) fn listen() -> Self {
        use tokio::signal::unix::{SignalKind, signal};
        // Where that cannot be had they end the process at once, as they always did.
        Self(signal(SignalKind::interrupt()).and_then(|one| Ok([one, signal(SignalKind::terminate())?])).ok())
    }

    pub(crate) async fn next(&mut self) {
        match &mut self.0 {
            Some([interrupt, terminate]) => tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            },
            None => std::future::pending().await,
        }
    }
}
