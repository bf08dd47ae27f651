//! Skills: instructions that a model loads when the work calls for them. An agent is told their names and what they are for; the tool
//! `load_skill` gives the text. All of it is pinned in the run: this file reads none.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use abide_engine::{Error, Result, StepKind};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::agent::Agent;
use crate::function::refusal;
use crate::own_tools::{Place, own_spec};
use crate::redact::Redactor;
use crate::tools::{ToolCall, ToolSpec};

/// The tool's name.
pub(crate) const LOAD: &str = "load_skill";

/// A skill: what a folder with a `SKILL.md` says. Its texts are in the written form of [`Redactor`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Skill {
    /// Its name, unique within the agent.
    pub name: String,
    /// What it is for: the model decides by this whether to load it.
    pub description: String,
    /// The instructions.
    pub body: String,
    /// Further texts of its folder, by their path within it (`reference/forms.md`).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, String>,
    /// What lies in the folder and was not kept: no text, or too long.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
}

impl Agent {
    /// It may load this skill.
    #[must_use]
    pub fn skill(mut self, skill: Skill) -> Self {
        self.skills.push(Arc::new(skill));
        self
    }

    /// Puts its texts into their written form, once.
    pub fn hide_texts(&mut self, redactor: &Redactor) {
        self.instructions = redactor.hide(&self.instructions).into_owned();
        for skill in self.skills.iter_mut().map(Arc::make_mut) {
            for text in [&mut skill.description, &mut skill.body].into_iter().chain(skill.files.values_mut()) {
                *text = redactor.hide(text).into_owned();
            }
        }
    }
}

/// What the instructions say of the skills; nothing if there are none.
pub(crate) fn listing(skills: &[Arc<Skill>]) -> Option<String> {
    let mut text = format!(
        "Skills: instructions for particular work. Before you do such work, load its skill with the tool `{LOAD}` and follow it."
    );
    for Skill { name, description, .. } in skills.iter().map(AsRef::as_ref) {
        // Writing to a text does not fail.
        let _ = write!(text, "\n- {name}: {}", description.split_whitespace().collect::<Vec<_>>().join(" "));
    }
    (!skills.is_empty()).then_some(text)
}

pub(crate) fn spec(skills: &[Arc<Skill>]) -> ToolSpec {
    let names: Vec<&str> = skills.iter().map(|skill| skill.name.as_str()).collect();
    own_spec(
        LOAD,
        "Gives you the instructions of a skill, or another file of it.",
        json!({"type": "object", "required": ["name"], "properties": {
            "name": {"type": "string", "enum": names},
            "file": {"type": "string", "description": "The path of a further file of the skill; its instructions without it"}}}),
    )
}

#[derive(Deserialize)]
struct Arguments {
    name: String,
    #[serde(default)]
    file: Option<String>,
}

/// A call of the tool: a step that anybody can see, and that costs no commit of its own.
pub(crate) async fn load(skills: &[Arc<Skill>], place: &Place<'_>, call: ToolCall) -> Result<Value> {
    let skills = skills.to_vec();
    let load = move |call: ToolCall| {
        let result = match serde_json::from_value::<Arguments>(call.arguments) {
            Ok(asked) => result_of(&skills, &asked),
            Err(error) => refusal(&format!("nothing was loaded, for the arguments do not fit: {error}")),
        };
        std::future::ready(Ok::<_, Error>(result))
    };
    place.ctx.step(LOAD, call, load).local().kind(StepKind::Tool).key(place.index).await
}

fn result_of(skills: &[Arc<Skill>], asked: &Arguments) -> Value {
    let Some(skill) = skills.iter().find(|skill| skill.name == asked.name) else {
        let names: Vec<&str> = skills.iter().map(|skill| skill.name.as_str()).collect();
        return refusal(&format!("there is no skill `{}`; there are: {}", asked.name, names.join(", ")));
    };
    let text = match asked.file.as_deref().map(plain).filter(|file| !file.is_empty() && file != "SKILL.md") {
        None => skill.body.clone() + &further(skill),
        Some(file) => match skill.files.get(&file) {
            Some(text) => text.clone(),
            None => return refusal(&format!("the skill `{}` has no file `{file}`{}", skill.name, further(skill))),
        },
    };
    json!({"content": [{"type": "text", "text": text}]})
}

/// A path as files are named by: only what was kept can be found, so nothing leads out of the folder.
fn plain(path: &str) -> String {
    let path = path.trim().replace('\\', "/");
    path.strip_prefix("./").map_or_else(|| path.clone(), str::to_owned)
}

/// What else there is.
fn further(skill: &Skill) -> String {
    let mut text = String::new();
    if !skill.files.is_empty() {
        let files: Vec<&str> = skill.files.keys().map(String::as_str).collect();
        let _ = write!(text, "\n\n[Further files, to be loaded with `file`: {}]", files.join(", "));
    }
    if !skill.left_out.is_empty() {
        let _ =
            write!(text, "\n\n[Not to be had here, for they are no texts or too long: {}]", skill.left_out.join(", "));
    }
    text
}
