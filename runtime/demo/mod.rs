//! `abide demo`: an agent is killed in mid-run and resumed, before everybody's eyes, without a key or a network. The model is
//! scripted and says so; the processes, the kill, the MCP server, the HTTP and the journal are real. It never touches what the
//! user has.
//!
//! - `stage`: the folder it plays in; `worker`: the processes that work on the run
//! - `model` and `script`: the model; `server`: the MCP server (`abide demo-server FOLDER`)
//! - `ledger`: what model and server have seen; `judge`: the journal beside it; `tell`: the timeline

mod judge;
mod ledger;
mod model;
mod script;
mod server;
mod stage;
mod tell;
mod worker;

use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use self::judge::{Evidence, Ledgers, judge};
use self::ledger::{ModelAsked, ToolCalled, now_ms};
use self::model::ScriptedModel;
pub(crate) use self::server::serve;
use self::stage::{PROMPT, RUN, Stage};
use self::tell::{Outcome, Style};
use self::worker::Worker;
use crate::cli::stop::Stop;
use crate::report::Verified;
use crate::{Abide, HostError, Report};

/// How long a worker may take. It needs a second; this is for a machine that is busy or broken.
const LIMIT: Duration = Duration::from_secs(60);

const INTRO: &str = "\
An agent reads files and takes notes, is killed in the middle (SIGKILL), and is
resumed. Its model is a script, not an AI: the replies are part of this program,
asked for over HTTP on this machine. The MCP server and its files are real.
";

/// What `abide demo` can be told.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct DemoArgs {
    /// Leave the folder, and say how to look at it.
    pub(crate) keep: bool,
    /// One JSON document instead of a timeline.
    pub(crate) json: bool,
}

