//! Services with limits and budgets: who may call, who waits and in which order, and what is counted, over runs, processes and crashes (DESIGN
//! rule 11).

use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use abide::engine::{Admission, Budget, Ceiling, Error, ErrorKind, Rates, Spent};
use abide::prelude::*;
use abide::{Builder, Raise, Settled};
use futures_util::future::join_all;

use super::rig::{Gate, Rig, until, within};

/// A service as the tests see it: what was called when, and how many at once.
#[derive(Clone, Default)]
pub(super) struct Service {
    calls: Arc<Mutex<Vec<(String, i64)>>>,
    now: Arc<AtomicU32>,
    most: Arc<AtomicU32>,
    /// The next calls are refused for so many milliseconds.
    limited: Arc<Mutex<Vec<u64>>>,
}

impl Service {
    pub(super) fn calls(&self) -> Vec<(String, i64)> {
        self.calls.lock().unwrap().clone()
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.calls().into_iter().map(|(name, _)| name).collect()
    }

    async fn called(&self, name: String, at: i64, gate: &Gate) -> Result<u64> {
        self.calls.lock().unwrap().push((name, at));
        let here = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(here, Ordering::SeqCst);
        gate.pass().await;
        self.now.fetch_sub(1, Ordering::SeqCst);
        match self.limited.lock().unwrap().pop() {
            Some(ms) => Err(Error::new(ErrorKind::RetryAfter { ms, rate_limit: true }, "429")),
            None => Ok(10),
        }
    }
}

pub(super) fn admission(rates: Rates, priority: i32, budgets: Vec<Budget>) -> Admission {
    Admission {
        service: "service".into(),
        rates,
        priority,
        most: Spent { input_tokens: 30, output_tokens: 10, nano_usd: Some(400), ..Spent::default() },
        spender: "caller".into(),
        budgets,
        patience_ms: None,
        longest_ms: 60_000,
        spent: Arc::new(|out| Spent {
            input_tokens: out.parse().unwrap(),
            output_tokens: 1,
            nano_usd: Some(100),
            ..Spent::default()
        }),
    }
}

fn at_most(ceiling: Ceiling) -> Vec<Budget> {
    vec![Budget { spender: None, ceiling }]
}

/// A run that calls the service `times` times, all at once.
pub(super) fn caller(
    service: &Service,
    gate: &Gate,
    clock: &Arc<AtomicI64>,
    admission: impl Fn(&str) -> Admission + Clone + Send + Sync + 'static,
    times: u32,
) -> impl Fn(Ctx, String) -> futures_util::future::BoxFuture<'static, Result<u64>> + Send + Sync + 'static {
    let (service, gate, clock) = (service.clone(), gate.clone(), clock.clone());
    move |ctx, name| {
        let (service, gate, clock, admission) = (service.clone(), gate.clone(), clock.clone(), admission.clone());
        Box::pin(async move {
            let calls = (0..times).map(|i| {
                let (service, gate, clock) = (service.clone(), gate.clone(), clock.clone());
                let call = move |name: String| {
                    let (service, gate, at) = (service.clone(), gate.clone(), clock.load(Ordering::SeqCst));
                    async move { service.called(name, at, &gate).await }
                };
                ctx.step("call", name.clone(), call).admission(admission(&name)).retry(Retry::forever()).key(i)
            });
            let all: Vec<Result<u64>> = join_all(calls).await;
            all.into_iter().sum()
        })
    }
}

pub(super) fn opened(gate: &Gate) -> Gate {
    gate.open();
    gate.clone()
}

pub(super) async fn start(open: Builder, names: &[&str]) -> (Abide, Vec<Run>) {
    let abide = open.start().await.unwrap();
    let mut runs = Vec::new();
    for name in names {
        runs.push(abide.run("caller", *name).id(*name).await.unwrap());
    }
    (abide, runs)
}

const MINUTE: Duration = Duration::from_secs(61);
const NAMES: [&str; 7] = ["a", "b", "c", "d", "e", "f", "g"];

