//! Reads one agent: a Markdown file with YAML front matter in Claude Code's format, the same keys as YAML or JSON with the instructions among
//! them, or a table of `abide.toml` (DESIGN section 9). It looks for no files and starts no servers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use abide_llm::{AskPerson, Limit, Remembers, ResourceRef, ToolChoice, ToolFilter};
use abide_mcp::ServerConfig;
use serde::{Deserialize, Serialize};

use super::agent_able::{ASK, SKILL};
use super::agent_front::{Form, Front, form_of};
use super::agent_manner::Manner;
use super::discover::read_text;
use super::error::{ConfigError, Origin, Place};
use super::inline_servers;
use super::keys;
use super::node::{Node, Reader, Table, Value};
use super::secrets::label;

/// An agent as its file describes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AgentDef {
    /// `name`, else the file's name without `.md`.
    pub name: String,
    /// `description`, or an empty string.
    pub description: String,
    /// The body: what the model is told it is.
    pub instructions: String,
    /// `model`: a name for [`super::Project::model_named`]; none for the default.
    pub model: Option<String>,
    /// `mcpServers` or `servers`: the servers it uses, inline ones included; none for all of the project's.
    pub servers: Option<Vec<String>>,
    /// The servers that are defined in the file itself, as an entry of `.mcp.json` would define them.
    pub inline_servers: Vec<ServerConfig>,
    /// `tools`: globs of what it may see; none for all, an empty list for none.
    pub tools: Option<Vec<String>>,
    /// `disallowedTools`: globs of what it may not see, whatever `tools` says.
    pub disallowed: Vec<String>,
    /// `maxTurns` or `max_turns`, at least 1; none for the loop's default.
    pub max_turns: Option<u32>,
    /// `max_cost_usd`, `max_tokens`, `max_time_s`: what it may spend within a run.
    #[serde(default)]
    pub budget: Limit,
    /// `priority`: who of those that wait for one provider goes first, the higher number; 0 without it.
    #[serde(default)]
    pub priority: i32,
    /// `queue`: the one of `[queues]` in which its runs wait for their turn, by `priority`, too.
    #[serde(default)]
    pub queue: Option<String>,
    /// `tool_choice` (or `toolChoice`): `auto`, `required` (in its first turn it must call a tool) or `none`; `auto` without it.
    #[serde(default)]
    pub tool_choice: ToolChoice,
    /// `resources`: what it is shown before its input, as `server:uri`.
    #[serde(default)]
    pub resources: Vec<ResourceRef>,
    /// `skills`: the names of folders with a `SKILL.md`.
    pub skills: Vec<String>,
    /// `ask_person` with `ask_timeout_s`, or `AskUserQuestion` among its tools: may it ask a person?
    #[serde(default)]
    pub ask_person: Option<AskPerson>,
    /// `template`: are its instructions a template over its input?
    #[serde(default)]
    pub template: bool,
    /// `memory`, `memory_turns`, `memory_chars`: the conversation of earlier runs that it goes on with.
    #[serde(default)]
    pub memory: Option<Remembers>,
    /// How its model is asked, and the form of its answer.
    #[serde(default)]
    pub manner: Manner,
    /// The file: its own, or `abide.toml`.
    pub path: PathBuf,
    /// Whose file it is.
    pub origin: Origin,
    /// What the file asks for and abide does not do, for the user to see.
    pub warnings: Vec<String>,
    /// The lines of its keys.
    #[serde(default)]
    pub lines: BTreeMap<String, usize>,
}

impl AgentDef {
    /// May the agent see this tool? `full_name` is the model's name of it (`server_tool`, reduced).
    pub fn allows(&self, server: &str, tool: &str, full_name: &str) -> bool {
        // Patterns that are none were refused when the file was read.
        ToolFilter::new(self.tools.as_deref(), &self.disallowed)
            .is_ok_and(|filter| filter.admits(server, tool, full_name))
    }

    /// Is it an agent's file, by its name?
    pub fn is_file(path: &Path) -> bool {
        form_of(path).is_some()
    }

    /// Where a key of its file stands.
    pub fn place(&self, key: &str) -> Place {
        Place::file(&self.path, self.origin).at(self.lines.get(key).copied().unwrap_or(0))
    }

    /// Reads the file at `path`; `root` is the project's root.
    pub fn read(path: &Path, root: &Path, origin: Origin) -> Result<Self, ConfigError> {
        Self::parse(&read_text(path)?, path, root, origin)
    }

