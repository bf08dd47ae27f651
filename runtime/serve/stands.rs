//! How a run stands, for whoever started it from elsewhere: at work, waiting for an answer, stuck until somebody does something, or
//! over. It decides nothing.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use abide_mcp::serve::{Caller, Status, Task};
use serde_json::{Value, json};

use super::questions::{Question, requests};
use super::{Shared, told};
use crate::report::Report;
use crate::{HostError, Run, RunInfo};

/// How often a client should look, in milliseconds: the longer a run has taken, the less often.
fn poll_ms(created_ms: i64) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let age = i64::try_from(now.as_millis()).unwrap_or(i64::MAX).saturating_sub(created_ms);
    u64::try_from(age / 8).unwrap_or_default().clamp(100, 5_000)
}

/// How a run stands.
pub(super) enum Stands {
    /// It goes on by itself; until when it waits, if it does.
    Working { message: Option<String>, until_ms: Option<i64> },
    /// It waits for these answers.
    Asks(Vec<Question>),
    /// It waits for somebody at its own machine, and for what.
    Stuck(String),
    /// It is over, with this `CallToolResult`.
    Over(Value),
    /// It was cancelled.
    Cancelled,
}

impl Shared {
    /// How it stands now.
    pub(super) fn stands(&self, run: &Run) -> Result<(RunInfo, Stands), HostError> {
        let info = run.inspect()?;
        let go_on = || (self.options.command)(&["resume", run.id()]);
        let stuck = |why: &str, what: String| {
            let more = info.error.as_ref().map(|error| format!(": {error}")).unwrap_or_default();
            Stands::Stuck(format!("it {why}{more}; {what}"))
        };
        let stands = match info.status {
            "completed" | "failed" => Stands::Over(result(&run.report()?)),
            "cancelled" => Stands::Cancelled,
            "paused" => stuck("is paused", format!("to go on: {}", go_on())),
            "diverged" => stuck("cannot go on", format!("with mended code: {}", go_on())),
            // Its surroundings stopped it.
            "interrupted" if info.error.is_some() => stuck("stopped", format!("mend that, then: {}", go_on())),
            "waiting" => self.waits(run, &info)?,
            // The rest of it is at work.
            "running" if self.asking().contains(run.id()) => {
                let questions = self.open_questions(run.id(), &run.report()?.steps);
                if questions.is_empty() {
                    self.asking().remove(run.id());
                    Stands::Working { message: None, until_ms: None }
                } else {
                    Stands::Asks(questions)
                }
            }
            _ => Stands::Working { message: None, until_ms: None },
        };
        Ok((info, stands))
    }

    fn waits(&self, run: &Run, info: &RunInfo) -> Result<Stands, HostError> {
        let (command, id) = (&self.options.command, run.id());
        let stuck = |why: &str, what: String| {
            let more = info.error.as_ref().map(|error| format!(": {error}")).unwrap_or_default();
            Stands::Stuck(format!("it waits for {why}{more}; {what}"))
        };
        let time = |what: &str| Stands::Working { message: Some(format!("waits {what}")), until_ms: info.until_ms };
        Ok(match info.waiting_for {
            Some("timer") => time("for a time"),
            Some("rate_limit") => time("for its turn at a provider"),
            Some("child") => time("for another run"),
            Some("queue") => time("for a place in its queue"),
            Some("in_doubt") => stuck("a word on a step in doubt", command(&["resolve", id, "--retry"])),
            Some("trust") => {
                let then = command(&["resume", id]);
                stuck("consent to what its files ask for", format!("{}, then {then}", command(&["trust", id])))
            }
            Some("credentials") => stuck("valid credentials", format!("set a key, then: {}", command(&["resume", id]))),
            Some("quota") => stuck("quota at the provider", command(&["resume", id])),
            Some("budget") => stuck("a higher budget", command(&["resume", id, "--budget", "+AMOUNT"])),
            _ => {
                let report = run.report()?;
                let questions = self.open_questions(id, &report.steps);
                let signal = report
                    .steps
                    .iter()
                    .find(|step| step.kind == "signal" && step.status == "scheduled" && step.asks.is_none());
                match (questions.is_empty(), signal) {
                    (false, _) => Stands::Asks(questions),
                    (true, Some(signal)) if info.until_ms.is_none() => {
                        let what = format!(
                            "send it with the tool runs_signal, or: {}",
                            command(&["signal", id, &signal.name])
                        );
                        stuck(&format!("the signal `{}`", signal.name), what)
                    }
                    (true, Some(signal)) => time(&format!("for the signal `{}`", signal.name)),
                    // What it waited for is on its way.
                    (true, None) => Stands::Working { message: None, until_ms: None },
                }
            }
        })
    }