/// In no minute more than the limit, all of it used, first come first served, over a restart in the middle.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_a_minute_hold_over_runs_and_restarts() {
    let rig = Rig::new();
    let (service, gate) = (Service::default(), opened(&Gate::new()));
    let rates = Rates { requests: Some(3), ..Rates::default() };
    let work = || {
        rig.open_at_clock()
            .workflow("caller", caller(&service, &gate, &rig.clock, move |_| admission(rates, 0, Vec::new()), 1))
    };
    let (abide, runs) = start(work(), &NAMES).await;
    until(|| service.calls().len() == 3).await;
    within(async {
        while runs.iter().filter(|run| run.inspect().unwrap().waiting_for == Some("rate_limit")).count() < 4 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
    let until_ms = runs[3].inspect().unwrap().until_ms.unwrap();
    assert_eq!(until_ms, 1_000_000 + 61_000);
    rig.advance(MINUTE / 2);
    abide.shutdown().await;
    let abide = work().start().await.unwrap();
    rig.advance(MINUTE / 2 + Duration::from_millis(1));
    until(|| service.calls().len() == 6).await;
    rig.advance(MINUTE);
    for name in NAMES {
        let run = abide.get(name).unwrap();
        assert_eq!(within(run.result::<u64>()).await.unwrap(), 10);
    }
    let mut names = service.names();
    names[..3].sort();
    names[3..6].sort();
    assert_eq!(names, NAMES);
    let spending = abide.get("a").unwrap().spending().unwrap();
    let of = |spender: Option<&str>| spending.iter().find(|s| s.spender.as_deref() == spender).unwrap().clone();
    assert_eq!((of(None).calls, of(None).input_tokens, of(Some("caller")).cost_usd), (1, 10, Some(1e-7)));
    abide.shutdown().await;
}

/// Tokens count like requests; what is larger than the whole limit goes alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_a_minute_hold() {
    let rig = Rig::new();
    let (service, gate) = (Service::default(), Gate::new());
    let rates = Rates { tokens: Some(100), ..Rates::default() };
    let work = rig
        .open_at_clock()
        .workflow("caller", caller(&service, &gate, &rig.clock, move |_| admission(rates, 0, Vec::new()), 1));
    let (abide, runs) = start(work, &NAMES[..3]).await;
    gate.until_reached(2).await;
    gate.open();
    // 40 are reserved for each; 11 are used by each that is over, and the third fits then.
    for run in &runs {
        rig.advance(Duration::from_millis(1));
        within(run.result::<u64>()).await.unwrap();
    }
    assert!(service.calls().iter().all(|(_, at)| *at < 1_061_000), "{:?}", service.calls());
    abide.shutdown().await;
}

/// So many at once; who waits goes on as soon as another is over, the higher priority first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn places_are_handed_on_by_priority() {
    let rig = Rig::new();
    let (service, gate) = (Service::default(), Gate::new());
    let rates = Rates { concurrency: Some(1), ..Rates::default() };
    let priority = |name: &str| i32::from(name == "g") * 5;
    let work = rig.open().workflow("caller", {
        caller(&service, &gate, &rig.clock, move |name| admission(rates, priority(name), Vec::new()), 1)
    });
    let (abide, runs) = start(work, &NAMES).await;
    within(async {
        while runs.iter().filter(|run| run.inspect().unwrap().waiting_for == Some("rate_limit")).count() < 6 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
    gate.open();
    for run in &runs {
        within(run.result::<u64>()).await.unwrap();
    }
    assert_eq!(service.names(), ["a", "g", "b", "c", "d", "e", "f"]);
    assert_eq!(service.most.load(Ordering::SeqCst), 1);
    abide.shutdown().await;
}

/// One meets a rate limit, and nobody else finds out for themselves.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rate_limit_holds_for_all_runs() {
    let rig = Rig::new();
    let (service, gate) = (Service::default(), opened(&Gate::new()));
    service.limited.lock().unwrap().push(120_000);
    let rates = Rates { concurrency: Some(9), ..Rates::default() };
    let work = || {
        rig.open_at_clock()
            .workflow("caller", caller(&service, &gate, &rig.clock, move |_| admission(rates, 0, Vec::new()), 1))
    };
    let (abide, _) = start(work(), &NAMES[..1]).await;
    let waits = |run: Run| async move {
        within(async {
            while run.inspect().unwrap().until_ms.is_none_or(|until| until < 1_120_000) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
        .await;
    };
    waits(abide.get("a").unwrap()).await;
    for name in &NAMES[1..4] {
        waits(abide.run("caller", *name).id(*name).await.unwrap()).await;
    }
    abide.shutdown().await;
    rig.advance(Duration::from_secs(119));
    let abide = work().start().await.unwrap();
    for name in &NAMES[..4] {
        waits(abide.get(name).unwrap()).await;
    }
    assert_eq!(service.names(), ["a"]);
    rig.advance(Duration::from_secs(1));
    // One refusal says nothing of a minute: one asks first, and the others as it answers.
    for name in &NAMES[..4] {
        within(abide.get(name).unwrap().result::<u64>()).await.unwrap();
    }
    assert!(service.calls()[1..].iter().all(|(_, at)| *at >= 1_120_000), "{:?}", service.calls());
    abide.shutdown().await;
}

/// What is reserved counts before it is spent, so that calls made at once stay within the budget too; raising it lets the run go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_budget_holds_for_calls_made_at_once_and_can_be_raised() {
    let rig = Rig::new();
    let (service, gate) = (Service::default(), Gate::new());
    let budget = at_most(Ceiling { nano_usd: Some(900), ..Ceiling::default() });
    let work = || {
        rig.open().workflow("caller", {
            let budget = budget.clone();
            caller(&service, &gate, &rig.clock, move |_| admission(Rates::default(), 0, budget.clone()), 5)
        })
    };
    let (abide, runs) = start(work(), &["a"]).await;
    gate.until_reached(2).await;
    gate.open();
    let parked = within(runs[0].settled()).await.unwrap();
    assert!(matches!(parked, Settled::Parked { waiting_for: Some("budget"), .. }), "{parked:?}");
    // Two were reserved in full before the others were asked for.
    assert_eq!(service.calls().len(), 2);
    let error = runs[0].inspect().unwrap().error.unwrap();
    assert!(error.contains("run `a` has spent or reserved") && error.contains("--budget"), "{error}");
    abide.shutdown().await;

    let abide = work().start().await.unwrap();
    let run = abide.get("a").unwrap();
    run.raise_budget(Raise { nano_usd: 800, ..Raise::default() }).await.unwrap();
    abide.resume("a", false).await.unwrap();
    assert_eq!(within(run.result::<u64>()).await.unwrap(), 50);
    assert_eq!(service.calls().len(), 5);
    assert!(rig.journal("a").contains("\"raised\":{\"nano_usd\":800"), "{}", rig.journal("a"));
    assert_eq!(run.spending().unwrap()[0].cost_usd, Some(5e-7));
    abide.shutdown().await;
}

/// The budget of a run binds the runs that it starts, all together.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_budget_binds_the_runs_below() {
    let rig = Rig::new();
    let (service, gate) = (Service::default(), opened(&Gate::new()));
    let budget = at_most(Ceiling { calls: Some(4), ..Ceiling::default() });
    let parent = {
        let (service, gate, clock, budget) = (service.clone(), gate.clone(), rig.clock.clone(), budget.clone());
        move |ctx: Ctx, (): ()| {
            let (service, gate, clock, budget) = (service.clone(), gate.clone(), clock.clone(), budget.clone());
            async move {
                let call = move |name: String| {
                    let (service, gate, at) = (service.clone(), gate.clone(), clock.load(Ordering::SeqCst));
                    async move { service.called(name, at, &gate).await }
                };
                let own: u64 = ctx
                    .step("call", "parent".to_owned(), call)
                    .admission(admission(Rates::default(), 0, budget))
                    .await?;
                let below: u64 = ctx.child("caller", "x").id("child").await?;
                Ok::<_, Error>(own + below)
            }
        }
    };
    let work = rig
        .open()
        .workflow("parent", parent)
        .workflow("caller", caller(&service, &gate, &rig.clock, |_| admission(Rates::default(), 0, Vec::new()), 5));
    let abide = work.start().await.unwrap();
    let run = abide.run("parent", &()).id("parent").await.unwrap();
    until(|| abide.get("child").is_ok()).await;
    let child = abide.get("child").unwrap();
    let parked = within(child.settled()).await.unwrap();
    assert!(matches!(parked, Settled::Parked { waiting_for: Some("budget"), .. }), "{parked:?}");
    assert_eq!(service.calls().len(), 4);
    assert!(child.inspect().unwrap().error.unwrap().contains("run `parent` has made its 4 calls"));
    child.raise_budget(Raise { calls: 2, ..Raise::default() }).await.unwrap();
    abide.resume("child", false).await.unwrap();
    assert_eq!(within(run.result::<u64>()).await.unwrap(), 60);
    assert_eq!(run.spending().unwrap()[0].calls, 6);
    abide.shutdown().await;
}

