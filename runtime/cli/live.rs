//! What is seen while a run works: a line for what happened and, on a terminal, one below for what is happening. It never
//! drives anything.

use std::collections::{BTreeMap, VecDeque};
use std::io::Write as _;
use std::time::Instant;

use super::clock::{length, now_ms, when};
use super::screen::{Screen, clean, short};
use crate::engine::Telling;
use crate::{Progress, ProgressKind};

/// The most characters of an error on a line.
const MOST: usize = 200;
/// The width that every terminal has.
const WIDTH: usize = 79;

/// The lines of the runs that this process works on.
pub(crate) struct Live<'s> {
    screen: &'s Screen,
    /// Name the run on each line.
    several: bool,
    working: BTreeMap<(String, String), Instant>,
    waiting: Option<String>,
    /// What models are saying, by run and step: what is not a whole line yet.
    saying: BTreeMap<(String, String), String>,
    /// Lines that wait for a question to be answered.
    held: VecDeque<String>,
    asking: bool,
    drawn: bool,
}

/// How a line begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tone {
    Good,
    Bad,
    Plain,
}

impl<'s> Live<'s> {
    pub(crate) fn new(screen: &'s Screen, several: bool) -> Self {
        let (working, held) = (BTreeMap::new(), VecDeque::new());
        Self { screen, several, working, waiting: None, saying: BTreeMap::new(), held, asking: false, drawn: false }
    }

    /// Shows something that happened.
    pub(crate) fn event(&mut self, progress: &Progress) {
        let run = progress.run.to_string();
        let line = match &progress.what {
            ProgressKind::Replayed { steps: 0 } | ProgressKind::Asked { .. } => None,
            ProgressKind::Replayed { steps } => {
                let s = if *steps == 1 { "" } else { "s" };
                Some((Tone::Plain, format!("replayed {steps} step{s}: nothing of that is called again")))
            }
            ProgressKind::Started { id, attempt, .. } => {
                self.waiting = None;
                self.working.insert((run.clone(), id.clone()), Instant::now());
                let again = if *attempt > 1 { format!(" (attempt {attempt})") } else { String::new() };
                (!self.screen.ansi).then(|| (Tone::Plain, format!("start  {id}{again}")))
            }
            ProgressKind::Told { id, telling, .. } => {
                self.told(&run, id, telling);
                None
            }
            ProgressKind::Ended { id, error } => {
                self.waiting = None;
                self.said(&run, id);
                let took = self.working.remove(&(run.clone(), id.clone())).map(|since| since.elapsed());
                let took = took.map_or_else(String::new, |took| format!("  {}", length(took.as_millis() as i64)));
                Some(match error {
                    None => (Tone::Good, format!("{id}{took}")),
                    Some(error) => (Tone::Bad, format!("{id}{took}: {}", short(error, MOST))),
                })
            }
            ProgressKind::Retrying { id, error, at_ms } => {
                self.said(&run, id);
                self.working.remove(&(run.clone(), id.clone()));
                let at = when(*at_ms, now_ms());
                Some((Tone::Plain, format!("again at {at}  {id}: {}", short(error, MOST))))
            }
            ProgressKind::Waiting { what, until_ms: Some(until) } => self.waits(what, *until),
            _ => None,
        };
        if let Some((tone, text)) = line {
            self.line(tone, &if self.several { format!("{}  {text}", short(&run, 16)) } else { text });
        }
        self.redraw();
    }

    /// A model's text as it comes, line by line; what is not a whole line yet stands below.
    fn told(&mut self, run: &str, id: &str, telling: &Telling) {
        if !self.screen.ansi {
            return;
        }
        let piece = match telling {
            Telling::Text(text) => text.clone(),
            Telling::Progress { done, of, message } => {
                let of = of.map(|of| format!(" of {of}")).unwrap_or_default();
                format!("{done}{of} {}\n", message.as_deref().unwrap_or_default())
            }
            _ => return,
        };
        let saying = self.saying.entry((run.to_owned(), id.to_owned())).or_default();
        saying.push_str(&piece);
        let mut lines = Vec::new();
        loop {
            let end = saying.find('\n').map(|at| (at, at + 1));
            let wide = || saying.char_indices().nth(WIDTH - 4).map(|(at, _)| (at, at));
            let Some((end, next)) = end.filter(|(at, _)| *at < 4 * WIDTH).or_else(wide) else { break };
            lines.push(saying.get(..end).unwrap_or_default().to_owned());
            saying.drain(..next);
        }
        for line in lines {
            self.quote(&line);
        }
    }

