//! How an agent's model is asked beside its conversation, as the agent's file says it, and the form of its answer. It opens no file but
//! that of a schema.

use std::path::{Path, PathBuf};

use abide_llm::{Agent, Output};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::agent_file::AgentDef;
use super::agent_front::Front;
use super::discover::read_text;
use super::error::ConfigError;
use super::node::{Node, Value};

/// What an answer in JSON is called at its model.
const ANSWER: &str = "answer";

/// What an agent's file says of it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Manner {
    /// `temperature`, in the place of its model's.
    pub temperature: Option<f64>,
    /// `stop`: texts before which its model stops.
    pub stop: Vec<String>,
    /// `max_result_chars`: the most characters that the model is sent of one tool's result.
    pub max_result_chars: Option<usize>,
    /// `output`: the JSON schema that its answer has to fit.
    pub output: Option<Json>,
    /// `output_schema`: the file with that schema, relative to the agent's own.
    pub output_schema: Option<PathBuf>,
}

impl Front {
    pub(super) fn manner(&self) -> Result<Manner, ConfigError> {
        let temperature = match self.node("temperature") {
            None => None,
            Some(Node { value: Value::Int(n), .. }) if *n >= 0 => Some(*n as f64),
            Some(Node { value: Value::Float(x), .. }) if x.is_finite() && *x >= 0.0 => Some(*x),
            Some(node) => return Err(self.wrong("temperature", node, "a number that is not negative")),
        };
        let stop = match self.node("stop") {
            // A comma may well be what it stops at.
            Some(Node { value: Value::Str(text), .. }) if !text.is_empty() => vec![text.clone()],
            Some(Node { value: Value::List(items), .. }) => {
                let texts = items.iter().map(|item| match &item.value {
                    Value::Str(text) if !text.is_empty() => Ok(text.clone()),
                    _ => Err(self.wrong("stop", item, "a list of texts")),
                });
                texts.collect::<Result<_, _>>()?
            }
            None => Vec::new(),
            Some(node) => return Err(self.wrong("stop", node, "a text or a list of texts")),
        };
        let max_result_chars = self.number("max_result_chars")?.map(|n| usize::try_from(n).unwrap_or(usize::MAX));
        let output = match self.node("output") {
            None => None,
            Some(node @ Node { value: Value::Table(_), .. }) => Some(node.to_json()),
            Some(node) => return Err(self.wrong("output", node, "a JSON schema of an object")),
        };
        let output_schema = self.text("output_schema")?.map(PathBuf::from);
        if let (Some(_), Some(node)) = (&output, self.node("output_schema")) {
            let problem = "`output` and `output_schema` say the same thing, and both are set";
            return Err(ConfigError::invalid(&node.at, problem, "remove one of them"));
        }
        if let (Some(schema), Some(node)) = (&output, self.node("output")) {
            let help = format!("write it like this: {}", self.example("output"));
            checked(schema).map_err(|why| ConfigError::invalid(&node.at, why, help))?;
        }
        Ok(Manner { temperature, stop, max_result_chars, output, output_schema })
    }
}

const EXAMPLE: &str =
    "write it like this: output: { type: object, properties: { title: { type: string } }, required: [title] }";

/// Why no answer can be asked for in this form, if none can.
fn checked(schema: &Json) -> Result<Output, String> {
    let output = Output { name: ANSWER.to_owned(), schema: schema.clone() };
    output.fault().map_or(Ok(output), Err)
}

impl Manner {
    /// The agent in this manner; a file of a schema is read here.
    pub(super) fn of(&self, mut agent: Agent, def: &AgentDef, root: &Path) -> Result<Agent, ConfigError> {
        (agent.temperature, agent.stop) = (self.temperature, self.stop.clone());
        agent.max_result_chars = self.max_result_chars.unwrap_or(agent.max_result_chars);
        let named = self.output_schema.as_deref().map(|file| named(file, def, root)).transpose()?;
        if let Some(schema) = named.as_ref().or(self.output.as_ref()) {
            // What stands in the agent's file itself was checked with it.
            let place = def.place("output_schema");
            let checked = checked(schema).map_err(|why| ConfigError::invalid(&place, why, EXAMPLE))?;
            agent = agent.output(checked.name, checked.schema);
        }
        Ok(agent)
    }
}

