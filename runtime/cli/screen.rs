//! Where words go: data to stdout, messages to stderr (DESIGN section 7). It never lets a text that came from elsewhere
//! steer the terminal, and never panics because nobody reads.

use std::borrow::Cow;
use std::io::{IsTerminal as _, Write as _};

use tokio::sync::{Mutex, mpsc};

use super::failure::Failure;
use super::hints::Hints;

/// The two outputs of the process, and the person before them.
pub(crate) struct Screen {
    /// Programs read stdout and stderr.
    pub(crate) json: bool,
    /// A line on stderr may be redrawn and coloured.
    pub(crate) ansi: bool,
    /// Somebody can be asked.
    pub(crate) interactive: bool,
    stdout_is_terminal: bool,
    hints: Hints,
    lines: Mutex<Option<mpsc::UnboundedReceiver<String>>>,
}

/// What a person says to a question of yes or no.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Said {
    Yes,
    No,
    /// Their input has ended.
    Nothing,
}

impl Screen {
    pub(crate) fn new(json: bool, hints: Hints) -> Self {
        let stderr = std::io::stderr().is_terminal();
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            json,
            ansi: stderr && !json && !no_color && crate::os::ansi_terminal(),
            interactive: stderr && !json && std::io::stdin().is_terminal(),
            stdout_is_terminal: std::io::stdout().is_terminal(),
            hints,
            lines: Mutex::default(),
        }
    }

    /// Data, as it is; on a terminal without what would steer it.
    pub(crate) fn data(&self, text: &str) {
        let text = if self.stdout_is_terminal { clean(text) } else { Cow::Borrowed(text) };
        // Whoever has closed the pipe does not want to know.
        let _ = writeln!(std::io::stdout().lock(), "{text}");
    }

    /// A JSON document.
    pub(crate) fn document(&self, value: &impl serde::Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string(value).map_err(|error| {
            Failure::new(super::failure::ENVIRONMENT, "json", format!("this cannot be written as JSON: {error}"), "")
        })?;
        self.data(&text);
        Ok(())
    }

    /// A message for a person.
    pub(crate) fn say(&self, text: &str) {
        if !self.json {
            let _ = writeln!(std::io::stderr().lock(), "{}", clean(&self.hints.complete(text)));
        }
    }

    /// What the command did not come to.
    pub(crate) fn fail(&self, failure: &Failure) {
        let complete = Failure {
            message: self.hints.complete(&failure.message),
            help: self.hints.complete(&failure.help),
            ..failure.clone()
        };
        let text = if self.json { complete.json() } else { clean(&complete.text()).into_owned() };
        let _ = writeln!(std::io::stderr().lock(), "{text}");
    }

    /// Asks until the answer is yes or no; nothing means no.
    pub(crate) async fn ask(&self, question: &str) -> Said {
        loop {
            put_question(question);
            match self.line().await {
                None => {
                    self.say("");
                    return Said::Nothing;
                }
                Some(line) => match yes_or_no(&line) {
                    Some(true) => return Said::Yes,
                    Some(false) => return Said::No,
                    None => {}
                },
            }
        }
    }

    /// The next line that is typed; `None` when the input has ended.
    pub(crate) async fn line(&self) -> Option<String> {
        let mut lines = self.lines.lock().await;
        lines.get_or_insert_with(read_lines).recv().await
    }
}

/// Puts a question of yes or no before the person; `line` brings what they say to it.
pub(crate) fn put_question(question: &str) {
    put(&format!("{question} [y/N]"));
}

/// Puts this before the person, who types behind it.
pub(crate) fn put(text: &str) {
    let mut stderr = std::io::stderr().lock();
    let _ = write!(stderr, "{} ", clean(text));
    let _ = stderr.flush();
}

/// Reads stdin on a thread of its own: nothing can call a read off.
fn read_lines() -> mpsc::UnboundedReceiver<String> {
    let (to, from) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lines() {
            let Ok(line) = line else { return };
            if to.send(line).is_err() {
                return;
            }
        }
    });
    from
}

/// What a line says to a question; `None` if it has to be asked again.
pub(crate) fn yes_or_no(line: &str) -> Option<bool> {
    match line.trim().to_lowercase().as_str() {
        "y" | "yes" => Some(true),
        "" | "n" | "no" => Some(false),
        _ => None,
    }
}

/// The text without what would steer a terminal or turn its reading direction: those characters show as their code.
pub(crate) fn clean(text: &str) -> Cow<'_, str> {
    let steers = |c: char| {
        (c.is_control() && !matches!(c, '\n' | '\t'))
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if !text.contains(steers) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if steers(c) { out.extend(c.escape_unicode()) } else { out.push(c) }
    }
    Cow::Owned(out)
}

/// The text on one line, at most this many characters of it.
pub(crate) fn short(text: &str, most: usize) -> String {
    let mut words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if words.chars().count() > most {
        words = words.chars().take(most.saturating_sub(3)).chain("...".chars()).collect();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_steers_the_terminal() {
        for (text, expected) in [
            ("plain\n\ttext é", "plain\n\ttext é"),
            ("\u{1b}[2Jx", "\\u{1b}[2Jx"),
            ("a\rb\u{7f}\u{9b}", "a\\u{d}b\\u{7f}\\u{9b}"),
            ("safe\u{202e}cod.exe", "safe\\u{202e}cod.exe"),
        ] {
            assert_eq!(clean(text), expected);
        }
    }

    #[test]
    fn only_a_clear_answer_is_one() {
        for (line, expected) in [
            ("y", Some(true)),
            (" YES ", Some(true)),
            ("", Some(false)),
            ("n", Some(false)),
            ("No", Some(false)),
            ("yeah", None),
            ("abide", None),
        ] {
            assert_eq!(yes_or_no(line), expected, "{line}");
        }
    }

    #[test]
    fn long_texts_are_cut_on_one_line() {
        assert_eq!(short("a\n  b", 10), "a b");
        assert_eq!(short("abcdefghij", 10), "abcdefghij");
        assert_eq!(short("abcdefghijk", 10), "abcdefg...");
        assert_eq!(short("äääääääääää", 10).chars().count(), 10);
    }
}
