//! Keeps a conversation within what its model can read: before a request that would nearly fill the window, all but the first input and the
//! last turns give way to a summary, which the model writes in a step of its own. A call of a tool always stays with its result. It
//! decides by what the journal holds alone, and never cuts a text.

use std::sync::Arc;

use abide_engine::{Ctx, Result, terminal};
use serde_json::Value;

use crate::agent::Agent;
use crate::ask::{Models, Question};
use crate::charge::{input_tokens, likely_tokens, weight};
use crate::model::ModelConfig;
use crate::wire::{self, Part, Prompt, Source, ToolChoice, Turn, Usage};

/// Hundredths of the window that a request may fill.
const FULL: u64 = 80;

/// Hundredths of the window that the last turns may keep.
const KEPT: u64 = 30;

/// What the model is asked for.
const SUMMARIZE: &str = "Stop here for a moment: there is little room left, and what was said before will be gone. Summarize the whole \
conversation so far, for yourself, so that you can go on with the work without it: what was asked for, what you did and with which \
results (names, paths, numbers, words that will be needed again), what you decided and why, and what is still to be done. Say nothing \
else, call no tools, and use no more than 600 words.";

/// What stands before a summary.
const SUMMARY: &str = "[What was said since then had to make room. This is your own summary of it:]\n";

/// What is known of a conversation's first input, which stays.
#[derive(Debug, Default)]
pub(crate) struct Context {
    /// Where it is among the turns, from the first request on.
    first: Option<usize>,
    /// What it was before a summary was added to it.
    given: Option<Vec<Part>>,
    /// No summary could be had: it is not asked for again.
    gave_up: bool,
}

impl Context {
    /// Called before each request: the last turn of the first one is the input.
    pub(crate) fn note(&mut self, prompt: &Prompt) {
        let is_input = |turn: &Turn| matches!(turn, Turn::User(_));
        self.first.get_or_insert_with(|| prompt.turns.iter().rposition(is_input).unwrap_or_default());
    }

    /// Where the turns begin that are kept as they are; nothing if there is nothing before them to be summarized.
    fn cut(&self, turns: &[Turn], most_bytes: u64) -> Option<usize> {
        let first = self.first?;
        let begins = |at: &usize| {
            let is_said = matches!(turns.get(*at), Some(Turn::Assistant(_)));
            is_said && !matches!(turns.get(at - 1), Some(Turn::Assistant(_)))
        };
        let mut fits = None;
        let (mut bytes, mut at) = (0_u64, turns.len());
        while at > first + 1 {
            at -= 1;
            bytes = bytes.saturating_add(turns.get(at).map_or(0, long));
            if begins(&at) {
                // The last group stays whatever its length.
                if fits.is_some() && bytes > most_bytes {
                    break;
                }
                fits = Some(at);
            }
        }
        fits.filter(|at| *at > first + 1 || first > 0)
    }

    /// The turns after a summary.
    fn replaced(&mut self, turns: &mut Vec<Turn>, cut: usize, summary: &str) {
        let first = self.first.unwrap_or_default();
        let parts = match turns.get(first) {
            Some(Turn::User(parts)) => parts.clone(),
            _ => Vec::new(),
        };
        let mut parts = self.given.get_or_insert(parts).clone();
        parts.push(Part::Text(format!("{SUMMARY}{summary}")));
        turns.splice(..cut, [Turn::User(parts)]);
        self.first = Some(0);
    }
}

