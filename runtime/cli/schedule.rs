//! `abide schedule`: keeps, shows and changes what is to be started when. It starts nothing that is due: `abide serve` and `abide resume` do.

use serde::Serialize;
use serde_json::Value;

use super::clock::{length, now_ms, when};
use super::consent::{self, About};
use super::drive::stay_with;
use super::end;
use super::failure::Failure;
use super::look::{looking, table};
use super::schedule_args::{Add, Named, Schedule as Verb, Trigger};
use super::screen::short;
use super::session::{Opened, Session};
use super::start::detach;
use super::stop::Stop;
use crate::agents::{Agents, Target};
use crate::config::{Env, Project, Takes, read_input};
use crate::report::RunReport;
use crate::{HostError, Overlap, Queue, ScheduleInfo, When};

/// How many runs are shown.
const RUNS: u32 = 10;
/// The most characters of a note or an input in a summary.
const MOST: usize = 200;

#[derive(Serialize)]
struct Schedules {
    schedules: Vec<ScheduleInfo>,
}

#[derive(Serialize)]
struct Shown {
    schedule: ScheduleInfo,
    runs: Vec<RunReport>,
}

/// Carries out `abide schedule`.
pub(crate) async fn schedule(session: &Session, verb: &Verb) -> Result<(), Failure> {
    match verb {
        Verb::Add(args) => add(session, args).await,
        Verb::Ls => ls(session).await,
        Verb::Show(args) => show(session, args).await,
        Verb::Pause(Named { name }) => {
            change(session, name, "is paused", async |opened| opened.abide.scheduled(name)?.pause().await).await
        }
        Verb::Resume(Named { name }) => {
            change(session, name, "goes on", async |opened| opened.abide.scheduled(name)?.resume().await).await
        }
        Verb::Remove(Named { name }) => {
            change(session, name, "is removed", async |opened| opened.abide.scheduled(name)?.remove().await).await
        }
        Verb::Trigger(args) => trigger(session, args).await,
    }
}

/// What a schedule starts, looked up once before it is kept.
struct Aim {
    target: String,
    input: Value,
    /// The project's folder, if it is named there.
    root: Option<String>,
    queue: Option<Queue>,
}

async fn add(session: &Session, args: &Add) -> Result<(), Failure> {
    let times = match (&args.when.cron, args.when.every) {
        (Some(cron), _) => When::cron(cron, args.tz.as_deref())?,
        (None, every) => When::every(every.unwrap_or_default())?,
    };
    let agents = Agents::new(session.env.clone(), false);
    let aim = aim(session, args, &agents).await?;
    let opened = session.open_or_make(agents).await?;
    let kept = async {
        let mut new = opened.abide.schedule(&args.name, times, &aim.target, &aim.input);
        new = new.missed(args.missed).overlap(args.overlap);
        if let Some(root) = aim.root {
            new = new.in_files(root, args.model.clone());
        }
        if let Some(queue) = aim.queue {
            new = new.queue(queue);
        }
        if args.replace {
            new = new.replace();
        }
        new.await?.inspect()
    };
    let kept = kept.await;
    opened.close().await;
    let info = kept?;
    if session.screen.json {
        return session.screen.document(&Shown { schedule: info, runs: Vec::new() });
    }
    session.screen.data(&format!("{} is due {}", info.name, next_of(&info)));
    session.screen.say("`abide serve` starts what is due and works on it; `abide resume` does so once");
    Ok(())
}

async fn aim(session: &Session, args: &Add, agents: &Agents) -> Result<Aim, Failure> {
    let read = |takes| read_input(args.input.as_deref(), takes, &session.env.cwd, &mut std::io::stdin().lock());
    let queue_in = |project: &Project| -> Result<Option<Queue>, Failure> {
        let Some(name) = &args.queue else { return Ok(None) };
        let queue = project.queue(name)?;
        let priority = args.priority.unwrap_or(queue.priority);
        Ok(Some(queue.priority(priority)))
    };
    if session.has_workflow(&args.target) {
        if args.model.is_some() {
            let message =
                format!("`{}` is a workflow of this program: no model of another name takes its place", args.target);
            return Err(Failure::usage(message, "leave out --model"));
        }
        let queue = if args.queue.is_some() { queue_in(&Project::load(&session.env)?)? } else { None };
        return Ok(Aim { target: args.target.clone(), input: read(Takes::Json)?, root: None, queue });
    }
    let project = Project::load(&session.env)?;
    let target = lasting(&session.env, &args.target);
    // What is wrong with it now is told now, and not at three in the morning.
    let Target { pinned, queue: own, warnings } = Target::find(&project, &target, args.model.as_deref())?;
    for warning in project.warnings().iter().chain(&warnings) {
        session.screen.say(&format!("warning: {warning}"));
    }
    if let Some(own) = own.filter(|_| args.overlap == Overlap::Queue) {
        let message =
            format!("the file of `{}` names the queue `{}`: its runs cannot wait in two", args.target, own.name);
        return Err(Failure::usage(message, "use --overlap skip or allow, or remove `queue` from that file"));
    }
    let mut input = read(Takes::Text)?;
    if input.as_str().is_none_or(|text| text.trim().is_empty()) {
        let help = format!("abide schedule add {} .. {} \"what it is to do\"", args.name, args.target);
        return Err(Failure::usage(format!("`{}` needs an input", args.target), help));
    }
    let redactor = agents.redactor("new", &pinned, project.root())?;
    redactor.hide_value(&mut input);
    let definition = pinned.definition(project.root(), &redactor);
    let definition = definition.map_err(|error| Failure::usage(format!("it cannot be recorded: {error}"), ""))?;
    consent::ask(session, agents, "new", &definition, About::Everything).await?;
    if !agents.missing_consent("new", &definition)?.is_empty() {
        session
            .screen
            .say("its files ask for consent that was not given: runs park where they need it, until `abide trust`");
    }
    let root = Some(project.root().to_string_lossy().into_owned());
    Ok(Aim { target, input, root, queue: queue_in(&project)? })
}

