//! When a schedule is due: cron text in a time zone, or an interval. A pure function of what it says, but for the tables of time zones; it reads
//! no clock and starts nothing.

use std::time::Duration;

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use serde::{Deserialize, Serialize};

use crate::HostError;

/// The most times that are looked at, and so started, of those that were missed.
const MOST: usize = 100;
/// How late the latest time may be noticed and still not count as missed, in milliseconds.
const GRACE_MS: i64 = 60_000;

/// The fields of cron text.
const FIELDS: [&str; 5] = ["minute", "hour", "day of the month", "month", "day of the week"];
const NICKNAMES: [&str; 7] = ["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"];

/// When something is due: made by [`When::cron`] or [`When::every`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum When {
    /// By the wall clock of a place.
    #[non_exhaustive]
    Cron {
        /// Five fields (minute, hour, day of the month, month, day of the week), or `@daily` and its like.
        cron: String,
        /// A name of the IANA's time zones.
        tz: String,
    },
    /// Again and again.
    #[non_exhaustive]
    Every {
        /// Milliseconds from one time to the next.
        every_ms: i64,
        /// Where they are counted from, in Unix milliseconds; the time at which the schedule was made without it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from_ms: Option<i64>,
    },
}

/// What becomes of times that nobody was there for: the machine was off, or nothing worked on the database.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Missed {
    /// Nothing is started for a time that is more than a minute ago.
    Skip,
    /// The latest of them is started, late.
    #[default]
    Once,
    /// All of them are, the oldest first; of more than a hundred the latest hundred.
    All,
}

impl Missed {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Skip => "skip",
            Self::Once => "once",
            Self::All => "all",
        }
    }
}

/// What is due now.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Due {
    /// The times to start something for, the oldest first.
    pub(crate) times: Vec<i64>,
    /// How many others had come: a hundred counts for more, too.
    pub(crate) left_out: usize,
}

impl When {
    /// The times that five fields of cron text name (minute, hour, day of the month, month, day of the week), in this time zone; the system's own
    /// without one. An error names the field that is wrong.
    ///
    /// A time that the clocks skip comes at the end of what they skip, and one that they show twice comes once, where minute and hour are numbers;
    /// with `*` or a step in them, skipped times do not come, and repeated ones do.
    pub fn cron(text: &str, tz: Option<&str>) -> Result<Self, HostError> {
        let zone = match tz {
            Some(name) => name.to_owned(),
            None => TimeZone::system().iana_name().unwrap_or("UTC").to_owned(),
        };
        let when = Self::Cron { cron: text.trim().to_owned(), tz: zone };
        let times = when.times()?;
        if times.next(Timestamp::now().as_millisecond()).is_none() {
            return Err(bad(&format!("the cron text `{text}`"), "no such day ever comes"));
        }
        Ok(when)
    }

    /// Again and again after this long, in whole seconds.
    pub fn every(interval: Duration) -> Result<Self, HostError> {
        let ms = i64::try_from(interval.as_millis()).ok().filter(|ms| *ms >= 1_000 && ms % 1_000 == 0);
        match ms {
            Some(every_ms) => Ok(Self::Every { every_ms, from_ms: None }),
            None => Err(bad("the interval", "it must be a whole number of seconds, and at least one")),
        }
    }

    /// The same, counted from now if it is not counted from anything yet.
    pub(crate) fn from(self, now_ms: i64) -> Self {
        match self {
            // On the second, as the ids of runs are.
            Self::Every { every_ms, from_ms: None } => {
                Self::Every { every_ms, from_ms: Some(now_ms - now_ms.rem_euclid(1_000)) }
            }
            other => other,
        }
    }

    /// Does it say the same, whatever it is counted from?
    pub(crate) fn says_as(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Every { every_ms: one, .. }, Self::Every { every_ms: two, .. }) => one == two,
            _ => self == other,
        }
    }

    /// Ready to be asked for times.
    pub(crate) fn times(&self) -> Result<Times, HostError> {
        match self {
            Self::Every { every_ms, from_ms } => {
                Ok(Times::Every { every: (*every_ms).max(1_000), from: from_ms.unwrap_or_default() })
            }
            Self::Cron { cron, tz } => {
                let parsed = parse(cron).map_err(|why| bad(&format!("the cron text `{cron}`"), &why))?;
                let zone = TimeZone::get(tz).map_err(|_| {
                    let why = "there is none of this name: write it like Europe/Berlin, America/New_York or UTC";
                    bad(&format!("the time zone `{tz}`"), why)
                })?;
                Ok(Times::Cron(Box::new(parsed), zone))
            }
        }
    }
}

