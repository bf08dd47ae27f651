//! A swarm: agents that hand one conversation over to each other, until one of them answers. It never lets two of them talk at once, and never
//! hands over more often than it may.

use std::collections::BTreeMap;
use std::sync::Arc;

use abide_engine::{Ctx, Result, terminal};
use serde::Deserialize;
use serde_json::Value;

use super::Work;
use super::builders::pattern;
use super::verdict::{list, object, on_duty, text};
use super::words::names;
use super::work::{Tally, Title};
use crate::agent::{Agent, Answer, scope_name};
use crate::agent_exit::{Exits, Left, Talked};
use crate::agent_loop::{Begin, First, talk};
use crate::agent_text::foreign;
use crate::input::Input;
use crate::template;
use crate::wire::{ToolDecl, Turn};

/// Handovers when nothing is said.
const MAX_HANDOFFS: u32 = 10;
/// The tool that ends the conversation.
const DONE: &str = "done";
/// The longest name of a tool.
const TOOL_NAME: usize = 64;

/// Agents that hand a conversation over: to each a tool, `hand_over_to_NAME`.
///
/// What they write down on the way (`variables`) all of them know, also as `{{name}}` in their instructions.
///
/// ```
/// use abide_llm::{Agent, Swarm};
///
/// let support = Swarm::new(Agent::new("triage"))
///     .agent(Agent::new("refunds").description("Pays money back"))
///     .agent(Agent::new("sales").description("Sells"))
///     .variable("customer", "Ada");
/// ```
#[derive(Clone)]
pub struct Swarm {
    title: Title,
    members: Vec<Member>,
    variables: BTreeMap<String, String>,
    max_handoffs: u32,
}

pattern!(Swarm);

#[derive(Clone)]
enum Member {
    Agent(Box<Agent>),
    /// Anything else takes the request as it is, and its answer is the last word.
    Work(Arc<dyn Work>),
}

/// The arguments of a handover.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Handover {
    why: String,
    variables: Vec<Variable>,
}

#[derive(Deserialize)]
struct Variable {
    name: String,
    value: String,
}

impl Swarm {
    /// The agent that begins; the name is `swarm`.
    pub fn new(first: Agent) -> Self {
        Self {
            title: Title::new("swarm"),
            members: vec![Member::Agent(Box::new(first))],
            variables: BTreeMap::new(),
            max_handoffs: MAX_HANDOFFS,
        }
    }

    /// One more agent, with the whole conversation once it is handed to it.
    #[must_use]
    pub fn agent(mut self, agent: Agent) -> Self {
        self.members.push(Member::Agent(Box::new(agent)));
        self
    }

    /// A pattern or function that can be handed to: it is given the request, and its answer ends the conversation.
    #[must_use]
    pub fn work(mut self, work: impl Work) -> Self {
        self.members.push(Member::Work(Arc::new(work)));
        self
    }

    /// What all of them know from the start.
    #[must_use]
    pub fn variable(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.variables.insert(name.into(), value.into());
        self
    }

    /// The most handovers; then the run fails.
    #[must_use]
    pub fn max_handoffs(mut self, most: u32) -> Self {
        self.max_handoffs = most;
        self
    }

