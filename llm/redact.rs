//! Keeps secret values out of everything that is written: each becomes `${NAME}`, and is put back on sending. It never
//! writes a value anywhere, not even into its own `Debug` output.
//!
//! Inside abide every text is in its *written* form. [`Redactor::hide`] makes it, once, where a text comes in, and
//! [`Redactor::restore`] undoes it where the text goes out; the two are exact inverses. So a text that happens to say
//! `${NAME}` by itself is told apart (its dollars are doubled): otherwise any web page could have a key filled in by
//! naming its variable. [`Redactor::mask`] is for what is never sent again (errors, logs): it may be applied any number
//! of times.

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use serde_json::Value;

/// Shorter values are no secrets: `none`, `true` or `8080` would be found all over a text.
const SHORTEST: usize = 8;

/// Less of a value than this is no longer a part of it: it would be found at the end of any text.
const PART: usize = 4;

/// The secrets known so far. A clone shares them.
#[derive(Clone, Default)]
pub struct Redactor {
    known: Arc<RwLock<Option<Arc<Known>>>>,
}

/// Everything derived from the secrets, rebuilt when one is learnt.
struct Known {
    /// Name and value, in the order learnt.
    secrets: Vec<(String, String)>,
    /// The forms of all values first, then the marks of `marks`.
    patterns: Vec<String>,
    /// Finds the patterns.
    hide: AhoCorasick,
    /// For each form of a value its mark, an index into `marks`.
    forms: Vec<usize>,
    /// Finds the marks alone.
    restore: AhoCorasick,
    /// `{NAME}` and the text it stands for.
    marks: Vec<(String, String)>,
}

#[derive(Clone, Copy)]
enum Verb {
    Hide,
    Restore,
    Mask,
}

impl Redactor {
    /// Makes a value known from now on. Of two values of one name both are hidden and the later one is restored; values
    /// shorter than 8 characters are passed over.
    pub fn learn(&self, name: &str, value: &str) {
        // A line break after a key, as files end in one, is not sent with it either.
        let value = value.trim();
        if value.chars().take(SHORTEST).count() < SHORTEST {
            return;
        }
        let name = name.replace(['{', '}', '|', '$'], "_");
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let mut secrets = known.as_ref().map(|known| known.secrets.clone()).unwrap_or_default();
        let latest = secrets.iter().rfind(|(n, _)| *n == name);
        if latest.is_some_and(|(_, v)| v == value) {
            return;
        }
        secrets.retain(|(n, v)| (n, v.as_str()) != (&name, value));
        secrets.push((name, value.to_owned()));
        // Building can only fail for patterns beyond two gigabytes; what was known before then stays known.
        if let Some(built) = Known::build(secrets) {
            *known = Some(Arc::new(built));
        }
    }

