//! Steps in doubt and their reconcile probes: what a probe decides, what it leaves to a person, and that neither is asked twice.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use abide::engine::Json;
use abide::engine::event::{By, Verdict};
use abide::host::Builder;
use abide::prelude::*;
use abide::{Report, Settled};

use super::rig::{Gate, Rig, within};

/// What the probe of [`pay`] does.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Says {
    Landed,
    Not,
    Unknown,
    Fails,
    Panics,
    Hangs,
    Nothing,
}

/// What reached the outside.
#[derive(Default)]
struct World {
    paid: AtomicU32,
    asked: AtomicU32,
    keys: Mutex<Vec<String>>,
}

impl World {
    fn counts(&self) -> (u32, u32) {
        (self.paid.load(Ordering::SeqCst), self.asked.load(Ordering::SeqCst))
    }
}

/// A workflow with one payment, whose first `bad` attempts end without telling.
fn pay(rig: &Rig, world: &Arc<World>, says: Says, bad: u32) -> Builder {
    let world = world.clone();
    rig.open_at_clock().workflow("pay", move |ctx: Ctx, cents: u64| {
        let (paying, probing) = (world.clone(), world.clone());
        let pay = move |cents: u64| {
            let n = paying.paid.fetch_add(1, Ordering::SeqCst) + 1;
            paying.keys.lock().unwrap().push(step_key().unwrap().to_string());
            async move { if n <= bad { Err(in_doubt("the line went dead")) } else { Ok(cents) } }
        };
        let probe = move |cents: u64, key: Arc<str>| {
            probing.asked.fetch_add(1, Ordering::SeqCst);
            assert_eq!(Some(&key), step_key().as_ref(), "the probe knows the step's key, both ways");
            probing.keys.lock().unwrap().push(key.to_string());
            async move {
                match says {
                    Says::Landed => Ok(Reconciled::Landed(cents + 1)),
                    Says::Not => Ok(Reconciled::DidNotHappen),
                    Says::Unknown => Ok(Reconciled::Unknown),
                    Says::Fails => Err(terminal("no such ledger")),
                    Says::Panics => panic!("the ledger is on fire"),
                    Says::Hangs => std::future::pending().await,
                    Says::Nothing => unreachable!(),
                }
            }
        };
        async move {
            let step = ctx.step("pay", cents, pay).once();
            if says == Says::Nothing {
                return step.await;
            }
            step.reconcile_within(Duration::from_millis(if says == Says::Hangs { 1 } else { 60_000 }), probe).await
        }
    })
}

fn json(text: &str) -> Option<Json> {
    Some(Json::from(serde_json::value::RawValue::from_string(text.to_owned()).unwrap()))
}

fn step(report: &Report) -> (&'static str, Option<Verdict>, Option<By>, u32) {
    let step = &report.steps[0];
    (step.status, step.resolved, step.resolved_by, step.attempts)
}

#[tokio::test]
async fn a_probe_that_knows_asks_nobody() {
    for (says, bad, result, paid, verdict) in
        [(Says::Landed, 1, 501, 1, Verdict::Landed), (Says::Not, 1, 500, 2, Verdict::Retry)]
    {
        let (rig, world) = (Rig::new(), Arc::new(World::default()));
        let abide = pay(&rig, &world, says, bad).start().await.unwrap();
        let run = abide.run("pay", &500).id("p").await.unwrap();
        within(super::rig::until(|| world.counts().1 == 1)).await;
        if says == Says::Not {
            // What failed and did not happen is tried again by the step's policy.
            super::rig::until(|| rig.journal("p").contains("\"retry\":{")).await;
            rig.advance(Duration::from_secs(2));
        }
        assert_eq!(within(run.result::<u64>()).await.unwrap(), result);
        assert_eq!(world.counts(), (paid, 1), "{says:?}");
        let report = run.report().unwrap();
        assert_eq!(step(&report), ("completed", Some(verdict), Some(By::Probe), paid));
        assert_eq!(world.keys.lock().unwrap().iter().collect::<std::collections::BTreeSet<_>>().len(), 1);
        abide.shutdown().await;
        // Its answer is replayed.
        let abide = pay(&rig, &world, says, bad).start().await.unwrap();
        assert_eq!(abide.get("p").unwrap().result::<u64>().await.unwrap(), result);
        assert_eq!(world.counts(), (paid, 1));
        abide.shutdown().await;
    }
}

