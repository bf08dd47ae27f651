//! Embeddings: texts to vectors, as `OpenAI` (and the many that speak its `/embeddings`), Gemini (`batchEmbedContents`) and Ollama
//! (`/api/embed`) spell it. Anthropic has none. It never sends anything, and never cuts a text.

use abide_engine::{Error, terminal};
use serde_json::{Value, json};

use super::parts::{count_at, items_at};
use super::{START, Usage, WireError, quote};
use crate::model::{ModelConfig, Provider};

/// Vectors of some texts.
#[derive(Debug, Clone, PartialEq)]
pub struct Embeddings {
    /// One for each text, in their order, all of one length.
    pub vectors: Vec<Vec<f32>>,
    /// What it used; zero where the provider does not say.
    pub usage: Usage,
}

/// The most texts that one request may hold.
pub fn most_inputs(provider: Provider) -> usize {
    match provider {
        Provider::Gemini => 100,
        Provider::Openai | Provider::OpenaiResponses | Provider::Anthropic | Provider::Ollama => 2048,
    }
}

/// The exact body of a request. No text, more than [`most_inputs`] and a wire without embeddings are terminal errors.
pub fn request(model: &ModelConfig, inputs: &[String]) -> Result<Value, Error> {
    let most = most_inputs(model.provider);
    if inputs.is_empty() || inputs.len() > most {
        return Err(terminal(format!(
            "one request for embeddings takes 1 to {most} texts on the wire `{}`, and these are {}",
            model.provider.as_str(),
            inputs.len()
        )));
    }
    Ok(match model.provider {
        Provider::Openai | Provider::OpenaiResponses => json!({"model": model.model, "input": inputs}),
        Provider::Gemini => {
            let name = format!("models/{}", model.model.trim_start_matches("models/"));
            let one = |text: &String| json!({"model": name, "content": {"parts": [{"text": text}]}});
            json!({"requests": inputs.iter().map(one).collect::<Vec<_>>()})
        }
        // By itself it would cut a long text and say nothing.
        Provider::Ollama => json!({"model": model.model, "input": inputs, "truncate": false}),
        Provider::Anthropic => {
            return Err(terminal(
                "the wire `anthropic` has no embeddings: name a model with provider = \"openai\", \"gemini\" or \"ollama\"",
            ));
        }
    })
}

/// Reads the body of an answer with status 200 to a request of `count` texts.
pub fn parse(provider: Provider, body: &Value, count: usize) -> Result<Embeddings, WireError> {
    let found = match provider {
        Provider::Openai | Provider::OpenaiResponses | Provider::Anthropic => in_data(items_at(body, "data"), count),
        Provider::Gemini => items_at(body, "embeddings").iter().map(|one| numbers(one.get("values"))).collect(),
        Provider::Ollama => items_at(body, "embeddings").iter().map(|one| numbers(Some(one))).collect(),
    };
    let length = found.as_ref().and_then(|vectors| vectors.first()).map_or(0, Vec::len);
    let fits = |vectors: &Vec<Vec<f32>>| vectors.len() == count && vectors.iter().all(|one| one.len() == length);
    let vectors = found.filter(|vectors| length > 0 && fits(vectors)).ok_or_else(|| WireError::NotAReply {
        provider,
        missing: "one vector of the same length for each text",
        start: quote(&body.to_string(), START),
    })?;
    Ok(Embeddings { vectors, usage: usage(provider, body) })
}

/// What an answer says that it has used.
pub fn usage(provider: Provider, body: &Value) -> Usage {
    let input_tokens = match provider {
        Provider::Gemini => count_at(body, "/usageMetadata/promptTokenCount"),
        Provider::Ollama => count_at(body, "/prompt_eval_count"),
        _ => count_at(body, "/usage/prompt_tokens"),
    };
    Usage { input_tokens, ..Usage::default() }
}

/// In the order of their `index`, which servers need not keep.
fn in_data(data: &[Value], count: usize) -> Option<Vec<Vec<f32>>> {
    let mut places: Vec<Option<Vec<f32>>> = vec![None; count];
    for (at, one) in data.iter().enumerate() {
        let index = one.get("index").and_then(Value::as_u64).map_or(Some(at), |index| usize::try_from(index).ok())?;
        let place = places.get_mut(index)?;
        // The same index twice is no answer.
        if place.replace(numbers(one.get("embedding"))?).is_some() {
            return None;
        }
    }
    places.into_iter().collect()
}

fn numbers(value: Option<&Value>) -> Option<Vec<f32>> {
    value?.as_array()?.iter().map(|number| number.as_f64().map(|number| number as f32)).collect()
}

#[cfg(test)]
#[path = "embed_tests.rs"]
mod tests;
