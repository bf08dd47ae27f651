//! What follows a model's reply: an answer, or calls of tools. Pure functions of the reply and the pinned tools: they never
//! call anything.

use abide_engine::{Error, terminal};

use crate::agent::Agent;
use crate::agent_exit::Exits;
use crate::tools::{Policy, ToolCall, ToolSpec};
use crate::wire::{CallRequest, Prompt, Reply, Stop, ToolChoice};

/// What the model is told in its last turn, if it has called tools before.
const CONCLUDE: &str = "You have used up your calls of tools. Do not call any more: give your final answer now, from what you know so far.";

/// What follows a reply.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Move<'t> {
    /// It was the last one.
    End,
    /// One plan for each call, in the model's order.
    Call(Vec<Plan<'t>>),
}

/// What is done about one call.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Plan<'t> {
    /// Nothing: the model is told this.
    Tell(String),
    /// Call the tool, after asking a person if its policy says so.
    Call(&'t ToolSpec, ToolCall),
}

/// Prepares the prompt for the model's last turn; `has_spoken` says that it is not its first. The tools stay: a wire knows whether it may
/// leave them out.
pub(crate) fn conclude(prompt: &mut Prompt, has_spoken: bool) {
    prompt.tool_choice = ToolChoice::None;
    if has_spoken {
        prompt.turns.push(CONCLUDE.into());
    }
}

/// Decides what follows `reply`; `last` says that the model has no further turn. Calls of `exits` are not for tools;
/// `servers` are the agent's, in their order.
pub(crate) fn decide<'t>(
    reply: &Reply,
    tools: &'t [ToolSpec],
    servers: &[String],
    exits: &Exits,
    last: bool,
) -> Move<'t> {
    if last || reply.tool_calls.is_empty() || reply.stop == Stop::Refused {
        return Move::End;
    }
    let of = |call: &CallRequest| plan(call, if exits.has(&call.name) { &[] } else { tools }, servers);
    let mut plans: Vec<Plan<'_>> = reply.tool_calls.iter().map(of).collect();
    if reply.stop == Stop::Truncated
        && let Some(cut) = plans.last_mut()
    {
        let told = "your message was cut off at its limit of tokens in the middle of this call, so it was not made: call \
                    again and say less at once";
        *cut = Plan::Tell(told.to_owned());
    }
    Move::Call(plans)
}

/// The tool that a model means by this name: the one that was given it, else that of the first of these servers that calls one so.
pub(crate) fn tool_named<'t>(tools: &'t [ToolSpec], servers: &[String], name: &str) -> Option<&'t ToolSpec> {
    let bare = || {
        let place = |spec: &&ToolSpec| servers.iter().position(|server| *server == spec.server).unwrap_or(usize::MAX);
        tools.iter().filter(|spec| spec.tool == name).min_by_key(place)
    };
    tools.iter().find(|spec| spec.name == name).or_else(bare)
}

fn plan<'t>(request: &CallRequest, tools: &'t [ToolSpec], servers: &[String]) -> Plan<'t> {
    let Some(spec) = tool_named(tools, servers, &request.name) else {
        return Plan::Tell(format!(
            "tool `{}` not found: {}",
            request.name,
            if tools.is_empty() {
                "there are no tools"
            } else {
                "call one of the tools that you were given, by its exact name"
            }
        ));
    };
    if spec.policy == Policy::Deny {
        return Plan::Tell(format!("the user's policy does not allow `{}`: it was not called", spec.name));
    }
    match &request.arguments {
        Err(why) => Plan::Tell(format!("`{}` was not called: {why}", spec.name)),
        Ok(arguments) => {
            let call = ToolCall { server: spec.server.clone(), tool: spec.tool.clone(), arguments: arguments.clone() };
            Plan::Call(spec, call)
        }
    }
}

