//! How long a provider asks to be left alone, read from headers and texts. Pure: it asks no clock, and never waits itself.

use chrono::DateTime;

use crate::errors::Headers;

/// No hint is believed beyond this: a month, the longest period that quotas are counted over.
const LONGEST_MS: f64 = 31.0 * 24.0 * 3_600_000.0;

/// What stands before a duration in a provider's prose.
const LEADS: [&str; 4] = ["try again in ", "retry in ", "retry after ", "try again after "];

/// `remaining` and `reset` headers of every limit that a provider counts.
const LIMITS: [(&str, &str); 8] = [
    ("anthropic-ratelimit-requests-remaining", "anthropic-ratelimit-requests-reset"),
    ("anthropic-ratelimit-tokens-remaining", "anthropic-ratelimit-tokens-reset"),
    ("anthropic-ratelimit-input-tokens-remaining", "anthropic-ratelimit-input-tokens-reset"),
    ("anthropic-ratelimit-output-tokens-remaining", "anthropic-ratelimit-output-tokens-reset"),
    ("x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"),
    ("x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"),
    ("x-ratelimit-remaining", "x-ratelimit-reset"),
    ("ratelimit-remaining", "ratelimit-reset"),
];

/// `retry-after-ms`, or else `retry-after` in seconds or as an HTTP date; in milliseconds from now.
pub(crate) fn asked(headers: &Headers, now_ms: u64) -> Option<u64> {
    let ms = headers.get("retry-after-ms").and_then(number).and_then(wait);
    ms.or_else(|| {
        let text = headers.get("retry-after")?;
        match number(text) {
            Some(seconds) => wait(seconds * 1000.0),
            None => {
                let at = httpdate::parse_http_date(text).ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
                wait((at.as_millis() as f64 - now_ms as f64).max(0.0))
            }
        }
    })
}

/// The duration that a message asks for in prose: `Please try again in 41.7s`.
pub(crate) fn in_prose(message: &str) -> Option<u64> {
    let message = message.to_ascii_lowercase();
    LEADS.iter().find_map(|lead| {
        let (_, after) = message.split_once(lead)?;
        duration(after)
    })
}

/// When the limits that are used up begin anew, the last of them; in milliseconds from now.
pub(crate) fn reset(headers: &Headers, now_ms: u64) -> Option<u64> {
    let used_up = |name| headers.get(name).and_then(number).is_some_and(|left| left <= 0.0);
    let resets = LIMITS.iter().filter(|(remaining, _)| used_up(remaining));
    resets.filter_map(|(_, reset)| reset_at(headers.get(reset)?, now_ms)).max()
}

/// RFC 3339, a Go duration, plain seconds (negative: unknown), or a Unix time in seconds or milliseconds.
pub(crate) fn reset_at(text: &str, now_ms: u64) -> Option<u64> {
    const UNIX_S: f64 = 1e9;
    const UNIX_MS: f64 = 1e12;
    let from_now = |at_ms: f64| wait((at_ms - now_ms as f64).max(0.0));
    match number(text) {
        Some(at) if at >= UNIX_MS => from_now(at),
        Some(at) if at >= UNIX_S => from_now(at * 1000.0),
        Some(seconds) => wait(seconds * 1000.0),
        None => match DateTime::parse_from_rfc3339(text.trim()) {
            Ok(at) => from_now(at.timestamp_millis() as f64),
            Err(_) => duration(text),
        },
    }
}

/// Numbers with units, one after the other, as Go writes them or a sentence does: `6m0s`, `1.5 seconds`, `20ms`.
/// What follows the last unit is passed over; a number without a unit is no duration.
pub(crate) fn duration(text: &str) -> Option<u64> {
    let mut rest = text.trim_start();
    let mut total = None;
    loop {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.').len();
        let (count, after) = rest.split_at(digits);
        let after = after.trim_start();
        let letters = after.len() - after.trim_start_matches(|c: char| c.is_alphabetic()).len();
        let (unit, after) = after.split_at(letters);
        let Some(ms) = unit_ms(unit).zip(count.parse::<f64>().ok()).map(|(ms, count)| ms * count) else {
            return total.and_then(wait);
        };
        total = Some(total.unwrap_or(0.0) + ms);
        rest = after.trim_start();
    }
}

fn unit_ms(unit: &str) -> Option<f64> {
    Some(match unit {
        "ns" => 1e-6,
        "us" | "µs" | "μs" => 1e-3,
        "ms" | "millisecond" | "milliseconds" => 1.0,
        "s" | "sec" | "secs" | "second" | "seconds" => 1_000.0,
        "m" | "min" | "mins" | "minute" | "minutes" => 60_000.0,
        "h" | "hr" | "hrs" | "hour" | "hours" => 3_600_000.0,
        "d" | "day" | "days" => 86_400_000.0,
        _ => return None,
    })
}

/// A whole number that is not negative: a negative one says that nobody knows.
pub(crate) fn count(text: &str) -> Option<u64> {
    number(text).filter(|number| *number >= 0.0).map(|number| number as u64)
}

