//! The project's servers outside of any run, for the verbs that try them: with the same consent, rules and limits as runs
//! have. It keeps nothing of what they answer.

use std::collections::BTreeSet;
use std::sync::Arc;

use abide_engine::{Error, ErrorKind};
use abide_llm::Redactor;
use abide_mcp::{Driver, Host, Rules, ServerConfig, Servers};

use super::consent::question;
use super::failure::{ENVIRONMENT, Failure, NOT_FOUND, PARKED};
use super::screen::Said;
use super::session::Session;
use crate::config::{ConsentKind, ConsentRequest, Project};
use crate::os::GroupLauncher;
use crate::vault::FileVault;

/// The exit code of what failed.
const FAILED: u8 = 1;

/// Servers at hand.
pub(crate) struct Bench {
    pub(crate) servers: Servers,
    pub(crate) declared: Vec<ServerConfig>,
    /// What decides on tools, as far as it is consented to.
    pub(crate) rules: Rules,
    /// The servers whose annotations are believed.
    pub(crate) trusted: BTreeSet<String>,
}

impl Bench {
    /// The project's servers, or the one of this name. On a terminal the consent that they lack is asked for.
    pub(crate) async fn lay_out(
        session: &Session,
        only: Option<&str>,
        trust: bool,
        driver: Driver,
    ) -> Result<Self, Failure> {
        let project = Project::load(&session.env)?;
        for warning in project.warnings() {
            session.screen.say(&format!("warning: {warning}"));
        }
        let declared: Vec<ServerConfig> =
            project.servers().filter(|server| only.is_none_or(|only| server.name == only)).cloned().collect();
        if let Some(only) = only.filter(|_| declared.is_empty()) {
            let known: Vec<&str> = project.servers().map(|server| server.name.as_str()).collect();
            let known =
                if known.is_empty() { "none is".to_owned() } else { format!("declared are {}", known.join(", ")) };
            let message = format!("no MCP server `{only}` is declared ({known})");
            return Err(Failure::new(NOT_FOUND, "no_server", message, "declare it in .mcp.json, or correct the name"));
        }
        let consented = project.consented()?;
        let consented = if trust { consented.to_everything() } else { consented };
        let concerns = |request: &ConsentRequest| match request.kind {
            ConsentKind::StartServer | ConsentKind::TrustServer | ConsentKind::AllowSampling => {
                declared.iter().any(|server| server.name == request.subject)
            }
            ConsentKind::AllowTools | ConsentKind::WeakerEffect => true,
            ConsentKind::UseEndpoint | ConsentKind::ChangedTool => false,
        };
        let needed: Vec<ConsentRequest> = project.consent_requests().into_iter().filter(concerns).collect();
        let missing = consented.missing(&needed);
        if session.screen.interactive
            && missing.iter().any(|request| request.kind == ConsentKind::StartServer)
            && session.screen.ask(&question(&missing)).await == Said::Yes
        {
            consented.grant(&missing)?;
        }
        let described = project.for_servers(&[], &consented)?;
        let (rules, trusted) = (described.rules.clone(), described.trusted.clone());
        let redactor = Redactor::default();
        for server in &declared {
            abide_mcp::teach_secrets(server, project.root(), described.vars.as_ref(), &redactor);
        }
        let host = Host {
            launcher: Arc::new(GroupLauncher),
            consent: Arc::new(consented),
            redactor,
            vault: Arc::new(FileVault::new(&session.env)),
            limits: project.limits().of_servers(),
        };
        let servers = Servers::new(host, described).on_behalf_of(driver);
        Ok(Self { servers, declared, rules, trusted })
    }
}

/// What an error of a server comes to where no run can wait.
pub(crate) fn failure(error: &Error) -> Failure {
    let message = error.message();
    match error.kind() {
        ErrorKind::Park(what) => Failure::new(PARKED, what.as_str(), message, ""),
        ErrorKind::InDoubt | ErrorKind::TimedOut => {
            let help = "look at what the server works on before you call it again";
            Failure::new(FAILED, "in_doubt", message, help)
        }
        ErrorKind::DidNotHappen => Failure::new(ENVIRONMENT, "server", message, "call it again"),
        ErrorKind::Environment => Failure::new(ENVIRONMENT, "server", message, ""),
        _ => Failure::new(FAILED, "failed", message, ""),
    }
}
