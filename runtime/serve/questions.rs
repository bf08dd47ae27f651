//! What a run asks a person, as a form for the person at the client, and what the filled-in form means. It never answers for
//! anybody: a form that was put aside leaves the question open.

use std::collections::BTreeMap;

use abide_llm::{Approval, ToolCall};
use abide_mcp::serve::Caller;
use serde_json::{Map, Value, json};

use super::{Shared, told};
use crate::{Run, StepReport};

/// Hexadecimal digits of a question's hash in its name.
const DIGITS: usize = 16;

/// What an answer is.
enum Form {
    /// May this call be made?
    Approval,
    /// What an MCP server wants to know of a person: the answer is the protocol's own.
    Passed,
    /// Anything else that a workflow asks.
    Text,
}

/// A question that a run asks now.
pub(super) struct Question {
    pub(super) step: StepReport,
    /// For a person.
    pub(super) message: String,
    form: Form,
    params: Value,
}

impl Question {
    /// None for a step that asks nothing.
    pub(super) fn of(step: &StepReport) -> Option<Self> {
        let asks = step.asks.filter(|_| step.status == "scheduled" && step.hash.is_some())?;
        let about: Value =
            step.input.as_ref().and_then(|input| serde_json::from_str(input.get()).ok()).unwrap_or_default();
        let (message, form, params) = match asks {
            "approval" => approval(&about),
            "answer" => answer(&step.name, &about),
            _ => return None,
        };
        Some(Self { step: step.clone(), message, form, params })
    }

    /// Its name for a client: bound to what is asked.
    pub(super) fn name(&self) -> String {
        format!("{}~{}", self.step.id, self.short_hash())
    }

    /// The beginning of the hash of what is asked.
    pub(super) fn short_hash(&self) -> &str {
        let hash = self.step.hash.as_deref().unwrap_or_default();
        hash.get(..DIGITS).unwrap_or(hash)
    }

    /// Can the person at this client be asked it?
    fn suits(&self, caller: &Caller) -> bool {
        if self.params.get("url").is_some() { caller.can_open_addresses() } else { caller.can_show_forms() }
    }

    /// As the protocol asks.
    pub(super) fn request(&self) -> Value {
        json!({"method": "elicitation/create", "params": self.params})
    }

    /// For a program.
    pub(super) fn to_json(&self) -> Value {
        json!({"step": self.step.id, "asks": self.step.asks, "message": self.message, "hash": self.step.hash})
    }

    /// What the run is told; None if nothing was decided.
    fn meaning(&self, response: &Value) -> Option<Value> {
        let action = response.get("action").and_then(Value::as_str)?;
        let content = response.get("content").cloned().unwrap_or(Value::Null);
        match (&self.form, action) {
            (Form::Approval, "accept") => {
                let allow = content.get("allow").and_then(Value::as_bool)?;
                let reason = content.get("reason").and_then(Value::as_str).filter(|reason| !reason.is_empty());
                serde_json::to_value(Approval { allow, reason: reason.map(str::to_owned) }).ok()
            }
            (Form::Approval, "decline") => serde_json::to_value(Approval { allow: false, reason: None }).ok(),
            (Form::Passed, "accept") => Some(json!({"action": action, "content": content})),
            (Form::Passed, "decline") => Some(json!({ "action": action })),
            (Form::Text, "accept") => content.get("answer").cloned(),
            _ => None,
        }
    }
}

fn approval(about: &Value) -> (String, Form, Value) {
    let message = match serde_json::from_value::<ToolCall>(about.clone()) {
        Ok(call) => format!("May `{}` of the server `{}` be called with {}?", call.tool, call.server, call.arguments),
        Err(_) => format!("May this be done? {about}"),
    };
    let properties = json!({
        "allow": {"type": "boolean", "title": "Allow it", "description": "This call, with these arguments"},
        "reason": {"type": "string", "title": "Why (not)", "description": "For the agent to read"},
    });
    let params = form(&message, &json!({"type": "object", "properties": properties, "required": ["allow"]}));
    (message, Form::Approval, params)
}

fn answer(name: &str, about: &Value) -> (String, Form, Value) {
    let said = about.get("message").and_then(Value::as_str);
    let who = about.get("server").and_then(Value::as_str).map(|server| format!("The server `{server}` asks: "));
    let message = match (said, about.as_str()) {
        (Some(said), _) => format!("{}{said}", who.unwrap_or_default()),
        (None, Some(text)) => text.to_owned(),
        (None, None) => format!("`{name}` asks: {about}"),
    };
    let wants = about.get("wants").unwrap_or(&Value::Null);
    if let Some(schema) = wants.get("form").filter(|schema| schema.is_object()) {
        let params = form(&message, schema);
        return (message, Form::Passed, params);
    }
    if let Some(url) = wants.get("visit").and_then(Value::as_str) {
        let params = json!({"mode": "url", "message": message, "url": url, "elicitationId": name});
        return (message, Form::Passed, params);
    }
    let schema = json!({"type": "object", "properties": {"answer": {"type": "string"}}, "required": ["answer"]});
    let params = form(&message, &schema);
    (message, Form::Text, params)
}

fn form(message: &str, schema: &Value) -> Value {
    json!({"mode": "form", "message": message, "requestedSchema": schema})
}

impl Shared {
    /// The questions of a run that nobody has answered.
    pub(super) fn open_questions(&self, run: &str, steps: &[StepReport]) -> Vec<Question> {
        let answered = self.answered();
        let open = |question: &Question| !answered.contains_key(&mark(run, question));
        steps.iter().filter_map(Question::of).filter(open).collect()
    }

    /// Passes on what these answers mean. Those to what is not asked (any more) are nothing; of several answers to one question
    /// the first counts. The number of questions that were decided.
    pub(super) async fn pass_on(&self, run: &Run, responses: &Map<String, Value>) -> Result<usize, String> {
        let report = run.report().map_err(|error| told(&error))?;
        let mut decided = 0;
        for question in self.open_questions(run.id(), &report.steps) {
            let Some(value) = responses.get(&question.name()).and_then(|response| question.meaning(response)) else {
                continue;
            };
            // As the command line names it, so that its answer and this one are answers to the same question.
            let id = format!("answer:{}:{}", report.run.generation, question.step.id);
            run.answer_shown(&question.step, &value, &id).await.map_err(|error| told(&error))?;
            self.answered().insert(mark(run.id(), &question), std::time::Instant::now());
            decided += 1;
        }
        Ok(decided)
    }
}

/// As requests for a client: those that its person can be asked.
pub(super) fn requests(questions: &[Question], caller: &Caller) -> BTreeMap<String, Value> {
    questions
        .iter()
        .filter(|question| question.suits(caller))
        .map(|question| (question.name(), question.request()))
        .collect()
}

fn mark(run: &str, question: &Question) -> String {
    format!("{run}\0{}", question.name())
}
