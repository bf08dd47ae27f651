//! How the demo's outcome is told: a timeline of at most 80 columns and a plain sentence, or one JSON document. It decides nothing.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::judge::{AtKill, Call, Judgment};

/// What is told.
pub(super) struct Outcome {
    pub(super) judgment: Judgment,
    /// The process that was killed, and how the system says that it ended.
    pub(super) killed: (u32, String),
    /// When it was gone, in milliseconds since the run began.
    pub(super) killed_ms: i64,
    /// The process that went on.
    pub(super) resumed: u32,
    /// The run's status at the end.
    pub(super) status: &'static str,
    /// The agent's answer.
    pub(super) answer: Option<String>,
    /// Rows of the journal whose chain was checked, and what is wrong with it.
    pub(super) chain: (usize, Option<String>),
    /// Milliseconds from the run's beginning to its end.
    pub(super) took_ms: i64,
}

/// Numbers of calls, for the sentence.
struct Sums {
    model: usize,
    tool: usize,
    replayed: usize,
    live: usize,
    in_flight: usize,
}

/// Styles, where they are wanted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Style {
    pub(super) colour: bool,
}

impl Style {
    fn paint(self, code: &str, text: &str) -> String {
        if self.colour { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    pub(super) fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    fn good(self, text: &str) -> String {
        self.paint("32", text)
    }

    fn fresh(self, text: &str) -> String {
        self.paint("36", text)
    }

    fn odd(self, text: &str) -> String {
        self.paint("33", text)
    }

    pub(super) fn bad(self, text: &str) -> String {
        self.paint("31", text)
    }
}

impl Outcome {
    /// True if the run completed, nothing was repeated, and all records agree.
    pub(super) fn is_good(&self) -> bool {
        self.status == "completed" && self.judgment.wrong.is_empty() && self.chain.1.is_none()
    }

    fn sums(&self) -> Sums {
        let count = |test: &dyn Fn(&Call) -> bool| self.judgment.calls.iter().filter(|call| test(call)).count();
        Sums {
            model: count(&|call| call.kind == "llm"),
            tool: count(&|call| call.kind == "tool"),
            replayed: count(&|call| call.at_kill == AtKill::Completed && call.after == 0),
            live: count(&|call| call.after > 0),
            in_flight: count(&|call| call.at_kill == AtKill::InFlight),
        }
    }

    /// For people.
    pub(super) fn text(&self, style: Style) -> String {
        let mut out = String::new();
        let head = format!("{:>8}  {:<5}  {:<41}  {:<8}  {}", "time", "who", "what", "worker 1", "worker 2");
        let _ = writeln!(out, "{}", style.bold(&head));
        let mut killed = false;
        for call in &self.judgment.calls {
            if !killed && call.at_kill == AtKill::NotBegun {
                killed = true;
                let _ = writeln!(out, "{}", self.kill_line(style));
            }
            let _ = writeln!(out, "{}", line(call, style));
        }
        if !killed {
            let _ = writeln!(out, "{}", self.kill_line(style));
        }
        let _ = write!(out, "\n{}", self.sentences(style));
        out
    }

    fn kill_line(&self, style: Style) -> String {
        let (id, how) = &self.killed;
        let text =
            format!("{}  kill -9: process {id} ended by {how}; {} resumed", seconds(self.killed_ms), self.resumed);
        style.odd(&text)
    }

    fn sentences(&self, style: Style) -> String {
        let Sums { model, tool, replayed, live, in_flight } = self.sums();
        let mut out = String::new();
        if let Some(answer) = &self.answer {
            let _ = writeln!(out, "{}\n", wrapped(answer));
        }
        let ended = match self.status {
            "completed" => style.good("Completed"),
            other => style.bad(&format!("The run is {other}")),
        };
        let _ =
            writeln!(out, "{ended}: {model} model calls and {tool} tool calls in {}.", seconds(self.took_ms).trim());
        let repeated = match self.judgment.repeated {
            0 => style.good("0 completed calls repeated"),
            1 => style.bad("1 completed call REPEATED"),
            many => style.bad(&format!("{many} completed calls REPEATED")),
        };
        let _ = writeln!(out, "After the kill: {replayed} replayed from the journal, {live} called live;\n{repeated}.");
        if in_flight > 0 {
            let about = format!(
                "{in_flight} model call was in flight at the kill: it had no recorded answer, so it was made again. \
                 (A tool call cut off like that is asked about first, unless it is safe to repeat.)"
            );
            let _ = writeln!(out, "{}", wrapped(&about));
        }
        match &self.chain {
            (rows, None) => {
                let _ =
                    writeln!(out, "Counted by the model and the MCP server themselves; {rows} journal rows verified.");
            }
            (_, Some(why)) => {
                let _ = writeln!(out, "{}", style.bad(&format!("The journal is not whole: {why}")));
            }
        }
        for wrong in &self.judgment.wrong {
            let _ = writeln!(out, "{}", style.bad(&wrapped(&format!("wrong: {wrong}."))));
        }
        out
    }

    /// For programs.
    pub(super) fn json(&self) -> Value {
        let Sums { model, tool, replayed, live, in_flight } = self.sums();
        json!({
            "ok": self.is_good(), "status": self.status, "answer": self.answer, "took_ms": self.took_ms,
            "model_calls": model, "tool_calls": tool, "replayed": replayed, "live": live, "in_flight": in_flight,
            "repeated": self.judgment.repeated, "wrong": self.judgment.wrong, "calls": self.judgment.calls,
            "killed": {"pid": self.killed.0, "how": self.killed.1, "at_ms": self.killed_ms}, "resumed": {"pid": self.resumed},
            "journal": {"rows": self.chain.0, "error": self.chain.1},
        })
    }
}

fn line(call: &Call, style: Style) -> String {
    let times = |count: usize| if count == 1 { "called".to_owned() } else { format!("called {count}x") };
    let before = match (call.at_kill, call.before) {
        (AtKill::InFlight, 1) => style.odd(&format!("{:<8}", "cut off")),
        (_, 0) => format!("{:<8}", "-"),
        (_, 1) => format!("{:<8}", "called"),
        (_, count) => style.bad(&format!("{:<8}", times(count))),
    };
    let after = match (call.at_kill, call.after) {
        (AtKill::Completed, 0) => style.good("replayed"),
        (AtKill::InFlight, 1) if call.before > 0 => style.odd("made again"),
        (AtKill::NotBegun | AtKill::InFlight, 1) => style.fresh("called"),
        (_, 0) => style.bad("not called"),
        (AtKill::Completed, _) => style.bad("REPEATED"),
        (_, count) => style.bad(&times(count)),
    };
    let who = if call.kind == "llm" { "model" } else { "tool" };
    format!("{}  {who:<5}  {:<41}  {before}  {after}", seconds(call.at_ms), cut(&call.what, 41))
}

/// Eight columns.
fn seconds(ms: i64) -> String {
    format!("{:>6.2} s", ms as f64 / 1_000.0)
}

fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most.saturating_sub(3)).chain("...".chars()).collect()
}

/// At most 80 columns.
fn wrapped(text: &str) -> String {
    let mut out = String::new();
    let mut column = 0;
    for word in text.split_whitespace() {
        let width = word.chars().count();
        if column > 0 && column + 1 + width > 80 {
            out.push('\n');
            column = 0;
        } else if column > 0 {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += width;
    }
    out
}
