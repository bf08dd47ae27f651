//! What can be said to a run: signals, approvals, answers, verdicts, pause and cancel. Each is recorded and takes effect when
//! the run hears of it; none of these verbs works on a run by itself, unless told to go on with it.

use abide_engine::event::Verdict;
use abide_llm::Approval;
use abide_mcp::Reply;
use serde::Serialize;
use serde_json::{Value, json};

use super::args::{Answer, Approve, Cancel, Deny, Onward, Resolve, Saying, Signal, Stay, Target};
use super::candidates::{Wants, choose, open_run, still_asks};
use super::failure::Failure;
use super::form::{self, question_of};
use super::resume;
use super::session::{Opened, Session};
use super::verdict;
use crate::config::{Takes, read_input};
use crate::{Run, StepReport};

/// Something that was said.
#[derive(Debug, Serialize)]
struct Said {
    kind: &'static str,
    /// The step or the signal it is for.
    #[serde(rename = "for", skip_serializing_if = "Option::is_none")]
    about: Option<String>,
    /// False if the same was said before.
    new: bool,
}

#[derive(Serialize)]
struct Recorded<'a> {
    run: &'a str,
    #[serde(rename = "recorded")]
    said: &'a [Said],
    /// The process that hears of it.
    owner_pid: Option<u32>,
    /// What makes it take effect, if nobody hears of it by itself.
    next: Option<String>,
}

/// The sender's id of an answer: of several answers to one question the first counts.
pub(crate) fn answer_id(generation: u32, step: &str) -> String {
    format!("answer:{generation}:{step}")
}

/// Carries out `abide signal`.
pub(crate) async fn signal(session: &Session, args: &Signal) -> Result<(), Failure> {
    let mut value = read_input(args.value.as_deref(), Takes::Json, &session.env.cwd, &mut std::io::stdin().lock())?;
    say(session, &args.run, Some(&args.onward), async |opened, run| {
        opened.redactor(run)?.hide_value(&mut value);
        let new = match &args.id {
            Some(id) => run.signal_once(&args.name, &value, id).await?,
            None => run.signal(&args.name, &value).await.map(|()| true)?,
        };
        Ok(vec![Said { kind: "signal", about: Some(args.name.clone()), new }])
    })
    .await
}

/// Carries out `abide approve`.
pub(crate) async fn approve(session: &Session, args: &Approve) -> Result<(), Failure> {
    say(session, &args.run, Some(&args.onward), async |_, run| {
        let shown = args.hash.as_deref();
        decide(run, args.step.as_deref(), args.all, shown, &Approval { allow: true, reason: None }).await
    })
    .await
}

/// Carries out `abide deny`.
pub(crate) async fn deny(session: &Session, args: &Deny) -> Result<(), Failure> {
    say(session, &args.run, Some(&args.onward), async |opened, run| {
        let redactor = opened.redactor(run)?;
        let reason = args.reason.as_deref().map(|reason| redactor.hide(reason).into_owned());
        decide(run, args.step.as_deref(), false, None, &Approval { allow: false, reason }).await
    })
    .await
}

async fn decide(
    run: &Run,
    step: Option<&str>,
    all: bool,
    shown: Option<&str>,
    approval: &Approval,
) -> Result<Vec<Said>, Failure> {
    let report = run.report()?;
    let mut said = Vec::new();
    for step in choose(&report, Wants::Approval, step, all)? {
        still_asks(step, shown)?;
        let id = answer_id(report.run.generation, &step.id);
        let new = run.answer_shown(step, approval, &id).await?;
        said.push(Said {
            kind: if approval.allow { "approval" } else { "refusal" },
            about: Some(step.id.clone()),
            new,
        });
    }
    Ok(said)
}

/// Carries out `abide answer`.
pub(crate) async fn answer(session: &Session, args: &Answer) -> Result<(), Failure> {
    let given = args.saying.value.as_deref();
    let value = read_input(given, Takes::Json, &session.env.cwd, &mut std::io::stdin().lock())?;
    say(session, &args.run, Some(&args.onward), async |opened, run| {
        let redactor = opened.redactor(run)?;
        let report = run.report()?;
        let mut said = Vec::new();
        for step in choose(&report, Wants::Answer, args.step.as_deref(), false)? {
            let mut value = said_to(step, &args.saying, value.clone())?;
            redactor.hide_value(&mut value);
            let id = answer_id(report.run.generation, &step.id);
            let new = run.answer_shown(step, &value, &id).await?;
            said.push(Said { kind: "answer", about: Some(step.id.clone()), new });
        }
        Ok(said)
    })
    .await
}