/// The schema in a file that an agent's file names: beside it or below, or anywhere in the project.
fn named(file: &Path, def: &AgentDef, root: &Path) -> Result<Json, ConfigError> {
    let place = def.place("output_schema");
    let wrong = |problem: String, help: &str| ConfigError::invalid(&place, problem, help);
    let shown = file.display();
    let folder = def.path.parent().unwrap_or(Path::new("."));
    let path = folder.join(file);
    let within = |folder: &Path| {
        let (Ok(path), Ok(folder)) = (path.canonicalize(), folder.canonicalize()) else { return false };
        path.starts_with(folder)
    };
    if path.exists() && !within(folder) && !within(root) {
        let help = "keep it beside the agent's file, or anywhere in the project";
        return Err(wrong(format!("the schema {shown} lies outside of the project"), help));
    }
    let text =
        read_text(&path).map_err(|error| wrong(error.to_string(), "the path is relative to the agent's file"))?;
    serde_json::from_str(&text).map_err(|error| wrong(format!("{shown} is not JSON: {error}"), "mend that file"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use serde_json::json;

    use super::super::project::tests::Home;
    use super::*;

    fn agent(files: &[(&str, &str)]) -> Result<Agent, ConfigError> {
        let home = Home::with(files);
        let project = home.load()?;
        let def = project.agent("a")?;
        def.manner.of(Agent::new("a"), &def, project.root())
    }

    fn front(keys: &str) -> String {
        format!("---\nname: a\n{keys}\n---\nGo.\n")
    }

    const FILE: &str = "p/.abide/agents/a.md";

    #[test]
    fn it_is_read_as_it_is_written() {
        let schema = json!({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]});
        let inline = front(
            "temperature: 0.5\nstop: [\"###\", \", \"]\nmax_result_chars: 9\noutput:\n  type: object\n  properties:\n    n: { type: integer }\n  required: [n]",
        );
        let read = agent(&[(FILE, &inline)]).unwrap();
        assert_eq!((read.temperature, read.max_result_chars), (Some(0.5), 9));
        assert_eq!(read.stop, ["###", ", "]);
        assert_eq!(read.output.unwrap().schema, schema);
        let text = schema.to_string();
        for (at, file) in [("p/.abide/agents/s.json", "s.json"), ("p/s.json", "../../s.json")] {
            let named = front(&format!("output_schema: {file}\nstop: \"a, b\""));
            let read = agent(&[(FILE, &named), (at, &text)]).unwrap();
            assert_eq!((read.output.unwrap().schema, read.stop), (schema.clone(), vec!["a, b".to_owned()]));
        }
    }

    #[test]
    fn a_table_of_abide_toml_says_the_same() {
        let table = "[agents.a]\ninstructions = \"Go.\"\ntemperature = 1\nstop = [\"x\"]\noutput_schema = \"s.json\"\n";
        let read = agent(&[("p/abide.toml", table), ("p/s.json", "{\"type\": \"object\"}")]).unwrap();
        assert_eq!((read.temperature, read.stop), (Some(1.0), vec!["x".to_owned()]));
        assert_eq!(read.output.unwrap().schema, json!({"type": "object"}));
        let wrong = agent(&[("p/abide.toml", &table.replace("temperature = 1", "temperature = \"hot\""))]).unwrap_err();
        assert!(wrong.to_string().contains("abide.toml:3: `temperature` must be a number"), "{wrong}");
    }

    #[test]
    fn what_cannot_be_used_is_named_with_its_line() {
        for (keys, other, says) in [
            ("temperature: hot", "", "a.md:3: `temperature` must be a number"),
            ("stop: [1]", "", "a.md:3: `stop` must be a list of texts"),
            ("output: text", "", "a.md:3: `output` must be a JSON schema"),
            ("output: { type: string }", "", "a.md:3: the schema of the output `answer` has to be one of an object"),
            ("output: { type: object, required: 7 }", "", "a.md:3: the schema of the output `answer` cannot be used"),
            ("output: { type: object }\noutput_schema: s.json", "{}", "a.md:4: `output` and `output_schema`"),
            ("output_schema: none.json", "", "a.md:3: cannot read"),
            ("output_schema: s.json", "{", "a.md:3: s.json is not JSON"),
            ("output_schema: s.json", "{}", "a.md:3: the schema of the output"),
            ("output_schema: ../../../out.json", "", "a.md:3: the schema ../../../out.json lies outside"),
        ] {
            let files =
                [(FILE, front(keys)), ("p/.abide/agents/s.json", other.to_owned()), ("out.json", "{}".to_owned())];
            let files: Vec<_> = files.iter().map(|(path, text)| (*path, text.as_str())).collect();
            let error = agent(&files).unwrap_err().to_string();
            assert!(error.contains(says), "{keys}: {error}");
        }
    }
}
