//! One conversation, held by abide and by genai at the same time: each sends its own request, reads the answer by itself and goes on from
//! what it has read. It never lets one see what the other made.

use abide_llm::{
    Assistant, CallOptions, CallRequest, Client, EnvVars, ModelConfig, Origin, Part, Prompt, Provider, Redactor,
    ToolReply, Turn, parse, request,
};
use futures_util::StreamExt;
use genai::adapter::AdapterKind;
use genai::chat::{ChatMessage, ChatOptions, ChatRequest, MessageContent, ToolCall, ToolResponse};
use genai::resolver::{AuthData, Endpoint};
use genai::{ModelIden, ServiceTarget};
use serde_json::{Value, json};

use crate::differences::{Difference, between};
use crate::server::{Answer, Server};

/// What both are told to send as their key.
const KEY: &str = "key-of-nobody";

/// A model on a wire, as either reaches it.
pub(crate) struct Subject {
    pub(crate) wire: Provider,
    pub(crate) name: &'static str,
    model: ModelConfig,
    target: ServiceTarget,
}

impl Subject {
    pub(crate) fn new(wire: Provider, name: &'static str, address: &str) -> Result<Self, String> {
        // abide takes the address that the vendor's own SDK is given, genai wants all up to the last word.
        let (adapter, ours, theirs) = match wire {
            Provider::Openai => (AdapterKind::OpenAI, "/v1", "/v1/"),
            Provider::OpenaiResponses => (AdapterKind::OpenAIResp, "/v1", "/v1/"),
            Provider::Anthropic => (AdapterKind::Anthropic, "", "/v1/"),
            Provider::Gemini => (AdapterKind::Gemini, "/v1beta", "/v1beta/"),
            Provider::Ollama => (AdapterKind::Ollama, "", "/"),
            other => return Err(format!("genai is not known to speak {other:?}")),
        };
        let mut entry =
            json!({"provider": wire.as_str(), "base_url": format!("{address}{ours}"), "model": name, "api_key": KEY});
        if wire == Provider::Ollama {
            // It has none.
            entry["api_key"] = Value::Null;
        }
        let model = serde_json::from_value(entry).map_err(|why| format!("the model's entry: {why}"))?;
        let target = ServiceTarget {
            endpoint: Endpoint::from_owned(format!("{address}{theirs}")),
            auth: AuthData::from_single(KEY),
            model: ModelIden::new(adapter, name),
        };
        Ok(Self { wire, name, model, target })
    }
}

/// What both speak with, and what was found.
pub(crate) struct Bench {
    pub(crate) server: Server,
    abide: Client,
    genai: genai::Client,
    pub(crate) requests: usize,
    pub(crate) differences: Vec<Difference>,
}

impl Bench {
    // The method's own path begins with `reqwest`, of which this package knows nothing.
    #[allow(clippy::redundant_closure_for_method_calls)]
    pub(crate) fn new() -> Result<Self, String> {
        let http =
            abide_llm::http_client(|builder| builder.no_proxy()).map_err(|why| format!("no HTTP client: {why}"))?;
        let genai = genai::Client::builder().with_reqwest(http).build().map_err(|why| format!("genai: {why}"))?;
        Ok(Self { server: Server::start()?, abide: Client::default(), genai, requests: 0, differences: Vec::new() })
    }
}

/// A conversation that is going on.
pub(crate) struct Talk<'a> {
    pub(crate) subject: &'a Subject,
    pub(crate) name: &'static str,
    pub(crate) prompt: Prompt,
    pub(crate) chat: ChatRequest,
    pub(crate) options: ChatOptions,
    pub(crate) stream: bool,
    /// What each has read in the last answer: the calls' ids.
    ours: Vec<CallRequest>,
    theirs: Vec<ToolCall>,
}

impl<'a> Talk<'a> {
    /// One with instructions and a first question.
    pub(crate) fn new(subject: &'a Subject, name: &'static str) -> Self {
        const SYSTEM: &str = "You are brief.";
        let prompt = Prompt { system: Some(SYSTEM.to_owned()), ..Prompt::default() };
        let chat = ChatRequest::from_system(SYSTEM);
        let (options, stream) = (ChatOptions::default(), false);
        Self { subject, name, prompt, chat, options, stream, ours: Vec::new(), theirs: Vec::new() }
    }

    pub(crate) fn ask(&mut self, text: &str) {
        self.prompt.turns.push(text.into());
        self.chat.messages.push(ChatMessage::user(text));
    }

    /// The same parts, each in its own words.
    pub(crate) fn show(&mut self, ours: Vec<Part>, theirs: MessageContent) {
        self.prompt.turns.push(Turn::User(ours));
        self.chat.messages.push(ChatMessage::user(theirs));
    }