#[tokio::test]
async fn a_probe_that_cannot_tell_leaves_it_to_a_person_and_is_not_asked_again() {
    for (says, why) in [
        (Says::Unknown, "its probe cannot tell"),
        (Says::Fails, "its probe failed: no such ledger"),
        (Says::Panics, "its probe panicked: the ledger is on fire"),
        (Says::Hangs, "its probe did not answer within 0.001 s"),
    ] {
        let (rig, world) = (Rig::new(), Arc::new(World::default()));
        let abide = pay(&rig, &world, says, 9).start().await.unwrap();
        let run = abide.run("pay", &500).id("p").await.unwrap();
        let parked = within(run.settled()).await.unwrap();
        assert!(matches!(parked, Settled::Parked { waiting_for: Some("in_doubt"), .. }), "{parked:?}");
        let error = run.report().unwrap().steps[0].error.clone().unwrap();
        assert_eq!(error, format!("the line went dead; {why}"));
        abide.shutdown().await;
        for _ in 0..2 {
            let abide = pay(&rig, &world, says, 9).start().await.unwrap();
            let run = abide.resume("p", false).await.unwrap();
            within(run.settled()).await.unwrap();
            abide.shutdown().await;
        }
        assert_eq!(world.counts(), (1, 1), "{says:?}: once asked, never again");
        let abide = pay(&rig, &world, says, 9).start().await.unwrap();
        let run = abide.get("p").unwrap();
        run.resolve("pay", Verdict::Fail, None, Some("give up")).await.unwrap();
        abide.resume("p", false).await.unwrap();
        assert!(within(run.result::<u64>()).await.unwrap_err().to_string().contains("give up"));
        assert_eq!(step(&run.report().unwrap()), ("failed", Some(Verdict::Fail), Some(By::Person), 1));
        abide.shutdown().await;
    }
}

#[tokio::test]
async fn a_step_whose_attempts_never_happen_fails_by_its_policy() {
    let (rig, world) = (Rig::new(), Arc::new(World::default()));
    let abide = pay(&rig, &world, Says::Not, 99).start().await.unwrap();
    let run = abide.run("pay", &500).id("p").await.unwrap();
    for n in 1..5 {
        super::rig::until(|| rig.journal("p").matches("\"retry\":{").count() == n).await;
        rig.advance(Duration::from_secs(60));
    }
    let error = within(run.result::<u64>()).await.unwrap_err().to_string();
    assert!(error.contains("its probe says that it did not happen") && error.contains("after 5 attempts"), "{error}");
    assert_eq!(world.counts(), (5, 5));
    abide.shutdown().await;
}

#[tokio::test]
async fn the_first_word_counts_and_only_for_the_attempt_it_was_said_of() {
    let (rig, world) = (Rig::new(), Arc::new(World::default()));
    let abide = pay(&rig, &world, Says::Nothing, 2).start().await.unwrap();
    let run = abide.run("pay", &500).id("p").await.unwrap();
    within(run.settled()).await.unwrap();
    abide.shutdown().await;
    // Said while nobody hears it.
    let abide = rig.open().recover(false).start().await.unwrap();
    let run = abide.get("p").unwrap();
    assert!(run.resolve("pay", Verdict::Retry, None, None).await.unwrap());
    for _ in 0..3 {
        assert!(!run.resolve("pay", Verdict::Fail, None, Some("twice")).await.unwrap(), "said before");
    }
    abide.shutdown().await;
    let abide = pay(&rig, &world, Says::Nothing, 2).start().await.unwrap();
    let run = abide.resume("p", false).await.unwrap();
    super::rig::until(|| world.counts().0 == 2).await;
    within(run.settled()).await.unwrap();
    assert_eq!(world.counts().0, 2, "one word, one attempt");
    assert_eq!(step(&run.report().unwrap()).0, "in_doubt");
    assert!(run.resolve("pay", Verdict::Landed, json("7"), None).await.unwrap(), "of the second attempt");
    abide.resume("p", false).await.unwrap();
    assert_eq!(within(run.result::<u64>()).await.unwrap(), 7);
    abide.shutdown().await;
}