/// A target that means the same from every folder.
fn lasting(env: &Env, target: &str) -> String {
    let path = env.cwd.join(target);
    let is_file = target.to_lowercase().ends_with(".md") && path.exists();
    let path = if is_file { std::path::absolute(&path).unwrap_or(path) } else { return target.to_owned() };
    path.to_string_lossy().into_owned()
}

/// When it is due, for a person.
fn next_of(info: &ScheduleInfo) -> String {
    match info.next_ms {
        Some(next) => when(next, now_ms()),
        None if info.paused => "paused".to_owned(),
        None => "never again".to_owned(),
    }
}

fn times_of(info: &ScheduleInfo) -> String {
    match &info.when {
        When::Cron { cron, tz } => format!("{cron} {tz}"),
        When::Every { every_ms, .. } => format!("every {}", length(*every_ms)),
    }
}

async fn ls(session: &Session) -> Result<(), Failure> {
    let schedules = looking(session, |opened| Ok(opened.abide.schedules()?)).await?;
    if session.screen.json {
        return session.screen.document(&Schedules { schedules });
    }
    if schedules.is_empty() {
        session.screen.say("there are no schedules yet: `abide schedule add` makes one");
        return Ok(());
    }
    let rows = schedules.iter().map(|info| {
        let last = info.last_run.clone().unwrap_or_default();
        let note = short(info.note.as_deref().unwrap_or_default(), MOST);
        [info.name.clone(), times_of(info), info.target.clone(), next_of(info), last, note]
    });
    session.screen.data(&table(["NAME", "WHEN", "TARGET", "NEXT", "LAST RUN", "NOTE"], rows));
    Ok(())
}

async fn show(session: &Session, args: &Named) -> Result<(), Failure> {
    let shown = looking(session, |opened| {
        let schedule = opened.abide.scheduled(&args.name)?;
        let runs = schedule.runs(RUNS)?.into_iter().map(RunReport::of).collect();
        Ok(Shown { schedule: schedule.inspect()?, runs })
    });
    let shown = shown.await?;
    if session.screen.json {
        return session.screen.document(&shown);
    }
    let (info, now) = (&shown.schedule, now_ms());
    let mut lines = vec![
        format!("schedule  {}", info.name),
        format!("when      {}", times_of(info)),
        format!("next      {}", next_of(info)),
        format!("target    {}", info.target),
        format!("input     {}", short(info.input.get(), MOST)),
        format!("missed    {}", info.missed.as_str()),
        format!("overlap   {}", info.overlap.as_str()),
    ];
    lines.extend(info.queue.as_ref().map(|queue| format!("queue     {queue}")));
    if let (Some(note), Some(at)) = (&info.note, info.note_ms) {
        lines.push(format!("note      {} ({})", short(note, MOST), when(at, now)));
    }
    session.screen.data(&lines.join("\n"));
    if !shown.runs.is_empty() {
        let rows = shown.runs.iter().map(|run| {
            let waits = run.waiting_for.map(|what| what.replace('_', " ")).unwrap_or_default();
            [run.id.clone(), run.status.to_owned(), waits]
        });
        session.screen.data(&format!("\n{}", table(["RUN", "STATUS", "WAITS FOR"], rows)));
    }
    Ok(())
}

async fn change(
    session: &Session,
    name: &str,
    what: &str,
    change: impl AsyncFnOnce(&Opened) -> Result<(), HostError>,
) -> Result<(), Failure> {
    let opened = session.open(false).await?;
    let changed = change(&opened).await;
    let info = opened.abide.scheduled(name).and_then(|schedule| schedule.inspect());
    opened.close().await;
    changed?;
    if session.screen.json {
        // One that is removed is no longer there to be shown.
        return session.screen.document(&serde_json::json!({ "schedule": info.ok() }));
    }
    let next = info.ok().and_then(|info| info.next_ms).map(|next| format!(": it is due {}", when(next, now_ms())));
    session.screen.say(&format!("{name} {what}{}", next.unwrap_or_default()));
    Ok(())
}

async fn trigger(session: &Session, args: &Trigger) -> Result<(), Failure> {
    let opened = session.open(args.stay.trust).await?;
    let (progress, stop) = (opened.abide.progress(), Stop::listen());
    let started = async {
        let start = opened.abide.scheduled(&args.name)?.trigger()?;
        if args.detach { start.detached().await } else { start.await }
    };
    let run = match started.await {
        Ok(run) => run,
        Err(error) => {
            opened.close().await;
            return Err(error.into());
        }
    };
    if args.detach {
        return detach(session, opened, &run, args.stay, None).await;
    }
    session.screen.say(&format!("run {}", run.id()));
    let driven = stay_with(&session.screen, &opened, args.stay, progress, stop, vec![run.clone()]).await;
    end::one(session, opened, &run, driven).await
}