/// Why there is nothing to tell.
#[derive(Debug, thiserror::Error)]
enum DemoError {
    #[error("the demo cannot set its stage: {0}")]
    Stage(#[from] io::Error),
    #[error("the demo cannot read its own journal: {0}")]
    Host(#[from] HostError),
    #[error("`abide {verb}` ended ({status}) before the demo was done with it; its last words:\n{words}")]
    Ended { verb: String, status: String, words: String },
    #[error("`abide {verb}` did not come to where it should be within {} s; its last words:\n{words}", LIMIT.as_secs())]
    Stuck { verb: String, words: String },
    #[error("interrupted")]
    Interrupted,
}

impl DemoError {
    fn code(&self) -> u8 {
        match self {
            Self::Stage(_) => 8,
            Self::Host(error) => error.exit_code(),
            Self::Ended { .. } | Self::Stuck { .. } => 1,
            Self::Interrupted => 130,
        }
    }

    /// A word for programs, and what to do next.
    fn advice(&self) -> (&'static str, String) {
        let (word, help) = match self {
            Self::Stage(_) => ("environment", "it needs a folder for temporary files (TMPDIR) and a port on loopback"),
            Self::Host(error) => return (error.code(), error.help()),
            Self::Ended { .. } => ("worker_ended", "`abide doctor` checks what abide needs of this machine"),
            Self::Stuck { .. } => ("worker_stuck", "try it again when the machine has less to do"),
            Self::Interrupted => ("interrupted", "nothing is left behind"),
        };
        (word, help.to_owned())
    }
}

/// Plays the demo; the process's exit code: 0 if the run completed and no completed call was repeated, 1 if not.
pub(crate) async fn run(args: DemoArgs) -> u8 {
    let played = async {
        let stage = Stage::new()?;
        let stop = Stop::listen();
        // Whatever ends it, the folder goes with it.
        let outcome = tokio::select! {
            outcome = play(&stage, args) => outcome?,
            () = stop.asked() => return Err(DemoError::Interrupted),
        };
        Ok((outcome, stage))
    };
    match played.await {
        Ok((outcome, stage)) => {
            let good = outcome.is_good();
            tell(&outcome, args.keep.then(|| stage.keep()), args.json);
            u8::from(!good)
        }
        Err(error) => {
            let (word, help) = error.advice();
            let message = error.to_string();
            let text = if args.json {
                serde_json::json!({"error": {"code": word, "message": message, "help": help}}).to_string()
            } else {
                let word = if matches!(error, DemoError::Interrupted) { "" } else { "error: " };
                format!("{word}{message}\n  {help}")
            };
            let _ = writeln!(io::stderr().lock(), "{}", text.trim_end());
            error.code()
        }
    }
}

async fn play(stage: &Stage, args: DemoArgs) -> Result<Outcome, DemoError> {
    let style = style();
    let say = |text: &str| {
        if !args.json {
            print(text);
        }
    };
    say(INTRO);
    let program = program()?;
    let model = ScriptedModel::start(stage.requests(), script::NOTES_WRITTEN).await?;
    stage.furnish(&model.base_url(), &program)?;

    let mut first = Worker::spawn(&program, stage, "run", &["agent.md", PROMPT, "--id", RUN])?;
    say(&format!("{} works on the run: process {}", style.bold("worker 1"), first.id()));
    tokio::select! {
        () = model.holds() => {}
        status = first.ended() => return Err(ended(&first, &status?.to_string())),
        () = tokio::time::sleep(LIMIT) => return Err(stuck(&first)),
    }
    say("         both notes are written, and the model is asked what to do next");
    let how = first.kill().await?.to_string();
    let killed_at = now_ms();
    say(&format!("         killed in the middle of that: {how}"));
    let asked = stage.requests().read::<ModelAsked>()?.len();
    let called = stage.calls().read::<ToolCalled>()?.len();
    let (at_kill, _) = look(&stage.db()).await?;
    model.release();

    let mut second = Worker::spawn(&program, stage, "resume", &[RUN])?;
    say(&format!("{} resumes it: process {}\n", style.bold("worker 2"), second.id()));
    let status = tokio::select! {
        status = second.ended() => status?,
        () = tokio::time::sleep(LIMIT) => return Err(stuck(&second)),
    };
    if !status.success() {
        return Err(ended(&second, &status.to_string()));
    }
    let (end, verified) = look(&stage.db()).await?;
    let started = end.run.created_ms;
    let (took_ms, status, answer) = (end.run.updated_ms - started, end.run.status, answer(&end));
    let requests = Ledgers { all: stage.requests().read()?, at_kill: asked };
    let calls = Ledgers { all: stage.calls().read()?, at_kill: called };
    let judgment = judge(&Evidence { at_kill, end, requests, calls });
    Ok(Outcome {
        judgment,
        killed: (first.id(), how),
        killed_ms: killed_at - started,
        resumed: second.id(),
        status,
        answer,
        chain: (verified.rows, verified.broken.into_iter().next().map(|broken| broken.why)),
        took_ms,
    })
}

fn ended(worker: &Worker, status: &str) -> DemoError {
    DemoError::Ended { verb: worker.verb().to_owned(), status: status.to_owned(), words: worker.last_words() }
}

fn stuck(worker: &Worker) -> DemoError {
    DemoError::Stuck { verb: worker.verb().to_owned(), words: worker.last_words() }
}

/// What the journal holds now, and whether it is whole.
async fn look(db: &Path) -> Result<(Report, Verified), DemoError> {
    let abide = Abide::open(db).existing().recover(false).start().await?;
    let seen = abide.report(RUN).and_then(|report| Ok((report, abide.verify(Some(RUN))?)));
    abide.shutdown().await;
    Ok(seen?)
}

/// The agent's text, however the run's result carries it.
fn answer(report: &Report) -> Option<String> {
    let output: serde_json::Value = serde_json::from_str(report.run.output.as_ref()?.get()).ok()?;
    output.as_str().or_else(|| output.get("text")?.as_str()).map(str::to_owned)
}

/// This program. A container without `/proc` does not tell; then it is what it was called by.
fn program() -> io::Result<PathBuf> {
    std::env::current_exe().or_else(|error| {
        let called = std::env::args_os().next().map(PathBuf::from).filter(|called| called.components().count() > 1);
        std::path::absolute(called.ok_or(error)?)
    })
}

fn style() -> Style {
    let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    Style { colour: wanted && io::stdout().is_terminal() && crate::os::ansi_terminal() }
}

/// Whoever has closed the pipe does not want to know.
fn print(text: &str) {
    let _ = writeln!(io::stdout().lock(), "{text}");
}

fn tell(outcome: &Outcome, kept: Option<PathBuf>, json: bool) {
    if json {
        let mut document = outcome.json();
        document["folder"] = kept.map(|folder| folder.display().to_string()).into();
        print(&document.to_string());
        return;
    }
    print(outcome.text(style()).trim_end());
    if let Some(folder) = kept {
        let db = folder.join("runs.db").to_string_lossy().into_owned();
        let (folder, db) = (folder.display(), crate::shell::quote(&db));
        print(&format!("\nKept in {folder}. Look at it with:\n  abide show {RUN} --db {db}\n  abide verify --db {db}"));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    /// Here this program is the one that runs the tests, and it knows no verb `run`.
    #[tokio::test]
    async fn a_worker_that_fails_is_quoted() {
        let stage = Stage::new().unwrap();
        let error = play(&stage, DemoArgs { keep: false, json: true }).await.err().unwrap();
        assert!(matches!(error, DemoError::Ended { .. }), "{error}");
        let message = error.to_string();
        assert!(
            message.starts_with("`abide run` ended (exit ") && message.contains("Unrecognized option"),
            "{message}"
        );
        assert_eq!(error.code(), 1);
    }
}
