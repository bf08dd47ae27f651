//! Owner files that are made while others clean up: whoever has one, has it under its name. It starts no process.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::atomic::{AtomicBool, Ordering};

use rusqlite::Connection;

use super::{Owner, is_alive};
use crate::store::writer::Tx;

/// How many are made.
const OWNERS: usize = 3_000;

#[test]
fn an_owner_file_that_is_cleaned_while_it_is_made_is_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let db = dir.path().join("runs.db");
    let over = AtomicBool::new(false);
    // Nothing is registered: whoever cleans takes each file for what a dead process left behind.
    let clean = || {
        let conn = Connection::open_in_memory().unwrap();
        conn.execute_batch("CREATE TABLE owners (file TEXT)").unwrap();
        let cleaner = Owner::lock(&db).unwrap();
        while !over.load(Ordering::SeqCst) {
            cleaner.clean_strays(&Tx::new(&conn, 0, &|| 0)).unwrap();
        }
    };
    let dead = std::thread::scope(|threads| {
        for _ in 0..2 {
            threads.spawn(clean);
        }
        let make = |_| {
            let owner = Owner::lock(&db).ok()?;
            let alive = is_alive(&db, &owner.file);
            owner.leave();
            alive.then_some(())
        };
        let dead = (0..OWNERS).map(make).filter(Option::is_none).count();
        over.store(true, Ordering::SeqCst);
        dead
    });
    assert_eq!(dead, 0, "{dead} of {OWNERS} owners have no file by which others could see that they live");
}
