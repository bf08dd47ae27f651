//! The user's consent to what files ask for (DESIGN section 6): shown line by line, asked on a terminal, recorded by
//! `abide trust`. Silence never counts as consent.

use serde::Serialize;

use super::args::Trust;
use super::failure::Failure;
use super::screen::Said;
use super::session::{Session, is_agents};
use crate::Definition;
use crate::agents::Agents;
use crate::config::{ConsentKind, ConsentRequest, Project};

/// What is worth a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum About {
    /// All that a new run's files ask for.
    Everything,
    /// Only what an old run cannot go on without.
    Needed,
}

/// Asks for the consent that a run lacks, if somebody is there; without it the run starts nothing and parks.
pub(crate) async fn ask(
    session: &Session,
    agents: &Agents,
    run: &str,
    definition: &Definition,
    about: About,
) -> Result<(), Failure> {
    if !session.screen.interactive {
        return Ok(());
    }
    let missing = agents.missing_consent(run, definition)?;
    if missing.is_empty() || (about == About::Needed && !missing.iter().any(is_needed)) {
        return Ok(());
    }
    if session.screen.ask(&question(&missing)).await == Said::Yes {
        agents.grant(run, definition, &missing)?;
    }
    Ok(())
}

/// Nothing goes on without these; without the others tools are merely asked for.
fn is_needed(request: &ConsentRequest) -> bool {
    matches!(request.kind, ConsentKind::StartServer | ConsentKind::UseEndpoint)
}

/// The question for a person.
pub(crate) fn question(requests: &[ConsentRequest]) -> String {
    format!("The files of this project ask for your consent:\n{}\nConsent for good?", shown(requests))
}

/// What is asked for, with every line that matters.
fn shown(requests: &[ConsentRequest]) -> String {
    let one = |request: &ConsentRequest| {
        let subject = &request.subject;
        let what = match request.kind {
            ConsentKind::StartServer => format!("start the server `{subject}`"),
            ConsentKind::TrustServer => format!("believe what the server `{subject}` says of its tools"),
            ConsentKind::AllowTools => format!("call the tools `{subject}` without asking"),
            ConsentKind::WeakerEffect => format!("repeat calls of the tools `{subject}` after a crash"),
            ConsentKind::UseEndpoint => format!("send prompts to the model `{subject}`"),
            ConsentKind::AllowSampling => format!("let the server `{subject}` have a model asked without asking"),
            ConsentKind::ChangedTool => format!("call the tool `{subject}` as its server has changed it"),
        };
        let lines: Vec<String> = request.lines.iter().map(|line| format!("\n      {line}")).collect();
        format!("  {what} ({}){}", request.file, lines.concat())
    };
    requests.iter().map(one).collect::<Vec<_>>().join("\n")
}

#[derive(Serialize)]
struct Granted<'a> {
    granted: &'a [ConsentRequest],
}

/// Carries out `abide trust`.
pub(crate) async fn trust(session: &Session, args: &Trust) -> Result<(), Failure> {
    match (&args.run, args.changed.as_deref()) {
        (_, Some([server, tool, hash])) => trust_change(session, server, tool, hash),
        (Some(run), _) => trust_run(session, args, run).await,
        (None, _) => trust_project(session, args).await,
    }
}

/// A person has read what a parked run shows of the change, and names it by its hash.
fn trust_change(session: &Session, server: &str, tool: &str, hash: &str) -> Result<(), Failure> {
    let request = ConsentRequest::changed_tool(server, tool, hash);
    Project::consented_at(&session.env.project_root(), &session.env)?.grant(std::slice::from_ref(&request))?;
    told(session, &[request])
}

async fn trust_project(session: &Session, args: &Trust) -> Result<(), Failure> {
    let project = Project::load(&session.env)?;
    let mut all = project.consent_requests();
    let (agents, _) = project.agents();
    // Those of agents' own servers; what is wrong with an agent is told when it runs.
    all.extend(agents.iter().filter_map(|agent| project.consent_requests_for(agent, None).ok()).flatten());
    let consented = project.consented()?;
    let mut missing: Vec<ConsentRequest> = Vec::new();
    for request in consented.missing(&all) {
        if !missing.iter().any(|known| known.hash == request.hash) {
            missing.push(request);
        }
    }
    if agreed(session, args, &missing).await {
        consented.grant(&missing)?;
    } else {
        missing.clear();
    }
    told(session, &missing)
}

async fn trust_run(session: &Session, args: &Trust, run: &str) -> Result<(), Failure> {
    let opened = session.open(false).await?;
    let granted = async {
        let run = opened.abide.get(run)?;
        if !is_agents(&run.inspect()?.workflow) {
            return Ok(Vec::new());
        }
        let definition = run.definition()?;
        let missing = opened.agents.missing_consent(run.id(), &definition)?;
        if !agreed(session, args, &missing).await {
            return Ok(Vec::new());
        }
        opened.agents.grant(run.id(), &definition, &missing)?;
        Ok::<_, Failure>(missing)
    }
    .await;
    opened.close().await;
    told(session, &granted?)
}

/// On a terminal the lines are shown and asked for; elsewhere the command itself is the consent.
async fn agreed(session: &Session, args: &Trust, missing: &[ConsentRequest]) -> bool {
    if missing.is_empty() || args.yes || !session.screen.interactive {
        return true;
    }
    session.screen.ask(&question(missing)).await == Said::Yes
}

fn told(session: &Session, granted: &[ConsentRequest]) -> Result<(), Failure> {
    if session.screen.json {
        return session.screen.document(&Granted { granted });
    }
    if granted.is_empty() {
        session.screen.say("nothing was added to what you consent to");
    } else {
        session.screen.data(&shown(granted));
        session.screen.say("you have consented to this; a changed line asks again");
    }
    Ok(())
}
