//! Tests of `target`: every wire's address and key. They never connect.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;

struct Fixed;

impl Vars for Fixed {
    fn var(&self, name: &str) -> Option<String> {
        match name {
            "HOST" => Some("127.0.0.1:11434".to_owned()),
            "KEY" => Some("sk-0123456789".to_owned()),
            _ => None,
        }
    }

    fn file_value(&self, _file: &str, _key: &str) -> Option<String> {
        None
    }
}

const ANSWER: Endpoint = Endpoint::Answer { stream: false };
const STREAM: Endpoint = Endpoint::Answer { stream: true };

fn model(provider: Provider, base: &str) -> ModelConfig {
    ModelConfig {
        base_url: Some(base.to_owned()),
        api_key: Some(SecretRef::variable("KEY")),
        ..ModelConfig::new(provider, "m-1")
    }
}

fn url(provider: Provider, base: &str, endpoint: Endpoint) -> String {
    Target::of(&model(provider, base), endpoint, "k", &Fixed).unwrap().url.to_string()
}

#[test]
fn endpoints_are_found_from_any_usual_base() {
    use Provider::{Anthropic, Ollama, Openai, OpenaiResponses};
    for (provider, base, expected) in [
        (Openai, "https://h/v1", "https://h/v1/chat/completions"),
        (Openai, "https://h/v1/", "https://h/v1/chat/completions"),
        (Openai, "https://h/v1/chat/completions", "https://h/v1/chat/completions"),
        (Openai, "https://h/v1/responses", "https://h/v1/chat/completions"),
        (Openai, "https://h/d/m?api-version=1", "https://h/d/m/chat/completions?api-version=1"),
        (Openai, "${HOST}/v1", "http://127.0.0.1:11434/v1/chat/completions"),
        (OpenaiResponses, "https://h/v1", "https://h/v1/responses"),
        (OpenaiResponses, "https://h/v1/responses/", "https://h/v1/responses"),
        (OpenaiResponses, "https://h/openai?api-version=preview", "https://h/openai/responses?api-version=preview"),
        (Anthropic, "https://h", "https://h/v1/messages"),
        (Anthropic, "https://h/anthropic", "https://h/anthropic/v1/messages"),
        (Anthropic, "https://h/v1", "https://h/v1/messages"),
        (Anthropic, "https://h/v1/messages", "https://h/v1/messages"),
        (Ollama, "${HOST}", "http://127.0.0.1:11434/api/chat"),
        (Ollama, "http://h/api", "http://h/api/chat"),
        (Ollama, "http://h/api/chat/", "http://h/api/chat"),
    ] {
        assert_eq!(url(provider, base, STREAM), expected, "{base}");
        assert_eq!(url(provider, base, ANSWER), expected, "{base}");
    }
    for provider in [Openai, OpenaiResponses, Anthropic, Provider::Gemini, Ollama] {
        let usual = ModelConfig::new(provider, "m-1");
        assert!(Target::of(&usual, STREAM, "k", &Fixed).unwrap().url.path().len() > 5, "{provider:?}");
    }
}

