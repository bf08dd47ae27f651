//! Pauses that take a while, since a step is under way that must not be cut off: who resumes the run meanwhile, and a process that is killed
//! meanwhile. It tests no pause that is reached at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use abide::prelude::*;
use abide::{Builder, Settled};
use futures_util::future::{Either, join, select};

use super::rig::{Gate, Rig, until, within, worker, worker_folder};

/// Pays, behind a gate, and does something endless meanwhile, which a pause cuts off: so that is known to have begun.
#[derive(Clone, Default)]
struct Paying {
    cut_off: Arc<AtomicU32>,
}

struct CutOff(Arc<AtomicU32>);

impl Drop for CutOff {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Paying {
    fn on(&self, builder: Builder, pay: &Gate) -> Builder {
        let (pay, cut_off) = (pay.clone(), self.cut_off.clone());
        builder.workflow("pay", move |ctx: Ctx, (): ()| {
            let (pay, cut_off) = (pay.clone(), cut_off.clone());
            async move {
                let endless = ctx.step("endless", (), move |()| {
                    let guard = CutOff(cut_off.clone());
                    async move {
                        let _guard = guard;
                        std::future::pending::<Result<u32>>().await
                    }
                });
                let pays = join(ctx.step("pay", (), pay.step(1_u32)).once(), ctx.signal::<u32>("more"));
                futures_util::pin_mut!(pays, endless);
                match select(pays, endless).await {
                    Either::Left(((paid, more), _)) => {
                        ctx.step("add", (paid?, more?), |(paid, more)| async move { Ok::<_, Error>(paid + more) }).await
                    }
                    Either::Right((never, _)) => never,
                }
            }
        })
    }

    /// Waits until a pause has begun.
    async fn until_cut_off(&self) {
        until(|| self.cut_off.load(Ordering::SeqCst) == 1).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_is_resumed_while_it_is_being_paused_goes_on_once_it_has_paused() {
    let (rig, pay, paying) = (Rig::new(), Gate::new(), Paying::default());
    let abide = Arc::new(paying.on(rig.open(), &pay).start().await.unwrap());
    let run = abide.run("pay", &()).id("r").await.unwrap();
    pay.until_reached(1).await;
    run.pause().await.unwrap();
    paying.until_cut_off().await;
    let resumed = tokio::spawn({
        let abide = abide.clone();
        async move { abide.resume("r", false).await }
    });
    run.signal("more", &10).await.unwrap();
    pay.open();
    within(resumed).await.unwrap().unwrap();
    assert_eq!(within(run.result::<u32>()).await.unwrap(), 11);
    assert_eq!((pay.reached(), run.inspect().unwrap().epoch), (1, 2));
}

fn messages(db: &std::path::Path, kind: &str) -> u32 {
    let conn = rusqlite::Connection::open(db).unwrap();
    conn.busy_timeout(std::time::Duration::from_secs(60)).unwrap();
    conn.query_row("SELECT count(*) FROM inbox WHERE kind = ?1", [kind], |row| row.get(0)).unwrap()
}

#[test]
fn worker_that_is_being_paused() {
    let Some(folder) = worker_folder() else { return };
    let (db, pay, paying) = (folder.join("runs.db"), Gate::new(), Paying::default());
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(async {
        let abide = paying.on(Abide::open(&db), &pay).start().await.unwrap();
        let run = abide.run("pay", &()).id("r").await.unwrap();
        pay.until_reached(1).await;
        run.pause().await.unwrap();
        paying.until_cut_off().await;
        // What was taken in with it is committed.
        run.signal("more", &10).await.unwrap();
        until(|| messages(&db, "signal") == 0).await;
        std::process::abort();
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_outlives_a_process_that_was_killed_before_it_could_pause() {
    let (rig, pay, paying) = (Rig::new(), Gate::new(), Paying::default());
    assert!(!worker("host::pauses::worker_that_is_being_paused", rig.dir.path(), None));
    let abide = paying.on(rig.open(), &pay).start().await.unwrap();
    let run = abide.get("r").unwrap();
    let settled = within(run.settled()).await.unwrap();
    assert!(matches!(settled, Settled::Parked { status: "paused", .. }), "{settled:?}");
    assert_eq!(messages(&rig.db(), "pause"), 0);
    abide.shutdown().await;
}

/// Whoever resumes a run has the last word.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_is_resumed_is_not_paused_by_what_was_said_before() {
    let (rig, pay, paying) = (Rig::new(), Gate::new(), Paying::default());
    assert!(!worker("host::pauses::worker_that_is_being_paused", rig.dir.path(), None));
    let abide = paying.on(rig.open().recover(false), &pay).start().await.unwrap();
    let run = abide.resume("r", false).await.unwrap();
    let in_doubt = || run.report().unwrap().steps.iter().any(|step| step.status == "in_doubt");
    until(|| in_doubt() || run.inspect().unwrap().status == "paused").await;
    assert_eq!((run.inspect().unwrap().status, messages(&rig.db(), "pause")), ("running", 0));
    abide.shutdown().await;
}