    /// A plain agent with the tools of one declared server. `at` stands in errors.
    pub(super) fn of_server(name: &str, about: &str, model: Option<&str>, at: &Place) -> Result<Self, ConfigError> {
        // Texts in JSON are texts in YAML.
        let text = |text: &str| serde_json::Value::from(text).to_string();
        let (quoted, about) = (text(name), text(about));
        let model = model.map(|model| format!("model: {}\n", text(model))).unwrap_or_default();
        let file = format!(
            "---\nname: {quoted}\ndescription: {about}\n{model}servers: [{quoted}]\n---\nYou answer with the tools of {name}.\n"
        );
        let agent = Self::parse(&file, &at.file, &at.file, at.origin)?;
        Ok(Self { lines: BTreeMap::new(), ..agent })
    }

    /// Reads the text of a file; `path` gives its name, and stands in errors.
    pub fn parse(text: &str, path: &Path, root: &Path, origin: Origin) -> Result<Self, ConfigError> {
        let (mut front, body) = Front::read(text, path, origin)?;
        front.check_keys()?;
        let servers = front.servers(root)?;
        let agent = Self::of(front.name(path)?, &body, servers, front)?;
        if agent.instructions.is_empty() {
            let help = match form_of(path) {
                Some(Form::Table) => "write under `instructions` what the agent is to do",
                _ => "write below the front matter what the agent is to do",
            };
            return Err(ConfigError::invalid(&Place::file(path, origin), "the file has no instructions", help));
        }
        Ok(agent)
    }

    /// `[agents.NAME]` of `abide.toml`, which has a file's keys in TOML, and `instructions` in the place of its body. Servers are named there:
    /// they are declared in the same file.
    pub(super) fn read_table(name: &str, path: &str, node: &Node, table: &Table) -> Result<Self, ConfigError> {
        let keys = Reader::new(path, table, keys::AGENT)?;
        let Some(instructions) = keys.text("instructions")? else {
            let help = "add a line: instructions = \"You read before you answer.\"";
            return Err(ConfigError::invalid(&node.at, format!("[{path}] has no `instructions`"), help));
        };
        for list in ["servers", "tools", "disallowed_tools", "resources", "skills"] {
            keys.texts(list)?;
        }
        let front = Front::of_table(table.clone(), node.at.clone());
        let servers = front.list("servers")?;
        Self::of(front.checked_name(name.to_owned())?, &instructions.value, (servers, Vec::new()), front)
    }

    fn of(
        name: String,
        instructions: &str,
        (servers, inline_servers): (Option<Vec<String>>, Vec<ServerConfig>),
        mut front: Front,
    ) -> Result<Self, ConfigError> {
        let (tools, disallowed) = (front.tools()?, front.globs(front.key_of_denied())?.unwrap_or_default());
        let instructions = instructions.trim().to_owned();
        Ok(Self {
            name,
            description: front.text("description")?.unwrap_or_default(),
            model: front.text("model")?,
            servers,
            inline_servers,
            ask_person: front.ask_person(tools.as_deref(), &disallowed)?,
            template: front.template(&instructions)?,
            instructions,
            memory: front.memory()?,
            manner: front.manner()?,
            tools,
            disallowed,
            max_turns: front.max_turns()?,
            budget: front.budget()?,
            priority: front.priority()?,
            queue: front.text("queue")?,
            tool_choice: front.tool_choice()?,
            resources: front.resources()?,
            skills: front.list("skills")?.unwrap_or_default(),
            path: front.file.file.to_path_buf(),
            origin: front.file.origin,
            lines: front.lines(),
            warnings: front.warnings,
        })
    }
}

impl Front {
    fn name(&self, path: &Path) -> Result<String, ConfigError> {
        let stem = || path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        self.checked_name(self.text("name")?.or_else(stem).unwrap_or_default())
    }

    fn checked_name(&self, name: String) -> Result<String, ConfigError> {
        let fits =
            !name.is_empty() && name.len() <= 128 && !name.chars().any(|c| c.is_control() || c == '/' || c == '\\');
        let at = self.node("name").map_or(&self.file, |node| &node.at);
        let problem = "an agent's name must have 1 to 128 characters, and no slash or line break";
        fits.then_some(name).ok_or_else(|| ConfigError::invalid(at, problem, "write it like this: name: researcher"))
    }

    fn globs(&self, key: &str) -> Result<Option<Vec<String>>, ConfigError> {
        let Some(globs) = self.list(key)? else { return Ok(None) };
        for glob in &globs {
            if let (Err(why), Some(node)) = (ToolFilter::check(glob), self.node(key)) {
                let help = "write names with `*` for any characters, as in memory_*";
                return Err(ConfigError::invalid(
                    &node.at,
                    format!("`{glob}` in `{key}` is not a pattern: {why}"),
                    help,
                ));
            }
        }
        Ok(Some(globs))
    }

