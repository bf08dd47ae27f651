//! Starts processes so that they can be ended whole: an MCP server with everything it has started, and a run that works on
//! without a terminal. It decides neither when a process ends nor how long it is asked to: its owner does.

use std::io;
use std::process::Stdio;

use abide_mcp::{KillGroup, LaunchSpec, Launched, Launcher};
use tokio::process::{Child, Command};

use super::here;

/// Starts each server as the head of a process group of its own: Ctrl-C in a terminal does not reach it, and
/// [`KillGroup::kill_group`] ends all that it has started (but for what has left the group by itself).
///
/// On Windows a bare `npx` or `uvx` is found as `npx.cmd` or whatever else `PATHEXT` allows, and what ends there is the tree of
/// processes that is still connected to the server.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct GroupLauncher;

impl Launcher for GroupLauncher {
    fn launch(&self, spec: LaunchSpec) -> io::Result<Launched> {
        let mut command = std::process::Command::new(here::program(&spec.program, &spec.env));
        command.args(&spec.args).env_clear().envs(&spec.env).current_dir(&spec.cwd);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        here::own_group(&mut command);
        let mut child = Command::from(command).spawn()?;
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let kill = Box::new(Group(Some(child)));
        let (Some(stdin), Some(stdout), Some(stderr)) = pipes else {
            return Err(io::Error::other("a pipe of the process is missing"));
        };
        Ok(Launched { stdin: Box::new(stdin), stdout: Box::new(stdout), stderr: Box::new(stderr), kill })
    }
}

/// The head of a group. It is not waited for before the group is ended: until then its id, which names the group, cannot be
/// given to another process.
struct Group(Option<Child>);

impl KillGroup for Group {
    fn kill_group(&mut self) {
        let Some(mut child) = self.0.take() else { return };
        if let Some(id) = child.id() {
            here::kill_group(id);
        }
        // Only where the group could not be ended; dropping it leaves the reaping to tokio.
        let _ = child.start_kill();
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill_group();
    }
}

/// Starts a program that outlives this one and its terminal, in this folder and with this environment, and with nothing to
/// read from or write to; its process id.
#[cfg(feature = "cli")]
pub(crate) fn spawn_detached<I, S>(program: &std::path::Path, args: I) -> io::Result<u32>
where
    I: IntoIterator<Item = S>,
    S: AsRef<std::ffi::OsStr>,
{
    let mut command = std::process::Command::new(program);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    here::detach(&mut command);
    command.spawn().map(|child| child.id())
}

#[cfg(all(test, unix))]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use std::collections::BTreeMap;

    use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};

    use super::*;

    fn shell(script: &str) -> LaunchSpec {
        let env = std::env::var_os("PATH").map(|path| ("PATH".into(), path));
        LaunchSpec {
            program: "sh".into(),
            args: vec!["-c".into(), script.into()],
            env: env.into_iter().collect::<BTreeMap<_, _>>(),
            cwd: std::env::temp_dir(),
        }
    }

    /// Both processes hold stdout: it ends only when neither lives.
    const WITH_GRANDCHILD: &str = "tail -f /dev/null & echo started; wait";

    #[tokio::test]
    async fn a_killed_server_takes_its_grandchild_along() {
        let mut server = GroupLauncher.launch(shell(WITH_GRANDCHILD)).unwrap();
        let mut lines = BufReader::new(&mut server.stdout).lines();
        assert_eq!(lines.next_line().await.unwrap().as_deref(), Some("started"));
        server.kill.kill_group();
        server.kill.kill_group();
        assert_eq!(server.stdout.read_to_end(&mut Vec::new()).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn a_dropped_server_takes_its_grandchild_along_even_when_it_has_ended_itself() {
        for script in [WITH_GRANDCHILD, "tail -f /dev/null & echo started"] {
            let Launched { mut stdout, kill, .. } = GroupLauncher.launch(shell(script)).unwrap();
            let mut lines = BufReader::new(&mut stdout).lines();
            assert_eq!(lines.next_line().await.unwrap().as_deref(), Some("started"));
            drop(kill);
            assert_eq!(stdout.read_to_end(&mut Vec::new()).await.unwrap(), 0, "{script}");
        }
    }

    #[tokio::test]
    async fn a_server_is_the_head_of_its_group_and_has_no_other_environment() {
        // Cargo sets this variable for every test.
        let script = r#"echo $$; echo "${CARGO_MANIFEST_DIR-unset}"; exec tail -f /dev/null"#;
        let mut server = GroupLauncher.launch(shell(script)).unwrap();
        let mut lines = BufReader::new(&mut server.stdout).lines();
        let id: i32 = lines.next_line().await.unwrap().unwrap().parse().unwrap();
        let head = rustix::process::Pid::from_raw(id).unwrap();
        assert_eq!(rustix::process::getpgid(Some(head)).unwrap(), head);
        assert_eq!(lines.next_line().await.unwrap().as_deref(), Some("unset"));
    }

    #[tokio::test]
    async fn what_is_not_there_is_not_found() {
        let mut spec = shell("");
        spec.program = "abide-has-no-such-program".into();
        assert_eq!(GroupLauncher.launch(spec).err().map(|error| error.kind()), Some(io::ErrorKind::NotFound));
    }
}
