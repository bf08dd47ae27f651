//! Rows of a journal, each chained by a right hash, so that only their contents are wrong: they are reported, verified, replayed and gone on with.

use std::path::Path;
use std::time::Duration;

use abide::prelude::*;
use futures_util::future::join_all;

use super::Attack;

/// Everything that a journal can hold.
pub async fn everything(ctx: Ctx, n: u64) -> Result<u64> {
    let double = |n: u64| async move { Ok::<_, Error>(n * 2) };
    let mut sum: u64 = ctx.step("first", n, double).await?;
    for one in join_all((0..3).map(|i| ctx.step("fan", i, double))).await {
        sum = sum.wrapping_add(one?);
    }
    let said: u64 = ctx.signal("go").await.unwrap_or(1);
    let long: String =
        ctx.step("long", "a long text ".repeat(30), |text| async move { Ok::<_, Error>(text) }).once().await?;
    let child: u64 = ctx.child("child", &n).await.unwrap_or(2);
    if ctx.version("change", 1..=2) == 2 {
        ctx.sleep(Duration::from_millis(1)).await?;
    }
    let failed: Result<u64> = ctx.step("fails", 1_u64, |_| async move { Err::<u64, _>(terminal("no")) }).await;
    Ok(sum
        .wrapping_add(said)
        .wrapping_add(child)
        .wrapping_add(long.len() as u64)
        .wrapping_add(u64::from(failed.is_ok())))
}

pub async fn child(ctx: Ctx, n: u64) -> Result<u64> {
    ctx.step("child", n, |n| async move { Ok::<_, Error>(n) }).await
}

pub fn attack(folder: &Path) -> Attack {
    let db = folder.join("runs.db");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let builder = Abide::open(&db).recover(false).workflow("everything", everything).workflow("child", child);
    let abide = runtime.block_on(builder.start()).unwrap();
    let conn = rusqlite::Connection::open(&db).unwrap();
    conn.busy_timeout(Duration::from_secs(20)).unwrap();
    let mut number = 0;
    Box::new(move |input| {
        number += 1;
        let id = format!("run-{number}");
        insert(&conn, &id, input);
        runtime.block_on(async {
            let _ = abide.report(&id).map(|report| serde_json::to_string(&report).unwrap());
            let _ = abide.verify(Some(&id));
            let _ = abide.get(&id).map(|run| run.inspect());
            if let Ok(run) = abide.resume(&id, false).await {
                let _ = run.signal("go", &1).await;
                let _ = tokio::time::timeout(Duration::from_millis(2), run.settled()).await;
                let _ = run.report();
                run.release().await.unwrap();
            }
            let _ = abide.list(5).unwrap();
        });
        // So that orphans and children do not pile up.
        if number % 100 == 0 {
            conn.execute_batch("UPDATE heads SET status = 'paused', waiting_for = NULL, until_ms = NULL WHERE owner IS NULL AND status IN ('running', 'waiting')")
                .unwrap();
        }
    })
}

/// A run whose rows are the lines of the input.
fn insert(conn: &rusqlite::Connection, id: &str, input: &[u8]) {
    let mut hash = *blake3::Hasher::new().update(b"abide run ").update(id.as_bytes()).finalize().as_bytes();
    let entropy = blake3::hash(input);
    let odd = |n: usize| [0, 1, -1, i64::MAX, i64::MIN, 7][usize::from(entropy.as_bytes()[n]) % 6];
    let strange = entropy.as_bytes()[0].is_multiple_of(8);
    conn.execute_batch("BEGIN IMMEDIATE").unwrap();
    let created = if strange { odd(1) } else { 1_000 };
    let sql = "INSERT INTO runs (id, workflow, input_hash, created_ms) VALUES (?1, 'everything', zeroblob(32), ?2)";
    conn.execute(sql, rusqlite::params![id, created]).unwrap();
    let run = conn.last_insert_rowid();
    let (mut prev, mut base) = (None::<i64>, 0);
    let text = String::from_utf8_lossy(input).into_owned();
    for body in text.lines() {
        hash = *blake3::Hasher::new().update(&hash).update(body.as_bytes()).finalize().as_bytes();
        let sql = "INSERT INTO log (run, prev, hash, body) VALUES (?1, ?2, ?3, ?4)";
        conn.execute(sql, rusqlite::params![run, prev, hash, body]).unwrap();
        prev = Some(conn.last_insert_rowid());
        base = if base == 0 { conn.last_insert_rowid() } else { base };
    }
    let (mut head, mut epoch, mut until) = (prev.unwrap_or(0), 1, None);
    if strange {
        (epoch, until) = (odd(2), Some(odd(3)));
        match entropy.as_bytes()[4] % 4 {
            0 => head = odd(5),
            1 => base = odd(5),
            _ => {}
        }
    }
    let status =
        ["running", "waiting", "paused", "diverged", "completed", "failed"][usize::from(entropy.as_bytes()[6]) % 6];
    let sql =
        "INSERT INTO heads (run, base, head, epoch, status, until_ms, updated_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    conn.execute(sql, rusqlite::params![run, base, head, epoch, status, until, odd(7)]).unwrap();
    if entropy.as_bytes()[8].is_multiple_of(3) {
        let kind = ["signal", "approval", "answer", "cancel", "pause", "resolve", "child"]
            [usize::from(entropy.as_bytes()[9]) % 7];
        let name = ["go", "long", "child", "fails", ""][usize::from(entropy.as_bytes()[10]) % 5];
        let body = text.lines().last().unwrap_or_default();
        let bodies = [body, "{\"verdict\":\"retry\"}", "{\"verdict\":\"landed\",\"result\":7}", "null"];
        let body = bodies[usize::from(entropy.as_bytes()[11]) % bodies.len()];
        let sql = "INSERT INTO inbox (run, kind, name, body, at_ms) VALUES (?1, ?2, ?3, ?4, ?5)";
        conn.execute(sql, rusqlite::params![run, kind, name, body, odd(12)]).unwrap();
    }
    conn.execute_batch("COMMIT").unwrap();
}
