//! The provider: a model that counts what arrives within any 60 s and refuses what is over its limit, and the clock that everybody lives by.
//! It knows nothing of databases.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::json;

use crate::support::model::{Model, Say};

/// What a provider counts over, in milliseconds.
pub const MINUTE: i64 = 60_000;

/// The file of a clock that the proof sets, in a folder.
pub fn clock_file(folder: &Path) -> PathBuf {
    folder.join("clock")
}

/// What such a file says now; `None` if there is none.
pub fn read_clock(file: &Path) -> Option<i64> {
    let bytes = std::fs::read(file).ok()?;
    Some(i64::from_le_bytes(bytes.try_into().ok()?))
}

fn system_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}

/// Unix milliseconds: the system's, or those that the proof sets.
#[derive(Clone)]
pub struct Clock(Option<Arc<Mutex<(File, i64)>>>);

impl Clock {
    pub fn system() -> Self {
        Self(None)
    }

    /// One that stands still until it is moved.
    pub fn set(folder: &Path) -> Self {
        let clock = Self(Some(Arc::new(Mutex::new((File::create(clock_file(folder)).unwrap(), 0)))));
        clock.forward(1_000_000_000);
        clock
    }

    pub fn is_set(&self) -> bool {
        self.0.is_some()
    }

    pub fn now(&self) -> i64 {
        self.0.as_ref().map_or_else(system_ms, |set| set.lock().unwrap().1)
    }

    /// Moves the clock on.
    pub fn forward(&self, ms: i64) {
        let mut set = self.0.as_ref().unwrap().lock().unwrap();
        set.1 += ms;
        let now = set.1.to_le_bytes();
        set.0.seek(SeekFrom::Start(0)).unwrap();
        set.0.write_all(&now).unwrap();
    }
}

/// A request.
#[derive(Debug, Clone)]
pub struct Arrival {
    pub run: String,
    pub at: i64,
    pub refused: bool,
    /// Its answer has left.
    pub answered: bool,
}

/// How the limit is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// Not at all.
    No,
    /// Every answer names it.
    Header,
}

/// A running provider.
pub struct Endpoint {
    pub url: String,
    pub clock: Clock,
    arrivals: Arc<Mutex<Vec<Arrival>>>,
}

impl Endpoint {
    pub fn new(clock: Clock, limit: usize, told: Told) -> Self {
        let arrivals: Arc<Mutex<Vec<Arrival>>> = Arc::default();
        let (books, time) = (arrivals.clone(), clock.clone());
        let text: &'static str = limit.to_string().leak();
        let model = Model::new(move |_, asked| {
            let run = asked.body["messages"][0]["content"].as_str().unwrap().to_owned();
            let (n, at, oldest) = {
                let mut books = books.lock().unwrap();
                let at = time.now();
                let within = books.iter().filter(|one| !one.refused && one.at > at - MINUTE);
                let oldest = within.clone().next().map(|one| one.at).filter(|_| within.count() >= limit);
                books.push(Arrival { run: run.clone(), at, refused: oldest.is_some(), answered: false });
                (books.len() - 1, at, oldest)
            };
            // As long as this one takes to think.
            let thinks = run.bytes().map(i64::from).sum::<i64>() % 7 * 150 + 50;
            while oldest.is_none() && time.now() < at + thinks {
                std::thread::sleep(Duration::from_millis(1));
            }
            books.lock().unwrap()[n].answered = true;
            let mut headers = vec![];
            if told == Told::Header {
                headers.push(("x-ratelimit-limit-requests", text));
            }
            if let Some(oldest) = oldest {
                let seconds = (oldest + MINUTE - at + 999) / 1_000;
                headers.push(("retry-after", seconds.to_string().leak()));
                return Say::Status(429, json!({"error": {"message": "slow down"}}), headers);
            }
            let message = json!({"role": "assistant", "content": format!("answer to {run}")});
            let choices = json!([{"index": 0, "message": message, "finish_reason": "stop"}]);
            let usage = json!({"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12});
            Say::Status(200, json!({"id": "r", "model": "m", "choices": choices, "usage": usage}), headers)
        });
        Self { url: model.base_url, clock, arrivals }
    }

    pub fn arrivals(&self) -> Vec<Arrival> {
        self.arrivals.lock().unwrap().clone()
    }

    pub fn count(&self) -> usize {
        self.arrivals.lock().unwrap().len()
    }

    /// Has this run's call come at this time or later, and is it being thought about?
    pub fn thinks_about(&self, run: &str, since: i64) -> bool {
        let arrivals = self.arrivals.lock().unwrap();
        let mut of = arrivals.iter().rev().take_while(|one| one.at >= since);
        of.any(|one| one.run == run && !one.answered)
    }
}
