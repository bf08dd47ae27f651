//! A client for the protocol's own conformance suite: `conformance_client URL` lists the server's tools, calls each, and
//! accepts every question with what the form itself offers. Where it has to log in, it is the person, too: it opens the address and
//! brings back where that leads. The suite names the scenario in its environment.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use abide_engine::{Error, ErrorKind, Parked};
use abide_llm::{BoxFuture, EnvVars, Redactor, SecretRef, ToolCall, ToolSpec, Tools as _};
use abide_mcp::{
    Consent, Driver, Elicit, Grant, Host, Limits, MemoryVault, OAuth, PlainLauncher, Project, Question, Reply, Rules,
    Sample, SampleRequest, ServerConfig, Servers, parse_servers,
};
use serde_json::{Map, Value, json};

struct Yes;

impl Consent for Yes {
    fn granted(&self, _server: &ServerConfig) -> bool {
        true
    }
}

impl Elicit for Yes {
    fn elicit(&self, _question: Question) -> BoxFuture<Reply> {
        // Defaults are filled in by the client itself.
        Box::pin(std::future::ready(Reply::Accept(json!({"confirmed": true}))))
    }
}

impl Sample for Yes {
    fn sample(&self, _request: SampleRequest) -> BoxFuture<Result<Value, String>> {
        let answer = json!({"role": "assistant", "content": {"type": "text", "text": "Paris"}, "model": "none"});
        Box::pin(std::future::ready(Ok(answer)))
    }
}

/// Where a login leads back to; nobody listens there, for the address that is led to is read from the answer.
const REDIRECT: &str = "http://127.0.0.1:47113/callback";

/// How often a person would log in before they give up.
const PATIENCE: usize = 3;

/// Does what is asked again once its person has logged in.
async fn logging_in<T>(servers: &Servers, ask: impl AsyncFn() -> Result<T, Error>) -> Result<T, Error> {
    for _ in 0..PATIENCE {
        match ask().await {
            Err(error) if *error.kind() == ErrorKind::Park(Parked::Credentials) => {
                eprintln!("{error}");
                let login = servers.login("suite")?;
                let waiting = login.begin(REDIRECT).await?;
                let person = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
                let answer = person.get(&waiting.address).send().await.unwrap();
                let led = answer.headers().get("location").expect("an address that is led back to").to_str().unwrap();
                login.finish(led).await?;
            }
            other => return other,
        }
    }
    ask().await
}

/// What the suite has told the client's user beforehand.
fn registered(context: &Value) -> OAuth {
    let text = |key: &str| context.get(key).and_then(Value::as_str).map(str::to_owned);
    let scenario = std::env::var("MCP_CONFORMANCE_SCENARIO").unwrap_or_default();
    OAuth {
        grant: match scenario.as_str() {
            name if name.contains("client-credentials") => Grant::ClientCredentials,
            name if name.contains("jwt-bearer") => Grant::JwtBearer,
            _ => Grant::default(),
        },
        assertion: text("valid_jwt").map(SecretRef::Template),
        client_id: text("client_id"),
        client_secret: text("client_secret").map(SecretRef::Template),
        private_key: text("private_key_pem").map(SecretRef::Template),
        client_metadata_url: Some("https://conformance-test.local/client-metadata.json".to_owned()),
        issuer: text("issuer"),
        ..OAuth::default()
    }
}

fn context() -> Value {
    let text = std::env::var("MCP_CONFORMANCE_CONTEXT").ok();
    text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
}

#[tokio::main]
async fn main() {
    let url = std::env::args().next_back().expect("the server's address");
    let declared = json!({"mcpServers": {"suite": {"type": "http", "url": url}}}).to_string();
    let mut declared = parse_servers(&declared, "suite").unwrap();
    declared[0].oauth = Some(registered(&context()));
    let project = Project {
        root: std::env::current_dir().unwrap(),
        servers: declared,
        rules: Rules::default(),
        trusted: BTreeSet::new(),
        sampling: std::collections::BTreeMap::new(),
        vars: Arc::new(EnvVars),
    };
    let host = Host {
        launcher: Arc::new(PlainLauncher),
        consent: Arc::new(Yes),
        redactor: Redactor::default(),
        vault: Arc::new(MemoryVault::default()),
        limits: Limits::default(),
    };
    let driver = Driver { elicit: Arc::new(Yes), sample: Arc::new(Yes), ..Driver::default() };
    let servers = Servers::new(host, project).on_behalf_of(driver);
    let specs = logging_in(&servers, async || servers.discover(vec!["suite".to_owned()]).await).await;
    for call in calls(&specs.expect("a list of tools")) {
        let name = call.tool.clone();
        match logging_in(&servers, async || servers.call(call.clone(), BTreeMap::new()).await).await {
            Ok(result) => eprintln!("{name}: {result}"),
            Err(error) => eprintln!("{name}: {error}"),
        }
    }
    servers.shutdown().await;
}

/// The calls that the suite wants made, else one of each tool with arguments that its schema allows.
fn calls(specs: &[ToolSpec]) -> Vec<ToolCall> {
    let call = |tool: &str, arguments| ToolCall { server: "suite".to_owned(), tool: tool.to_owned(), arguments };
    if let Some(wanted) = context().get("toolCalls").and_then(Value::as_array) {
        return wanted.iter().map(|one| call(one["name"].as_str().unwrap(), one["arguments"].clone())).collect();
    }
    let schema_of_another = specs.iter().find(|spec| spec.tool != ECHO).map(|spec| spec.input_schema.clone());
    let arguments_of = |spec: &ToolSpec| match (spec.tool.as_str(), &schema_of_another) {
        (ECHO, Some(schema)) => json!({ "schema": schema }),
        _ => arguments(&spec.input_schema),
    };
    specs.iter().map(|spec| call(&spec.tool, arguments_of(spec))).collect()
}

/// The suite's tool that wants to be shown another one's schema as the client has it.
const ECHO: &str = "json_schema_echo";

fn arguments(schema: &Value) -> Value {
    let mut arguments = Map::new();
    for (name, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let value = match property.get("type").and_then(Value::as_str) {
            Some("number" | "integer") => json!(3),
            Some("boolean") => json!(true),
            Some("string") | None => json!("text"),
            _ => continue,
        };
        arguments.insert(name.clone(), value);
    }
    Value::Object(arguments)
}
