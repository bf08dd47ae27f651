//! Journals grow with what is new (DESIGN rule 12): an agent reads a hundred chapters of 4 KB, one a turn, over every wire, streamed and not. Each
//! request's body is rebuilt from the journal byte for byte, and the journal is hardly larger than what was said. It asserts no times.

mod mock;

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use abide::engine::Error;
use abide::prelude::{Abide, Ctx};
use abide::{Effect, StepReport};
use abide_llm::{
    Agent, AgentHost, BoxFuture, Client, EnvVars, ModelConfig, Policy, Provider, Redactor, ToolCall, ToolSpec, Tools,
};
use serde_json::{Value, json};

use self::mock::{Mock, TOOL};
use super::dice::Dice;

const TURNS: usize = 100;
const CHAPTER: usize = 4 << 10;
/// The most that a journal may be larger than what is unique in it, in hundredths.
const MOST: usize = 120;

const WIRES: [Provider; 5] =
    [Provider::Openai, Provider::Anthropic, Provider::OpenaiResponses, Provider::Gemini, Provider::Ollama];

/// Chapters of a book, none like another.
struct Books;

impl Books {
    fn chapter(n: u64) -> String {
        let mut dice = Dice::new(n);
        let mut text = String::new();
        while text.len() < CHAPTER {
            let length = 2 + dice.below(9);
            text.extend((0..length).map(|_| char::from(b'a' + dice.below(26) as u8)));
            text.push_str(dice.one::<&str>(&[" ", " ", " ", " ", ", ", ".\n", "\" ", " é "]));
        }
        text
    }
}

impl Tools for Books {
    fn discover(&self, _: Vec<String>) -> BoxFuture<Result<Vec<ToolSpec>, Error>> {
        let spec = |name: &str| ToolSpec {
            name: name.to_owned(),
            server: "books".to_owned(),
            tool: name.replace("books_", ""),
            description: format!("{name}: what it does, for whom, and when it had better be left alone"),
            input_schema: json!({"type": "object", "required": ["chapter"], "properties": {
                "chapter": {"type": "integer", "description": "Which one, counted from 1"},
                "whole": {"type": "boolean", "description": "All of it, or its beginning"}}}),
            effect: Effect::Pure,
            policy: Policy::Allow,
            timeout_s: 60,
            max_timeout_s: None,
            attempts: None,
            hash: "h".to_owned(),
            reconcile: None,
        };
        let specs = ["books_find", TOOL, "books_shelve"].map(spec).to_vec();
        Box::pin(async move { Ok(specs) })
    }

    fn call(&self, call: ToolCall, _: BTreeMap<String, Value>) -> BoxFuture<Result<Value, Error>> {
        let text = Self::chapter(call.arguments["chapter"].as_u64().unwrap());
        Box::pin(async move { Ok(json!({"content": [{"type": "text", "text": text}], "isError": false})) })
    }
}

#[test]
fn a_conversation_costs_what_is_said_in_it_and_each_request_can_be_rebuilt() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    for provider in WIRES {
        for stream in [true, false] {
            runtime.block_on(converse(provider, stream));
        }
    }
}

