//! Spans of calls of models and tools under the names that OpenTelemetry has agreed on for generative AI (semantic conventions, in development).
//! All of those names stand here. A span holds no prompt, no answer and no argument; a replay makes none, for it calls nothing.

use abide_engine::Error;
use serde_json::Value;
use tracing::Span;
use tracing::field::Empty;

use crate::model::{ModelConfig, Provider};
use crate::wire;

/// The target of all of them.
pub const TARGET: &str = "abide::gen_ai";

/// A call of a model.
pub(crate) fn chat(model: &ModelConfig, agent: &str, run: &str) -> Span {
    tracing::info_span!(
        target: TARGET,
        "chat",
        otel.name = %format_args!("chat {}", model.model),
        otel.kind = "client",
        otel.status_code = Empty,
        error.type = Empty,
        gen_ai.operation.name = "chat",
        gen_ai.provider.name = provider(model),
        gen_ai.request.model = %model.model,
        gen_ai.request.max_tokens = model.max_tokens,
        gen_ai.request.temperature = model.temperature,
        gen_ai.response.model = Empty,
        gen_ai.response.finish_reasons = Empty,
        gen_ai.usage.input_tokens = Empty,
        gen_ai.usage.output_tokens = Empty,
        gen_ai.usage.cache_read.input_tokens = Empty,
        gen_ai.usage.cache_write.input_tokens = Empty,
        gen_ai.agent.name = agent,
        gen_ai.conversation.id = run,
    )
}

/// A call of a tool.
pub(crate) fn execute_tool(tool: &str, agent: &str, run: &str) -> Span {
    tracing::info_span!(
        target: TARGET,
        "execute_tool",
        otel.name = %format_args!("execute_tool {tool}"),
        otel.kind = "client",
        otel.status_code = Empty,
        error.type = Empty,
        gen_ai.operation.name = "execute_tool",
        gen_ai.tool.name = tool,
        gen_ai.tool.type = "extension",
        mcp.method.name = "tools/call",
        gen_ai.agent.name = agent,
        gen_ai.conversation.id = run,
    )
}

/// What a model's call came to.
pub(crate) fn chat_ended(span: &Span, provider: Provider, result: &Result<Value, Error>) {
    match result {
        Err(error) => failed(span, error),
        // Reading an answer costs something, and mostly nobody watches.
        Ok(answer) if !span.is_disabled() => {
            let Ok(reply) = wire::parse(provider, answer) else { return };
            let usage = reply.usage;
            if let Some(model) = &reply.model {
                span.record("gen_ai.response.model", model.as_str());
            }
            span.record("gen_ai.response.finish_reasons", tracing::field::debug(&reply.stop));
            span.record("gen_ai.usage.input_tokens", count(usage.input_tokens));
            span.record("gen_ai.usage.output_tokens", count(usage.output_tokens));
            span.record("gen_ai.usage.cache_read.input_tokens", count(usage.cache_read_tokens));
            span.record("gen_ai.usage.cache_write.input_tokens", count(usage.cache_write_tokens));
        }
        Ok(_) => {}
    }
}

/// What a tool's call came to: an error result is an answer, and is marked all the same.
pub(crate) fn tool_ended(span: &Span, result: &Result<Value, Error>) {
    match result {
        Err(error) => failed(span, error),
        Ok(answer) if answer.get("isError") == Some(&Value::Bool(true)) => {
            span.record("error.type", "tool_error");
            span.record("otel.status_code", "error");
        }
        Ok(_) => {}
    }
}

/// As the exporters know numbers.
fn count(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn failed(span: &Span, error: &Error) {
    span.record("error.type", tracing::field::debug(error.kind()));
    span.record("otel.status_code", "error");
}

/// The convention's word for who is asked.
fn provider(model: &ModelConfig) -> &'static str {
    match model.provider {
        Provider::Openai | Provider::OpenaiResponses if model.is_azure() => "azure.ai.openai",
        Provider::Openai | Provider::OpenaiResponses => "openai",
        Provider::Anthropic => "anthropic",
        Provider::Gemini => "gcp.gemini",
        Provider::Ollama => "ollama",
    }
}
