//! A host in memory for the tests of agents: the engine's machine, a model that follows a script on the loopback, and tools that are
//! a table. It keeps its journal as text and never waits.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use abide_engine::event::{Json, Outcome, json as raw};
use abide_engine::{
    Attempt, AttemptFuture, Completion, Effect, Error, ErrorKind, Machine, Open, OpenWhat, Resources, Row, Seed,
    WorkflowFn, workflow,
};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use crate::*;

/// What a test decides: how the model answers, turn by turn, and everything else.
#[derive(Clone)]
pub(super) struct Script {
    pub(super) agent: Agent,
    pub(super) input: &'static str,
    pub(super) replies: Vec<Value>,
    pub(super) tools: Vec<ToolSpec>,
    /// What a tool answers, by its own name; `ok` without an entry.
    pub(super) results: BTreeMap<&'static str, Result<Value, Error>>,
    /// What a person says, by the id of the question. One that may time out and is not here does so when nothing else can move.
    pub(super) approvals: BTreeMap<&'static str, Value>,
    /// What the conversation of every name was before.
    pub(super) remembered: Vec<Exchange>,
    /// Completes what was asked last first.
    pub(super) last_first: bool,
    /// Cancels the run when nothing else can move.
    pub(super) cancel: bool,
}

/// What reached the outside.
#[derive(Default)]
pub(super) struct Seen {
    /// Idempotency key and body of each request to the model.
    pub(super) asked: Vec<(String, Value)>,
    pub(super) calls: Vec<(ToolCall, BTreeMap<String, Value>)>,
    /// What was to be remembered: the conversation, the key, what was said.
    pub(super) added: Vec<(String, String, Exchange)>,
}

pub(super) struct Sim {
    script: Script,
    runtime: Runtime,
    workflow: WorkflowFn,
    resources: Resources,
    pub(super) machine: Machine,
    pub(super) rows: Vec<String>,
    clock: i64,
    /// The steps that ran, in their order.
    pub(super) ran: Vec<String>,
    pub(super) seen: Arc<Mutex<Seen>>,
}

struct Table {
    specs: Vec<ToolSpec>,
    results: BTreeMap<&'static str, Result<Value, Error>>,
    seen: Arc<Mutex<Seen>>,
}

impl Tools for Table {
    fn discover(&self, servers: Vec<String>) -> BoxFuture<Result<Vec<ToolSpec>, Error>> {
        let specs = self.specs.iter().filter(|spec| servers.contains(&spec.server)).cloned().collect();
        Box::pin(async move { Ok(specs) })
    }

    fn call(&self, call: ToolCall, meta: BTreeMap<String, Value>) -> BoxFuture<Result<Value, Error>> {
        let result = self.results.get(call.tool.as_str()).cloned().unwrap_or_else(|| Ok(result("ok")));
        self.seen.lock().unwrap().calls.push((call, meta));
        Box::pin(async move { result })
    }
}

struct Kept {
    before: Vec<Exchange>,
    seen: Arc<Mutex<Seen>>,
}

impl Memory for Kept {
    fn recall(&self, _: String, most: u32) -> BoxFuture<Result<Vec<Exchange>, Error>> {
        let from = self.before.len().saturating_sub(most as usize);
        let last = self.before[from..].to_vec();
        Box::pin(async move { Ok(last) })
    }

    fn remember(&self, name: String, key: Arc<str>, exchange: Exchange) -> BoxFuture<Result<(), Error>> {
        self.seen.lock().unwrap().added.push((name, key.to_string(), exchange));
        Box::pin(async { Ok(()) })
    }
}

pub(super) fn result(text: &str) -> Value {
    json!({"content": [{"type": "text", "text": text}]})
}

pub(super) fn spec(name: &str, policy: Policy) -> ToolSpec {
    let (server, tool) = name.split_once('_').unwrap();
    ToolSpec {
        name: name.into(),
        server: server.into(),
        tool: tool.into(),
        description: format!("does {tool}"),
        input_schema: json!({"type": "object"}),
        effect: Effect::Once,
        policy,
        timeout_s: 60,
        max_timeout_s: None,
        attempts: None,
        hash: "h".into(),
        reconcile: None,
    }
}

