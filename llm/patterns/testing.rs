//! Plays a pattern in memory: the engine's machine, and a model on the loopback that a test's function speaks for. It keeps the journal as text
//! and never waits.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
// What a model says is a `Result`, also where it always says something.
#![allow(clippy::unnecessary_wraps)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use abide_engine::event::{Json, Outcome, json as raw};
use abide_engine::{
    Attempt, AttemptFuture, Completion, Ctx, Error, Machine, Open, OpenWhat, Resources, Row, Seed, WorkflowFn,
    terminal, workflow,
};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use crate::*;

/// A request as the model sees it.
pub(crate) struct Asked {
    pub(crate) system: String,
    /// All that was said to it, in one text.
    pub(crate) said: String,
    pub(crate) body: Value,
}

/// What the model says to a request; an error is a refusal for good.
type Says = Arc<dyn Fn(&Asked) -> Result<Value, String> + Send + Sync>;

/// How it went.
pub(crate) struct Played {
    pub(crate) answer: Result<Answer, Error>,
    /// The requests, in the order in which they came.
    pub(crate) asked: Vec<Asked>,
    /// The steps that ran.
    pub(crate) ran: Vec<String>,
    /// The journal.
    pub(crate) rows: Vec<String>,
}

/// An agent whose model is the test's.
pub(crate) fn agent(name: &str) -> Agent {
    Agent::new(name).model(model())
}

/// The test's model.
pub(crate) fn model() -> ModelConfig {
    let model = ModelConfig::new(Provider::Openai, "m");
    ModelConfig { base_url: Some("${MODEL}".to_owned()), stream: Some(false), ..model }
}

/// An answer in words.
pub(crate) fn says(text: &str) -> Result<Value, String> {
    Ok(json!({"choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
              "usage": {"prompt_tokens": 10, "completion_tokens": 2}}))
}

/// An answer in JSON.
pub(crate) fn gives(value: &Value) -> Result<Value, String> {
    says(&value.to_string())
}

/// Plays it whole, with a crash after every event, and with what was asked last being answered first: the same result each time, and no
/// call that is made again.
pub(crate) fn crash_everywhere(
    work: impl Work,
    input: &str,
    says: impl Fn(&Asked) -> Result<Value, String> + Send + Sync + 'static,
) -> Played {
    let (work, says): (Arc<dyn Work>, Says) = (Arc::new(work), Arc::new(says));
    let play = |crash, last_first| Sim::new(work.clone(), input, says.clone()).run(crash, last_first);
    let whole = play(false, false);
    for (crash, last_first) in [(true, false), (false, true), (true, true)] {
        let again = play(crash, last_first);
        assert_eq!(told(&whole.answer), told(&again.answer), "crash {crash}, last first {last_first}");
        let sorted = |played: &Played| {
            let mut all: Vec<String> = played.ran.clone();
            all.sort();
            all
        };
        assert_eq!(sorted(&whole), sorted(&again), "crash {crash}, last first {last_first}");
        if !last_first {
            assert_eq!(whole.rows, again.rows);
        }
    }
    let mut steps = whole.ran.clone();
    steps.sort();
    steps.dedup();
    assert_eq!(steps.len(), whole.ran.len(), "a step ran twice");
    whole
}

fn told(answer: &Result<Answer, Error>) -> String {
    match answer {
        Ok(answer) => serde_json::to_string(answer).unwrap(),
        Err(error) => error.to_string(),
    }
}

struct Sim {
    runtime: Runtime,
    workflow: WorkflowFn,
    resources: Resources,
    machine: Machine,
    rows: Vec<String>,
    clock: i64,
    ran: Vec<String>,
    asked: Arc<Mutex<Vec<Asked>>>,
}

struct NoTools;

impl Tools for NoTools {
    fn discover(&self, _: Vec<String>) -> BoxFuture<Result<Vec<ToolSpec>, Error>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn call(&self, _: ToolCall, _: BTreeMap<String, Value>) -> BoxFuture<Result<Value, Error>> {
        Box::pin(async { Err(terminal("there are no tools")) })
    }
}

struct Address(String);

impl Vars for Address {
    fn var(&self, name: &str) -> Option<String> {
        (name == "MODEL").then(|| self.0.clone())
    }

