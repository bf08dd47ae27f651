//! `abide resume`: goes on with one run, or with all that are interrupted or due. It touches no run that a living process
//! works on, unless told to steal it.

use super::args::{Resume as Args, Stay};
use super::consent::{self, About};
use super::drive::{Driven, End, stay_with};
use super::end;
use super::failure::Failure;
use super::session::{Opened, Session, is_agents};
use super::stop::Stop;
use crate::Run;

/// Carries out `abide resume`.
pub(crate) async fn resume(session: &Session, args: &Args) -> Result<(), Failure> {
    let opened = session.open(args.stay.trust).await?;
    if let (Some(run), Some(by)) = (&args.run, args.budget) {
        let raised = async { opened.abide.get(run)?.raise_budget(by).await };
        if let Err(error) = raised.await {
            opened.close().await;
            return Err(error.into());
        }
    }
    match &args.run {
        None => all(session, opened, args.stay).await,
        Some(run) => match opened.abide.get(run) {
            Ok(run) => one(session, opened, run, args.steal, args.stay).await,
            Err(error) => {
                opened.close().await;
                Err(error.into())
            }
        },
    }
}

/// Goes on with a run in the foreground; one that has ended repeats its result.
pub(crate) async fn one(session: &Session, opened: Opened, run: Run, steal: bool, stay: Stay) -> Result<(), Failure> {
    let driven = match go_on(session, &opened, &run, steal, stay).await {
        Ok(driven) => driven,
        Err(failure) => {
            opened.close().await;
            return Err(failure);
        }
    };
    end::one(session, opened, &run, driven).await
}

async fn go_on(session: &Session, opened: &Opened, run: &Run, steal: bool, stay: Stay) -> Result<Driven, Failure> {
    let info = run.inspect()?;
    if matches!(info.status, "completed" | "failed" | "cancelled") {
        return Ok(Driven::Over(vec![run.settled().await.map(End::Settled)]));
    }
    if is_agents(&info.workflow) {
        consent::ask(session, &opened.agents, run.id(), &run.definition()?, About::Needed).await?;
    }
    let (progress, stop) = (opened.abide.progress(), Stop::listen());
    let run = opened.abide.resume(run.id(), steal).await?;
    Ok(stay_with(&session.screen, opened, stay, progress, stop, vec![run]).await)
}

/// Starts what schedules have due, then finds every run that is interrupted or due.
async fn look(session: &Session, opened: &Opened) -> Result<Vec<String>, Failure> {
    session.limit_queues(&opened.abide).await?;
    for run in opened.abide.start_due().await? {
        session.screen.say(&format!("due by its schedule: run {run}"));
    }
    Ok(opened.abide.due()?)
}

/// Goes on with every run that is interrupted or due, side by side.
async fn all(session: &Session, opened: Opened, stay: Stay) -> Result<(), Failure> {
    let (progress, stop) = (opened.abide.progress(), Stop::listen());
    let due = match look(session, &opened).await {
        Ok(due) => due,
        Err(failure) => {
            opened.close().await;
            return Err(failure);
        }
    };
    if due.is_empty() {
        session.screen.say("no run is interrupted or due");
    }
    let (mut runs, mut failed): (Vec<Run>, Option<Failure>) = (Vec::new(), None);
    for id in due {
        match opened.abide.resume(&id, false).await {
            Ok(run) => runs.push(run),
            // One that cannot go on here is in nobody's way.
            Err(error) => {
                let failure = Failure::from(error);
                session.screen.say(&failure.text());
                failed = Some(failure);
            }
        }
    }
    let driven = stay_with(&session.screen, &opened, stay, progress, stop, runs.clone()).await;
    end::all(session, opened, runs, driven).await.and(failed.map_or(Ok(()), Err))
}