/// A reply in Chat Completions that says something.
pub(super) fn says(text: &str) -> Value {
    json!({"choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
           "usage": {"prompt_tokens": 10, "completion_tokens": 2}})
}

/// A reply that calls tools: name, and arguments as text.
pub(super) fn calls(calls: &[(&str, &str)]) -> Value {
    let calls: Vec<Value> = (0..)
        .zip(calls)
        .map(|(n, (name, arguments)): (u32, _)| {
            json!({"id": format!("c{n}"), "type": "function", "function": {"name": name, "arguments": arguments}})
        })
        .collect();
    json!({"choices": [{"message": {"role": "assistant", "content": null, "tool_calls": calls},
                        "finish_reason": "tool_calls"}], "usage": {"prompt_tokens": 10, "completion_tokens": 2}})
}

impl Script {
    pub(super) fn new(tools: Vec<ToolSpec>, replies: Vec<Value>) -> Self {
        Self {
            agent: Agent::new("researcher").instructions("Be brief.").servers(["fs", "memory"]),
            input: "Question?",
            replies,
            tools,
            results: BTreeMap::new(),
            approvals: BTreeMap::new(),
            remembered: Vec::new(),
            last_first: false,
            cancel: false,
        }
    }

    /// Runs the script whole, and again with a crash after every row: both must leave the same.
    pub(super) fn survives(&self) -> Sim {
        let whole = Sim::new(self.clone()).run(false);
        let crashed = Sim::new(self.clone()).run(true);
        assert_eq!(whole.rows, crashed.rows);
        assert_eq!(whole.ran, crashed.ran, "a completed step ran again");
        assert_eq!(whole.seen.lock().unwrap().asked, crashed.seen.lock().unwrap().asked);
        whole
    }
}