fn number(text: &str) -> Option<f64> {
    text.trim().parse::<f64>().ok().filter(|number| number.is_finite())
}

/// Whole milliseconds, rounded up; a negative number says that nobody knows.
fn wait(ms: f64) -> Option<u64> {
    (ms >= 0.0).then(|| ms.min(LONGEST_MS).ceil() as u64)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    const NOW_MS: u64 = 1_800_000_000_000; // Fri, 15 Jan 2027 08:00:00 GMT

    fn headers(pairs: &[(&str, &str)]) -> Headers {
        pairs.iter().copied().collect()
    }

    #[test]
    fn retry_after_in_every_format() {
        for (name, text, expected) in [
            ("retry-after", "2", Some(2_000)),
            ("Retry-After", " 0.25 ", Some(250)),
            ("retry-after", "0", Some(0)),
            ("retry-after", "-1", None),
            ("retry-after", "soon", None),
            ("retry-after", "NaN", None),
            ("retry-after", "inf", None),
            ("retry-after", "", None),
            ("retry-after", "1e300", Some(2_678_400_000)),
            ("retry-after", "7200", Some(7_200_000)),
            ("retry-after", "Fri, 15 Jan 2027 08:02:00 GMT", Some(120_000)),
            ("retry-after", "Friday, 15-Jan-27 08:02:00 GMT", Some(120_000)),
            ("retry-after", "Fri, 15 Jan 2027 07:00:00 GMT", Some(0)),
            ("retry-after-ms", "1500", Some(1_500)),
            ("retry-after-ms", "12.2", Some(13)),
        ] {
            assert_eq!(asked(&headers(&[(name, text)]), NOW_MS), expected, "{name}: {text}");
        }
        let both = headers(&[("retry-after", "9"), ("retry-after-ms", "100")]);
        assert_eq!(asked(&both, NOW_MS), Some(100));
        let broken = headers(&[("retry-after", "9"), ("retry-after-ms", "x")]);
        assert_eq!(asked(&broken, NOW_MS), Some(9_000));
    }

    #[test]
    fn durations_as_go_and_as_prose_write_them() {
        for (text, expected) in [
            ("6m0s", Some(360_000)),
            ("1s", Some(1_000)),
            ("100ms", Some(100)),
            ("1h2m3.5s", Some(3_723_500)),
            ("46s", Some(46_000)),
            ("250µs", Some(1)),
            ("1 minute 5 seconds.", Some(65_000)),
            ("41.7s. Visit", Some(41_700)),
            ("2 days", Some(172_800_000)),
            ("0s", Some(0)),
            ("5", None),
            ("", None),
            ("s", None),
            ("1.2.3s", None),
            ("3 parsecs", None),
            ("-1s", None),
        ] {
            assert_eq!(duration(text), expected, "{text}");
        }
    }

    #[test]
    fn prose_is_searched_for_its_lead() {
        for (text, expected) in [
            ("Rate limit reached. Please try again in 41.7s. Visit the dashboard.", Some(41_700)),
            ("Please retry in 38.123456789s.", Some(38_124)),
            ("Please RETRY AFTER 6 seconds.", Some(6_000)),
            ("Try again in a while, or try again after 20ms", Some(20)),
            ("Try again later", None),
        ] {
            assert_eq!(in_prose(text), expected, "{text}");
        }
    }

    #[test]
    fn the_last_reset_of_the_limits_used_up() {
        for (text, expected) in [
            ("2027-01-15T08:00:30Z", Some(30_000)),
            ("2027-01-15T09:00:30+01:00", Some(30_000)),
            ("2027-01-15T07:00:00Z", Some(0)),
            ("6m0s", Some(360_000)),
            ("17", Some(17_000)),
            ("0", Some(0)),
            ("-1", None),
            ("1800000060", Some(60_000)),
            ("1800000060000", Some(60_000)),
            ("later", None),
        ] {
            let used_up = headers(&[("x-ratelimit-remaining-tokens", "0"), ("x-ratelimit-reset-tokens", text)]);
            assert_eq!(reset(&used_up, NOW_MS), expected, "{text}");
        }
        let several = headers(&[
            ("anthropic-ratelimit-requests-remaining", "0"),
            ("anthropic-ratelimit-requests-reset", "2027-01-15T08:00:10Z"),
            ("anthropic-ratelimit-input-tokens-remaining", "0"),
            ("anthropic-ratelimit-input-tokens-reset", "2027-01-15T08:00:20Z"),
            ("anthropic-ratelimit-output-tokens-remaining", "7"),
            ("anthropic-ratelimit-output-tokens-reset", "2027-01-15T08:59:00Z"),
            ("x-ratelimit-reset-requests", "9h"),
        ]);
        assert_eq!(reset(&several, NOW_MS), Some(20_000));
        assert_eq!(reset(&headers(&[]), NOW_MS), None);
    }
}
