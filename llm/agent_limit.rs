//! What keeps a model that goes in circles from calling tools for ever: a limit on calls in one message, and one on the same
//! call again and again. Pure functions of what the journal holds; a call that is held back is told to the model.

use std::collections::{BTreeMap, BTreeSet};

use crate::agent_move::Plan;

/// The calls of one agent's run so far.
#[derive(Debug)]
pub(crate) struct CallLimit {
    /// The most calls in one message of the model.
    per_turn: u32,
    /// How often one call is made with nothing new in between.
    identical: u32,
    known: BTreeSet<String>,
    /// How often each call came since the last one that was new.
    since: BTreeMap<String, u32>,
}

impl CallLimit {
    /// Zero counts as one.
    pub(crate) fn new(per_turn: u32, identical: u32) -> Self {
        Self { per_turn: per_turn.max(1), identical: identical.max(1), known: BTreeSet::new(), since: BTreeMap::new() }
    }

    /// Holds back what is over a limit among the calls of one message.
    pub(crate) fn hold_back(&mut self, plans: &mut [Plan<'_>]) {
        let per_turn = self.per_turn;
        for (at, plan) in plans.iter_mut().enumerate() {
            let Plan::Call(spec, call) = plan else { continue };
            let name = &spec.name;
            let told = if at >= per_turn as usize {
                Some(format!(
                    "`{name}` was not called: only the first {per_turn} calls of a message are made: call again and ask for \
                     less at once"
                ))
            } else {
                let times = self.count(format!("{name} {}", call.arguments));
                (times > self.identical).then(|| {
                    format!(
                        "`{name}` was not called: you have called it {} times with these very arguments and nothing new in \
                         between: use what you know, or do something else",
                        self.identical
                    )
                })
            };
            if let Some(told) = told {
                *plan = Plan::Tell(told);
            }
        }
    }

    /// How often this call came, this time included, since the last one that was new.
    fn count(&mut self, call: String) -> u32 {
        if self.known.insert(call.clone()) {
            self.since.clear();
        }
        let times = self.since.entry(call).or_default();
        *times = times.saturating_add(1);
        *times
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use abide_engine::Effect;
    use serde_json::json;

    use super::*;
    use crate::tools::{Policy, ToolCall, ToolSpec};

    fn made(limit: &mut CallLimit, arguments: &[u32]) -> Vec<bool> {
        let spec = ToolSpec {
            name: "fs_read".into(),
            server: "fs".into(),
            tool: "read".into(),
            description: String::new(),
            input_schema: json!({}),
            effect: Effect::Pure,
            policy: Policy::Allow,
            timeout_s: 60,
            max_timeout_s: None,
            attempts: None,
            hash: String::new(),
            reconcile: None,
        };
        let call = |n: &u32| ToolCall { server: "fs".into(), tool: "read".into(), arguments: json!({"n": n}) };
        let mut plans: Vec<Plan<'_>> = arguments.iter().map(|n| Plan::Call(&spec, call(n))).collect();
        limit.hold_back(&mut plans);
        plans.iter().map(|plan| matches!(plan, Plan::Call(..))).collect()
    }

    #[test]
    fn the_same_call_is_held_back_until_something_new_is_called() {
        let mut limit = CallLimit::new(100, 2);
        assert_eq!(made(&mut limit, &[1, 1, 1]), [true, true, false]);
        assert_eq!(made(&mut limit, &[1]), [false]);
        assert_eq!(made(&mut limit, &[2, 1]), [true, true]);
        // In circles, though never twice in a row.
        assert_eq!(made(&mut limit, &[2, 1, 2, 1]), [true, true, false, false]);
    }

    #[test]
    fn only_so_many_calls_of_a_message_are_made() {
        assert_eq!(made(&mut CallLimit::new(2, 9), &[1, 2, 3]), [true, true, false]);
        assert_eq!(made(&mut CallLimit::new(0, 0), &[1, 1]), [true, false]);
    }
}
