//! `abide call`: one call of one tool outside of any run, to try a server. On a terminal it shows progress and puts the
//! server's questions to the person; elsewhere they are declined. Nothing is recorded.

use std::sync::Arc;

use abide_engine::Error;
use abide_llm::{BoxFuture, Policy, ToolCall, ToolSpec, Tools as _};
use abide_mcp::{Driver, Elicit, Progress, Question, Reply, Watch};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use super::args::Call as Args;
use super::bench::{Bench, failure};
use super::failure::{Failure, INTERRUPTED, NOT_FOUND};
use super::form::Dialog;
use super::screen::{Screen, put};
use super::session::Session;
use super::stop::Stop;
use crate::config::{Takes, read_input};

/// The exit code of a tool that says that it failed.
const FAILED: u8 = 1;

/// The key of a call's `_meta` under which a server finds what tells two calls apart.
const IDEMPOTENCY_KEY: &str = "io.abide/idempotency-key";

/// Carries out `abide call`.
pub(crate) async fn call(session: &Session, args: &Args) -> Result<(), Failure> {
    let arguments = arguments(session, args)?;
    let (driver, mut news) = news(session.screen.interactive);
    let bench = Bench::lay_out(session, Some(&args.server), args.trust, driver).await?;
    let called = async {
        let spec = find(&bench, args).await?;
        let call = ToolCall { server: spec.server, tool: spec.tool, arguments };
        carry_out(&session.screen, &bench, call, &mut news).await
    };
    let result = called.await;
    bench.servers.shutdown().await;
    tell(session, &result?)
}

fn arguments(session: &Session, args: &Args) -> Result<Value, Failure> {
    match read_input(args.arguments.as_deref(), Takes::Json, &session.env.cwd, &mut std::io::stdin().lock())? {
        Value::Null => Ok(json!({})),
        arguments @ Value::Object(_) => Ok(arguments),
        _ => Err(Failure::usage(
            "the arguments of a tool must be a JSON object",
            "write them like '{\"path\": \"notes.txt\"}', or @file, or - for stdin",
        )),
    }
}

/// The tool by its own name at the server, or by the name that models see.
async fn find(bench: &Bench, args: &Args) -> Result<ToolSpec, Failure> {
    let specs = bench.servers.discover(vec![args.server.clone()]).await.map_err(|error| failure(&error))?;
    let known: Vec<String> = specs.iter().map(|spec| spec.tool.clone()).collect();
    let found = specs.into_iter().find(|spec| spec.tool == args.tool || spec.name == args.tool);
    let Some(spec) = found else {
        let message = format!("the server `{}` has no tool `{}`", args.server, args.tool);
        return Err(Failure::new(NOT_FOUND, "no_tool", message, format!("it has: {}", known.join(", "))));
    };
    if spec.policy == Policy::Deny {
        let message = format!("the rules in abide.toml deny calls of `{}`", spec.name);
        return Err(Failure::usage(message, "change `policy` there, if you mean to call it"));
    }
    Ok(spec)
}

/// What comes in while a call is under way.
enum News {
    Progress(Progress),
    Asks(Question, oneshot::Sender<Reply>),
}

/// What may wait to be shown: of a server that tells more, the rest is not.
const WAITING: usize = 256;

struct Terminal {
    news: mpsc::Sender<News>,
    interactive: bool,
}

fn news(interactive: bool) -> (Driver, mpsc::Receiver<News>) {
    let (sender, receiver) = mpsc::channel(WAITING);
    let terminal = Arc::new(Terminal { news: sender, interactive });
    (Driver { watch: terminal.clone(), elicit: terminal, ..Driver::default() }, receiver)
}

impl Watch for Terminal {
    fn progress(&self, _call: &ToolCall, progress: &Progress) {
        let _ = self.news.try_send(News::Progress(progress.clone()));
    }
}

impl Elicit for Terminal {
    fn elicit(&self, question: Question) -> BoxFuture<Reply> {
        let (sender, reply) = oneshot::channel();
        let news = self.interactive.then(|| self.news.clone());
        Box::pin(async move {
            match news {
                Some(news) if news.send(News::Asks(question, sender)).await.is_ok() => {
                    reply.await.unwrap_or(Reply::Cancel)
                }
                _ => Reply::Decline,
            }
        })
    }
}

async fn carry_out(
    screen: &Screen,
    bench: &Bench,
    call: ToolCall,
    news: &mut mpsc::Receiver<News>,
) -> Result<Value, Failure> {
    let key = abide_engine::hex::encode(&crate::random::bytes16());
    let meta = [(IDEMPOTENCY_KEY.to_owned(), Value::from(key))].into();
    let stop = Stop::listen();
    let mut result = bench.servers.call(call, meta);
    loop {
        tokio::select! {
            result = &mut result => {
                while let Ok(News::Progress(progress)) = news.try_recv() {
                    screen.say(&line(&progress));
                }
                return result.map_err(|error: Error| failure(&error));
            }
            () = stop.asked() => {
                let help = "the server was told to stop; what it had done by then is done";
                return Err(Failure::new(INTERRUPTED, "interrupted", "the call was interrupted", help));
            }
            Some(one) = news.recv() => match one {
                News::Progress(progress) => screen.say(&line(&progress)),
                News::Asks(question, reply) => tokio::select! {
                    said = ask(screen, &question) => drop(reply.send(said)),
                    () = stop.asked() => drop(reply.send(Reply::Cancel)),
                },
            },
        }
    }
}

fn line(progress: &Progress) -> String {
    let total = progress.total.map(|total| format!(" of {total}")).unwrap_or_default();
    let message = progress.message.as_ref().map(|message| format!(": {message}")).unwrap_or_default();
    format!("  {}{total}{message}", progress.done)
}

/// Puts a server's question to the person; nothing more to read means no.
async fn ask(screen: &Screen, question: &Question) -> Reply {
    let mut dialog = Dialog::new(question.clone());
    loop {
        put(&dialog.prompt());
        let Some(line) = screen.line().await else {
            screen.say("");
            return Reply::Cancel;
        };
        if let Some(reply) = dialog.hear(&line) {
            return reply;
        }
    }
}

fn tell(session: &Session, result: &Value) -> Result<(), Failure> {
    if session.screen.json {
        session.screen.document(result)?;
    } else {
        session.screen.data(&text_of(result));
    }
    if result.get("isError") == Some(&Value::Bool(true)) {
        return Err(Failure::new(FAILED, "tool", "the tool says that it failed", ""));
    }
    Ok(())
}

/// The result for a person: its texts, and what else it is made of.
fn text_of(result: &Value) -> String {
    let blocks = result.get("content").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let part = |block: &Value| {
        let at = |pointer: &str| block.pointer(pointer).and_then(Value::as_str);
        match at("/type") {
            Some("text") => at("/text").unwrap_or_default().to_owned(),
            Some("resource") => {
                let kind = at("/resource/mimeType").unwrap_or("data");
                at("/resource/text").map_or_else(|| format!("[{kind}, not shown; --json has it]"), str::to_owned)
            }
            Some("resource_link") => format!("[link to {}]", at("/uri").unwrap_or_default()),
            kind => format!("[{}, not shown; --json has it]", at("/mimeType").or(kind).unwrap_or("something")),
        }
    };
    let texts: Vec<String> = blocks.iter().map(part).filter(|text| !text.is_empty()).collect();
    match result.get("structuredContent") {
        Some(structured) if texts.is_empty() => structured.to_string(),
        _ => texts.join("\n"),
    }
}
