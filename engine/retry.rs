//! The rule of what follows a failed attempt: a pure function. It never waits and never reads a clock.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Effect, Error, ErrorKind, Parked};

/// How often and how far apart a step is tried (DESIGN rule 11).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retry {
    /// Attempts in all, the first included; `None` for as long as it takes. Waits for a rate limit do not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
    /// The wait after the first failure, in milliseconds; it doubles with each further one.
    #[serde(default = "first_ms", skip_serializing_if = "is_first_ms")]
    pub first_ms: u64,
    /// The longest wait, in milliseconds.
    #[serde(default = "longest_ms", skip_serializing_if = "is_longest_ms")]
    pub longest_ms: u64,
}

// A journal does not say again and again what is so without a word.
fn first_ms() -> u64 {
    Retry::default().first_ms
}

fn longest_ms() -> u64 {
    Retry::default().longest_ms
}

#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_first_ms(ms: &u64) -> bool {
    *ms == first_ms()
}

#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_longest_ms(ms: &u64) -> bool {
    *ms == longest_ms()
}

impl Default for Retry {
    /// 5 attempts, 1 s doubling to 60 s.
    fn default() -> Self {
        Self { attempts: Some(5), first_ms: 1_000, longest_ms: 60_000 }
    }
}

impl Retry {
    /// One attempt only.
    pub fn never() -> Self {
        Self { attempts: Some(1), ..Self::default() }
    }

    /// As many attempts as it takes.
    pub fn forever() -> Self {
        Self { attempts: None, ..Self::default() }
    }

    /// This many attempts in all.
    pub fn attempts(attempts: u32) -> Self {
        Self { attempts: Some(attempts.max(1)), ..Self::default() }
    }

    /// Waits from `first`, doubling, to `longest`.
    #[must_use]
    pub fn backoff(self, first: Duration, longest: Duration) -> Self {
        let ms = |d: Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
        Self { first_ms: ms(first), longest_ms: ms(longest).max(ms(first)), ..self }
    }

    fn wait_ms(&self, failures: u32, jitter: u64) -> u64 {
        let doubled = self.first_ms.saturating_mul(1_u64.checked_shl(failures.saturating_sub(1)).unwrap_or(u64::MAX));
        let wait = doubled.min(self.longest_ms);
        // Up to a fifth less, so that many runs that failed together do not all come back together.
        wait - wait / 5 * jitter / 1000
    }
}

/// What follows a failed attempt.
#[derive(Debug, Clone, PartialEq)]
pub enum Next {
    /// Try again at this time.
    RetryAt {
        /// Unix milliseconds.
        at_ms: i64,
        /// True for a provider's rate limit: shown as such, and no attempt is used up.
        rate_limit: bool,
    },
    /// The step failed: the workflow gets this error.
    Fail(Error),
    /// A person or a probe must say what happened.
    InDoubt,
    /// The run parks until somebody outside has mended this.
    Park(Parked),
    /// The surroundings are broken: the run stops here, resumable.
    Stop,
}

