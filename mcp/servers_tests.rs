//! Tests of `servers` against a server in memory: every era, every way to die, and what the caller then knows.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::atomic::Ordering;

use abide_engine::{Effect, Parked};
use abide_llm::Policy;
use serde_json::json;

use super::*;
use crate::fixture::{Behaviour, DECLARED, FakeLauncher, Say, host, project, servers};
use crate::policy::ToolRule;

fn call(tool: &str, arguments: Value) -> ToolCall {
    ToolCall { server: "fix".into(), tool: tool.into(), arguments }
}

async fn run(servers: &Servers, tool: &str) -> Result<Value, Error> {
    servers.call(call(tool, json!({})), BTreeMap::new()).await
}

#[tokio::test(start_paused = true)]
async fn servers_of_every_era_and_habit_are_understood() {
    use Behaviour::{Legacy, LegacyAnswersAnything, LegacyDiesAtDiscover, LegacySlow, Modern, ModernSlow, Noisy};
    for behaviour in [Modern, Legacy, LegacyAnswersAnything, LegacyDiesAtDiscover, LegacySlow, ModernSlow, Noisy] {
        let (servers, launcher) = servers(&[behaviour]);
        let tools = servers.discover(vec!["fix".into()]).await.unwrap();
        let names: Vec<_> = tools.iter().map(|tool| tool.name.as_str()).collect();
        assert_eq!(names, ["fix_big", "fix_die", "fix_echo"], "{behaviour:?}");
        let result = run(&servers, "echo").await.unwrap();
        assert_eq!(result["content"][0]["text"], "{}", "{behaviour:?}");
        let expected = if matches!(behaviour, LegacyDiesAtDiscover | ModernSlow) { 2 } else { 1 };
        assert_eq!((launcher.count(), servers.generation("fix")), (expected, 1), "{behaviour:?}");
    }
}

#[tokio::test]
async fn tools_are_listed_with_what_the_rules_and_believed_annotations_say() {
    let launcher = FakeLauncher::new(&[Behaviour::Legacy]);
    let rule = ToolRule {
        pattern: "other_*".into(),
        policy: Some(Policy::Deny),
        effect: None,
        timeout_s: Some(5),
        max_timeout_s: None,
        attempts: None,
        reconcile: None,
    };
    let project = Project { rules: Rules::new([rule]).unwrap(), ..project(DECLARED, &["fix"]) };
    let servers = Servers::new(host(&launcher), project);
    let tools = servers.discover(vec!["other".into(), "fix".into(), "fix".into()]).await.unwrap();
    let said: Vec<_> = tools.iter().map(|t| (t.name.as_str(), t.effect, t.policy, t.timeout_s)).collect();
    let expected = [
        ("fix_big", Effect::Once, Policy::Ask, 60),
        ("fix_die", Effect::Idempotent, Policy::Ask, 60),
        ("fix_echo", Effect::Pure, Policy::Allow, 60),
        ("other_big", Effect::Once, Policy::Deny, 5),
        ("other_die", Effect::Once, Policy::Deny, 5),
        ("other_echo", Effect::Once, Policy::Deny, 5),
    ];
    assert_eq!(said, expected);
    let echo = &tools[2];
    assert_eq!((echo.description.as_str(), &echo.input_schema), ("does echo", &json!({"type": "object"})));
    assert_eq!((echo.hash.len(), &echo.hash), (64, &tools[5].hash));
}

