//! `--prompt SERVER/NAME ARG=VALUE...` as an agent's input. It asks no server: the run does, so that what the server says is recorded.

use std::collections::BTreeMap;

use abide_llm::PromptRef;

use super::failure::Failure;
use crate::agents::AgentRun;

/// The prompt that is meant; `None` without one.
pub(crate) fn read(words: &[String], pinned: &AgentRun) -> Result<Option<PromptRef>, Failure> {
    let Some((first, rest)) = words.split_first() else { return Ok(None) };
    let help = "write it like this: --prompt docs/summarize topic=rivers (the input comes before it)";
    let Some((server, name)) = first.split_once('/').filter(|(server, name)| !server.is_empty() && !name.is_empty())
    else {
        return Err(Failure::usage(format!("`{first}` does not name a server and its prompt"), help));
    };
    if !pinned.servers.iter().any(|known| known.name == server) {
        let known: Vec<&str> = pinned.servers.iter().map(|server| server.name.as_str()).collect();
        let known = if known.is_empty() { "it has none".to_owned() } else { format!("it has: {}", known.join(", ")) };
        return Err(Failure::usage(format!("the {} has no server `{server}`", called(pinned)), known));
    }
    let mut arguments = BTreeMap::new();
    for word in rest {
        let Some((key, value)) = word.split_once('=').filter(|(key, _)| !key.is_empty()) else {
            return Err(Failure::usage(format!("`{word}` is no argument of a prompt"), help));
        };
        if arguments.insert(key.to_owned(), value.to_owned()).is_some() {
            return Err(Failure::usage(format!("the prompt's argument `{key}` is given twice"), "give it once"));
        }
    }
    Ok(Some(PromptRef { server: server.to_owned(), name: name.to_owned(), arguments }))
}

/// Who is asked, as a person says it.
fn called(pinned: &AgentRun) -> String {
    let workflow = pinned.work.workflow_name();
    workflow.split_once(':').map_or(workflow.clone(), |(kind, name)| format!("{kind} `{name}`"))
}
