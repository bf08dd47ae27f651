//! Windows and whatever else: the same functions where the system has no such notion. Files are as private as their folder.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;
#[cfg(feature = "agents")]
use std::{
    collections::BTreeMap,
    ffi::OsString,
    path::PathBuf,
    process::{Command, Stdio},
};

/// Creates a file, or fails if there is one.
pub(crate) fn create_private(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create_new(true).open(path)
}

/// Files are as private as their folder here.
#[cfg(feature = "serve")]
pub(crate) fn is_private(_path: &Path) -> bool {
    true
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

/// Which file a name leads to. A file that is open can neither be removed nor replaced here, so there is nothing to tell.
pub(crate) type FileIdentity = ();

/// Which file this name leads to, where that can be told.
pub(crate) fn file_identity(_path: &Path) -> io::Result<Option<FileIdentity>> {
    Ok(None)
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

/// What to start for this program: the standard library finds `x.exe` alone, and `npx` is a script.
#[cfg(feature = "agents")]
pub(crate) fn program(program: &Path, env: &BTreeMap<OsString, OsString>) -> PathBuf {
    super::pathext::find(program, env, Path::is_file).unwrap_or_else(|| program.to_owned())
}

/// Keeps Ctrl-C away from the process, and a console window from the screen.
#[cfg(feature = "agents")]
pub(crate) fn own_group(command: &mut Command) {
    const CREATE_NEW_PROCESS_GROUP: u32 = 0x0000_0200;
    const CREATE_NO_WINDOW: u32 = 0x0800_0000;
    flags(command, CREATE_NEW_PROCESS_GROUP | CREATE_NO_WINDOW);
}

/// Cuts a process off from the console.
#[cfg(feature = "cli")]
pub(crate) fn detach(command: &mut Command) {
    const DETACHED_PROCESS: u32 = 0x0000_0008;
    const CREATE_NEW_PROCESS_GROUP: u32 = 0x0000_0200;
    flags(command, DETACHED_PROCESS | CREATE_NEW_PROCESS_GROUP);
}

#[cfg(all(feature = "agents", windows))]
fn flags(command: &mut Command, flags: u32) {
    use std::os::windows::process::CommandExt as _;
    command.creation_flags(flags);
}

#[cfg(all(feature = "agents", not(windows)))]
fn flags(_command: &mut Command, _flags: u32) {}

/// Ends a process and those it has started. Windows has no groups to end, and a job object needs unsafe code or a heavy crate:
/// `taskkill` walks the tree, and misses a grandchild whose parent has ended before.
#[cfg(feature = "agents")]
pub(crate) fn kill_group(head: u32) {
    let mut taskkill = Command::new("taskkill");
    taskkill.args(["/T", "/F", "/PID"]).arg(head.to_string());
    own_group(&mut taskkill);
    // An error means that all have ended already.
    let _ = taskkill.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
}

/// Opens an http or https address in the user's browser; no shell sees it. An error if there is nothing to open it with.
#[cfg(feature = "cli")]
pub(crate) fn open_in_browser(address: &str) -> io::Result<()> {
    let mut command = Command::new("rundll32");
    command.arg("url.dll,FileProtocolHandler").arg(address);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().map(drop)
}

/// True if a terminal here understands colours and moves of the cursor: the newer ones say so.
#[cfg(feature = "cli")]
pub(crate) fn ansi_terminal() -> bool {
    ["WT_SESSION", "TERM", "ANSICON", "ConEmuANSI"].iter().any(|name| std::env::var_os(name).is_some())
}

/// What asks this process to end: Ctrl-C.
#[cfg(feature = "cli")]
pub(crate) struct StopSignals(Option<tokio::signal::windows::CtrlC>);

#[cfg(feature = "cli")]
impl StopSignals {
    /// From here on it does not end the process by itself.
    pub(crate) fn listen() -> Self {
        Self(tokio::signal::windows::ctrl_c().ok())
    }

    pub(crate) async fn next(&mut self) {
        match &mut self.0 {
            Some(interrupt) => drop(interrupt.recv().await),
            None => std::future::pending().await,
        }
    }
}
