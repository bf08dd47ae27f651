//! What became of each call of the demo's run: the journal, as it was after the kill and at the end, beside the records of
//! those who were called. It believes neither alone, and prints nothing.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::ledger::{ModelAsked, ToolCalled, fingerprint};
use crate::{Report, StepReport};

/// Everything that was recorded of a run that was killed and resumed.
pub(super) struct Evidence {
    /// The journal after the kill.
    pub(super) at_kill: Report,
    /// The journal at the end.
    pub(super) end: Report,
    /// What the model had recorded at the kill, and what it records at the end.
    pub(super) requests: Ledgers<ModelAsked>,
    /// The same of the tools' server.
    pub(super) calls: Ledgers<ToolCalled>,
}

/// A ledger at the end, and how long it was at the kill.
pub(super) struct Ledgers<T> {
    pub(super) all: Vec<T>,
    pub(super) at_kill: usize,
}

/// What the journal held of a call at the kill.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum AtKill {
    /// Its result.
    Completed,
    /// That it was to be made.
    InFlight,
    /// Nothing.
    NotBegun,
}

/// One call of the model or of a tool.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Call {
    /// The step's id.
    pub(super) step: String,
    /// `llm` or `tool`.
    pub(super) kind: &'static str,
    /// What was called, for people.
    pub(super) what: String,
    /// Milliseconds since the run began.
    pub(super) at_ms: i64,
    /// What the journal held at the kill.
    pub(super) at_kill: AtKill,
    /// How often it was called before the kill, says who was called.
    pub(super) before: usize,
    /// How often after.
    pub(super) after: usize,
}

impl Call {
    /// What must not be; `None` if all is well.
    pub(super) fn wrong(&self) -> Option<String> {
        let Self { step, what, before, after, .. } = self;
        let counted = format!("{} before the kill and {} after it", times(*before), times(*after));
        match (self.at_kill, before, after) {
            (AtKill::Completed, 1, 0) | (AtKill::InFlight, 0 | 1, 1) | (AtKill::NotBegun, 0, 1) => None,
            (_, 0, 0) => Some(format!("`{step}` ({what}) is in the journal, and who was called knows nothing of it")),
            _ => Some(format!("`{step}` ({what}) was called {counted}, says who was called")),
        }
    }
}

fn times(count: usize) -> String {
    match count {
        0 => "not".to_owned(),
        1 => "once".to_owned(),
        many => format!("{many} times"),
    }
}

/// The whole judgment.
pub(super) struct Judgment {
    /// In the order of the journal.
    pub(super) calls: Vec<Call>,
    /// What must not be, one sentence each.
    pub(super) wrong: Vec<String>,
    /// How many completed calls were made again.
    pub(super) repeated: usize,
}

/// Compares them.
pub(super) fn judge(evidence: &Evidence) -> Judgment {
    let started = evidence.end.run.created_ms;
    let mut seen = counts(evidence);
    let held: BTreeMap<&str, &StepReport> =
        evidence.at_kill.steps.iter().map(|step| (step.id.as_str(), step)).collect();
    let mut calls = Vec::new();
    for step in &evidence.end.steps {
        if !matches!(step.kind, "llm" | "tool") {
            continue;
        }
        let input = step.input.as_ref().and_then(|input| serde_json::from_str(input.get()).ok()).unwrap_or(Value::Null);
        let (before, after) = seen.remove(&name_of(step.kind, &input)).unwrap_or_default();
        let at_kill = match held.get(step.id.as_str()).map(|step| step.status) {
            Some("completed") => AtKill::Completed,
            Some(_) => AtKill::InFlight,
            None => AtKill::NotBegun,
        };
        let what = describe(step, &input);
        let at_ms = step.started_ms - started;
        calls.push(Call { step: step.id.clone(), kind: step.kind, what, at_ms, at_kill, before, after });
    }
    let mut wrong: Vec<String> = calls.iter().filter_map(Call::wrong).collect();
    wrong.extend(
        seen.into_keys().map(|(kind, _)| format!("a call ({kind}) was made that no step of the journal asked for")),
    );
    let completed = calls.iter().filter(|call| call.at_kill != AtKill::InFlight);
    let repeated = completed.filter(|call| call.before + call.after > 1).count();
    Judgment { calls, wrong, repeated }
}

/// What tells one call from another, on both sides: the demo's calls all differ.
type Name = (&'static str, String);

fn name_of(kind: &'static str, input: &Value) -> Name {
    match kind {
        "llm" => ("llm", fingerprint(input)),
        _ => {
            let part = |key| input.get(key).filter(|part| !part.is_null()).cloned();
            let arguments = part("arguments").unwrap_or_else(|| serde_json::json!({}));
            ("tool", fingerprint(&Value::Array(vec![part("tool").unwrap_or_default(), arguments])))
        }
    }
}

/// How often each call was made before and after the kill.
fn counts(evidence: &Evidence) -> BTreeMap<Name, (usize, usize)> {
    let mut counts = BTreeMap::<Name, (usize, usize)>::new();
    let mut count = |name, before: bool| {
        let (earlier, later) = counts.entry(name).or_default();
        *(if before { earlier } else { later }) += 1;
    };
    for (index, asked) in evidence.requests.all.iter().enumerate() {
        count(("llm", asked.body.clone()), index < evidence.requests.at_kill);
    }
    for (index, called) in evidence.calls.all.iter().enumerate() {
        let input = serde_json::json!({"tool": called.tool, "arguments": called.arguments});
        count(name_of("tool", &input), index < evidence.calls.at_kill);
    }
    counts
}

/// A few words on a call: what the model answered, or the tool and its first argument.
fn describe(step: &StepReport, input: &Value) -> String {
    if step.kind == "tool" {
        let tool = input.get("tool").and_then(Value::as_str).unwrap_or(&step.name);
        let arguments = input.get("arguments").and_then(Value::as_object);
        let first = arguments.and_then(|arguments| arguments.values().find_map(Value::as_str));
        return first.map_or_else(|| tool.to_owned(), |first| format!("{tool} \"{first}\""));
    }
    let reply: Value =
        step.output.as_ref().and_then(|output| serde_json::from_str(output.get()).ok()).unwrap_or_default();
    let asked = reply.pointer("/choices/0/message/tool_calls").and_then(Value::as_array).map(Vec::as_slice);
    let mut names = BTreeMap::<&str, usize>::new();
    for name in asked.unwrap_or_default().iter().filter_map(|call| call.pointer("/function/name")?.as_str()) {
        *names.entry(name.strip_prefix("demo_").unwrap_or(name)).or_default() += 1;
    }
    let list: Vec<String> = names
        .into_iter()
        .map(|(name, count)| if count == 1 { name.to_owned() } else { format!("{count} x {name}") })
        .collect();
    if list.is_empty() { "gives its answer".to_owned() } else { format!("asks for {}", list.join(" and ")) }
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