    fn tools(&mut self) -> Result<Option<Vec<String>>, ConfigError> {
        let globs = self.globs("tools")?;
        let has_skills = self.node("skills").is_some();
        let built_in = globs.iter().flatten().filter_map(|glob| built_in(glob));
        let built_in: Vec<&str> = built_in.filter(|name| *name != ASK && !(has_skills && *name == SKILL)).collect();
        if !built_in.is_empty() {
            let at = self.node("tools").map_or_else(|| self.file.to_string(), |node| node.at.to_string());
            let names = built_in.join(", ");
            self.warnings.push(format!(
                "{at}: abide has no built-in tools: {names} will not be there; an MCP server can offer the like"
            ));
        }
        Ok(globs)
    }

    fn max_turns(&self) -> Result<Option<u32>, ConfigError> {
        let key = self.either("maxTurns", "max_turns")?;
        let Some(node) = self.node(key) else { return Ok(None) };
        match &node.value {
            Value::Int(n) => u32::try_from(*n).ok().filter(|n| *n > 0),
            _ => None,
        }
        .map(Some)
        .ok_or_else(|| self.wrong(key, node, "a whole number from 1 to 4294967295"))
    }

    fn budget(&self) -> Result<Limit, ConfigError> {
        let count = |key: &str| match self.node(key) {
            None => Ok(None),
            Some(Node { value: Value::Int(n), .. }) if *n > 0 => Ok(u64::try_from(*n).ok()),
            Some(node) => Err(self.wrong(key, node, "a whole number above 0")),
        };
        let max_cost_usd = match self.node("max_cost_usd") {
            None => None,
            Some(Node { value: Value::Int(n), .. }) if *n >= 0 => Some(*n as f64),
            Some(Node { value: Value::Float(x), .. }) if x.is_finite() && *x >= 0.0 => Some(*x),
            Some(node) => return Err(self.wrong("max_cost_usd", node, "a number that is not negative")),
        };
        Ok(Limit { max_cost_usd, max_tokens: count("max_tokens")?, max_calls: None, max_time_s: count("max_time_s")? })
    }

    fn priority(&self) -> Result<i32, ConfigError> {
        match self.node("priority") {
            None => Ok(0),
            Some(node) => match &node.value {
                Value::Int(n) => i32::try_from(*n).ok(),
                _ => None,
            }
            .ok_or_else(|| self.wrong("priority", node, "a whole number")),
        }
    }

    fn tool_choice(&self) -> Result<ToolChoice, ConfigError> {
        let key = self.either("tool_choice", "toolChoice")?;
        let Some(word) = self.text(key)? else { return Ok(ToolChoice::Auto) };
        match word.as_str() {
            "auto" => Ok(ToolChoice::Auto),
            "required" => Ok(ToolChoice::Required),
            "none" => Ok(ToolChoice::None),
            _ => Err(self.refuse(key, format!("`{key}` must be auto, required or none, and it is `{word}`"))),
        }
    }

    fn servers(&self, root: &Path) -> Result<(Option<Vec<String>>, Vec<ServerConfig>), ConfigError> {
        let key = self.either("mcpServers", "servers")?;
        let Some(node) = self.node(key) else { return Ok((None, Vec::new())) };
        let mut declared = inline_servers::read(key, node)?;
        let configs = declared.configs(&label(&self.file.file, root))?;
        Ok((Some(declared.names), configs))
    }
}

/// The literal that a reference into an agent's file means: `key` is a dotted key that begins with `mcpServers`.
pub(super) fn literal_at(text: &str, path: &Path, key: &str) -> Option<String> {
    let (front, _) = Front::read(text, path, Origin::Project).ok()?;
    let node = front.node(front.either("mcpServers", "servers").ok()?)?;
    inline_servers::read("mcpServers", node).ok()?.literal_at(key)
}

/// Parts between commas; those inside brackets do not separate: `Agent(a, b), memory_{x,y}`.
pub(super) fn split_list(text: &str) -> Vec<String> {
    let mut depth = 0_usize;
    let parts = text.split(|c: char| {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    });
    parts.map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

/// The name of a built-in tool of Claude Code, which abide has not: `Bash`, `WebFetch`, `Bash(git *)`, `Agent(x, y)`.
fn built_in(pattern: &str) -> Option<&str> {
    let name = pattern.split_once('(').map_or(pattern, |(name, _)| name).trim();
    let camel = name.starts_with(|c: char| c.is_ascii_uppercase()) && name.chars().all(|c| c.is_ascii_alphanumeric());
    camel.then_some(name)
}

#[cfg(test)]
#[path = "agent_file_tests.rs"]
mod tests;
