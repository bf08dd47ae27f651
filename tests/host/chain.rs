//! `verify` finds what was changed, taken out or swapped in a journal, whatever was done to it (DESIGN rule 15).

use abide::prelude::*;

use super::rig::{Rig, within};

async fn damaged(how: &str) -> Vec<String> {
    let rig = Rig::new();
    let flow = |ctx: Ctx, n: u32| async move {
        let mut sum = 0;
        for i in 0..5 {
            sum += ctx.step("add", n + i, |n| async move { Ok::<_, Error>(n) }).await?;
        }
        Ok::<u32, Error>(sum)
    };
    let abide = rig.open().workflow("sum", flow).start().await.unwrap();
    for (n, id) in ["a", "b", "c"].into_iter().enumerate() {
        within(abide.run("sum", &n).id(id).await.unwrap().result::<u32>()).await.unwrap();
    }
    let verified = abide.verify(None).unwrap();
    assert_eq!((verified.runs, verified.rows, verified.broken.len()), (3, 18, 0));
    let rows =
        "(SELECT log.id FROM log JOIN runs ON runs.key = log.run WHERE runs.id = 'b' ORDER BY log.id LIMIT 1 OFFSET";
    rig.sqlite()
        .execute_batch(&how.replace("ROW3", &format!("{rows} 3)")).replace("ROW2", &format!("{rows} 2)")))
        .unwrap();
    let broken = abide.verify(None).unwrap().broken;
    let only_b = abide.verify(Some("b")).unwrap().broken;
    assert_eq!(broken.len(), only_b.len());
    assert!(abide.verify(Some("a")).unwrap().broken.is_empty());
    abide.shutdown().await;
    broken.into_iter().map(|b| format!("{}: {}", b.run, b.why)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_deleted_or_swapped_row_is_found() {
    for (what, sql) in [
        ("a digit", "UPDATE log SET body = replace(body, '\"at\":1', '\"at\":2') WHERE id = ROW3"),
        ("a byte that is no text", "UPDATE log SET body = CAST(CAST(substr(body, 1, 5) AS BLOB) || x'ff' || CAST(substr(body, 7) AS BLOB) AS TEXT) WHERE id = ROW3"),
        ("a hash", "UPDATE log SET hash = zeroblob(32) WHERE id = ROW3"),
        ("a row", "DELETE FROM log WHERE id = ROW3"),
        ("the head", "DELETE FROM log WHERE id = (SELECT head FROM heads JOIN runs ON runs.key = heads.run WHERE runs.id = 'b')"),
        ("a link", "UPDATE log SET prev = ROW2 - 1 WHERE id = ROW3"),
        (
            "a pair",
            "CREATE TEMP TABLE pair AS SELECT id, body, hash FROM log WHERE id IN (ROW2, ROW3);
             UPDATE log SET body = (SELECT body FROM pair WHERE pair.id <> log.id), hash = (SELECT hash FROM pair WHERE pair.id <> log.id)
             WHERE id IN (SELECT id FROM pair)",
        ),
        ("where it begins", "UPDATE heads SET base = base + 1 WHERE run = (SELECT key FROM runs WHERE id = 'b')"),
    ] {
        let broken = damaged(sql).await;
        assert!(broken.len() == 1 && broken[0].starts_with("b: "), "{what}: {broken:?}");
    }
}
