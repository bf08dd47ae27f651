//! `abide run`: from a target and an input to a run that this process, or one in the background, works on. It asks for
//! consent on a terminal, and never starts anything without it.

use std::time::{Duration, Instant};

use abide_llm::{Attachment, Input};
use base64::Engine as _;

use super::args::{Run as Args, Stay};
use super::consent;
use super::drive::{Driven, End, stay_with};
use super::end;
use super::failure::{ENVIRONMENT, Failure};
use super::prompt;
use super::session::{Opened, Session};
use super::stop::Stop;
use crate::agents::{Agents, Target};
use crate::config::{Project, Takes, read_input};
use crate::{Definition, HostError, Queue, Run, Settled};

/// How long a process in the background may take to take up its run before nothing is said about it.
const TAKE_UP: Duration = Duration::from_secs(3);

/// A run about to be started.
struct Asked {
    workflow: String,
    input: serde_json::Value,
    definition: Definition,
    queue: Option<Queue>,
}

/// Carries out `abide run`.
pub(crate) async fn run(session: &Session, args: &Args) -> Result<(), Failure> {
    let agents = Agents::new(session.env.clone(), args.stay.trust);
    let asked = if session.has_workflow(&args.target) {
        if !args.prompt.is_empty() {
            let message = format!("`{}` is a workflow: only an agent begins with a prompt", args.target);
            return Err(Failure::usage(message, "leave out --prompt"));
        }
        let input = input(session, args, Takes::Json)?;
        // Its files need not be there if none of them is named.
        let queue = match (&args.queue, args.priority) {
            (None, None) => None,
            _ => queue_of(&Project::load(&session.env)?, args, None)?,
        };
        Asked { workflow: args.target.clone(), input, definition: Definition::default(), queue }
    } else {
        agents_run(session, args, &agents).await?
    };
    let opened = session.open_or_make(agents).await?;
    let known = args.id.as_deref().and_then(|id| opened.abide.get(id).ok().filter(|run| run.id() == id)).is_some();
    let progress = opened.abide.progress();
    let stop = Stop::listen();
    let started = begin(&opened, args, asked, known).await;
    let (run, over) = match started {
        Ok(started) => started,
        Err(failure) => {
            opened.close().await;
            return Err(failure);
        }
    };
    if args.detach {
        return detach(session, opened, &run, args.stay, over).await;
    }
    let driven = match over {
        Some(settled) => Driven::Over(vec![Ok(End::Settled(settled))]),
        None => {
            session.screen.say(&format!("run {}", run.id()));
            stay_with(&session.screen, &opened, args.stay, progress, stop, vec![run.clone()]).await
        }
    };
    end::one(session, opened, &run, driven).await
}

/// The run, and what it has come to if it has ended already.
async fn begin(opened: &Opened, args: &Args, asked: Asked, known: bool) -> Result<(Run, Option<Settled>), Failure> {
    let mut start = opened.abide.run(&asked.workflow, &asked.input).definition(asked.definition);
    if let Some(id) = &args.id {
        start = start.id(id);
    }
    if let Some(queue) = asked.queue {
        start = start.queue(queue);
    }
    // One that exists is gone on with like any other.
    if args.detach || known {
        start = start.detached();
    }
    let run = start.await?;
    if !known {
        return Ok((run, None));
    }
    if is_over(&run)? {
        let settled = run.settled().await?;
        return Ok((run, Some(settled)));
    }
    if !args.detach {
        opened.abide.resume(run.id(), false).await?;
    }
    Ok((run, None))
}

/// The queue that the call names, or `own`, with the priority that it names.
fn queue_of(project: &Project, args: &Args, own: Option<Queue>) -> Result<Option<Queue>, Failure> {
    let named = args.queue.as_deref().map(|name| project.queue(name)).transpose()?;
    let queue = match (named, own) {
        // A priority of its own goes along.
        (Some(named), Some(own)) if own.name == named.name => Some(own),
        (named, own) => named.or(own),
    };
    match (queue, args.priority) {
        (Some(queue), Some(priority)) => Ok(Some(queue.priority(priority))),
        (None, Some(_)) => Err(Failure::usage(
            format!("`{}` is in no queue, so that it has no priority there", args.target),
            "name one of [queues] with --queue NAME",
        )),
        (queue, None) => Ok(queue),
    }
}

fn is_over(run: &Run) -> Result<bool, HostError> {
    Ok(matches!(run.inspect()?.status, "completed" | "failed" | "cancelled"))
}