fn bad(what: &str, why: &str) -> HostError {
    HostError::Value { what: what.to_owned(), why: why.to_owned() }
}

/// Reads cron text; the error names the field that is wrong.
fn parse(text: &str) -> Result<Cron, String> {
    if text.starts_with('@') && !NICKNAMES.contains(&text.to_lowercase().as_str()) {
        return Err(format!("it is none of {}", NICKNAMES.join(", ")));
    }
    let fields: Vec<&str> = text.split_whitespace().collect();
    if !text.starts_with('@') && fields.len() != FIELDS.len() {
        let n = fields.len();
        return Err(format!(
            "it has {n} fields and not five: {}; as in `0 3 * * *` for 3:00 each day",
            FIELDS.join(", ")
        ));
    }
    let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
    parser.parse(text).map_err(|error| {
        let alone = |i: usize, field: &str| {
            let others: Vec<&str> = (0..FIELDS.len()).map(|other| if other == i { field } else { "*" }).collect();
            parser.parse(&others.join(" ")).err()
        };
        let wrong = fields
            .iter()
            .zip(FIELDS)
            .enumerate()
            .find_map(|(i, (field, name))| Some(format!("the {name} `{field}`: {}", words(&alone(i, field)?))));
        wrong.unwrap_or_else(|| words(&error))
    })
}

fn words(error: &croner::errors::CronError) -> String {
    let text = error.to_string();
    text.rsplit_once("error: ").map_or(text.as_str(), |(_, rest)| rest).trim_end_matches('.').to_owned()
}

/// What a [`When`] means, to be asked for times.
#[derive(Debug)]
pub(crate) enum Times {
    Cron(Box<Cron>, TimeZone),
    Every { every: i64, from: i64 },
}

impl Times {
    /// The first time after this one.
    pub(crate) fn next(&self, after: i64) -> Option<i64> {
        match self {
            Self::Every { every, from } => {
                let passed = after.checked_sub(*from)?.div_euclid(*every);
                passed.checked_add(1)?.checked_mul(*every)?.checked_add(*from)
            }
            Self::Cron(cron, zone) => cron.find_next_occurrence(&zoned(after, zone)?, false).ok().map(|at| ms(&at)),
        }
    }

    /// What is due now of the times since `first`.
    pub(crate) fn due(&self, first: i64, now: i64, missed: Missed) -> Due {
        let mut times = self.latest(first, now);
        let come = times.len();
        if missed != Missed::All {
            times.drain(..come.saturating_sub(1));
        }
        if missed == Missed::Skip {
            times.retain(|at| now - *at <= GRACE_MS);
        }
        let left_out = come - times.len();
        Due { times, left_out }
    }

    /// The latest times since `first`, as many as are looked at, the oldest first.
    fn latest(&self, first: i64, now: i64) -> Vec<i64> {
        let mut span = 3_600_000;
        loop {
            // From further and further back, so that years of times are not all counted.
            let from = now.saturating_sub(span).max(first.saturating_sub(1));
            let forward = std::iter::successors(self.next(from), |at| self.next(*at));
            let mut times: Vec<i64> = forward.take_while(|at| *at <= now).collect();
            if times.len() >= MOST || from < first {
                times.drain(..times.len().saturating_sub(MOST));
                return times;
            }
            span = span.saturating_mul(8);
        }
    }
}

fn zoned(at: i64, zone: &TimeZone) -> Option<Zoned> {
    Some(Timestamp::from_millisecond(at).ok()?.to_zoned(zone.clone()))
}

fn ms(at: &Zoned) -> i64 {
    at.timestamp().as_millisecond()
}

/// A time in a run's id: `20261126T030000Z`.
pub(crate) fn stamp(at: i64) -> String {
    Timestamp::from_millisecond(at).map_or_else(|_| at.to_string(), |at| at.strftime("%Y%m%dT%H%M%SZ").to_string())
}

#[cfg(test)]
#[path = "when_tests.rs"]
mod tests;
