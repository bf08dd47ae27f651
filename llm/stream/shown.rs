//! What a watcher is shown of an answer as it comes, with secrets masked even where one is cut across deltas. It never keeps an
//! answer: the assemblers do.

use super::Delta;
use crate::redact::Redactor;
use crate::wire::Reply;

/// Passes deltas on, and holds back what could be the beginning of a secret.
pub(crate) struct Shown<'a> {
    on: &'a (dyn Fn(Delta) + Send + Sync),
    redactor: &'a Redactor,
    text: String,
    reasoning: String,
}

impl<'a> Shown<'a> {
    pub(crate) fn new(on: &'a (dyn Fn(Delta) + Send + Sync), redactor: &'a Redactor) -> Self {
        Self { on, redactor, text: String::new(), reasoning: String::new() }
    }

    pub(crate) fn show(&mut self, delta: Delta) {
        match delta {
            Delta::Text(more) => {
                self.text.push_str(&more);
                let settled = take(&mut self.text, self.redactor);
                self.pass(&settled, Delta::Text);
            }
            Delta::Reasoning(more) => {
                self.reasoning.push_str(&more);
                let settled = take(&mut self.reasoning, self.redactor);
                self.pass(&settled, Delta::Reasoning);
            }
            Delta::ToolCall { name } => (self.on)(Delta::ToolCall { name: self.redactor.mask(&name).into_owned() }),
        }
    }

    /// An answer that came whole.
    pub(crate) fn whole(&mut self, reply: &Reply) {
        self.show(Delta::Text(reply.text.clone()));
        for call in &reply.tool_calls {
            self.show(Delta::ToolCall { name: call.name.clone() });
        }
    }

    /// The answer is whole: nothing more can follow what was held back.
    pub(crate) fn end(mut self) {
        let (text, reasoning) = (std::mem::take(&mut self.text), std::mem::take(&mut self.reasoning));
        self.pass(&reasoning, Delta::Reasoning);
        self.pass(&text, Delta::Text);
    }

    fn pass(&self, text: &str, delta: fn(String) -> Delta) {
        if !text.is_empty() {
            (self.on)(delta(self.redactor.mask(text).into_owned()));
        }
    }
}

/// What can be shown of a text, which loses it.
fn take(text: &mut String, redactor: &Redactor) -> String {
    let rest = text.split_off(redactor.settled(text));
    std::mem::replace(text, rest)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use std::sync::Mutex;

    use super::*;

    fn shown(redactor: &Redactor, deltas: &[Delta]) -> Vec<Delta> {
        let seen = Mutex::new(Vec::new());
        let on = |delta| seen.lock().unwrap().push(delta);
        let mut shown = Shown::new(&on, redactor);
        for delta in deltas {
            shown.show(delta.clone());
        }
        shown.end();
        seen.into_inner().unwrap()
    }

    fn texts(deltas: &[Delta]) -> String {
        deltas.iter().map(|delta| if let Delta::Text(text) = delta { text.as_str() } else { "" }).collect()
    }

    #[test]
    fn however_a_text_is_cut_it_is_masked_as_a_whole() {
        let redactor = Redactor::default();
        for (name, value) in [
            ("A", "sk-abcdefgh"),
            ("B", "sk-abcdefgh-longer"),
            // It begins within the first one, and says that one twice.
            ("C", "fgh-other-one"),
            ("D", "geheim-é-schlüssel"),
            ("E", "line\"break\n1"),
        ] {
            redactor.learn(name, value);
        }
        for text in [
            "my key is sk-abcdefgh, yours sk-abcdefgh-longer and sk-abcdefgh-long",
            "sk-abcdefgh-other-one sk-abcdefsk-abcdefgh $sk-abcdefgh {A} ${A} {",
            "geheim-é-schlüssel geheim-é-schlüsse",
            r#"line\"break\n1 {"line\\\"break\\n1"} line"#,
            "s sk sk- nothing",
        ] {
            let whole = redactor.mask(text).into_owned();
            let cuts: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
            for (n, &first) in cuts.iter().enumerate() {
                for &second in &cuts[n..] {
                    let parts = [&text[..first], &text[first..second], &text[second..]];
                    let deltas = parts.map(|part| Delta::Text(part.to_owned()));
                    assert_eq!(texts(&shown(&redactor, &deltas)), whole, "{parts:?}");
                }
            }
            let single: Vec<Delta> = text.chars().map(|c| Delta::Text(c.to_string())).collect();
            assert_eq!(texts(&shown(&redactor, &single)), whole);
        }
    }

    #[test]
    fn kinds_are_held_back_apart_and_most_is_shown_at_once() {
        let redactor = Redactor::default();
        redactor.learn("KEY", "sk-0123456789");
        let text = |text: &str| Delta::Text(text.to_owned());
        let thought = |text: &str| Delta::Reasoning(text.to_owned());
        let call = |name: &str| Delta::ToolCall { name: name.to_owned() };
        let given = [text("Hello sk-012"), thought("sk-0"), call("x_sk-0123456789"), text("3456789!"), thought("1")];
        let expected = [text("Hello "), call("x_${KEY}"), text("${KEY}!"), thought("sk-01")];
        assert_eq!(shown(&redactor, &given), expected);
        assert_eq!(shown(&Redactor::default(), &given), given);
    }
}
