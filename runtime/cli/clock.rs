//! Times as people read them. It never decides anything by them.

use chrono::{DateTime, Local, TimeZone as _};

/// Unix milliseconds of now.
pub(crate) fn now_ms() -> i64 {
    chrono::Utc::now().timestamp_millis()
}

/// A time of the local clock: `14:05:09` today, with the date on another day.
pub(crate) fn when(ms: i64, now_ms: i64) -> String {
    let at = |ms| -> Option<DateTime<Local>> { Local.timestamp_millis_opt(ms).single() };
    match (at(ms), at(now_ms)) {
        (Some(time), Some(now)) if time.date_naive() == now.date_naive() => time.format("%H:%M:%S").to_string(),
        (Some(time), _) => time.format("%Y-%m-%d %H:%M:%S").to_string(),
        (None, _) => format!("{ms} ms"),
    }
}

/// A length of time: `80 ms`, `1.3 s`, `12 s`, `3 min`, `5 h`, `2 d`.
pub(crate) fn length(ms: i64) -> String {
    let ms = ms.max(0);
    let s = ms / 1000;
    match s {
        0 => format!("{ms} ms"),
        1..=9 => format!("{}.{} s", s, ms % 1000 / 100),
        10..=119 => format!("{s} s"),
        120..=7_199 => format!("{} min", s / 60),
        7_200..=172_799 => format!("{} h", s / 3_600),
        _ => format!("{} d", s / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_read_well_at_every_size() {
        for (ms, expected) in [
            (-5, "0 ms"),
            (84, "84 ms"),
            (1_234, "1.2 s"),
            (9_999, "9.9 s"),
            (10_000, "10 s"),
            (119_999, "119 s"),
            (120_000, "2 min"),
            (7_200_000, "2 h"),
            (172_800_000, "2 d"),
        ] {
            assert_eq!(length(ms), expected);
        }
    }

    #[test]
    fn another_day_has_its_date() {
        let now = now_ms();
        assert_eq!(when(now, now).len(), "14:05:09".len());
        assert_eq!(when(now + 3 * 86_400_000, now).len(), "2026-11-22 14:05:09".len());
        assert_eq!(when(i64::MAX, now), format!("{} ms", i64::MAX));
    }
}