async fn converse(provider: Provider, stream: bool) {
    let name = format!("{}{}", provider.as_str(), if stream { ", streamed" } else { "" });
    let mock = Mock::new(provider, stream, TURNS);
    let dir = tempfile::tempdir().unwrap();
    let host = AgentHost {
        client: Client::default(),
        tools: Arc::new(Books),
        vars: Arc::new(EnvVars),
        redactor: Redactor::default(),
    };
    let model =
        ModelConfig { base_url: Some(mock.base_url.clone()), stream: Some(stream), ..ModelConfig::new(provider, "m") };
    let agent = Agent::new("reader").instructions("You read before you answer.").servers(["books"]).model(model);
    let agent = agent.max_turns(TURNS as u32 + 1);
    let work = move |ctx: Ctx, question: String| {
        let agent = agent.clone();
        async move { agent.run(&ctx, question).await }
    };
    let open = Abide::open(dir.path().join("runs.db")).workflow("read", work).resource(Arc::new(host));
    let abide = open.start().await.unwrap();
    let run = abide.run("read", "Do the chapters agree?").id("r").await.unwrap();
    let answer: abide_llm::Answer =
        tokio::time::timeout(Duration::from_secs(300), run.result()).await.unwrap().unwrap();
    assert_eq!((answer.turns as usize, answer.text.as_str()), (TURNS, "All is read: the chapters agree."), "{name}");

    let asked = mock.asked();
    let steps = run.report().unwrap().steps;
    let of = |kind: &str| steps.iter().filter(|step| step.kind == kind).collect::<Vec<&StepReport>>();
    let questions = of("llm");
    assert_eq!((asked.len(), questions.len(), of("tool").len()), (TURNS, TURNS, TURNS - 1), "{name}");
    for (n, (step, (body, _))) in questions.iter().zip(&asked).enumerate() {
        let rebuilt = step.input.as_ref().unwrap().get().as_bytes();
        assert!(rebuilt == body, "{name}: request {} is not what the journal says it was", n + 1);
    }
    assert!(abide.replay("r").await.unwrap().is_same(), "{name}");
    let rows = rows(dir.path());
    abide.shutdown().await;

    // Once: the first request with question, instructions and tools, then each answer and each result. What the wires wrap around a result, to
    // send it to the model, is not counted.
    let size = |text: &Option<abide::engine::Json>| text.as_ref().unwrap().get().len();
    let said: usize = questions.iter().chain(&of("tool")).map(|step| size(&step.output)).sum();
    let unique = size(&questions[0].input) + said;
    let journal: usize = rows.iter().sum();
    let sent: usize = asked.iter().map(|(body, _)| body.len()).sum();
    let tenth = rows.len() / 10;
    let part = |n: usize| rows[n * tenth..(n + 1) * tenth].iter().sum::<usize>();
    let took = |from: usize| {
        let mut took: Vec<_> = asked[from..from + 16].windows(2).map(|two| two[1].1 - two[0].1).collect();
        median_ms(&mut took)
    };
    let bare = |from: usize| bare(&mock.base_url, &asked[from..from + 16]);
    let (early, late) = ((took(2), bare(2)), (took(TURNS - 16), bare(TURNS - 16)));
    println!(
        "{name}: {TURNS} turns, {sent} bytes sent, {unique} of them unique, {journal} in the journal ({:.3} times as much); a turn took \
         {:.1} ms about the tenth and {:.1} ms at the end, of which the bare exchange of its bytes {:.1} and {:.1}",
        journal as f64 / unique as f64,
        early.0,
        late.0,
        early.1,
        late.1,
    );
    assert!(journal * 100 <= unique * MOST, "{name}: {journal} bytes of journal for {unique}");
    // A tenth of the rows early on, and one near the end: but for longer numbers they weigh the same.
    assert!(part(8) * 100 <= part(1) * 105, "{name}: rows grow from {} to {} bytes", part(1), part(8));
}

fn median_ms(took: &mut [Duration]) -> f64 {
    took.sort();
    took[took.len() / 2].as_secs_f64() * 1_000.0
}

/// What it takes to send these requests to the same model and to read its answers, and nothing else.
fn bare(base_url: &str, requests: &[(Vec<u8>, Instant)]) -> f64 {
    let address = base_url.trim_start_matches("http://");
    let exchange = |(body, _): &(Vec<u8>, Instant)| {
        let began = Instant::now();
        let mut socket = TcpStream::connect(address).unwrap();
        let head = format!("POST / HTTP/1.1\r\nhost: m\r\ncontent-length: {}\r\n\r\n", body.len());
        socket.write_all(head.as_bytes()).unwrap();
        socket.write_all(body).unwrap();
        socket.read_to_end(&mut Vec::new()).unwrap();
        began.elapsed()
    };
    median_ms(&mut requests.iter().map(exchange).collect::<Vec<_>>())
}

/// The bytes of each row of the only run's journal.
fn rows(dir: &std::path::Path) -> Vec<usize> {
    let conn = rusqlite::Connection::open(dir.join("runs.db")).unwrap();
    let mut statement = conn.prepare("SELECT length(CAST(body AS BLOB)) FROM log ORDER BY id").unwrap();
    let rows = statement.query_map([], |row| row.get::<_, i64>(0)).unwrap();
    rows.map(|size| size.unwrap() as usize).collect()
}