    /// The written form: every known value, also as it looks inside JSON text, as `${NAME}`. The longest value wins.
    /// Apply it once; [`Redactor::restore`] is its inverse.
    pub fn hide<'t>(&self, text: &'t str) -> Cow<'t, str> {
        self.apply(Verb::Hide, text)
    }

    /// The text that [`Redactor::hide`] was given.
    pub fn restore<'t>(&self, text: &'t str) -> Cow<'t, str> {
        self.apply(Verb::Restore, text)
    }

    /// Every known value as `${NAME}` and nothing else changed: one way, for errors, logs and what is shown.
    pub fn mask<'t>(&self, text: &'t str) -> Cow<'t, str> {
        self.apply(Verb::Mask, text)
    }

    /// [`Redactor::mask`] for a text that was cut at its ends: what may be half of a secret there is masked, too.
    pub fn mask_cut(&self, text: &str) -> String {
        let masked = self.mask(text).into_owned();
        let Some(known) = self.known() else { return masked };
        let (mut from, mut to) = (0, masked.len());
        for (_, value) in &known.marks {
            to = to.min(masked.len() - longest(value, |part| masked.ends_with(part), Half::First));
            from = from.max(longest(value, |part| masked.starts_with(part), Half::Last));
        }
        let kept = masked.get(from..to.max(from)).unwrap_or_default();
        let (before, after) = (if from > 0 { "..." } else { "" }, if to < masked.len() { "..." } else { "" });
        format!("{before}{kept}{after}")
    }

    /// How much of the start of a text that is to be continued can be masked as it is: no value that is in it, or that
    /// could begin in it, reaches beyond.
    pub(crate) fn settled(&self, text: &str) -> usize {
        let Some(known) = self.known() else { return text.len() };
        let beginnings = known.patterns.iter().map(|pattern| beginning(pattern, text));
        let open = text.len() - beginnings.max().unwrap_or_default();
        known.hide.find_iter(text).find(|hit| hit.end() > open).map_or(open, |hit| hit.start().min(open))
    }

    /// [`Redactor::hide`] for every string and key in a JSON value.
    pub fn hide_value(&self, value: &mut Value) {
        self.apply_value(Verb::Hide, value);
    }

    /// [`Redactor::restore`] for every string and key in a JSON value.
    pub fn restore_value(&self, value: &mut Value) {
        self.apply_value(Verb::Restore, value);
    }

    /// [`Redactor::restore`] for every string and key in a JSON text that a serializer of ours wrote: it escapes neither a dollar nor a brace.
    ///
    /// Errors: it is no JSON.
    pub(crate) fn restore_json<'t>(&self, text: &'t str) -> Result<Cow<'t, str>, serde_json::Error> {
        if self.known().is_none() || !text.contains("${") {
            return Ok(Cow::Borrowed(text));
        }
        let mut value: Value = serde_json::from_str(text)?;
        self.restore_value(&mut value);
        serde_json::to_string(&value).map(Cow::Owned)
    }

    /// [`Redactor::mask`] for every string and key in a JSON value.
    pub fn mask_value(&self, value: &mut Value) {
        self.apply_value(Verb::Mask, value);
    }

    fn known(&self) -> Option<Arc<Known>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn apply<'t>(&self, verb: Verb, text: &'t str) -> Cow<'t, str> {
        self.known().map_or(Cow::Borrowed(text), |known| known.apply(verb, text))
    }

    fn apply_value(&self, verb: Verb, value: &mut Value) {
        if let Some(known) = self.known() {
            known.apply_value(verb, value);
        }
    }
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = self.known();
        let names = known.iter().flat_map(|known| &known.secrets).map(|(name, _)| name);
        f.write_str("Redactor ")?;
        f.debug_list().entries(names).finish()
    }
}

impl Known {
    fn build(secrets: Vec<(String, String)>) -> Option<Self> {
        let mut values = Vec::new();
        let mut forms = Vec::new();
        let mut marks: Vec<(String, String)> = Vec::new();
        for (name, value) in &secrets {
            let mut form = value.clone();
            // JSON text within a string within JSON text: an OpenAI call's arguments that quote a body that quotes another.
            for tag in ["", "|json", "|json2", "|json3", "|json4"] {
                let mark = format!("{{{name}{tag}}}");
                let at = marks.iter().position(|(m, _)| *m == mark).unwrap_or(marks.len());
                match marks.get_mut(at) {
                    Some(known) => known.1.clone_from(&form),
                    None => marks.push((mark, form.clone())),
                }
                values.push(form.clone());
                forms.push(at);
                let escaped = escape(&form);
                if escaped == form {
                    break;
                }
                form = escaped;
            }
        }
        // Not the automaton that is built by default: of a long value that repeats itself, as `[[[[..` does, building that one takes time that
        // grows with the square of its length.
        let builder = || {
            let mut builder = AhoCorasick::builder();
            builder.match_kind(MatchKind::LeftmostLongest).kind(Some(AhoCorasickKind::ContiguousNFA));
            builder
        };
        let search = |patterns: Vec<&str>| builder().build(patterns).ok();
        let marked = || marks.iter().map(|(mark, _)| mark.as_str());
        let patterns: Vec<String> = values.into_iter().chain(marked().map(str::to_owned)).collect();
        let hide = search(patterns.iter().map(String::as_str).collect())?;
        let restore = search(marked().collect())?;
        Some(Self { secrets, patterns, hide, forms, restore, marks })
    }

