//! What can be said to `abide schedule`, as clap reads it. It does nothing.

use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};
use serde::de::DeserializeOwned;

use super::args::Stay;
use crate::{Missed, Overlap};

#[derive(Debug, Subcommand)]
pub(crate) enum Schedule {
    /// Start runs of a target at certain times, or again and again
    Add(Add),
    /// List the schedules, and when each is due
    #[command(visible_alias = "list")]
    Ls,
    /// Show one, and the runs that it has started
    Show(Named),
    /// Start nothing until it is resumed; what is missed meanwhile is not made up for
    Pause(Named),
    /// Go on with the next time from now
    Resume(Named),
    /// Remove it; the runs that it has started go on
    #[command(visible_alias = "rm")]
    Remove(Named),
    /// Start a run now, beside its times, and stay with it
    Trigger(Trigger),
}

#[derive(Debug, Args)]
pub(crate) struct Named {
    /// The schedule's name
    pub(crate) name: String,
}

#[derive(Debug, Args)]
pub(crate) struct Add {
    /// A name for it: its runs are called NAME-20261126T030000Z, by the time in UTC
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) when: When,
    /// The time zone of --cron [default: the system's]
    #[arg(long, value_name = "ZONE", requires = "cron")]
    pub(crate) tz: Option<String>,
    /// An agent by name, or its file, or a workflow; files are read anew each time
    pub(crate) target: String,
    /// Text, @file, or - for stdin: what each run is told
    pub(crate) input: Option<String>,
    /// What becomes of times that nobody was there for: nothing, one run for the latest, or one for each (with --overlap queue or allow)
    #[arg(long, default_value = "once", value_parser = words::<Missed>(&["skip", "once", "all"]))]
    pub(crate) missed: Missed,
    /// What becomes of a time at which the run before has not ended: nothing, a run that waits for it, or one beside it
    #[arg(long, default_value = "skip", value_parser = words::<Overlap>(&["skip", "queue", "allow"]))]
    pub(crate) overlap: Overlap,
    /// Its runs wait in this queue of `[queues]` for their turn [default: what the target's file says]
    #[arg(long, value_name = "NAME")]
    pub(crate) queue: Option<String>,
    /// Their place among those that wait there: the higher number goes first
    #[arg(long, value_name = "N", requires = "queue", allow_negative_numbers = true)]
    pub(crate) priority: Option<i32>,
    /// Use this model instead of the agent's own
    #[arg(long)]
    pub(crate) model: Option<String>,
    /// Take the place of another schedule of this name
    #[arg(long)]
    pub(crate) replace: bool,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct When {
    /// By the clock: minute, hour, day of the month, month, day of the week, as in "0 3 * * *"; or @hourly, @daily, @weekly ..
    #[arg(long, value_name = "TEXT")]
    pub(crate) cron: Option<String>,
    /// Again and again, as in 90s, 15m, 1h30m, 2d
    #[arg(long, value_name = "TIME", value_parser = interval)]
    pub(crate) every: Option<Duration>,
}

#[derive(Debug, Args)]
pub(crate) struct Trigger {
    /// The schedule's name
    pub(crate) name: String,
    /// Leave it to a process in the background
    #[arg(long, conflicts_with = "no_wait")]
    pub(crate) detach: bool,
    #[command(flatten)]
    pub(crate) stay: Stay,
}

/// One of a few words, as serde knows them.
fn words<T: DeserializeOwned + Clone + Send + Sync + 'static>(
    known: &'static [&'static str],
) -> impl TypedValueParser<Value = T> {
    PossibleValuesParser::new(known).try_map(|word| serde_json::from_value::<T>(word.into()))
}

/// `1h30m` as a length of time.
fn interval(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no length of time: write it like 90s, 15m, 1h30m or 2d");
    let (mut total, mut rest) = (0_u64, text.trim());
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, unit) = rest.split_at(digits);
        let letters = unit.len() - unit.trim_start_matches(|c: char| c.is_ascii_alphabetic()).len();
        let (unit, left) = unit.split_at(letters);
        let each = match unit {
            "s" => 1,
            "m" | "min" => 60,
            "h" => 3_600,
            "d" => 86_400,
            _ => return Err(wrong()),
        };
        let seconds = number.parse().ok().and_then(|n: u64| n.checked_mul(each));
        total = seconds.and_then(|seconds| total.checked_add(seconds)).ok_or_else(wrong)?;
        rest = left;
    }
    if total == 0 { Err(wrong()) } else { Ok(Duration::from_secs(total)) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn lengths_of_time_are_read_with_their_units() {
        for (text, seconds) in [("90s", 90), ("15m", 900), ("15min", 900), ("1h30m", 5_400), ("2d", 172_800)] {
            assert_eq!(interval(text).unwrap(), Duration::from_secs(seconds), "{text}");
        }
        for text in ["", "15", "m", "0s", "1.5h", "-1m", "5 weeks", "99999999999999999999s", "9999999999999999d"] {
            assert!(interval(text).unwrap_err().contains("is no length of time"), "{text}");
        }
    }
}