/// A call whose reply nobody will see counts as all that it could have used.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_call_counts_in_full() {
    let rig = Rig::new();
    let (service, gate) = (Service::default(), Gate::new());
    let work = |gate: &Gate| {
        rig.open().workflow("caller", {
            caller(&service, gate, &rig.clock, |_| admission(Rates::default(), 0, Vec::new()), 1)
        })
    };
    let (abide, _) = start(work(&gate), &["a"]).await;
    gate.until_reached(1).await;
    abide.shutdown().await;
    let abide = work(&opened(&Gate::new())).start().await.unwrap();
    let run = abide.get("a").unwrap();
    within(run.result::<u64>()).await.unwrap();
    let all = run.spending().unwrap()[0].clone();
    assert_eq!((all.calls, all.lost, all.input_tokens, all.output_tokens), (2, 1, 50, 1));
    assert_eq!(all.cost_usd, Some(5e-7));
    abide.shutdown().await;
}

/// A run that will not wait that long is told so at once; one whose price nobody knows may not spend of a budget in money.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn patience_and_unknown_prices() {
    let rig = Rig::new();
    let (service, gate) = (Service::default(), opened(&Gate::new()));
    let rates = Rates { requests: Some(1), ..Rates::default() };
    let work = rig.open_at_clock().workflow("caller", {
        let asks = move |name: &str| {
            let budgets =
                if name == "c" { at_most(Ceiling { nano_usd: Some(9), ..Ceiling::default() }) } else { vec![] };
            let mut admission = admission(rates, 0, budgets);
            admission.patience_ms = (name == "b").then_some(1_000);
            admission.most.nano_usd = (name != "c").then_some(1);
            admission
        };
        caller(&service, &gate, &rig.clock, asks, 1)
    });
    let (abide, runs) = start(work, &NAMES[..3]).await;
    within(runs[0].result::<u64>()).await.unwrap();
    let error = within(runs[1].result::<u64>()).await.unwrap_err().to_string();
    assert!(error.contains("wait 61 s"), "{error}");
    within(runs[2].settled()).await.unwrap();
    let error = runs[2].inspect().unwrap().error.unwrap();
    assert!(error.contains("nobody knows the price"), "{error}");
    abide.shutdown().await;
}