    /// What a model on another wire has said: a call of `weather`.
    pub(crate) fn another_called(&mut self) {
        let arguments = json!({"city": "Paris", "unit": "celsius"});
        let origin = Origin { model: "another".to_owned(), ..Origin::of(&self.subject.model) };
        let call =
            CallRequest { id: "call_A1".to_owned(), name: "weather".to_owned(), arguments: Ok(arguments.clone()) };
        let said = Assistant { origin, verbatim: Value::Null, text: String::new(), calls: vec![call.clone()] };
        self.prompt.turns.push(Turn::Assistant(said));
        self.ours = vec![call];
        self.theirs = vec![ToolCall {
            call_id: "call_A1".to_owned(),
            fn_name: "weather".to_owned(),
            fn_arguments: arguments,
            thought_signatures: None,
        }];
        self.chat.messages.push(ChatMessage::assistant(MessageContent::from_tool_calls(self.theirs.clone())));
    }

    /// Each call that was read is answered, in order.
    pub(crate) fn results(&mut self, texts: &[&str]) {
        let ours = self.ours.iter().zip(texts).map(|(call, text)| ToolReply::text(&*call.id, *text, false));
        self.prompt.turns.push(Turn::ToolResults(ours.collect()));
        let theirs = self.theirs.iter().zip(texts).map(|(call, text)| ToolResponse::from_tool_call(call, *text));
        if self.subject.wire == Provider::Ollama {
            // Of several results in one message it sends the last alone there.
            self.chat.messages.extend(theirs.map(ChatMessage::from));
        } else {
            self.chat.messages.push(ChatMessage::tool(MessageContent::from_tool_responses(theirs.collect())));
        }
    }

    /// Both send what there is by now, and read `answer`.
    pub(crate) async fn go(&mut self, bench: &mut Bench, answer: &Answer) -> Result<(), String> {
        let Self { subject, name, .. } = *self;
        let at = |who: &str, why: &dyn std::fmt::Display| {
            format!("{} {} {name}: {who}: {why}", subject.wire.as_str(), subject.name)
        };
        bench.server.will_answer(answer);
        self.abide(bench).await.map_err(|why| at("abide", &why))?;
        let ours = bench.server.was_asked().map_err(|why| at("abide", &why))?;
        self.genai(bench).await.map_err(|why| at("genai", &why))?;
        let theirs = bench.server.was_asked().map_err(|why| at("genai", &why))?;
        bench.requests += 1;
        bench.differences.extend(between(&ours, &theirs).into_iter().map(|(at, abide, genai)| Difference {
            wire: subject.wire.as_str(),
            model: subject.name,
            during: name.to_owned(),
            at,
            abide,
            genai,
        }));
        Ok(())
    }

    async fn abide(&mut self, bench: &Bench) -> Result<(), String> {
        let model = ModelConfig { stream: Some(self.stream), cache: None, ..self.subject.model.clone() };
        // As an agent's question has it.
        let usual = ModelConfig::new(model.provider, model.model.as_str());
        self.prompt.max_tokens = self.prompt.max_tokens.or(usual.max_tokens);
        let body = request(&model, &self.prompt).map_err(|why| why.to_string())?;
        let redactor = Redactor::default();
        let options = CallOptions::new("step-1", &EnvVars, &redactor);
        let answer = bench
            .abide
            .call(&model, &serde_json::value::to_raw_value(&body).map_err(|why| why.to_string())?, options)
            .await
            .map_err(|why| why.to_string())?;
        let reply = parse(model.provider, &answer).map_err(|why| why.to_string())?;
        self.ours.clone_from(&reply.tool_calls);
        self.prompt.turns.push(reply.into_turn(&self.subject.model));
        Ok(())
    }

    /// What it has read goes on as its own `append_tool_use_from_stream_end` does it.
    async fn genai(&mut self, bench: &Bench) -> Result<(), String> {
        let (target, chat) = (self.subject.target.clone(), self.chat.clone());
        if self.stream {
            let options = Some(&self.options);
            let mut stream =
                bench.genai.exec_chat_stream(target, chat, options).await.map_err(|why| why.to_string())?.stream;
            while let Some(event) = stream.next().await {
                event.map_err(|why| why.to_string())?;
            }
            return Ok(());
        }
        let answer = bench.genai.exec_chat(target, chat, Some(&self.options)).await.map_err(|why| why.to_string())?;
        self.theirs = answer.content.tool_calls().into_iter().cloned().collect();
        let mut said = ChatMessage::assistant(answer.content.clone());
        if !answer.content.contains_reasoning_content() {
            said = said.with_reasoning_content(answer.reasoning_content);
        }
        self.chat.messages.push(said);
        Ok(())
    }
}