/// The text of the last reply, or why there is none: an empty answer is never passed off as one.
pub(crate) fn answer_text(agent: &Agent, reply: &Reply, turns: u32) -> Result<String, Error> {
    if !reply.text.trim().is_empty() {
        return Ok(reply.text.clone());
    }
    let name = &agent.name;
    Err(terminal(match &reply.stop {
        Stop::Truncated => format!(
            "the model of agent `{name}` reached its limit of tokens before it had said anything: raise `max_tokens` of \
             the model, or give it less to read"
        ),
        Stop::Refused => format!("the model of agent `{name}` refused to answer and gave no reason"),
        _ if !reply.tool_calls.is_empty() => {
            let tools: Vec<&str> = reply.tool_calls.iter().map(|call| call.name.as_str()).collect();
            format!(
                "agent `{name}` gave no answer: in the last of its turns ({turns}) the model still called tools ({}) instead \
                 of concluding: raise `max_turns`, or use a model that follows `tool_choice`",
                tools.join(", ")
            )
        }
        Stop::Paused => format!("the model of agent `{name}` paused without a text"),
        Stop::Other(why) => format!("the model of agent `{name}` stopped without a text ({why})"),
        Stop::End | Stop::ToolUse => format!("the model of agent `{name}` answered nothing"),
    }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use abide_engine::Effect;
    use serde_json::{Value, json};

    use super::*;
    use crate::model::{ModelConfig, Provider};
    use crate::wire::{ToolDecl, Usage};

    fn spec(name: &str, policy: Policy) -> ToolSpec {
        let (server, tool) = name.split_once('_').unwrap();
        ToolSpec {
            name: name.into(),
            server: server.into(),
            tool: tool.into(),
            description: String::new(),
            input_schema: json!({"type": "object"}),
            effect: Effect::Once,
            policy,
            timeout_s: 60,
            max_timeout_s: None,
            attempts: None,
            hash: String::new(),
            reconcile: None,
        }
    }

    fn reply(text: &str, stop: Stop, calls: &[(&str, Result<Value, String>)]) -> Reply {
        let call = |(name, arguments): &(&str, Result<Value, String>)| CallRequest {
            id: "c".into(),
            name: (*name).into(),
            arguments: arguments.clone(),
        };
        Reply {
            text: text.into(),
            tool_calls: calls.iter().map(call).collect(),
            stop,
            usage: Usage::default(),
            assistant: Value::Null,
            model: None,
        }
    }

    #[test]
    fn every_call_gets_its_plan() {
        let tools = [spec("fs_read", Policy::Allow), spec("fs_write", Policy::Ask), spec("fs_rm", Policy::Deny)];
        let args = json!({"path": "a"});
        let calls = [
            ("fs_read", Ok(args.clone())),
            ("fs_write", Ok(args.clone())),
            ("fs_rm", Ok(args.clone())),
            ("fs_move", Ok(args.clone())),
            ("fs_read", Err("the arguments are not valid JSON".to_owned())),
        ];
        let Move::Call(plans) = decide(&reply("", Stop::ToolUse, &calls), &tools, &[], &Exits::default(), false) else {
            panic!("no calls")
        };
        for (plan, tool) in plans.iter().zip(["read", "write"]) {
            let Plan::Call(_, call) = plan else { panic!("{plan:?}") };
            let expected = ToolCall { server: "fs".into(), tool: tool.into(), arguments: args.clone() };
            assert_eq!(*call, expected);
        }
        for (plan, part) in
            plans.iter().skip(2).zip(["does not allow `fs_rm`", "`fs_move` not found", "not valid JSON"])
        {
            assert!(matches!(plan, Plan::Tell(text) if text.contains(part)), "{plan:?}");
        }
    }

    #[test]
    fn a_name_without_its_server_means_the_first_that_has_it() {
        let tools = [spec("a_read", Policy::Allow), spec("b_read", Policy::Allow), spec("b_a_read", Policy::Allow)];
        let named = |name: &str, servers: &[String]| tool_named(&tools, servers, name).map(|spec| spec.name.as_str());
        assert_eq!((named("b_read", &[]), named("a_read", &[])), (Some("b_read"), Some("a_read")));
        let servers = |order: [&str; 2]| order.map(str::to_owned);
        assert_eq!(named("read", &servers(["a", "b"])), Some("a_read"));
        assert_eq!(named("read", &servers(["b", "a"])), Some("b_read"), "as the agent names its servers");
        assert_eq!(named("write", &servers(["a", "b"])), None);
        let exits =
            Exits::new(vec![ToolDecl { name: "read".into(), description: String::new(), input_schema: json!({}) }]);
        let Move::Call(plans) =
            decide(&reply("", Stop::ToolUse, &[("read", Ok(json!({})))]), &tools, &[], &exits, false)
        else {
            panic!("no calls")
        };
        assert!(matches!(plans.as_slice(), [Plan::Tell(_)]), "a handover is no tool's call: {plans:?}");
    }

    #[test]
    fn what_ends_and_what_goes_on() {
        let tools = [spec("fs_read", Policy::Allow)];
        let call = [("fs_read", Ok(json!({})))];
        for (stop, calls, last, ends) in [
            (Stop::End, [].as_slice(), false, true),
            (Stop::Truncated, &[], false, true),
            (Stop::ToolUse, &call, false, false),
            (Stop::Other("missing".into()), &call, false, false),
            (Stop::ToolUse, &call, true, true),
            (Stop::Refused, &call, false, true),
        ] {
            let reply = reply("x", stop, calls);
            assert_eq!(decide(&reply, &tools, &[], &Exits::default(), last) == Move::End, ends, "{reply:?}");
        }
    }

    #[test]
    fn a_call_that_was_cut_off_is_not_made() {
        let tools = [spec("fs_read", Policy::Allow)];
        let calls = [("fs_read", Ok(json!({"path": "a"}))), ("fs_read", Ok(json!({})))];
        let Move::Call(plans) = decide(&reply("", Stop::Truncated, &calls), &tools, &[], &Exits::default(), false)
        else {
            panic!("no calls")
        };
        assert!(
            matches!(plans.as_slice(), [Plan::Call(..), Plan::Tell(text)] if text.contains("cut off")),
            "{plans:?}"
        );
    }

    #[test]
    fn no_text_is_an_error_that_says_why() {
        let agent = Agent::new("a");
        let call = [("fs_read", Ok(json!({})))];
        for (stop, calls, part) in [
            (Stop::Truncated, [].as_slice(), "raise `max_tokens`"),
            (Stop::Refused, &[], "refused"),
            (Stop::ToolUse, &call, "its turns (3) the model still called tools (fs_read)"),
            (Stop::Other("pause_turn".into()), &[], "pause_turn"),
        ] {
            let error = answer_text(&agent, &reply(" ", stop, calls), 3).unwrap_err();
            assert!(error.message().contains(part), "{error}");
        }
        assert_eq!(answer_text(&agent, &reply("x", Stop::Refused, &[]), 3).unwrap(), "x");
    }

    #[test]
    fn only_who_has_spoken_is_told_to_conclude() {
        let mut prompt = Prompt { turns: vec!["Hi".into()], ..Prompt::default() };
        conclude(&mut prompt, false);
        assert_eq!((prompt.turns.len(), prompt.tool_choice), (1, ToolChoice::None));
        prompt.turns.push(reply("Hm", Stop::ToolUse, &[]).into_turn(&ModelConfig::new(Provider::Openai, "m")));
        conclude(&mut prompt, true);
        assert_eq!(prompt.turns.last(), Some(&CONCLUDE.into()));
    }
}