    /// The same as the protocol has it.
    pub(super) fn task(&self, run: &Run, caller: &Caller) -> Result<Task, HostError> {
        let (info, stands) = self.stands(run)?;
        let (status, message) = match stands {
            Stands::Working { message, .. } => (Status::Working, message.or_else(|| progress(&info))),
            Stands::Asks(questions) => {
                let message = self.how_to_answer(run.id(), &questions);
                (Status::Asks(requests(&questions, caller)), Some(message))
            }
            Stands::Stuck(why) => (Status::Asks(BTreeMap::new()), Some(why)),
            Stands::Over(result) => (Status::Completed(result), None),
            Stands::Cancelled => (Status::Cancelled, None),
        };
        Ok(Task {
            id: self.seal.handle(run.id()),
            status,
            message,
            created_ms: info.created_ms,
            updated_ms: info.updated_ms,
            poll_ms: poll_ms(info.created_ms),
        })
    }

    /// What a run asks, and how a person answers who is not asked by their client.
    pub(super) fn how_to_answer(&self, run: &str, questions: &[Question]) -> String {
        let one = |question: &Question| {
            let hash = question.short_hash();
            let verb: &[&str] = if question.step.asks == Some("approval") {
                // It counts for what is shown here.
                &["approve", run, "--step", &question.step.id, "--hash", hash]
            } else {
                &["answer", run, "JSON", "--step", &question.step.id]
            };
            format!("{} To answer at its machine: {}", question.message, (self.options.command)(verb))
        };
        questions.iter().map(one).collect::<Vec<_>>().join("\n")
    }

    /// How a run stands, for a client that asks with a tool.
    pub(super) fn status(&self, run: &Run) -> Result<Value, String> {
        let (info, stands) = self.stands(run).map_err(|error| told(&error))?;
        let (word, message, questions) = match &stands {
            Stands::Working { message, .. } => ("working", message.clone().or_else(|| progress(&info)), Vec::new()),
            Stands::Asks(questions) => {
                let asked = questions.iter().map(Question::to_json).collect();
                ("input_required", Some(self.how_to_answer(run.id(), questions)), asked)
            }
            Stands::Stuck(why) => ("input_required", Some(why.clone()), Vec::new()),
            Stands::Over(_) => (info.status, None, Vec::new()),
            Stands::Cancelled => ("cancelled", None, Vec::new()),
        };
        Ok(json!({
            "run": self.seal.handle(run.id()), "id": run.id(), "status": word, "message": message,
            "questions": questions, "until_ms": info.until_ms, "updated_ms": info.updated_ms,
        }))
    }
}

/// What it last said of itself.
fn progress(info: &RunInfo) -> Option<String> {
    info.progress.clone().filter(|text| text != "null")
}

/// What an ended run has come to, as the result of a tool.
fn result(report: &Report) -> Value {
    let meta = json!({"io.abide/run": report.run.id});
    let (text, structured, failed) = match (&report.run.output, report.run.status) {
        (Some(output), "completed") => match serde_json::from_str::<Value>(output.get()) {
            Ok(Value::String(text)) => (text, None, false),
            Ok(value @ Value::Object(_)) => (value.to_string(), Some(value), false),
            _ => (output.get().to_owned(), None, false),
        },
        _ => (report.run.error.clone().unwrap_or_else(|| "it failed".to_owned()), None, true),
    };
    let mut result = json!({"content": [{"type": "text", "text": text}], "isError": failed, "_meta": meta});
    if let Some(structured) = structured {
        result["structuredContent"] = structured;
    }
    result
}
