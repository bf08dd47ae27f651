//! `abide login` and `abide logout`: a person lets abide in at a server. The address is opened or printed, what it leads back to comes
//! over this machine's own interface or is pasted, and a login that was left goes on where it was. No token is shown.

use std::sync::Arc;
use std::time::Duration;

use abide_llm::Redactor;
use abide_mcp::{Host, Login, Rules, ServerConfig, Servers, Waiting};
use serde::Serialize;
use tokio::net::TcpListener;

use super::args::Login as Args;
use super::bench::failure;
use super::callback::Callback;
use super::clock::{now_ms, when};
use super::consent::question;
use super::failure::{ENVIRONMENT, Failure, INTERRUPTED, NOT_FOUND, PARKED};
use super::look::looking;
use super::screen::Said;
use super::session::Session;
use super::stop::Stop;
use crate::config::{ConfigError, Project};
use crate::os::{GroupLauncher, open_in_browser};
use crate::vault::FileVault;

/// How many runs are looked at for those that wait.
const MOST: u32 = 1_000;

/// Where the login goes on, as a program reads it.
#[derive(Serialize)]
struct Shown<'a> {
    open: &'a str,
    redirect_uri: &'a str,
    expires_ms: i64,
}

#[derive(Serialize)]
struct Done<'a> {
    server: &'a str,
    scopes: &'a [String],
    /// The runs that wait for it.
    resume: &'a [String],
}

#[derive(Serialize)]
struct Forgotten<'a> {
    server: &'a str,
    forgotten: bool,
}

/// Carries out `abide login`.
pub(crate) async fn login(session: &Session, args: &Args) -> Result<(), Failure> {
    let login = Arc::new(find(session, args).await?);
    let (listener, waiting) = begin(session, &login).await?;
    show(session, args, &waiting)?;
    let scopes = answered(session, args, &login, listener, &waiting).await?;
    let resume = waiting_runs(session, &args.server).await?;
    if session.screen.json {
        return session.screen.document(&Done { server: &args.server, scopes: &scopes, resume: &resume });
    }
    let scopes = if scopes.is_empty() { String::new() } else { format!(" ({})", scopes.join(" ")) };
    session.screen.say(&format!("you are logged in at `{}`{scopes}", args.server));
    for run in resume {
        session.screen.say(&format!("go on: {}", session.hints.command(&["resume", &run])));
    }
    Ok(())
}

/// Carries out `abide logout`.
pub(crate) async fn logout(session: &Session, args: &Args) -> Result<(), Failure> {
    let forgotten = find(session, args).await?.forget().await.map_err(|error| failure(&error))?;
    if session.screen.json {
        return session.screen.document(&Forgotten { server: &args.server, forgotten });
    }
    let server = &args.server;
    session.screen.say(&if forgotten {
        format!("what was kept of `{server}` is forgotten here; its authorization server may still know of it")
    } else {
        format!("nothing is kept of `{server}`")
    });
    Ok(())
}

async fn find(session: &Session, args: &Args) -> Result<Login, Failure> {
    let project = Project::load(&session.env)?;
    let server = declared(&project, &args.server)?;
    let consented = project.consented()?;
    let consented = if args.trust { consented.to_everything() } else { consented };
    let request = consented.start_request(&server);
    if !consented.covers(&request)
        && session.screen.interactive
        && session.screen.ask(&question(std::slice::from_ref(&request))).await == Said::Yes
    {
        consented.grant(&[request])?;
    }
    let host = Host {
        launcher: Arc::new(GroupLauncher),
        consent: Arc::new(consented),
        redactor: Redactor::default(),
        vault: Arc::new(FileVault::new(&session.env)),
        limits: project.limits().of_servers(),
    };
    let described = abide_mcp::Project {
        root: project.root().to_path_buf(),
        servers: vec![server],
        rules: Rules::default(),
        trusted: std::collections::BTreeSet::new(),
        sampling: std::collections::BTreeMap::new(),
        vars: Arc::new(project.vars()),
    };
    Servers::new(host, described).login(&args.server).map_err(|error| failure(&error))
}

/// The server of this name: a declared one, else an agent's own.
fn declared(project: &Project, name: &str) -> Result<ServerConfig, Failure> {
    if let Some(server) = project.servers().find(|server| server.name == name) {
        return Ok(server.clone());
    }
    let (agents, _): (_, Vec<ConfigError>) = project.agents();
    let inline = agents.into_iter().flat_map(|agent| agent.inline_servers).find(|server| server.name == name);
    inline.ok_or_else(|| {
        let known: Vec<&str> = project.servers().map(|server| server.name.as_str()).collect();
        let known = if known.is_empty() { "none is".to_owned() } else { format!("declared are {}", known.join(", ")) };
        let message = format!("no MCP server `{name}` is declared ({known})");
        Failure::new(NOT_FOUND, "no_server", message, "call this in the project's folder, or correct the name")
    })
}