impl Models {
    /// Puts a summary in the place of old turns if the request, which is `body`, is about to fill the model's window; `last`: there is nobody
    /// else to ask. What that has used, if it was done.
    pub(crate) async fn make_room(
        &mut self,
        ctx: &Ctx,
        agent: &Agent,
        (model, last): (&Arc<ModelConfig>, bool),
        prompt: &mut Prompt,
        body: &Value,
    ) -> Result<Option<Usage>> {
        self.context.note(prompt);
        let Some(window) = model.context_tokens.filter(|_| !self.context.gave_up) else { return Ok(None) };
        let likely = likely_tokens(body, self.shown);
        // Three bytes a token, as they are estimated.
        let most_bytes = (window / 100).saturating_mul(KEPT * 3);
        let is_tight = likely > window.saturating_mul(FULL) / 100;
        let Some(cut) = is_tight.then(|| self.context.cut(&prompt.turns, most_bytes)).flatten() else {
            return Ok(None);
        };
        // The same words as in the last request, so that neither the journal nor the provider has to take them in again.
        let mut turns: Vec<Turn> = prompt.turns.iter().take(cut).cloned().collect();
        turns.push(SUMMARIZE.into());
        let ask = Prompt { turns, tool_choice: ToolChoice::None, output: None, stop: Vec::new(), ..prompt.clone() };
        let body = wire::request(model, &ask)?;
        let (_, input) = input_tokens(&body, self.shown);
        let question = Question { name: "summary", model, input, last };
        let reply = match self.step(ctx, agent, &question, body).await {
            Ok(answer) => wire::parse(model.provider, &answer).map_err(terminal)?,
            Err(error) if error.is_cancelled() => return Err(error),
            // Without it the request is made as it is: whoever answers says best what is wrong.
            Err(_) => {
                self.context.gave_up = last;
                return Ok(None);
            }
        };
        let summary = reply.text.trim();
        if summary.is_empty() {
            self.context.gave_up = true;
        } else {
            self.context.replaced(&mut prompt.turns, cut, summary);
            self.shown = crate::charge::Shown::default();
        }
        Ok(Some(reply.usage))
    }
}

/// About how many bytes of a request a turn comes to.
fn long(turn: &Turn) -> u64 {
    let of_parts = |parts: &[Part]| -> u64 {
        let part = |part: &Part| match part {
            Part::Text(text) => text.len() as u64,
            Part::Image { source: Source::Base64(data), .. } | Part::Document { source: Source::Base64(data), .. } => {
                weight(&Value::String(data.clone()))
            }
            Part::Image { .. } | Part::Document { .. } => 0,
        };
        parts.iter().map(part).sum()
    };
    match turn {
        Turn::User(parts) => of_parts(parts),
        Turn::Assistant(said) if said.verbatim.is_null() => said.text.len() as u64,
        Turn::Assistant(said) => weight(&said.verbatim),
        Turn::ToolResults(replies) => replies.iter().map(|reply| of_parts(&reply.content)).sum(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use serde_json::Value;

    use super::*;
    use crate::model::Provider;
    use crate::wire::{Assistant, Origin, ToolReply};

    fn said(text: &str) -> Turn {
        let origin = Origin { provider: Provider::Openai, base_url: String::new(), model: String::new() };
        Turn::Assistant(Assistant { origin, verbatim: Value::Null, text: text.into(), calls: Vec::new() })
    }

    fn told(text: &str) -> Turn {
        Turn::ToolResults(vec![ToolReply::text("c", text, false)])
    }

    #[test]
    fn calls_stay_with_their_results_and_the_last_ones_stay_at_all() {
        let ten = "0123456789";
        let turns = [ten.into(), said(ten), told(ten), said(ten), told(ten), said(ten), told(ten)];
        let with = |first| Context { first: Some(first), ..Context::default() };
        for (most, cut) in
            [(0, Some(5)), (19, Some(5)), (20, Some(5)), (39, Some(5)), (40, Some(3)), (59, Some(3)), (60, None)]
        {
            assert_eq!(with(0).cut(&turns, most), cut, "{most}");
        }
        assert_eq!(with(0).cut(&turns[..3], 0), None, "there is nothing between the input and the last turns");
        assert_eq!(with(0).cut(&turns[..1], 0), None);
        let remembered = [ten.into(), said(ten), ten.into(), said(ten), told(ten)];
        assert_eq!(with(2).cut(&remembered, 99), Some(3), "what was remembered may go");
        let paused = [ten.into(), said(ten), told(ten), said(ten), said(ten), told(ten)];
        assert_eq!(with(0).cut(&paused, 0), Some(3), "what the model goes on with stays together");
    }

    #[test]
    fn the_input_stays_and_a_later_summary_takes_the_place_of_the_one_before() {
        let mut context = Context { first: Some(2), ..Context::default() };
        let mut turns = vec!["old".into(), said("older"), "input".into(), said("a"), told("b"), said("c"), told("d")];
        context.replaced(&mut turns, 5, "one");
        let first = |summary: &str| Turn::User(vec!["input".into(), format!("{SUMMARY}{summary}").into()]);
        assert_eq!(turns, [first("one"), said("c"), told("d")]);
        turns.extend([said("e"), told("f")]);
        context.replaced(&mut turns, 3, "two");
        assert_eq!(turns, [first("two"), said("e"), told("f")]);
    }
}