impl Sim {
    pub(super) fn new(script: Script) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let base_url = format!("http://{}", listener.local_addr().unwrap());
        runtime.spawn(serve(listener, script.replies.clone().into(), seen.clone()));
        let tools = Table { specs: script.tools.clone(), results: script.results.clone(), seen: seen.clone() };
        let host = AgentHost {
            client: Client::default(),
            tools: Arc::new(tools),
            vars: Arc::new(EnvVars),
            redactor: Redactor::default(),
        };
        let kept = Kept { before: script.remembered.clone(), seen: seen.clone() };
        let resources = Resources::default().with(Arc::new(host)).with(Arc::new(Memories(Arc::new(kept))));
        let model = script.agent.model.clone().unwrap_or_else(|| ModelConfig::new(Provider::Openai, "m"));
        let agent = script.agent.clone().model(ModelConfig { base_url: Some(base_url), ..model });
        let input = script.input;
        let workflow = workflow(move |ctx: abide_engine::Ctx, input: String| {
            let agent = agent.clone();
            async move { agent.run(&ctx, input).await }
        });
        let machine = machine(&workflow, &resources);
        let mut sim = Self {
            script,
            runtime,
            workflow,
            resources,
            machine,
            rows: Vec::new(),
            clock: 1_000,
            ran: Vec::new(),
            seen,
        };
        sim.machine.start("w", Seed { nonce: [3; 16], generation: 0 }, raw(input).unwrap(), sim.clock).unwrap();
        sim.commit();
        sim
    }

    fn commit(&mut self) {
        if let Some(row) = self.machine.take_row() {
            self.rows.push(serde_json::to_string(&row).unwrap());
        }
    }

    fn crash(&mut self) {
        self.machine = machine(&self.workflow, &self.resources);
        for row in &self.rows {
            self.machine.replay(serde_json::from_str::<Row>(row).unwrap()).unwrap();
        }
    }

    /// To the end, with a crash after every row.
    pub(super) fn run_crashing(&mut self) {
        while self.machine.outcome().is_none() {
            self.crash();
            assert!(self.advance(), "stuck: {:#?}", self.rows);
        }
    }

    fn run(mut self, crash: bool) -> Self {
        while self.machine.outcome().is_none() {
            if crash {
                self.crash();
            }
            assert!(self.advance(), "stuck: {:#?}", self.rows);
        }
        self
    }

    /// Completes one thing; false if there is none.
    pub(super) fn advance(&mut self) -> bool {
        let Some(completion) = self.next() else { return false };
        self.clock += 7;
        assert!(self.machine.deliver(completion, self.clock).unwrap());
        self.commit();
        true
    }

    fn next(&mut self) -> Option<Completion> {
        let mut open = self.machine.open();
        if self.script.last_first {
            open.reverse();
        }
        // People first: what they allow starts while other questions are open.
        for Open { id, what } in &open {
            if let (OpenWhat::Signal { wait, .. }, Some(said)) = (what, self.script.approvals.get(id.as_str())) {
                return Some(Completion::Signal { wait: *wait, name: id.to_string(), value: raw(said).unwrap() });
            }
        }
        let due = |what: &OpenWhat| matches!(what, OpenWhat::Signal { due: Some(_), .. });
        let late = open.iter().find(|one| due(&one.what)).map(|one| one.id.clone());
        for Open { id, what } in open {
            if let OpenWhat::Step(step) = what {
                self.ran.push(id.to_string());
                let key: Arc<str> = self.machine.seed().step_key(id.as_str()).into();
                let out = self.runtime.block_on(AttemptFuture::start(|| (step.run)(), Attempt::new(key, 1)));
                return Some(match out {
                    Ok(out) => Completion::Done { id, out },
                    Err(error) => Completion::Failed { id, error },
                });
            }
        }
        if let Some(id) = late {
            return Some(Completion::Failed { id, error: Error::new(ErrorKind::TimedOut, "too late") });
        }
        self.script.cancel.then_some(Completion::Cancel)
    }

    pub(super) fn resources(&self) -> Resources {
        self.resources.clone()
    }

    pub(super) fn answer(&self) -> Result<Answer, Error> {
        match self.machine.outcome().unwrap() {
            Outcome::Completed(payload) => {
                let json: Json = self.machine.decode(payload).unwrap();
                Ok(serde_json::from_str(json.get()).unwrap())
            }
            Outcome::Failed(error) | Outcome::Cancelled(error) => Err(error.clone()),
            Outcome::Continued(_) => panic!("continued"),
        }
    }

    /// What the model was told of the calls of its turn before the `n`-th request, counted from 0.
    pub(super) fn told(&self, n: usize) -> Vec<String> {
        let seen = self.seen.lock().unwrap();
        let messages = seen.asked[n].1["messages"].as_array().unwrap();
        let from = messages.iter().rposition(|message| message["role"] == "assistant").unwrap();
        let told = messages[from..].iter().filter(|message| message["role"] == "tool");
        told.map(|message| message["content"].as_str().unwrap().to_owned()).collect()
    }
}

fn machine(workflow: &WorkflowFn, resources: &Resources) -> Machine {
    Machine::new("run", workflow.clone(), resources.clone(), Arc::new(|| {}))
}

/// Answers one request per connection, from the script.
async fn serve(listener: TcpListener, mut replies: VecDeque<Value>, seen: Arc<Mutex<Seen>>) {
    loop {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut read = Vec::new();
        let (key, body) = loop {
            assert_ne!(socket.read_buf(&mut read).await.unwrap(), 0, "the request breaks off");
            let text = String::from_utf8_lossy(&read);
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let header = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
            if let Ok(body) = serde_json::from_str::<Value>(body) {
                break (header("idempotency-key: ").to_owned(), body);
            }
        };
        seen.lock().unwrap().asked.push((key, body));
        let (status, reply) = match replies.pop_front() {
            Some(reply) => ("200 OK", reply),
            None => ("400 Bad Request", json!({"error": {"message": "the script is over"}})),
        };
        let reply = reply.to_string();
        let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", reply.len());
        socket.write_all(format!("{head}{reply}").as_bytes()).await.unwrap();
    }
}