    /// How a hit is written: `count` dollars and a text, given the dollars that stand before it.
    ///
    /// Twice the dollars before a mark that was in the text by itself, twice and one more before a mark that stands
    /// for a value: an odd number tells them apart, and no text is lost.
    fn written(&self, verb: Verb, pattern: usize, dollars: usize) -> Option<(usize, &str)> {
        match (verb, self.forms.get(pattern)) {
            (Verb::Hide, Some(&mark)) => Some((2 * dollars + 1, &self.marks.get(mark)?.0)),
            (Verb::Mask, Some(&mark)) => Some((dollars + 1, &self.marks.get(mark)?.0)),
            (Verb::Hide, None) => Some((2 * dollars, &self.marks.get(pattern - self.forms.len())?.0)),
            (Verb::Mask, None) => Some((dollars, &self.marks.get(pattern - self.forms.len())?.0)),
            (Verb::Restore, _) => {
                let (mark, value) = self.marks.get(pattern)?;
                Some((dollars / 2, if dollars % 2 == 1 { value } else { mark }))
            }
        }
    }

    fn apply<'t>(&self, verb: Verb, text: &'t str) -> Cow<'t, str> {
        let search = if matches!(verb, Verb::Restore) { &self.restore } else { &self.hide };
        let mut out: Option<String> = None;
        let mut done = 0;
        for hit in search.find_iter(text) {
            let before = text.get(done..hit.start()).unwrap_or_default();
            let plain = before.trim_end_matches('$');
            let Some((dollars, instead)) = self.written(verb, hit.pattern().as_usize(), before.len() - plain.len())
            else {
                continue;
            };
            let out = out.get_or_insert_with(|| String::with_capacity(text.len()));
            out.push_str(plain);
            out.extend(std::iter::repeat_n('$', dollars));
            out.push_str(instead);
            done = hit.end();
        }
        match out {
            None => Cow::Borrowed(text),
            Some(mut out) => {
                out.push_str(text.get(done..).unwrap_or_default());
                Cow::Owned(out)
            }
        }
    }

    fn apply_value(&self, verb: Verb, value: &mut Value) {
        match value {
            Value::String(text) => {
                if let Cow::Owned(changed) = self.apply(verb, text) {
                    *text = changed;
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.apply_value(verb, item)),
            Value::Object(map) => {
                map.values_mut().for_each(|item| self.apply_value(verb, item));
                if map.keys().any(|key| matches!(self.apply(verb, key), Cow::Owned(_))) {
                    *map = std::mem::take(map)
                        .into_iter()
                        .map(|(key, item)| (self.apply(verb, &key).into_owned(), item))
                        .collect();
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
}

#[derive(Clone, Copy)]
enum Half {
    First,
    Last,
}

/// The length of the longest proper part of a value, from its start or its end, that is found; 0 for less than [`PART`].
fn longest(value: &str, is_found: impl Fn(&str) -> bool, half: Half) -> usize {
    let cuts = value.char_indices().map(|(at, _)| at).skip(1);
    let parts = cuts.filter_map(|at| match half {
        Half::First => value.get(..at),
        Half::Last => value.get(at..),
    });
    parts.filter(|part| part.len() >= PART && is_found(part)).map(str::len).max().unwrap_or(0)
}

/// The length of the longest end of `text` that a proper part of `pattern` begins with.
fn beginning(pattern: &str, text: &str) -> usize {
    let most = pattern.len().saturating_sub(1).min(text.len());
    // Neither cut can fall into a character: the two are equal up to the end of a text.
    (1..=most).rev().find(|&length| text.as_bytes().ends_with(&pattern.as_bytes()[..length])).unwrap_or(0)
}

/// The text as it stands between the quotes of a JSON string.
fn escape(text: &str) -> String {
    let quoted = Value::from(text).to_string();
    quoted.get(1..quoted.len() - 1).unwrap_or_default().to_owned()
}

#[cfg(test)]
#[path = "redact_tests.rs"]
mod tests;
