//! What an agent's file says of its own tools and of its memory, and an agent made able to do it. It opens no file but those of skills.

use abide_llm::{Agent, AskPerson, Remembers, ResourceRef, check_template};

use super::agent_file::AgentDef;
use super::agent_front::Front;
use super::error::ConfigError;
use super::node::{Node, Value};
use super::project::Project;
use super::skills;

/// Claude Code's tool for asking the user.
pub(super) const ASK: &str = "AskUserQuestion";
/// Its tool for skills: here they come with `skills`.
pub(super) const SKILL: &str = "Skill";
/// What `memory` may say in Claude Code: a folder of notes that abide has not.
const FOLDERS: [&str; 3] = ["user", "project", "local"];

impl Front {
    pub(super) fn resources(&self) -> Result<Vec<ResourceRef>, ConfigError> {
        let mut found = Vec::new();
        for text in self.list("resources")?.unwrap_or_default() {
            match text.split_once(':') {
                Some((server, uri)) if !server.is_empty() && uri.contains(':') => {
                    let resource = ResourceRef { server: server.to_owned(), uri: uri.to_owned() };
                    if !found.contains(&resource) {
                        found.push(resource);
                    }
                }
                _ => {
                    let problem = format!("`{text}` in `resources` does not name a server and an address");
                    return Err(self.refuse("resources", problem));
                }
            }
        }
        Ok(found)
    }

    fn flag(&self, key: &str) -> Result<bool, ConfigError> {
        match self.node(key) {
            None => Ok(false),
            Some(Node { value: Value::Bool(flag), .. }) => Ok(*flag),
            Some(node) => Err(self.wrong(key, node, "true or false")),
        }
    }

    pub(super) fn number(&self, key: &str) -> Result<Option<u64>, ConfigError> {
        match self.node(key) {
            None => Ok(None),
            Some(Node { value: Value::Int(n), .. }) if *n > 0 => Ok(u64::try_from(*n).ok()),
            Some(node) => Err(self.wrong(key, node, "a whole number above 0")),
        }
    }

    /// `ask_person: true`, or Claude Code's tool in `tools`, under whose name the model then knows it.
    pub(super) fn ask_person(
        &mut self,
        tools: Option<&[String]>,
        disallowed: &[String],
    ) -> Result<Option<AskPerson>, ConfigError> {
        let timeout_s = self.number("ask_timeout_s")?;
        let named = tools.unwrap_or_default().iter().any(|tool| tool == ASK);
        let usual = AskPerson::default();
        let is_denied = disallowed.iter().any(|tool| *tool == ASK || *tool == usual.name);
        let asks = (named || self.flag("ask_person")?) && !is_denied;
        if !asks && let Some(node) = self.node("ask_timeout_s") {
            let warning = format!("{}: `ask_timeout_s` has no effect without `ask_person`", node.at);
            self.warnings.push(warning);
        }
        let name = if named { ASK.to_owned() } else { usual.name };
        Ok(asks.then_some(AskPerson { name, timeout_s }))
    }

    /// `template: true`, with instructions that can be read as one.
    pub(super) fn template(&self, instructions: &str) -> Result<bool, ConfigError> {
        let (true, Some(node)) = (self.flag("template")?, self.node("template")) else { return Ok(false) };
        check_template(instructions).map_err(|why| {
            let help = "mend them (a variable is written {{ name }}), or remove `template`";
            ConfigError::invalid(
                &node.at,
                format!("the instructions are no template: {why}, counted from their start"),
                help,
            )
        })?;
        Ok(true)
    }

    /// `memory: NAME`. Claude Code's own words for it are warned of, as they mean something else.
    pub(super) fn memory(&mut self) -> Result<Option<Remembers>, ConfigError> {
        let Some(name) = self.text("memory")? else { return Ok(None) };
        let Some(at) = self.node("memory").map(|node| node.at.clone()) else { return Ok(None) };
        if FOLDERS.contains(&name.as_str()) {
            self.warnings.push(format!(
                "{at}: `memory: {name}` has no effect: abide keeps no folder of notes for an agent; a conversation of another name is \
                 kept, as in memory: support"
            ));
            return Ok(None);
        }
        let usual = Remembers::new(name);
        let turns = self.number("memory_turns")?.map(|n| u32::try_from(n).unwrap_or(u32::MAX));
        let chars = self.number("memory_chars")?.map(|n| usize::try_from(n).unwrap_or(usize::MAX));
        let remembers = Remembers { turns: turns.unwrap_or(usual.turns), chars: chars.unwrap_or(usual.chars), ..usual };
        match remembers.fault() {
            Some(why) => Err(self.refuse("memory", why)),
            None => Ok(Some(remembers)),
        }
    }
}

impl Project {
    /// The agent with what its file says of its own tools and its memory; skills are read here. Everything that it then holds is pinned.
    pub fn equip(&self, mut agent: Agent, def: &AgentDef) -> Result<Agent, ConfigError> {
        for skill in skills::of_agent(self.root(), self.env(), def)? {
            agent = agent.skill(skill);
        }
        (agent.ask_person, agent.template, agent.memory) = (def.ask_person.clone(), def.template, def.memory.clone());
        agent = def.manner.of(agent, def, self.root())?;
        // As the table of today has it: what a run has pinned stays.
        let vars = self.vars();
        if let Some(model) = &mut agent.model {
            model.context_tokens = model.context_tokens.or_else(|| model.listed_context(&vars));
            for other in &mut model.fallback {
                other.context_tokens = other.context_tokens.or_else(|| other.listed_context(&vars));
            }
        }
        Ok(agent)
    }
}
