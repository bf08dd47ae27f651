//! `abide call`: one call of one tool outside of any run, to try a server. On a terminal it shows progress and puts the
//! server's questions to the person; elsewhere they are declined. Nothing is recorded.

use std::sync::Arc;

use abide_engine::Error;
use abide_llm::{BoxFuture, Policy, ToolCall, ToolSpec, Tools as _};
use abide_mcp::{Driver, Elicit, Progress, Question, Reply, Wants, Watch};
use serde_json::{Map, Value, json};
use tokio::sync::{mpsc, oneshot};

use super::args::Call as Args;
use super::bench::{Bench, failure};
use super::failure::{Failure, INTERRUPTED, NOT_FOUND};
use super::screen::{Said, Screen};
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

struct Terminal {
    news: mpsc::UnboundedSender<News>,
    interactive: bool,
}

fn news(interactive: bool) -> (Driver, mpsc::UnboundedReceiver<News>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let terminal = Arc::new(Terminal { news: sender, interactive });
    (Driver { watch: terminal.clone(), elicit: terminal, ..Driver::default() }, receiver)
}

impl Watch for Terminal {
    fn progress(&self, _call: &ToolCall, progress: &Progress) {
        let _ = self.news.send(News::Progress(progress.clone()));
    }
}

impl Elicit for Terminal {
    fn elicit(&self, question: Question) -> BoxFuture<Reply> {
        let (sender, reply) = oneshot::channel();
        let asked = self.interactive && self.news.send(News::Asks(question, sender)).is_ok();
        Box::pin(async move { if asked { reply.await.unwrap_or(Reply::Cancel) } else { Reply::Decline } })
    }
}

async fn carry_out(
    screen: &Screen,
    bench: &Bench,
    call: ToolCall,
    news: &mut mpsc::UnboundedReceiver<News>,
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

/// Puts a server's question to the person.
async fn ask(screen: &Screen, question: &Question) -> Reply {
    let who =
        format!("the server `{}` asks, for its tool `{}`:\n  {}", question.server, question.tool, question.message);
    match &question.wants {
        Wants::Visit(url) => {
            let text =
                format!("{who}\nOpen this address yourself, if you know what it is for:\n  {url}\nHave you done so?");
            if screen.ask(&text).await == Said::Yes { Reply::Accept(Value::Null) } else { Reply::Decline }
        }
        Wants::Form(form) => {
            if screen.ask(&format!("{who}\nAnswer it?")).await != Said::Yes {
                return Reply::Decline;
            }
            fill_in(screen, form).await
        }
        _ => Reply::Decline,
    }
}

/// Asks for each property in turn; an empty line leaves it out.
async fn fill_in(screen: &Screen, form: &Value) -> Reply {
    let mut content = Map::new();
    for (name, property) in form.get("properties").and_then(Value::as_object).into_iter().flatten() {
        loop {
            screen.say(&prompt(name, property));
            let Some(line) = screen.line().await else { return Reply::Cancel };
            if line.trim().is_empty() {
                break;
            }
            match value(line.trim(), property) {
                Some(value) => {
                    content.insert(name.clone(), value);
                    break;
                }
                None => screen.say("  that does not fit"),
            }
        }
    }
    Reply::Accept(Value::Object(content))
}

fn prompt(name: &str, property: &Value) -> String {
    let text = |key: &str| property.get(key).and_then(Value::as_str);
    let kind = text("type").unwrap_or("text");
    let about = text("description").or_else(|| text("title")).map(|about| format!(": {about}")).unwrap_or_default();
    let of = property.get("enum").map(|of| format!(" one of {of}")).unwrap_or_default();
    let default = property.get("default").map(|default| format!(" [{default}]")).unwrap_or_default();
    format!("  {name} ({kind}{of}){about}{default}")
}

/// What a typed line means for this property.
fn value(line: &str, property: &Value) -> Option<Value> {
    match property.get("type").and_then(Value::as_str) {
        Some("integer") => line.parse::<i64>().ok().map(Value::from),
        Some("number") => line.parse::<f64>().ok().map(Value::from),
        Some("boolean") => super::screen::yes_or_no(line).or_else(|| line.parse().ok()).map(Value::from),
        Some("array") => Some(line.split(',').map(|part| Value::from(part.trim())).collect()),
        _ => Some(line.into()),
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn typed_lines_become_values_of_their_kind() {
        for (kind, line, expected) in [
            ("integer", "7", Some(json!(7))),
            ("integer", "seven", None),
            ("number", "1.5", Some(json!(1.5))),
            ("boolean", "yes", Some(json!(true))),
            ("boolean", "false", Some(json!(false))),
            ("boolean", "perhaps", None),
            ("string", "7", Some(json!("7"))),
            ("array", "a, b", Some(json!(["a", "b"]))),
        ] {
            assert_eq!(value(line, &json!({"type": kind})), expected, "{kind} {line}");
        }
    }

    #[test]
    fn a_question_is_shown_with_what_it_takes() {
        let property = json!({"type": "string", "description": "which", "enum": ["a", "b"], "default": "a"});
        assert_eq!(prompt("x", &property), "  x (string one of [\"a\",\"b\"]): which [\"a\"]");
    }
}