#[tokio::test]
async fn a_result_that_does_not_fit_is_refused_and_the_run_stays_whole() {
    let (rig, world) = (Rig::new(), Arc::new(World::default()));
    let abide = pay(&rig, &world, Says::Nothing, 9).start().await.unwrap();
    let run = abide.run("pay", &500).id("p").await.unwrap();
    within(run.settled()).await.unwrap();
    for n in 1..3 {
        assert!(run.resolve("pay", Verdict::Landed, json("\"lots\""), None).await.unwrap());
        abide.resume("p", false).await.unwrap();
        let refused = |error: &str| error.matches("the result that was given for it does not fit").count();
        super::rig::until(|| refused(run.report().unwrap().steps[0].error.as_deref().unwrap()) == n).await;
        let parked = within(run.settled()).await.unwrap();
        assert!(matches!(parked, Settled::Parked { status: "waiting", .. }), "{parked:?}");
    }
    assert!(run.resolve("pay", Verdict::Landed, json("8"), None).await.unwrap());
    abide.resume("p", false).await.unwrap();
    assert_eq!(within(run.result::<u64>()).await.unwrap(), 8);
    assert_eq!(world.counts().0, 1);
    abide.shutdown().await;
}

/// An outcome that came while the run could not go on is delivered once: after that its doubt, and what its probe said, stand.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kept_outcome_is_delivered_once_however_often_the_run_is_loaded() {
    let (rig, gates) = (Rig::new(), (Gate::new(), Gate::new()));
    let (broken, mended, asked) =
        (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let open = || {
        let ((pay, quick), broken, mended, asked) = (gates.clone(), broken.clone(), mended.clone(), asked.clone());
        rig.open().workflow("pay", move |ctx: Ctx, (): ()| {
            let ((pay, quick), broken, mended, asked) =
                ((pay.clone(), quick.clone()), broken.clone(), mended.clone(), asked.clone());
            let fails = move |()| {
                let pay = pay.clone();
                async move {
                    pay.pass().await;
                    Err::<u32, _>(in_doubt("the line went dead"))
                }
            };
            let probe = move |(): (), _| {
                asked.fetch_add(1, Ordering::SeqCst);
                async { Ok::<_, Error>(Reconciled::Unknown) }
            };
            async move {
                let pays = ctx.step("pay", (), fails).once().reconcile(probe);
                let breaks = async {
                    let one: u32 = ctx.step("quick", (), quick.step(1_u32)).await?;
                    if !mended.load(Ordering::SeqCst) {
                        broken.store(true, Ordering::SeqCst);
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                    Ok::<_, Error>(one)
                };
                let (a, b) = futures_util::future::join(pays, breaks).await;
                Ok::<_, Error>(a? + b?)
            }
        })
    };
    let abide = open().start().await.unwrap();
    let run = abide.run("pay", &()).id("r").await.unwrap();
    gates.0.until_reached(1).await;
    gates.1.open();
    super::rig::until(|| broken.load(Ordering::SeqCst)).await;
    gates.0.open();
    assert_eq!(within(run.result::<u32>()).await.unwrap_err().exit_code(), 5);
    assert!(rig.journal("r").contains("\"outcome\":{\"id\":\"pay\""), "{}", rig.journal("r"));
    abide.shutdown().await;
    mended.store(true, Ordering::SeqCst);
    for _ in 0..3 {
        let abide = open().start().await.unwrap();
        let run = abide.resume("r", false).await.unwrap();
        let parked = within(run.settled()).await.unwrap();
        assert!(matches!(parked, Settled::Parked { waiting_for: Some("in_doubt"), .. }), "{parked:?}");
        abide.shutdown().await;
    }
    assert_eq!((gates.0.reached(), asked.load(Ordering::SeqCst)), (1, 1));
    assert_eq!(rig.journal("r").matches("\"in_doubt\":{").count(), 1);
}
