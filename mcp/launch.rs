//! How a server's process is started and ended: the seam behind which the operating system lives. Nothing here knows
//! process groups; whoever does implements `Launcher`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::Stdio;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::process::{Child, Command};

/// Everything a process is started with. It has no `Debug`: resolved secrets are in it.
pub struct LaunchSpec {
    /// A bare name to look for in `PATH`, or an absolute path.
    pub program: PathBuf,
    /// The arguments, passed as they are: no shell sees them.
    pub args: Vec<OsString>,
    /// The whole environment: nothing else is inherited.
    pub env: BTreeMap<OsString, OsString>,
    /// The working folder.
    pub cwd: PathBuf,
}

/// A started process.
pub struct Launched {
    /// What the server reads.
    pub stdin: Box<dyn AsyncWrite + Send + Unpin>,
    /// What the server answers.
    pub stdout: Box<dyn AsyncRead + Send + Unpin>,
    /// What the server tells a person.
    pub stderr: Box<dyn AsyncRead + Send + Unpin>,
    /// Ends the process and what it started. Dropping it ends them, too.
    pub kill: Box<dyn KillGroup>,
}

/// Starts processes.
pub trait Launcher: Send + Sync + 'static {
    /// Starts one, on a tokio runtime.
    ///
    /// # Errors
    /// The operating system's own, `NotFound` for a program that is not there.
    fn launch(&self, spec: LaunchSpec) -> io::Result<Launched>;
}

/// Ends a process and everything it has started, when told to and when dropped; it may be told more than once.
pub trait KillGroup: Send {
    /// Ends them now, without asking.
    fn kill_group(&mut self);
}

/// Starts a process by portable means. It ends that process only, not what the process has started.
#[derive(Debug, Clone, Copy, Default)]
pub struct PlainLauncher;

impl Launcher for PlainLauncher {
    fn launch(&self, spec: LaunchSpec) -> io::Result<Launched> {
        let mut child = Command::new(&spec.program)
            .args(&spec.args)
            .env_clear()
            .envs(&spec.env)
            .current_dir(&spec.cwd)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let (Some(stdin), Some(stdout), Some(stderr)) = (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(io::Error::other("a pipe of the process is missing"));
        };
        let kill = Box::new(PlainChild(child));
        Ok(Launched { stdin: Box::new(stdin), stdout: Box::new(stdout), stderr: Box::new(stderr), kill })
    }
}

struct PlainChild(Child);

impl KillGroup for PlainChild {
    fn kill_group(&mut self) {
        // An error means that it has ended already.
        let _ = self.0.start_kill();
    }
}
