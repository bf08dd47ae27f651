//! A provider that asks to wait two minutes, and processes that are killed meanwhile: one further call, when it was asked for and not before.

use std::time::{Duration, Instant};

use rusqlite::Connection;
use serde_json::json;

use super::endpoint::{Clock, Endpoint, Told};
use super::{PATIENCE, Play, Scene, Worker};
use crate::support::model::{Model, Say};

/// What the row of the only run says: status, what it waits for, until when, and whose it is.
type Row = (String, Option<String>, Option<i64>, Option<u32>);

fn until(conn: &Connection, what: &str, wanted: impl Fn(&Row) -> bool) -> Row {
    let sql = "SELECT status, waiting_for, until_ms, pid FROM heads LEFT JOIN owners ON id = owner";
    let since = Instant::now();
    loop {
        let row: rusqlite::Result<Row> =
            conn.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)));
        match row {
            Ok(row) if wanted(&row) => return row,
            row => assert!(since.elapsed() < PATIENCE, "it is never {what}: {row:?}"),
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn two_minutes_that_a_provider_asks_for_are_kept_over_kills() {
    let play = Play { runs: 1, limit: 1, named: false, told: Told::No, workers: 1 };
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::set(dir.path());
    let (time, times) = (clock.clone(), std::sync::Arc::new(std::sync::Mutex::new(Vec::new())));
    let seen = times.clone();
    let model = Model::new(move |n, _| {
        seen.lock().unwrap().push(time.now());
        let busy = json!({"error": {"message": "slow down"}});
        if n == 0 { Say::Status(429, busy, vec![("Retry-After", "120")]) } else { Say::Text("at last") }
    });
    let mut endpoint = Endpoint::new(clock.clone(), 1, Told::No);
    endpoint.url = model.base_url.clone();
    let mut scene = Scene { play, dir, endpoint, workers: Vec::new(), losses: Default::default() };
    let begun = clock.now();
    let first = scene.spawn();
    model.wait_for(1);
    let conn = scene.sqlite();
    let waits = |row: &Row, pid: u32| row.1.as_deref() == Some("rate_limit") && row.3 == Some(pid);
    let waiting = |worker: &Worker| until(&conn, "waiting for its time", |row| waits(row, worker.pid()));
    assert_eq!(waiting(&first).2, Some(begun + 120_000));
    drop(first);
    clock.forward(60_000);
    // Another takes the run up, waits the rest, and is killed as well.
    let second = scene.spawn();
    assert_eq!(waiting(&second).2, Some(begun + 120_000));
    clock.forward(59_999);
    drop(second);
    let third = scene.spawn();
    assert_eq!(waiting(&third).2, Some(begun + 120_000));
    assert_eq!(model.count(), 1, "it is not called before its time");
    clock.forward(1);
    until(&conn, "completed", |row| row.0 == "completed");
    scene.workers.push(Some(third));
    assert_eq!(*times.lock().unwrap(), [begun, begun + 120_000]);
}