    /// Whoever spoke has ended: what they said last is a line, too.
    fn said(&mut self, run: &str, id: &str) {
        if let Some(rest) = self.saying.remove(&(run.to_owned(), id.to_owned()))
            && !rest.trim().is_empty()
        {
            self.quote(&rest);
        }
    }

    fn quote(&mut self, text: &str) {
        let line = format!("  \u{1b}[2m| {}\u{1b}[0m", clean(text));
        if self.asking {
            self.held.push_back(line);
        } else {
            self.clear();
            self.write(&format!("{line}\n"));
        }
    }

    /// A wait for a time; one of a moment is not worth a line.
    fn waits(&mut self, what: &str, until: i64) -> Option<(Tone, String)> {
        let now = now_ms();
        if matches!(what, "answer" | "approval") {
            // The time is when the call that waits for it is looked after next.
            self.waiting = Some(format!("waiting for an {what}"));
            return None;
        }
        self.waiting = Some(format!("waiting for {} until {}", what.replace('_', " "), when(until, now)));
        (until - now > 1_000).then(|| (Tone::Plain, self.waiting.clone().unwrap_or_default()))
    }

    fn line(&mut self, tone: Tone, text: &str) {
        let word = match (tone, self.screen.ansi) {
            (Tone::Good, true) => "\u{1b}[32mok\u{1b}[0m    ",
            (Tone::Bad, true) => "\u{1b}[31mfail\u{1b}[0m  ",
            (Tone::Good, false) => "ok     ",
            (Tone::Bad, false) => "fail   ",
            (Tone::Plain, _) => "",
        };
        let line = format!("  {word}{}", clean(text));
        if self.asking {
            self.held.push_back(line);
        } else {
            self.clear();
            self.write(&format!("{line}\n"));
        }
    }

    /// Draws the line of what is happening anew.
    pub(crate) fn redraw(&mut self) {
        if !self.screen.ansi || self.asking {
            return;
        }
        self.clear();
        if let Some(text) = self.happening() {
            self.write(&format!("\u{1b}[2m{}\u{1b}[0m", clean(&text)));
            self.drawn = true;
        }
    }

    fn happening(&self) -> Option<String> {
        let Some(since) = self.working.values().min() else { return self.waiting.clone() };
        if let Some(saying) = self.saying.values().find(|saying| !saying.trim().is_empty()) {
            return Some(short(&format!("  | {saying}"), WIDTH));
        }
        let ids: Vec<&str> = self.working.keys().map(|(_, id)| id.as_str()).collect();
        Some(short(&format!("... {} {}", length(since.elapsed().as_millis() as i64), ids.join(", ")), WIDTH))
    }

    /// Takes that line away.
    pub(crate) fn clear(&mut self) {
        if std::mem::take(&mut self.drawn) {
            self.write("\r\u{1b}[2K");
        }
    }

    /// Keeps quiet while somebody is asked something.
    pub(crate) fn hold(&mut self) {
        self.clear();
        self.asking = true;
    }

    /// Goes on after the answer.
    pub(crate) fn go_on(&mut self) {
        self.asking = false;
        while let Some(line) = self.held.pop_front() {
            self.write(&format!("{line}\n"));
        }
        self.redraw();
    }

    fn write(&self, text: &str) {
        if !self.screen.json {
            let mut stderr = std::io::stderr().lock();
            let _ = stderr.write_all(text.as_bytes());
            let _ = stderr.flush();
        }
    }
}

impl Drop for Live<'_> {
    fn drop(&mut self) {
        self.asking = false;
        self.clear();
    }
}
