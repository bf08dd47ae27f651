//! What a deep orchestrator knows and may spend: results by name, facts, and how near its budget is. Pure data and rules; it asks nobody.

use std::collections::BTreeSet;

use abide_engine::Error;
use serde::{Deserialize, Serialize};

use super::deep_plan::Need;
use super::words::{cut, section};
use super::work::Tally;
use crate::agent::Answer;
use crate::charge::Limit;
use crate::price::nano_of_usd;

/// Of a budget, in percent: from here on the answer is made of what there is.
const ENOUGH: u64 = 90;
/// The most facts that one agent is told.
const FACTS: usize = 30;
/// Characters of a result that the planner is told.
const BRIEF: usize = 1_500;

/// Something that was found out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Fact {
    pub(crate) topic: String,
    #[serde(rename = "fact")]
    pub(crate) said: String,
    /// From 0 to 1.
    pub(crate) confidence: f64,
}

/// What was done for an assignment.
pub(crate) struct Done {
    pub(crate) need: Need,
    pub(crate) result: Result<Answer, Error>,
}

/// All that is known so far.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) done: Vec<Done>,
    pub(crate) facts: Vec<Fact>,
    pub(crate) tally: Tally,
    /// Milliseconds since the beginning.
    pub(crate) ms: u64,
}

impl Done {
    /// As others are told of it.
    pub(crate) fn told(&self) -> [String; 2] {
        let title = format!("{} ({})", self.need.name, self.need.agent);
        section(&title, self.result.as_ref().map(Answer::text))
    }

    /// As the planner is told of it, who sees many.
    pub(crate) fn brief(&self) -> [String; 2] {
        let [title, told] = self.told();
        let brief = match told.char_indices().nth(BRIEF) {
            None => told,
            Some((end, _)) => format!("{} [...]", told.get(..end).unwrap_or_default()),
        };
        [title, brief]
    }
}

impl State {
    /// Names that are taken: what failed may be tried again under another.
    pub(crate) fn names(&self) -> BTreeSet<String> {
        self.done.iter().map(|done| done.need.name.clone()).collect()
    }

    /// What need not be done again, and its names.
    pub(crate) fn known(&self) -> Vec<((String, String), String)> {
        let well = self.done.iter().filter(|done| done.result.is_ok());
        well.map(|done| (done.need.same(), done.need.name.clone())).collect()
    }

    pub(crate) fn of(&self, name: &str) -> Option<&Done> {
        self.done.iter().find(|done| done.need.name == name)
    }

    /// Keeps what is new.
    pub(crate) fn learn(&mut self, facts: Vec<Fact>) {
        for fact in facts {
            let same = |known: &Fact| known.said.trim().eq_ignore_ascii_case(fact.said.trim());
            if !fact.said.trim().is_empty() && !self.facts.iter().any(same) {
                self.facts.push(fact);
            }
        }
    }

    /// The facts that matter most for these words, one a line: those that share most words with them, then the surest.
    pub(crate) fn facts_for(&self, words: &str) -> Option<String> {
        let asked = words_of(words);
        let mut ranked: Vec<(usize, &Fact)> = self
            .facts
            .iter()
            .map(|fact| (words_of(&format!("{} {}", fact.topic, fact.said)).intersection(&asked).count(), fact))
            .collect();
        ranked.sort_by(|(a, one), (b, other)| b.cmp(a).then(other.confidence.total_cmp(&one.confidence)));
        let lines = ranked.iter().take(FACTS).map(|(_, fact)| format!("- {}: {}", fact.topic, fact.said));
        let lines: Vec<String> = lines.collect();
        (!lines.is_empty()).then(|| cut(&format!("\n\nKnown so far:\n{}", lines.join("\n"))))
    }

    /// What of a budget is used to nine tenths, in words.
    pub(crate) fn used_up(&self, budget: &Limit) -> Option<String> {
        let usage = self.tally.usage;
        let tokens = usage.input_tokens.saturating_add(usage.output_tokens);
        let parts = [
            (tokens, budget.max_tokens, "tokens"),
            (self.tally.nano_usd, budget.max_cost_usd.map(nano_of_usd), "billionths of a dollar"),
            (self.tally.turns.into(), budget.max_calls, "calls of models"),
            (self.ms, budget.max_time_s.map(|s| s.saturating_mul(1_000)), "milliseconds"),
        ];
        let full = |used: u64, most: u64| u128::from(used) * 100 >= u128::from(most) * u128::from(ENOUGH);
        parts.into_iter().find_map(|(used, most, what)| {
            let most = most.filter(|most| full(used, *most))?;
            Some(format!("{used} of {most} {what} are used"))
        })
    }
}

/// Words that may tell what something is about.
fn words_of(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| word.chars().count() > 3);
    words.map(str::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fact(topic: &str, said: &str, confidence: f64) -> Fact {
        Fact { topic: topic.to_owned(), said: said.to_owned(), confidence }
    }

    #[test]
    fn facts_are_kept_once_and_the_fitting_ones_come_first() {
        let mut state = State::default();
        state.learn(vec![fact("rivers", "The Elbe flows north", 0.5), fact("moon", "It is grey", 0.9)]);
        state.learn(vec![fact("other", "the elbe flows NORTH ", 1.0), fact("none", " ", 1.0)]);
        assert_eq!(state.facts.len(), 2);
        let told = state.facts_for("Where does the Elbe go?").unwrap_or_default();
        assert_eq!(told, "\n\nKnown so far:\n- rivers: The Elbe flows north\n- moon: It is grey");
        assert!(state.facts_for("nothing at all").unwrap_or_default().contains("Known so far:\n- moon"));
        assert_eq!(State::default().facts_for("x"), None);
    }

    #[test]
    fn nine_tenths_of_a_budget_are_enough() {
        let budget = Limit { max_calls: Some(10), max_time_s: Some(100), ..Limit::default() };
        let state = |turns, ms| State { tally: Tally { turns, ..Tally::default() }, ms, ..State::default() };
        assert_eq!(state(8, 89_999).used_up(&budget), None);
        assert_eq!(state(9, 0).used_up(&budget).as_deref(), Some("9 of 10 calls of models are used"));
        assert_eq!(state(0, 90_000).used_up(&budget).as_deref(), Some("90000 of 100000 milliseconds are used"));
        assert_eq!(state(99, 1).used_up(&Limit::default()), None);
    }
}