    fn file_value(&self, _: &str, _: &str) -> Option<String> {
        None
    }
}

impl Sim {
    fn new(work: Arc<dyn Work>, input: &str, says: Says) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = Address(format!("http://{}", listener.local_addr().unwrap()));
        runtime.spawn(serve(listener, says, asked.clone()));
        let host = AgentHost {
            client: Client::default(),
            tools: Arc::new(NoTools),
            vars: Arc::new(address),
            redactor: Redactor::default(),
        };
        let resources = Resources::default().with(Arc::new(host));
        let workflow = workflow(move |ctx: Ctx, input: Input| {
            let work = work.clone();
            async move { work.begin(&ctx, input).await }
        });
        let machine = machine(&workflow, &resources);
        let (rows, ran) = (Vec::new(), Vec::new());
        let mut sim = Self { runtime, workflow, resources, machine, rows, clock: 1_000, ran, asked };
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

    fn run(mut self, crash: bool, last_first: bool) -> Played {
        while self.machine.outcome().is_none() {
            if crash {
                self.crash();
            }
            let completion = self.next(last_first).unwrap_or_else(|| panic!("stuck: {:#?}", self.rows));
            self.clock += 7;
            assert!(self.machine.deliver(completion, self.clock).unwrap());
            self.commit();
        }
        let answer = match self.machine.outcome().unwrap() {
            Outcome::Completed(payload) => {
                let json: Json = self.machine.decode(payload).unwrap();
                Ok(serde_json::from_str(json.get()).unwrap())
            }
            Outcome::Failed(error) | Outcome::Cancelled(error) => Err(error.clone()),
            Outcome::Continued(_) => panic!("continued"),
        };
        let asked = std::mem::take(&mut *self.asked.lock().unwrap());
        Played { answer, asked, ran: self.ran, rows: self.rows }
    }

    fn next(&mut self, last_first: bool) -> Option<Completion> {
        let mut open = self.machine.open();
        if last_first {
            open.reverse();
        }
        let step = open.into_iter().find_map(|Open { id, what }| match what {
            OpenWhat::Step(step) => Some((id, step)),
            _ => None,
        });
        let (id, step) = step?;
        self.ran.push(id.to_string());
        let key: Arc<str> = self.machine.seed().step_key(id.as_str()).into();
        let attempt = Attempt::new(key, 1);
        let out = self.runtime.block_on(AttemptFuture::start(|| (step.run)(), attempt));
        Some(match out {
            Ok(out) => Completion::Done { id, out },
            Err(error) => Completion::Failed { id, error },
        })
    }
}

fn machine(workflow: &WorkflowFn, resources: &Resources) -> Machine {
    Machine::new("run", workflow.clone(), resources.clone(), Arc::new(|| {}))
}

impl Asked {
    fn of(body: Value) -> Self {
        let text = |content: &Value| match content {
            Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).collect::<Vec<_>>().concat(),
            other => other.as_str().unwrap_or_default().to_owned(),
        };
        let messages = body["messages"].as_array().cloned().unwrap_or_default();
        let of = |system: bool| {
            let some = messages.iter().filter(|message| (message["role"] == "system") == system);
            some.map(|message| text(&message["content"])).collect::<Vec<_>>().join("\n\n")
        };
        Self { system: of(true), said: of(false), body }
    }
}

/// Answers one request per connection.
async fn serve(listener: TcpListener, says: Says, asked: Arc<Mutex<Vec<Asked>>>) {
    loop {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut read = Vec::new();
        let body = loop {
            assert_ne!(socket.read_buf(&mut read).await.unwrap(), 0, "the request breaks off");
            let text = String::from_utf8_lossy(&read);
            let Some((_, body)) = text.split_once("\r\n\r\n") else { continue };
            if let Ok(body) = serde_json::from_str::<Value>(body) {
                break body;
            }
        };
        let request = Asked::of(body);
        let (status, reply) = match says(&request) {
            Ok(reply) => ("200 OK", reply),
            Err(message) => ("400 Bad Request", json!({"error": {"message": message}})),
        };
        asked.lock().unwrap().push(request);
        let reply = reply.to_string();
        let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", reply.len());
        socket.write_all(format!("{head}{reply}").as_bytes()).await.unwrap();
    }
}