/// What is recorded as the answer: for a server's question one that fits what it takes.
fn said_to(step: &StepReport, saying: &Saying, value: Value) -> Result<Value, Failure> {
    let Some(question) = question_of(step.input.as_ref()) else {
        return if saying.decline || saying.cancel {
            let message = format!("the question of step `{}` is none of a server's, which could be declined", step.id);
            Err(Failure::usage(message, "give the answer that it takes"))
        } else {
            Ok(value)
        };
    };
    if saying.decline || saying.cancel {
        return Ok(form::result(if saying.decline { &Reply::Decline } else { &Reply::Cancel }));
    }
    let is_done = || value == json!(true) || value.is_null() || value == json!({});
    if matches!(question.wants, abide_mcp::Wants::Visit(_)) && !is_done() {
        let help = format!("{}\nanswer `true` once it is open, or use --decline", form::in_short(&question));
        return Err(Failure::usage(format!("step `{}` asks for an address to be opened", step.id), help));
    }
    match question.accepted(value) {
        Ok(content) => Ok(form::result(&Reply::Accept(content))),
        Err(why) => Err(Failure::usage(
            format!("the answer does not fit the form of step `{}`: {why}", step.id),
            format!("{}\nanswer with a JSON object of these fields, or use --decline", form::in_short(&question)),
        )),
    }
}

/// Carries out `abide resolve`.
pub(crate) async fn resolve(session: &Session, args: &Resolve) -> Result<(), Failure> {
    let verdict = verdict::read(&args.verdict, &session.env.cwd, &mut std::io::stdin().lock())?;
    say(session, &args.run, Some(&args.onward), async |opened, run| {
        let redactor = opened.redactor(run)?;
        let report = run.report()?;
        let steps = choose(&report, Wants::Verdict, args.step.as_deref(), false)?;
        let mut said = Vec::new();
        for step in steps {
            let (what, result, message) = verdict.clone().for_step(step, &redactor)?;
            let new = run.resolve_shown(step, what, result, message.as_deref()).await?;
            let kind = match what {
                Verdict::Retry => "retry",
                Verdict::Landed => "result",
                Verdict::Fail => "fail",
            };
            said.push(Said { kind, about: Some(step.id.clone()), new });
        }
        Ok(said)
    })
    .await
}

/// Carries out `abide pause`.
pub(crate) async fn pause(session: &Session, args: &Target) -> Result<(), Failure> {
    say(session, &args.run, None, async |_, run| {
        open_run(&run.report()?)?;
        run.pause().await?;
        Ok(vec![Said { kind: "pause", about: None, new: true }])
    })
    .await
}

/// Carries out `abide cancel`.
pub(crate) async fn cancel(session: &Session, args: &Cancel) -> Result<(), Failure> {
    say(session, &args.run, Some(&args.onward), async |_, run| {
        run.cancel().await?;
        Ok(vec![Said { kind: "cancel", about: None, new: true }])
    })
    .await
}

/// Says something to a run, then goes on with it or tells how to.
async fn say(
    session: &Session,
    run: &str,
    onward: Option<&Onward>,
    words: impl AsyncFnOnce(&Opened, &Run) -> Result<Vec<Said>, Failure>,
) -> Result<(), Failure> {
    let stay = onward.map_or_else(Stay::default, |onward| onward.stay);
    let opened = session.open(stay.trust).await?;
    let said = async {
        let run = opened.abide.get(run)?;
        let said = words(&opened, &run).await?;
        Ok::<_, Failure>((run, said))
    };
    match said.await {
        Ok((run, said)) if onward.is_some_and(|onward| onward.resume) => {
            session.screen.say(&told(&said));
            resume::one(session, opened, run, false, stay).await
        }
        Ok((run, said)) => {
            let told = recorded(session, &run, &said);
            opened.close().await;
            told
        }
        Err(failure) => {
            opened.close().await;
            Err(failure)
        }
    }
}

fn recorded(session: &Session, run: &Run, said: &[Said]) -> Result<(), Failure> {
    let info = run.inspect()?;
    let next = info.owner_pid.is_none().then(|| session.hints.command(&["resume", run.id()]));
    if session.screen.json {
        return session.screen.document(&Recorded { run: run.id(), said, owner_pid: info.owner_pid, next });
    }
    session.screen.say(&told(said));
    match (info.owner_pid, next) {
        (Some(pid), _) => session.screen.say(&format!("process {pid} works on the run and hears of it")),
        (None, Some(next)) => session.screen.say(&format!("nobody works on the run now; go on with it:\n  {next}")),
        (None, None) => {}
    }
    Ok(())
}

fn told(said: &[Said]) -> String {
    let line = |said: &Said| {
        let about = said.about.as_ref().map(|about| format!(" for {about}")).unwrap_or_default();
        let before = if said.new { "" } else { " (it was said before, and the first one counts)" };
        format!("recorded: {}{about}{before}", said.kind)
    };
    said.iter().map(line).collect::<Vec<_>>().join("\n")
}