/// Decides what follows a failed attempt.
///
/// `failures` counts the failed attempts so far, this one included, waits for a rate limit left out;
/// `jitter` is 0..1000, from [`crate::Seed::jitter`].
pub fn after_failure(effect: Effect, retry: &Retry, failures: u32, error: &Error, jitter: u64, now_ms: i64) -> Next {
    let at = |ms: u64| now_ms.saturating_add(i64::try_from(ms).unwrap_or(i64::MAX));
    match (error.kind(), effect) {
        (ErrorKind::Park(what), _) => Next::Park(*what),
        (ErrorKind::Environment, _) => Next::Stop,
        (ErrorKind::Terminal | ErrorKind::Failed | ErrorKind::Cancelled | ErrorKind::ContinueAsNew, _) => {
            Next::Fail(error.clone())
        }
        // Nothing has left. A host that gives places gives another one instead.
        (ErrorKind::TooLate, _) => Next::RetryAt { at_ms: now_ms, rate_limit: true },
        (ErrorKind::RetryAfter { ms, rate_limit: true }, Effect::Pure | Effect::Idempotent) => {
            Next::RetryAt { at_ms: at(*ms), rate_limit: true }
        }
        (ErrorKind::Plain | ErrorKind::TimedOut | ErrorKind::InDoubt | ErrorKind::RetryAfter { .. }, Effect::Once) => {
            Next::InDoubt
        }
        (
            ErrorKind::Plain
            | ErrorKind::TimedOut
            | ErrorKind::InDoubt
            | ErrorKind::DidNotHappen
            | ErrorKind::RetryAfter { .. },
            _,
        ) => {
            if retry.attempts.is_some_and(|most| failures >= most) {
                return Next::Fail(worn_out(error, failures));
            }
            let wait = match error.kind() {
                ErrorKind::RetryAfter { ms, .. } => *ms,
                _ => retry.wait_ms(failures, jitter),
            };
            Next::RetryAt { at_ms: at(wait), rate_limit: false }
        }
    }
}

fn worn_out(error: &Error, failures: u32) -> Error {
    let kind = if error.is_timeout() { ErrorKind::TimedOut } else { ErrorKind::Failed };
    if failures <= 1 {
        return Error::new(kind, error.message());
    }
    Error::new(kind, format!("{} (after {failures} attempts)", error.message()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{did_not_happen, in_doubt, retry_after, terminal};

    fn plain(text: &str) -> Error {
        Error::new(ErrorKind::Plain, text)
    }

    fn next(effect: Effect, failures: u32, error: &Error) -> Next {
        after_failure(effect, &Retry::default(), failures, error, 0, 1_000_000)
    }

    #[test]
    fn plain_failures_back_off_and_then_fail() {
        for (failures, wait) in [(1, 1_000), (2, 2_000), (3, 4_000), (4, 8_000)] {
            assert_eq!(
                next(Effect::Idempotent, failures, &plain("x")),
                Next::RetryAt { at_ms: 1_000_000 + wait, rate_limit: false }
            );
        }
        assert!(
            matches!(next(Effect::Idempotent, 5, &plain("x")), Next::Fail(e) if e.message().contains("5 attempts"))
        );
        assert_eq!(Retry::default().wait_ms(40, 0), 60_000);
        assert_eq!(Retry::default().wait_ms(400, 999), 60_000 - 12_000 * 999 / 1000);
    }

    #[test]
    fn a_once_step_is_in_doubt_unless_it_says_otherwise() {
        for error in [plain("x"), in_doubt("x"), Error::new(ErrorKind::TimedOut, "x"), retry_after(Duration::ZERO, "x")]
        {
            assert_eq!(next(Effect::Once, 1, &error), Next::InDoubt, "{error:?}");
        }
        assert!(matches!(next(Effect::Once, 1, &did_not_happen("x")), Next::RetryAt { .. }));
        assert!(matches!(next(Effect::Once, 1, &terminal("x")), Next::Fail(_)));
        assert!(matches!(next(Effect::Idempotent, 1, &in_doubt("x")), Next::RetryAt { .. }));
    }

    #[test]
    fn a_rate_limit_waits_as_told_and_uses_up_no_attempt() {
        let limited = Error::new(ErrorKind::RetryAfter { ms: 120_000, rate_limit: true }, "429");
        assert_eq!(next(Effect::Idempotent, 99, &limited), Next::RetryAt { at_ms: 1_120_000, rate_limit: true });
    }

    #[test]
    fn what_only_somebody_outside_can_mend_parks_whatever_the_effect() {
        for effect in [Effect::Pure, Effect::Idempotent, Effect::Once] {
            let parked = Error::new(ErrorKind::Park(Parked::Credentials), "401");
            assert_eq!(next(effect, 9, &parked), Next::Park(Parked::Credentials));
            assert_eq!(next(effect, 9, &Error::new(ErrorKind::Environment, "no server")), Next::Stop);
        }
    }
}