#[tokio::test]
async fn arguments_and_meta_arrive_with_secrets_restored_and_results_hide_them() {
    for behaviour in [Behaviour::Modern, Behaviour::Legacy] {
        let (servers, launcher) = servers(&[behaviour]);
        let mut received = launcher.received();
        let meta = BTreeMap::from([("abide/key".to_owned(), json!("k-1"))]);
        let result = servers.call(call("echo", json!({"token": "${KEY}"})), meta).await.unwrap();
        let sent = loop {
            let message = received.recv().await.unwrap();
            if message["method"] == "tools/call" {
                break message;
            }
        };
        assert_eq!(sent["params"]["arguments"]["token"], "sk-0123456789");
        assert_eq!(sent["params"]["_meta"]["abide/key"], "k-1");
        assert_eq!(result["structuredContent"]["arguments"]["token"], "${KEY}");
        assert!(!result.to_string().contains("sk-0123456789"), "{result}");
        let env = launcher.launches.lock().unwrap()[0].clone();
        assert_eq!(env[&std::ffi::OsString::from("TOKEN")], "sk-0123456789");
    }
}

#[tokio::test]
async fn what_the_server_answers_is_an_answer() {
    let (servers, _) = servers(&[Behaviour::Legacy]);
    for (tool, arguments, expected) in [
        ("unknown", json!({}), "refused the call: no tools/call (code -32602)"),
        ("big", json!(null), "the limit is 4000"),
        ("echo", json!([1]), "must be a JSON object"),
    ] {
        let result = servers.call(call(tool, arguments), BTreeMap::new()).await.unwrap();
        assert_eq!(result["isError"], true);
        assert!(result["content"][0]["text"].as_str().unwrap().contains(expected), "{result}");
    }
}

#[tokio::test]
async fn a_death_in_mid_call_is_in_doubt_for_everyone_and_the_next_use_starts_it_anew() {
    let (servers, launcher) = servers(&[Behaviour::Legacy]);
    let mut received = launcher.received();
    let hanging = tokio::spawn(servers.call(call("hang", json!({})), BTreeMap::new()));
    while received.recv().await.unwrap()["params"]["name"] != "hang" {}
    assert_eq!(servers.generation("fix"), 1);
    let error = run(&servers, "die").await.unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::InDoubt);
    assert!(error.message().contains("`fix`") && error.message().contains("segmentation fault at ${KEY}"), "{error}");
    assert_eq!(*hanging.await.unwrap().unwrap_err().kind(), ErrorKind::InDoubt);
    let session =
        |result: &Value| result.pointer("/_meta/io.abide~1session").and_then(Value::as_str).map(str::to_owned);
    let [first, second] = [run(&servers, "echo").await.unwrap(), run(&servers, "unknown").await.unwrap()];
    assert!(session(&first).is_some() && session(&first) == session(&second), "{first} {second}");
    assert_eq!((launcher.count(), servers.generation("fix")), (2, 2));
    assert!(run(&servers, "die").await.is_err());
    assert_ne!(session(&run(&servers, "echo").await.unwrap()), session(&first), "another connection, another id");
}

#[tokio::test]
async fn calls_share_one_connection_and_do_not_wait_for_each_other() {
    let (servers, launcher) = servers(&[Behaviour::Legacy]);
    let hanging = tokio::spawn(servers.call(call("hang", json!({})), BTreeMap::new()));
    let other = servers.for_project(project(DECLARED, &["fix"]));
    for result in join_all((0..50).map(|_| run(&other, "echo"))).await {
        assert!(result.is_ok());
    }
    assert!(!hanging.is_finished());
    assert_eq!(launcher.count(), 1);
    hanging.abort();
}

#[tokio::test]
async fn a_call_that_nobody_waits_for_is_called_off() {
    let (servers, launcher) = servers(&[Behaviour::Legacy]);
    let mut received = launcher.received();
    let hanging = tokio::spawn(servers.call(call("hang", json!({})), BTreeMap::new()));
    let id = loop {
        let message = received.recv().await.unwrap();
        if message["params"]["name"] == "hang" {
            break message["id"].clone();
        }
    };
    hanging.abort();
    let cancelled = loop {
        let message = received.recv().await.unwrap();
        if message["method"] == "notifications/cancelled" {
            break message;
        }
    };
    assert_eq!(cancelled["params"]["requestId"], id);
    assert!(run(&servers, "echo").await.is_ok());
}