#[test]
fn gemini_names_the_model_and_what_to_do_in_the_path() {
    for (base, path) in [
        ("https://h/v1beta", "https://h/v1beta/models/m-1"),
        ("https://h/v1beta/", "https://h/v1beta/models/m-1"),
        ("https://h", "https://h/v1beta/models/m-1"),
        ("https://h/gemini", "https://h/gemini/v1beta/models/m-1"),
        ("https://h/v1/models", "https://h/v1/models/m-1"),
        ("https://h/v1beta/models/other:generateContent", "https://h/v1beta/models/other"),
        (
            "https://h/v1/projects/p/locations/l/publishers/google",
            "https://h/v1/projects/p/locations/l/publishers/google/models/m-1",
        ),
        ("http://127.0.0.1:8080/v1beta", "http://127.0.0.1:8080/v1beta/models/m-1"),
    ] {
        assert_eq!(url(Provider::Gemini, base, ANSWER), format!("{path}:generateContent"));
        assert_eq!(url(Provider::Gemini, base, STREAM), format!("{path}:streamGenerateContent?alt=sse"));
        assert_eq!(url(Provider::Gemini, base, Endpoint::Embed), format!("{path}:batchEmbedContents"));
    }
    let with_query = url(Provider::Gemini, "https://h/v1beta?alt=sse&x=1", STREAM);
    assert_eq!(with_query, "https://h/v1beta/models/m-1:streamGenerateContent?alt=sse&x=1");
    assert!(url(Provider::Gemini, "https://h?x=1", STREAM).ends_with(":streamGenerateContent?x=1&alt=sse"));
    let tuned = ModelConfig { model: "tunedModels/t".into(), ..model(Provider::Gemini, "https://h") };
    let target = Target::of(&tuned, ANSWER, "k", &Fixed).unwrap();
    assert_eq!(target.url.as_str(), "https://h/v1beta/tunedModels/t:generateContent");
}

#[test]
fn embeddings_have_addresses_of_their_own() {
    use Provider::{Ollama, Openai, OpenaiResponses};
    for (provider, base, expected) in [
        (Openai, "https://h/v1", "https://h/v1/embeddings"),
        (Openai, "https://h/v1/chat/completions", "https://h/v1/embeddings"),
        (OpenaiResponses, "https://h/v1/responses?a=1", "https://h/v1/embeddings?a=1"),
        (Ollama, "http://h/api/chat", "http://h/api/embed"),
    ] {
        assert_eq!(url(provider, base, Endpoint::Embed), expected);
    }
    let error = Target::of(&model(Provider::Anthropic, "https://h"), Endpoint::Embed, "k", &Fixed).unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::Terminal);
    assert!(error.message().contains("no embeddings"), "{error}");
}

#[test]
fn every_vendor_finds_its_key_where_it_looks_for_it() {
    let bearer = "Bearer sk-0123456789";
    for (provider, base, name, value) in [
        (Provider::Openai, "https://h/v1", "authorization", bearer),
        (Provider::OpenaiResponses, "https://h/v1", "authorization", bearer),
        (Provider::Ollama, "https://h", "authorization", bearer),
        (Provider::Anthropic, "https://h", "x-api-key", "sk-0123456789"),
        (Provider::Gemini, "https://h", "x-goog-api-key", "sk-0123456789"),
        (Provider::Openai, "https://r.openai.azure.com/openai/v1", "api-key", "sk-0123456789"),
        (Provider::OpenaiResponses, "https://r.openai.azure.com/openai/v1", "api-key", "sk-0123456789"),
        (Provider::Openai, "https://h/openai/deployments/d?api-version=1", "api-key", "sk-0123456789"),
        (Provider::Openai, "https://azure.company.example/v1", "authorization", bearer),
    ] {
        let headers = Target::of(&model(provider, base), STREAM, "k", &Fixed).unwrap().headers;
        let names = ["authorization", "x-api-key", "x-goog-api-key", "api-key"];
        let sent: Vec<_> = names.iter().filter_map(|name| Some((*name, headers.get(*name)?))).collect();
        assert_eq!(sent.iter().map(|(n, v)| (*n, v.to_str().unwrap())).collect::<Vec<_>>(), [(name, value)], "{base}");
        assert!(sent.iter().all(|(_, value)| value.is_sensitive()));
        assert_eq!(headers.get("anthropic-version").is_some(), provider == Provider::Anthropic);
    }
}

#[test]
fn a_model_on_this_machine_is_known() {
    for (base, here) in [
        ("http://127.0.0.1:1", true),
        ("http://localhost/v1", true),
        ("http://[::1]:8080", true),
        ("https://h", false),
        ("http://127.0.0.1.example", false),
    ] {
        assert_eq!(Target::of(&model(Provider::Openai, base), ANSWER, "k", &Fixed).unwrap().is_here(), here, "{base}");
    }
}
