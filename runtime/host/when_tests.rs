//! Tests of the times that are due: clocks that are put forward and back, what was missed, and text that is no cron text.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::*;

fn at(text: &str) -> i64 {
    text.parse::<Timestamp>().unwrap().as_millisecond()
}

/// The times that follow this one.
fn after(cron: &str, tz: &str, from: &str, n: usize) -> Vec<String> {
    let times = When::cron(cron, Some(tz)).unwrap().times().unwrap();
    let all = std::iter::successors(times.next(at(from)), |at| times.next(*at));
    all.take(n).map(|at| Timestamp::from_millisecond(at).unwrap().to_string()).collect()
}

#[test]
fn a_time_of_the_day_keeps_to_the_clock_on_the_wall() {
    // Berlin: put forward on 29 March 2026 at 1:00 UTC, and back on 25 October at 1:00 UTC.
    assert_eq!(
        after("0 8 * * *", "Europe/Berlin", "2026-03-27T12:00:00Z", 3),
        ["2026-03-28T07:00:00Z", "2026-03-29T06:00:00Z", "2026-03-30T06:00:00Z"]
    );
    assert_eq!(after("0 8 29 2 *", "UTC", "2026-01-01T00:00:00Z", 1), ["2028-02-29T08:00:00Z"]);
    assert_eq!(after("@weekly", "UTC", "2026-11-26T03:00:00Z", 1), ["2026-11-29T00:00:00Z"]);
    // A day of the month or a day of the week, as cron has it.
    assert_eq!(
        after("0 0 13 * FRI", "UTC", "2026-11-01T00:00:00Z", 2),
        ["2026-11-06T00:00:00Z", "2026-11-13T00:00:00Z"]
    );
}

#[test]
fn a_time_that_does_not_exist_comes_when_the_clocks_go_on_and_one_that_comes_twice_comes_once() {
    assert_eq!(
        after("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", 2),
        ["2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"],
        "2:30 does not exist that day: at 3:00, which is 1:00 UTC"
    );
    assert_eq!(
        after("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", 2),
        ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"],
        "2:30 comes twice that day: the first counts"
    );
    assert_eq!(
        after("*/30 * * * *", "Europe/Berlin", "2026-03-29T00:00:00Z", 3),
        ["2026-03-29T00:30:00Z", "2026-03-29T01:00:00Z", "2026-03-29T01:30:00Z"]
    );
    assert_eq!(
        after("*/30 * * * *", "Europe/Berlin", "2026-10-25T00:00:00Z", 4),
        ["2026-10-25T00:30:00Z", "2026-10-25T01:00:00Z", "2026-10-25T01:30:00Z", "2026-10-25T02:00:00Z"]
    );
    // Half an hour, on the other side of the world: 2:00 to 2:30 does not exist on 4 October 2026.
    assert_eq!(after("15 2 * * *", "Australia/Lord_Howe", "2026-10-03T00:00:00Z", 1), ["2026-10-03T15:30:00Z"]);
}

#[test]
fn times_are_the_same_from_wherever_they_are_looked_at() {
    let zones = ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC"];
    let days = ["2026-03-07", "2026-03-28", "2026-10-24", "2026-10-31", "2026-10-03"];
    for (cron, tz) in ["30 2 * * *", "*/20 * * * *", "0 */2 * * *", "5 1-3 * * *", "0 3 * * 1-5"]
        .iter()
        .flat_map(|c| zones.map(|z| (c, z)))
    {
        let times = When::cron(cron, Some(tz)).unwrap().times().unwrap();
        for day in days {
            let from = at(&format!("{day}T00:00:00Z"));
            let to = from + 60 * 3_600_000;
            let first = times.next(from).unwrap();
            let all: Vec<i64> =
                std::iter::successors(Some(first), |at| times.next(*at)).take_while(|at| *at <= to).collect();
            assert!(all.is_sorted_by(|a, b| a < b), "{cron} {tz} {day}: {all:?}");
            // Every hour and some, as a process may happen to look.
            for now in (from..to).step_by(3_632_123) {
                let next = all.iter().find(|at| **at > now);
                assert!(next.is_none() || next == times.next(now).as_ref(), "{cron} {tz} after {now}");
                let come = all.iter().filter(|at| **at <= now).count();
                let latest = &all[come.saturating_sub(MOST)..come];
                assert_eq!(times.due(first, now, Missed::All).times, latest, "{cron} {tz} until {now}");
            }
        }
    }
}

