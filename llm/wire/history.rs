//! A conversation as one model has to be told it: what that model said itself verbatim, what another one said rebuilt from its
//! text and calls, with ids that every wire accepts. It never looks at what comes later, so earlier messages stay as they are.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{Assistant, CallRequest, Part, ToolReply, Turn};
use crate::model::ModelConfig;

/// The longest id that is kept: Chat Completions takes 40 characters, and a number may have to follow.
const ID: usize = 36;

/// One turn, ready to be spelt.
pub(super) enum Step<'p> {
    User(&'p [Part]),
    /// The wire's own JSON.
    Verbatim(&'p Value),
    /// What a model on another wire said.
    Rebuilt {
        text: &'p str,
        calls: Vec<Call<'p>>,
    },
    Results(Vec<Told<'p>>),
}

/// A call in a rebuilt turn.
pub(super) struct Call<'p> {
    pub(super) id: String,
    pub(super) name: &'p str,
    /// An object.
    pub(super) arguments: Value,
}

/// A tool's answer.
pub(super) struct Told<'p> {
    /// The call's id as this wire was told it.
    pub(super) id: String,
    /// The tool's name; empty if no turn before it called one.
    pub(super) name: &'p str,
    pub(super) reply: &'p ToolReply,
}

/// The turns, spelt for `model`.
pub(super) fn steps<'p>(model: &ModelConfig, turns: &'p [Turn]) -> Vec<Step<'p>> {
    let mut ids = Ids::default();
    turns
        .iter()
        .map(|turn| match turn {
            Turn::User(parts) => Step::User(parts),
            Turn::Assistant(said) if said.origin.is(model) => {
                ids.keep(said);
                Step::Verbatim(&said.verbatim)
            }
            Turn::Assistant(said) => {
                let calls = said.calls.iter().map(|call| ids.rebuild(call)).collect();
                Step::Rebuilt { text: &said.text, calls }
            }
            Turn::ToolResults(replies) => Step::Results(replies.iter().map(|reply| ids.told(reply)).collect()),
        })
        .collect()
}

/// Did a model call a tool in these turns?
pub(super) fn has_calls(turns: &[Turn]) -> bool {
    turns.iter().any(|turn| match turn {
        Turn::User(_) => false,
        Turn::Assistant(said) => !said.calls.is_empty(),
        Turn::ToolResults(_) => true,
    })
}

#[derive(Default)]
struct Ids<'p> {
    used: BTreeSet<String>,
    /// By the id of the last call that had it: what the wire is told instead, and the tool's name.
    sent: BTreeMap<&'p str, (String, &'p str)>,
}

impl<'p> Ids<'p> {
    fn keep(&mut self, said: &'p Assistant) {
        for call in &said.calls {
            self.used.insert(call.id.clone());
            self.sent.insert(&call.id, (call.id.clone(), &call.name));
        }
    }

    fn rebuild(&mut self, call: &'p CallRequest) -> Call<'p> {
        let fitting = fit(&call.id);
        let mut id = fitting.clone();
        let mut number = 1;
        while !self.used.insert(id.clone()) {
            // `call_0` of a wire without ids comes in every turn.
            number += 1;
            id = format!("{fitting}_{number}");
        }
        self.sent.insert(&call.id, (id.clone(), &call.name));
        let arguments = call.arguments.clone().unwrap_or_else(|why| json!({"invalid_arguments": why}));
        Call { id, name: &call.name, arguments }
    }

    fn told(&self, reply: &'p ToolReply) -> Told<'p> {
        let (id, name) = self.sent.get(reply.call_id.as_str()).cloned().unwrap_or_else(|| (fit(&reply.call_id), ""));
        Told { id, name, reply }
    }
}

/// The id itself if every wire accepts it, else one made from it.
fn fit(id: &str) -> String {
    let plain = id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    if plain && (1..=ID).contains(&id.len()) {
        return id.to_owned();
    }
    // FNV-1a: the same id has to come out in every process and every version.
    let hash = id
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    format!("call_{hash:016x}")
}

#[cfg(test)]
#[path = "history_tests.rs"]
mod tests;