    async fn drive(self, ctx: Ctx, input: Input) -> Result<Answer> {
        let tools = self.tools()?;
        let (mut tally, mut variables) = (Tally::default(), self.variables.clone());
        let mut turns = vec![Turn::User(input.clone().parts())];
        let (mut way, mut at) = (Vec::new(), 0);
        loop {
            let Some(member) = self.members.get(at) else { return Err(terminal("nobody is there to go on")) };
            way.push(member.name());
            if way.len() > self.max_handoffs as usize + 1 {
                return Err(terminal(format!(
                    "`{}` handed over more than {} times: {}: raise max_handoffs, or say to the agents more plainly who does what",
                    self.title.name,
                    self.max_handoffs,
                    way.join(" -> ")
                )));
            }
            let agent = match member {
                Member::Work(work) => {
                    let answer = work.begin(&ctx, handed(&input, &variables)).await?;
                    tally.add(&answer);
                    return Ok(tally.on(answer));
                }
                Member::Agent(agent) => informed(agent, &variables),
            };
            let others = tools.iter().enumerate().filter(|(n, _)| *n != at).map(|(_, tool)| tool.clone());
            let exits = Exits::new(others.chain([done()]).collect());
            let instructions = template::filled(&agent, &input)?.into_owned();
            let part = ctx.scope(scope_name(&agent.name), move |ctx| async move {
                let begin = Begin { instructions: &instructions, first: First::Turns(turns), recalls: false };
                talk(&agent, &ctx, begin, &exits).await
            });
            let Talked { answer, left, turns: said } = part.await?;
            tally.add(&answer);
            turns = said;
            match left {
                None => return Ok(tally.on(answer)),
                Some(Left { tool, arguments }) if tool == DONE => {
                    let text = arguments.get("answer").and_then(Value::as_str).unwrap_or_default();
                    if text.trim().is_empty() {
                        let who = self.members.get(at).map(Member::name).unwrap_or_default();
                        return Err(terminal(format!("agent `{who}` ended the conversation without an answer")));
                    }
                    return Ok(tally.on(text.into()));
                }
                Some(Left { tool, arguments }) => {
                    at = tools.iter().position(|other| other.name == tool).unwrap_or_default();
                    let handover: Handover = serde_json::from_value(arguments).unwrap_or_default();
                    variables.extend(handover.variables.into_iter().map(|one| (one.name, one.value)));
                    if !handover.why.trim().is_empty() {
                        variables.insert("why it was handed over".to_owned(), handover.why);
                    }
                }
            }
        }
    }

    /// The tools that hand over, one for each member in their order.
    fn tools(&self) -> Result<Vec<ToolDecl>> {
        let variable = object([("name", text("Its name.")), ("value", text("Its value."))]);
        let schema =
            object([("why", text("Why, and what the other one should know.")), ("variables", list(&variable))]);
        let mut tools: Vec<ToolDecl> = Vec::new();
        for member in &self.members {
            let name = tool_name(member.name());
            if tools.iter().any(|tool| tool.name == name) {
                let all = names(self.members.iter().map(Member::name));
                return Err(terminal(format!("`{}` has two members of one name: {all}", self.title.name)));
            }
            let about = member.about().trim();
            let about = if about.is_empty() { String::new() } else { format!(": {about}") };
            let description = format!(
                "Hands the conversation over to {}{about}. What the others should remember goes into `variables`.",
                member.name()
            );
            tools.push(ToolDecl { name, description, input_schema: schema.clone() });
        }
        Ok(tools)
    }
}

impl Member {
    fn name(&self) -> &str {
        match self {
            Self::Agent(agent) => &agent.name,
            Self::Work(work) => work.name(),
        }
    }

    fn about(&self) -> &str {
        match self {
            Self::Agent(agent) => &agent.description,
            Self::Work(work) => work.about(),
        }
    }
}

/// Within what every vendor takes.
fn tool_name(name: &str) -> String {
    let reduced = name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' });
    format!("hand_over_to_{}", reduced.collect::<String>()).chars().take(TOOL_NAME).collect()
}

fn done() -> ToolDecl {
    ToolDecl {
        name: DONE.to_owned(),
        description: "Ends the conversation with the final answer to the user.".to_owned(),
        input_schema: object([("answer", text("The whole answer."))]),
    }
}

/// The agent with what is known, and with the variables that its instructions name.
fn informed(agent: &Agent, variables: &BTreeMap<String, String>) -> Agent {
    let mut agent = agent.clone();
    for (name, value) in variables {
        agent.instructions = agent.instructions.replace(&format!("{{{{{name}}}}}"), &foreign(value));
    }
    match known(variables) {
        Some(known) => on_duty(&agent, &known),
        None => agent,
    }
}

fn known(variables: &BTreeMap<String, String>) -> Option<String> {
    let lines: Vec<String> = variables.iter().map(|(name, value)| format!("- {name}: {}", foreign(value))).collect();
    (!lines.is_empty()).then(|| format!("What is known:\n{}", lines.join("\n")))
}

/// What somebody is asked who has not heard the conversation.
fn handed(input: &Input, variables: &BTreeMap<String, String>) -> Input {
    let context = known(variables).into_iter().collect();
    Input { context, ..input.clone() }
}