/// Opens the connection and waits until the server has closed its input.
async fn open_then_input_closed(servers: &Servers, launcher: &FakeLauncher) {
    let mut received = launcher.received();
    servers.slot("fix").unwrap().connection(&servers.pool.host).await.unwrap();
    while received.recv().await.unwrap()["method"] != "notifications/initialized" {}
}

#[tokio::test]
async fn a_call_that_never_left_did_not_happen() {
    let (servers, launcher) = servers(&[Behaviour::ClosesItsInput, Behaviour::Legacy]);
    open_then_input_closed(&servers, &launcher).await;
    let error = run(&servers, "echo").await.unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::DidNotHappen, "{error}");
    assert!(run(&servers, "echo").await.is_ok());
    assert_eq!((launcher.count(), servers.generation("fix")), (2, 2));
}

#[tokio::test]
async fn a_server_that_does_not_start_says_its_command_and_last_words() {
    let (servers, launcher) = servers(&[Behaviour::DiesAtOnce]);
    let error = run(&servers, "echo").await.unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::Environment);
    for part in ["`fix` (.mcp.json)", "fixture --serve \"a b\"", "cannot open ${KEY}", "no such folder"] {
        assert!(error.message().contains(part), "{error}");
    }
    assert!(!error.message().contains("sk-0123456789"));
    // Once in both eras, once in the older one alone, and not again by itself.
    assert_eq!((launcher.count(), servers.generation("fix")), (2, 0));

    let (servers, _) = crate::fixture::servers(&[Behaviour::NotFound]);
    let error = servers.discover(vec!["fix".into()]).await.unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::Environment);
    assert!(error.message().contains("`fixture` was not found"), "{error}");
    assert!(!error.message().contains("stderr"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_hangs_at_its_start_is_given_up_and_ended() {
    let (servers, launcher) = servers(&[Behaviour::Hangs]);
    let error = run(&servers, "echo").await.unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::Environment);
    assert!(error.message().contains("did not answer within 30 s"), "{error}");
    assert_eq!((launcher.count(), launcher.kills.load(Ordering::SeqCst)), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_worked_before_gets_more_than_one_chance_to_come_back() {
    let (servers, launcher) =
        servers(&[Behaviour::Legacy, Behaviour::NotFound, Behaviour::NotFound, Behaviour::Legacy]);
    assert!(run(&servers, "die").await.is_err());
    assert!(run(&servers, "echo").await.is_ok());
    assert_eq!((launcher.count(), servers.generation("fix")), (4, 2));
}

#[tokio::test]
async fn without_consent_nothing_starts() {
    let launcher = FakeLauncher::new(&[Behaviour::Legacy]);
    let host = Host { consent: Arc::new(Say(false)), ..host(&launcher) };
    let servers = Servers::new(host, project(DECLARED, &[]));
    for error in [run(&servers, "echo").await.unwrap_err(), servers.discover(vec!["fix".into()]).await.unwrap_err()] {
        assert_eq!(*error.kind(), ErrorKind::Park(Parked::Trust));
        assert!(error.message().contains("`fix`") && error.message().contains(".mcp.json"), "{error}");
        assert!(error.message().contains("abide trust"), "{error}");
    }
    assert_eq!(launcher.count(), 0);
}

#[tokio::test]
async fn an_unknown_server_is_told_with_those_there_are() {
    let (servers, _) = servers(&[Behaviour::Legacy]);
    let error = servers.discover(vec!["fox".into()]).await.unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::Environment);
    assert!(error.message().contains("`fox`") && error.message().contains("fix, other"), "{error}");
    assert_eq!(servers.generation("fox"), 0);
}

#[tokio::test(start_paused = true)]
async fn shutdown_lets_servers_end_by_themselves_and_nothing_starts_after_it() {
    let (servers, launcher) = servers(&[Behaviour::Legacy]);
    assert!(run(&servers, "echo").await.is_ok());
    servers.shutdown().await;
    assert_eq!(launcher.kills.load(Ordering::SeqCst), 0, "it ended when its input was closed");
    assert_eq!(*run(&servers, "echo").await.unwrap_err().kind(), ErrorKind::DidNotHappen);
    assert_eq!(launcher.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn shutdown_kills_what_does_not_end_by_itself() {
    let (servers, launcher) = servers(&[Behaviour::ClosesItsInput]);
    open_then_input_closed(&servers, &launcher).await;
    servers.shutdown().await;
    assert_eq!(launcher.kills.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn the_last_drop_ends_the_processes() {
    let (servers, launcher) = servers(&[Behaviour::Legacy]);
    let view = servers.for_project(project(DECLARED, &[]));
    assert!(run(&view, "echo").await.is_ok());
    drop(servers);
    assert_eq!(launcher.kills.load(Ordering::SeqCst), 0);
    drop(view);
    assert_eq!(launcher.kills.load(Ordering::SeqCst), 1);
}

/// rmcp's own server, as an independent opinion on what this crate sends.
struct Independent;

impl rmcp::ServerHandler for Independent {
    fn get_info(&self) -> rmcp::model::ServerConfig {
        rmcp::model::ServerConfig::new(rmcp::model::ServerCapabilities::builder().enable_tools().build())
    }

    async fn list_tools(
        &self,
        _request: Option<rmcp::model::PaginatedRequestParams>,
        _context: rmcp::service::RequestContext<rmcp::RoleServer>,
    ) -> Result<rmcp::model::ListToolsResult, rmcp::ErrorData> {
        let tool = rmcp::model::Tool::new("version", "tells the era", serde_json::Map::new());
        Ok(rmcp::model::ListToolsResult::with_all_items(vec![tool]))
    }

    async fn call_tool(
        &self,
        request: rmcp::model::CallToolRequestParams,
        context: rmcp::service::RequestContext<rmcp::RoleServer>,
    ) -> Result<rmcp::model::CallToolResponse, rmcp::ErrorData> {
        let version = context.protocol_version().map(|version| version.to_string());
        let seen = json!({"version": version, "arguments": request.arguments, "key": context.meta.get("abide/key")});
        Ok(rmcp::model::CallToolResult::structured(seen).into())
    }
}

struct InMemory;

impl crate::Launcher for InMemory {
    fn launch(&self, _spec: crate::LaunchSpec) -> std::io::Result<crate::Launched> {
        struct Nothing;
        impl crate::KillGroup for Nothing {
            fn kill_group(&mut self) {}
        }
        let ((stdin, input), (output, stdout)) = (tokio::io::duplex(1 << 16), tokio::io::duplex(1 << 16));
        tokio::spawn(async move {
            use rmcp::ServiceExt as _;
            Independent.serve((input, output)).await.unwrap().waiting().await.unwrap();
        });
        let stderr = Box::new(tokio::io::empty());
        Ok(crate::Launched { stdin: Box::new(stdin), stdout: Box::new(stdout), stderr, kill: Box::new(Nothing) })
    }
}

#[tokio::test]
async fn an_independent_server_of_the_newest_era_understands_it() {
    let launcher = FakeLauncher::new(&[Behaviour::Modern]);
    let servers = Servers::new(Host { launcher: Arc::new(InMemory), ..host(&launcher) }, project(DECLARED, &[]));
    let tools = servers.discover(vec!["fix".into()]).await.unwrap();
    assert_eq!(tools[0].name, "fix_version");
    let meta = BTreeMap::from([("abide/key".to_owned(), json!("k-1"))]);
    let result = servers.call(call("version", json!({"a": 1})), meta).await.unwrap();
    assert_eq!(result["structuredContent"], json!({"version": "2026-07-28", "arguments": {"a": 1}, "key": "k-1"}));
    servers.shutdown().await;
}