/// Goes on with what waits, or begins; with nobody listening where the port of what waits is taken.
async fn begin(session: &Session, login: &Login) -> Result<(Option<TcpListener>, Waiting), Failure> {
    if let Some(waiting) = login.waiting().map_err(|error| failure(&error))? {
        let port = waiting.redirect_uri.rsplit(':').next().and_then(|rest| rest.split('/').next()?.parse().ok());
        let listener = match port {
            Some(port) => TcpListener::bind(("127.0.0.1", port)).await.ok(),
            None => None,
        };
        if listener.is_none() {
            session.screen.say("another process listens for this login already: finish it there, or paste the address");
        }
        return Ok((listener, waiting));
    }
    let listener = bind(login).await?;
    let port = listener.local_addr().map_err(|error| no_port(&error))?.port();
    let waiting = login.begin(&login.redirect_uri(port)).await;
    Ok((Some(listener), waiting.map_err(|error| failure(&error))?))
}

async fn bind(login: &Login) -> Result<TcpListener, Failure> {
    let (ports, others) = login.ports().map_err(|error| failure(&error))?;
    let mut last = None;
    for port in ports.into_iter().chain(others.then_some(0)) {
        match TcpListener::bind(("127.0.0.1", port)).await {
            Ok(listener) => return Ok(listener),
            Err(error) => last = Some(error),
        }
    }
    Err(no_port(&last.unwrap_or_else(|| std::io::Error::other("there is no port"))))
}

fn no_port(error: &std::io::Error) -> Failure {
    let message = format!("nobody can listen for the end of the login: {error}");
    Failure::new(ENVIRONMENT, "port", message, "free the port that `redirect_port` names, or register another one")
}

fn show(session: &Session, args: &Args, waiting: &Waiting) -> Result<(), Failure> {
    if session.screen.json {
        let Waiting { address, redirect_uri, expires_ms } = waiting;
        return session.screen.document(&Shown { open: address, redirect_uri, expires_ms: *expires_ms });
    }
    let opened = session.screen.interactive && !args.no_browser && open_in_browser(&waiting.address).is_ok();
    let what = if opened { "your browser opens this address" } else { "open this address in a browser" };
    session.screen.say(&format!("{what}:\n  {}", waiting.address));
    session.screen.say(&format!(
        "it leads back to {}; if the browser is on another machine, paste here the address that it ends at. There is time until {}",
        waiting.redirect_uri,
        when(waiting.expires_ms, now_ms())
    ));
    Ok(())
}

/// Waits for the answer, from the browser or pasted, and exchanges it.
async fn answered(
    session: &Session,
    args: &Args,
    login: &Arc<Login>,
    listener: Option<TcpListener>,
    waiting: &Waiting,
) -> Result<Vec<String>, Failure> {
    let mut reads = session.screen.interactive || args.no_browser;
    let hears = listener.is_some();
    if !hears && !reads {
        let help = "call it with --no-browser, and paste the address that the browser ended at";
        return Err(Failure::new(PARKED, "login", "another process listens for this login".to_owned(), help));
    }
    let mut callback = Callback::listen(listener, Arc::clone(login));
    let left = u64::try_from(waiting.expires_ms - now_ms()).unwrap_or(0);
    let mut over = std::pin::pin!(tokio::time::sleep(Duration::from_millis(left)));
    let stop = Stop::listen();
    loop {
        let led = tokio::select! {
            Some(led) = callback.next() => led,
            line = session.screen.line(), if reads => match line {
                Some(line) if line.trim().is_empty() => continue,
                Some(line) => line.trim().to_owned(),
                None if hears => {
                    reads = false;
                    continue;
                }
                None => return Err(left_off(session, args, PARKED, "nothing was pasted")),
            },
            () = &mut over => {
                let help = session.hints.command(&["login", &args.server]);
                return Err(Failure::new(PARKED, "login", "the login's hour is over".to_owned(), format!("again: {help}")));
            }
            () = stop.asked() => return Err(left_off(session, args, INTERRUPTED, "the login was left")),
        };
        if login.is_answer(&led).map_err(|error| failure(&error))? {
            return login.finish(&led).await.map_err(|error| failure(&error));
        }
        session.screen.say("that is not the address that this login ends at");
    }
}

fn left_off(session: &Session, args: &Args, exit: u8, message: &str) -> Failure {
    let help = format!("go on with it: {}", session.hints.command(&["login", &args.server]));
    Failure::new(exit, "login", message.to_owned(), help)
}

/// The runs that wait for this login.
async fn waiting_runs(session: &Session, server: &str) -> Result<Vec<String>, Failure> {
    if session.db.path.symlink_metadata().is_err() {
        return Ok(Vec::new());
    }
    looking(session, |opened| {
        let infos = opened.abide.list(MOST)?;
        let waits = infos.iter().filter(|info| info.waiting_for == Some("credentials"));
        let named = waits.filter(|info| {
            let report = opened.abide.report(&info.id).ok();
            let error = report.and_then(|report| report.run.error).unwrap_or_default();
            super::next::login_of(&error) == Some(server)
        });
        Ok(named.map(|info| info.id.clone()).collect())
    })
    .await
}