#[test]
fn missed_times_are_skipped_or_made_up_for_by_one_or_by_all() {
    let times = When::every(Duration::from_secs(600)).unwrap().from(500).times().unwrap();
    let minutes = |n: i64| n * 60_000;
    assert_eq!(
        (times.next(0), times.next(minutes(10) - 1), times.next(minutes(10))),
        (Some(minutes(10)), Some(minutes(10)), Some(minutes(20)))
    );
    let due = |now, missed| times.due(minutes(10), now, missed);
    let late = |times: &[i64], left_out| Due { times: times.iter().map(|n| minutes(*n)).collect(), left_out };
    // On time, or nearly.
    for missed in [Missed::Skip, Missed::Once, Missed::All] {
        assert_eq!(due(minutes(10), missed), late(&[10], 0));
        assert_eq!(due(minutes(11), missed), late(&[10], 0));
        assert_eq!(due(minutes(9), missed), Due::default());
    }
    // Late, or more than one.
    for (now, skip, once, all) in [
        (minutes(12), late(&[], 1), late(&[10], 0), late(&[10], 0)),
        (minutes(30), late(&[30], 2), late(&[30], 2), late(&[10, 20, 30], 0)),
        (minutes(35), late(&[], 3), late(&[30], 2), late(&[10, 20, 30], 0)),
    ] {
        assert_eq!((due(now, Missed::Skip), due(now, Missed::Once), due(now, Missed::All)), (skip, once, all));
    }
    let years = due(minutes(10_000_000), Missed::All);
    assert_eq!((years.times.len(), years.times.last()), (MOST, Some(&minutes(10_000_000))));
}

#[test]
fn what_is_wrong_with_a_cron_text_is_named() {
    for (text, tz, why) in [
        ("0 25 * * *", "UTC", "the hour `25`"),
        ("60 * * * *", "UTC", "the minute `60`"),
        ("* * 32 * *", "UTC", "the day of the month `32`"),
        ("* * * JANU *", "UTC", "the month `JANU`"),
        ("* * * * 8", "UTC", "the day of the week `8`"),
        ("*/0 * * * *", "UTC", "the minute `*/0`"),
        ("5-1 * * * *", "UTC", "the minute `5-1`"),
        ("0 3 * *", "UTC", "it has 4 fields and not five"),
        ("0 0 3 * * *", "UTC", "it has 6 fields and not five"),
        ("", "UTC", "it has 0 fields"),
        ("@dayly", "UTC", "it is none of @yearly"),
        ("0 0 30 2 *", "UTC", "no such day ever comes"),
        ("0 3 * * *", "Europe/Atlantis", "the time zone `Europe/Atlantis` does not fit"),
    ] {
        let error = When::cron(text, Some(tz)).unwrap_err().to_string();
        assert!(error.contains(why), "{text}: {error}");
    }
    for wrong in [0, 500, 1_500] {
        assert!(When::every(Duration::from_millis(wrong)).is_err());
    }
}

proptest::proptest! {
    /// Whatever is written there is a text with times in order, or an error.
    #[test]
    fn any_text_is_read_or_refused(text in "[0-9*/,#LW?+ A-Za-z@-]{0,24}", fields in "(([0-9*]{1,2}|[0-9]-[0-9]{1,2}|[*]/[0-9]|L|[0-9]#[0-9]|[0-9]W|MON|JAN-MAR) ?){5}") {
        for text in [text, fields] {
            let times = When::cron(&text, Some("Europe/Berlin")).and_then(|when| when.times());
            if let Ok(times) = times {
                let first = times.next(at("2026-03-28T12:00:00Z"));
                let second = first.and_then(|first| times.next(first));
                assert!(second.is_none_or(|second| Some(second) > first), "{text}");
            }
        }
    }
}

#[test]
fn an_id_tells_the_time_in_utc() {
    assert_eq!(stamp(at("2026-11-26T03:00:00Z")), "20261126T030000Z");
    let when = When::cron("0 3 * * *", Some("Europe/Berlin")).unwrap();
    assert_eq!(serde_json::to_string(&when).unwrap(), r#"{"cron":"0 3 * * *","tz":"Europe/Berlin"}"#);
    let every = When::every(Duration::from_secs(900)).unwrap().from(1_234_567);
    assert_eq!(serde_json::to_string(&every).unwrap(), r#"{"every_ms":900000,"from_ms":1234000}"#);
    assert_eq!(serde_json::from_str::<When>(r#"{"every_ms":900000,"from_ms":1234000}"#).unwrap(), every);
    assert!(every.says_as(&When::every(Duration::from_secs(900)).unwrap()) && !every.says_as(&when));
}
