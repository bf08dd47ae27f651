//! The command line (DESIGN section 7): reads the arguments, lets the library work, tells what came of it, and ends with the
//! exit code that says so. It decides nothing about a run.
//!
//! - `args`: what can be said; `session`: surroundings, database and screen of one call
//! - `start`, `resume`: verbs that stay with runs (`drive`), seen live (`live`), to an `end`
//! - `messages`: what can be said to a run (`candidates`: to which step, `verdict`: about one in doubt)
//! - `tools`, `call`: verbs that try servers outside of runs (`bench`); `login`: who abide is there (`callback`: the end of it)
//! - `serve`: the verb that others call through; `schedule` (`schedule_args`): the one that the clock calls through
//! - `look`, `replay`, `check`, `doctor`: verbs that only look; `consent`: what files may do, and `abide trust`
//! - `talk`: what is asked in words, put to a person (`form` by a server, `question` by an agent); `prompt`: a server's prompt as input
//! - `screen`, `failure`, `hints`, `next`, `clock`, `log`: how it is told

mod args;
mod bench;
mod budget;
mod call;
mod callback;
mod candidates;
mod check;
mod clock;
mod consent;
mod doctor;
mod drive;
mod end;
mod failure;
mod form;
mod hints;
mod live;
mod log;
mod login;
mod look;
mod messages;
mod next;
mod prompt;
mod question;
mod replay;
mod resume;
mod schedule;
mod schedule_args;
mod screen;
mod serve;
mod session;
mod start;
pub(crate) mod stop;
mod talk;
#[cfg(feature = "otel")]
mod telemetry;
mod tools;
mod usage;
mod verdict;

use std::process::ExitCode;

use clap::Parser as _;
use clap::error::ErrorKind;

use self::args::{Cli, Verb};
use self::failure::{ENVIRONMENT, Failure, USAGE};
use self::hints::Hints;
use self::screen::Screen;
use self::session::Session;
use crate::Builder;
use crate::demo::{self, DemoArgs};

/// The `abide` binary. Nothing is started before the arguments are known to be good.
pub fn main() -> ExitCode {
    let cli = match parse() {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    #[cfg(feature = "otel")]
    let exporting = log::start();
    #[cfg(not(feature = "otel"))]
    log::start();
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let message = format!("no threads can be started: {error}");
            let help = "close other programs, or raise the limit of processes (`ulimit -u`)";
            Screen::new(cli.json, Hints::default()).fail(&Failure::new(ENVIRONMENT, "threads", message, help));
            return ExitCode::from(ENVIRONMENT);
        }
    };
    let code = runtime.block_on(work(cli, None));
    // After a second Ctrl-C something may still be at work: it is not waited for.
    runtime.shutdown_background();
    #[cfg(feature = "otel")]
    drop(exporting);
    code
}

/// The command line for a program with workflows of its own: every verb, on its database, with its workflows beside the
/// agents from files.
///
/// ```no_run
/// # use abide::prelude::*;
/// # async fn refund(ctx: Ctx, ticket: String) -> Result<String> { Ok(ticket) }
/// #[tokio::main]
/// async fn main() -> std::process::ExitCode {
///     abide::cli(Abide::open("runs.db").workflow("refund", refund)).await
/// }
/// ```
pub async fn cli(app: Builder) -> ExitCode {
    match parse() {
        Ok(cli) => work(cli, Some(app)).await,
        Err(code) => code,
    }
}

/// The arguments, or the exit code of what was said instead.
fn parse() -> Result<Cli, ExitCode> {
    Cli::try_parse().map_err(|error| {
        if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
            let _ = error.print();
            return ExitCode::SUCCESS;
        }
        if std::env::args_os().any(|arg| arg == "--json") {
            let text = error.render().to_string();
            let (message, help) = text.split_once("\n\n").unwrap_or((text.as_str(), ""));
            let message = message.trim_start_matches("error: ");
            Screen::new(true, Hints::default()).fail(&Failure::usage(message, help.trim()));
        } else {
            let _ = error.print();
        }
        ExitCode::from(USAGE)
    })
}

async fn work(cli: Cli, app: Option<Builder>) -> ExitCode {
    match &cli.verb {
        Verb::Demo(args) => return demo::run(DemoArgs { keep: args.keep, json: cli.json }).await.into(),
        Verb::DemoServer { folder } => return demo::serve(folder).await.into(),
        _ => {}
    }
    let done = match Session::new(&cli, app) {
        Ok(session) => carry_out(&session, cli.verb).await.map_err(|failure| {
            session.screen.fail(&failure);
            failure.exit
        }),
        Err(failure) => {
            Screen::new(cli.json, Hints::default()).fail(&failure);
            Err(failure.exit)
        }
    };
    done.map_or_else(ExitCode::from, |()| ExitCode::SUCCESS)
}

async fn carry_out(session: &Session, verb: Verb) -> Result<(), Failure> {
    match verb {
        Verb::Run(args) => start::run(session, &args).await,
        Verb::Resume(args) => resume::resume(session, &args).await,
        Verb::Ls(args) => look::ls(session, &args).await,
        Verb::Show(args) => look::show(session, &args).await,
        Verb::Usage(args) => usage::usage(session, &args).await,
        Verb::Signal(args) => messages::signal(session, &args).await,
        Verb::Approve(args) => messages::approve(session, &args).await,
        Verb::Deny(args) => messages::deny(session, &args).await,
        Verb::Answer(args) => messages::answer(session, &args).await,
        Verb::Resolve(args) => messages::resolve(session, &args).await,
        Verb::Pause(args) => messages::pause(session, &args).await,
        Verb::Cancel(args) => messages::cancel(session, &args).await,
        Verb::Tools(args) => tools::tools(session, &args).await,
        Verb::Call(args) => call::call(session, &args).await,
        Verb::Login(args) => login::login(session, &args).await,
        Verb::Logout(args) => login::logout(session, &args).await,
        Verb::Schedule(verb) => schedule::schedule(session, &verb).await,
        Verb::Serve(args) => serve::serve(session, &args).await,
        Verb::Trust(args) => consent::trust(session, &args).await,
        Verb::Verify(args) => look::verify(session, &args).await,
        Verb::Replay(args) => replay::replay(session, &args).await,
        Verb::Check => check::check(session),
        Verb::Schema => check::print_schema(session),
        Verb::Doctor => doctor::doctor(session).await,
        Verb::Demo(_) | Verb::DemoServer { .. } => Ok(()),
    }
}