async fn agents_run(session: &Session, args: &Args, agents: &Agents) -> Result<Asked, Failure> {
    let project = Project::load(&session.env)?;
    let Target { pinned, queue, warnings } = Target::find(&project, &args.target, args.model.as_deref())?;
    let queue = queue_of(&project, args, queue)?;
    for warning in project.warnings().iter().chain(&warnings) {
        session.screen.say(&format!("warning: {warning}"));
    }
    let mut input = input(session, args, Takes::Text)?;
    let prompt = prompt::read(&args.prompt, &pinned)?;
    if prompt.is_none() && input.as_str().is_none_or(|text| text.trim().is_empty()) {
        return Err(Failure::usage(
            format!("`{}` needs an input", args.target),
            format!("abide run {} \"what it is to do\", or @file, or - for stdin", crate::shell::quote(&args.target)),
        ));
    }
    if !args.attach.is_empty() || prompt.is_some() {
        let attachments = args.attach.iter().map(|path| attachment(session, path)).collect::<Result<Vec<_>, _>>()?;
        let text = input.as_str().unwrap_or_default().to_owned();
        input = {
            let mut asked = Input::from(text);
            (asked.attachments, asked.prompt) = (attachments, prompt);
            serde_json::json!(asked)
        };
    }
    let name = args.id.as_deref().unwrap_or("new");
    let redactor = agents.redactor(name, &pinned, project.root())?;
    redactor.hide_value(&mut input);
    let definition = pinned.definition(project.root(), &redactor).map_err(|error| {
        Failure::new(ENVIRONMENT, "definition", format!("the agent cannot be recorded: {error}"), "")
    })?;
    consent::ask(session, agents, name, &definition, consent::About::Everything).await?;
    Ok(Asked { workflow: pinned.work.workflow_name(), input, definition, queue })
}

fn attachment(session: &Session, path: &std::path::Path) -> Result<Attachment, Failure> {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let wrong = |why: String| Failure::usage(format!("`{}` cannot be attached: {why}", path.display()), "");
    let mime = Attachment::mime_of(&name).map_err(wrong)?.to_owned();
    let bytes = std::fs::read(session.env.cwd.join(path)).map_err(|error| wrong(error.to_string()))?;
    Ok(Attachment { name, mime, data: base64::engine::general_purpose::STANDARD.encode(bytes) })
}

fn input(session: &Session, args: &Args, takes: Takes) -> Result<serde_json::Value, Failure> {
    Ok(read_input(args.input.as_deref(), takes, &session.env.cwd, &mut std::io::stdin().lock())?)
}

/// Leaves the run to a process in the background, and tells what is known of it now.
pub(super) async fn detach(
    session: &Session,
    opened: Opened,
    run: &Run,
    stay: Stay,
    over: Option<Settled>,
) -> Result<(), Failure> {
    let mut left = Ok(());
    if over.is_none() && run.inspect()?.owner_pid.is_none() {
        left = in_background(session, Some(run.id()), stay);
        let since = Instant::now();
        while left.is_ok() && since.elapsed() < TAKE_UP && run.inspect()?.status == "interrupted" {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    let report = run.report();
    opened.close().await;
    left?;
    let report = report?;
    if session.screen.json {
        session.screen.document(&report)?;
    } else {
        session.screen.data(run.id());
        end::say_next(session, &report);
    }
    Ok(())
}

/// Leaves a run, or whatever is due, to a process of its own.
pub(super) fn in_background(session: &Session, run: Option<&str>, stay: Stay) -> Result<(), Failure> {
    let db = std::path::absolute(&session.db.path).unwrap_or_else(|_| session.db.path.clone());
    let mut words: Vec<std::ffi::OsString> = vec!["resume".into(), "--db".into(), db.into()];
    words.extend(
        [(stay.yes, "--yes"), (stay.trust, "--trust")].into_iter().filter(|(on, _)| *on).map(|(_, w)| w.into()),
    );
    words.extend(run.into_iter().flat_map(|run| ["--".into(), run.into()]));
    let spawned = std::env::current_exe().and_then(|program| crate::os::spawn_detached(&program, words));
    spawned.map(|_| ()).map_err(|error| {
        let message = format!("all is recorded, and no process can be started to go on with it: {error}");
        let words: Vec<&str> = std::iter::once("resume").chain(run).collect();
        Failure::new(ENVIRONMENT, "detach", message, session.hints.command(&words))
    })
}
