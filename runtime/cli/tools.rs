//! `abide tools`: what the project's servers offer, with what may be done with each tool and who says so. It calls none.

use std::collections::BTreeMap;

use abide_engine::Effect;
use abide_llm::{Policy, ToolSpec, Tools as _};
use abide_mcp::{PromptArgument, PromptSpec};
use futures_util::future::join_all;
use serde::Serialize;
use serde_json::Value;

use super::args::Tools as Args;
use super::bench::{Bench, failure};
use super::failure::Failure;
use super::look::table;
use super::screen::short;
use super::session::Session;

#[derive(Serialize)]
struct Listed {
    tools: Vec<Row>,
    prompts: Vec<PromptSpec>,
    failed: Vec<Failed>,
}

#[derive(Serialize)]
struct Row {
    name: String,
    server: String,
    tool: String,
    description: String,
    effect: Effect,
    effect_from: String,
    policy: Policy,
    policy_from: String,
    timeout_s: u64,
    max_timeout_s: Option<u64>,
    /// The file that declares the server.
    declared_in: String,
    /// The version of the protocol that its server speaks.
    protocol: Option<String>,
    input_schema: Value,
}

#[derive(Serialize)]
struct Failed {
    server: String,
    error: String,
}

/// Carries out `abide tools`.
pub(crate) async fn tools(session: &Session, args: &Args) -> Result<(), Failure> {
    let bench = Bench::lay_out(session, args.server.as_deref(), args.trust, abide_mcp::Driver::default()).await?;
    let told = list(session, &bench).await;
    bench.servers.shutdown().await;
    told
}

async fn list(session: &Session, bench: &Bench) -> Result<(), Failure> {
    let (mut failed, mut well, mut first) = (Vec::new(), Vec::new(), None);
    // Each by itself: a server that does not start hides no other, and one that takes its time holds up none.
    let each = bench.declared.iter().map(|server| bench.servers.discover(vec![server.name.clone()]));
    for (server, listed) in bench.declared.iter().zip(join_all(each).await) {
        match listed {
            Ok(_) => well.push(server.name.clone()),
            Err(error) => {
                let failure = failure(&error);
                failed.push(Failed { server: server.name.clone(), error: failure.message.clone() });
                first.get_or_insert(failure);
            }
        }
    }
    // Together: names depend on all servers.
    let specs = bench.servers.discover(well.clone()).await.map_err(|error| failure(&error))?;
    let (mut versions, mut prompts) = (BTreeMap::new(), Vec::new());
    for server in well {
        match bench.servers.prompts(&server).await {
            Ok(offered) => prompts.extend(offered),
            Err(error) => {
                let failure = failure(&error);
                failed.push(Failed { server: server.clone(), error: failure.message.clone() });
                first.get_or_insert(failure);
            }
        }
        let version = bench.servers.version(&server).await;
        versions.insert(server, version);
    }
    let tools: Vec<Row> = specs.into_iter().map(|spec| tool(bench, &versions, spec)).collect();
    let is_only_one = bench.declared.len() == 1;
    let told = format!("{} of {} servers could not be listed", failed.len(), bench.declared.len());
    if session.screen.json {
        session.screen.document(&Listed { tools, prompts, failed })?;
    } else {
        show(session, &tools, &prompts, &failed, is_only_one);
    }
    match first {
        // Each was told already what is wrong with it.
        Some(first) if !is_only_one && !session.screen.json => Err(Failure { message: told, ..first }),
        Some(first) => Err(first),
        None => Ok(()),
    }
}

fn tool(bench: &Bench, versions: &BTreeMap<String, Option<String>>, spec: ToolSpec) -> Row {
    let (policy, effect) = bench.rules.said_by(&spec.name, &spec.server, &spec.tool);
    let otherwise = || {
        let believed = bench.trusted.contains(&spec.server);
        if believed { "the server, which is trusted".to_owned() } else { "nobody: the default".to_owned() }
    };
    let from = |pattern: Option<String>| pattern.map_or_else(otherwise, |pattern| format!("[tools.\"{pattern}\"]"));
    // Reading a resource changes nothing, whatever the server is.
    let reads = matches!(spec.tool.as_str(), "resources/list" | "resources/read");
    let declared_in = bench.declared.iter().find(|server| server.name == spec.server).map(|server| server.file.clone());
    Row {
        effect_from: if effect.is_none() && reads { "the protocol".to_owned() } else { from(effect) },
        policy_from: from(policy),
        declared_in: declared_in.unwrap_or_default(),
        protocol: versions.get(&spec.server).cloned().flatten(),
        name: spec.name,
        server: spec.server,
        tool: spec.tool,
        description: spec.description,
        effect: spec.effect,
        policy: spec.policy,
        timeout_s: spec.timeout_s,
        max_timeout_s: spec.max_timeout_s,
        input_schema: spec.input_schema,
    }
}

fn show(session: &Session, tools: &[Row], prompts: &[PromptSpec], failed: &[Failed], is_only_one: bool) {
    if !tools.is_empty() {
        let rows = tools.iter().map(|tool| {
            [
                tool.server.clone(),
                tool.tool.clone(),
                format!("{} ({})", word(&tool.policy), tool.policy_from),
                format!("{} ({})", word(&tool.effect), tool.effect_from),
                tool.declared_in.clone(),
                short(&tool.description, 60),
            ]
        });
        session.screen.data(&table(["SERVER", "TOOL", "POLICY", "EFFECT", "DECLARED IN", "WHAT IT DOES"], rows));
    }
    if !prompts.is_empty() {
        let rows = prompts.iter().map(|prompt| {
            let name = |one: &PromptArgument| if one.required { one.name.clone() } else { format!("[{}]", one.name) };
            let arguments = prompt.arguments.iter().map(name).collect::<Vec<_>>().join(" ");
            [prompt.server.clone(), prompt.name.clone(), arguments, short(&prompt.description, 60)]
        });
        session.screen.data(&table(["SERVER", "PROMPT", "ARGUMENTS", "WHAT IT IS FOR"], rows));
    }
    // Of the only one it is said at the end.
    for failed in failed.iter().filter(|_| !is_only_one) {
        session.screen.say(&failed.error);
    }
    if tools.is_empty() && prompts.is_empty() && failed.is_empty() {
        session.screen.say("no server is declared here, or none has tools: declare one in .mcp.json");
    }
}

/// The word for it in the files.
fn word(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(word)) => word,
        _ => String::new(),
    }
}
