//! The workflows of the recorded journals, as they were when those were recorded. They are never changed: a new release that records new stories
//! adds workflows of other names. They do nothing outside themselves.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use abide::engine::{ErrorKind, Parked, Reconciled, Wait};
use abide::prelude::*;
use abide::{Builder, step_attempt};
use futures_util::future::{Either, join, join_all, select};
use serde_json::{Value, json};
use tokio::sync::watch;

/// Lent to workflows while journals are recorded: some steps wait at this gate then, and some code breaks a rule.
pub(super) struct Recording(pub(super) Arc<watch::Sender<bool>>);

/// All of them.
pub(super) fn register(builder: Builder) -> Builder {
    builder
        .workflow("sequence", sequence)
        .workflow("wide", wide)
        .workflow("timer", timer)
        .workflow("signals", signals)
        .workflow("asks", asks)
        .workflow("parent", parent)
        .workflow("kid", kid)
        .workflow("cleans", cleans)
        .workflow("flaky", flaky)
        .workflow("doubtful", doubtful)
        .workflow("probed", probed)
        .workflow("gated", gated)
        .workflow("generations", generations)
        .workflow("long", long)
        .workflow("fails", fails)
        .workflow("parks", parks)
        .workflow("held", held)
        .workflow("breaks", breaks)
}

async fn plus(n: u64) -> Result<u64> {
    Ok(n + 1)
}

fn ms(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as u64
}

async fn sequence(ctx: Ctx, n: u64) -> Result<Value> {
    ctx.status(&"begun");
    let mut sum = ctx.step("add", n, plus).await?;
    for _ in 0..2 {
        sum = ctx.step("add", sum, plus).retry(Retry::attempts(3)).timeout(Duration::from_secs(9)).await?;
    }
    sum = ctx.step("look", sum, plus).pure().await?;
    sum = ctx.step("cheap", sum, plus).pure().local().await?;
    sum = ctx.step("pay", sum, plus).once().key("k").await?;
    ctx.status(&"paid");
    Ok(
        json!({"sum": sum, "now": ms(ctx.now()), "random": ctx.random("r"), "again": ctx.random("r"), "uuid": ctx.uuid("u")}),
    )
}

async fn wide(ctx: Ctx, n: u64) -> Result<u64> {
    let mut sum = 0;
    for one in join_all((0..n).map(|i| ctx.step("fan", i, plus))).await {
        sum += one?;
    }
    let mapped = ctx.map("each", 0..3_u64, |ctx, i| async move {
        let once = ctx.step("work", i, plus).await?;
        ctx.step("work", once, plus).await
    });
    for one in mapped.await {
        sum += one?;
    }
    let raced = ctx.race("either", [0_u64, 1], |ctx, i| async move {
        if i == 1 {
            ctx.sleep(Duration::from_secs(9_999)).await?;
        }
        ctx.step("try", i, plus).await
    });
    sum += raced.await.1?;
    let never = ctx.signal::<u64>("never");
    if let Either::Right((quick, never)) = select(never, ctx.step("quick", 1, plus)).await {
        sum += quick?;
        drop(never);
    }
    ctx.scope("branch", move |ctx| async move { ctx.step("last", sum, plus).await }).await
}

async fn timer(ctx: Ctx, length: u64) -> Result<Value> {
    let began = ms(ctx.now());
    let one = ctx.step("before", length, plus).await?;
    ctx.sleep(Duration::from_millis(length)).await?;
    ctx.sleep(Duration::from_millis(1)).await?;
    Ok(json!({"one": one, "took": ms(ctx.now()) - began}))
}

async fn signals(ctx: Ctx, _: ()) -> Result<Vec<String>> {
    let mut seen = Vec::new();
    let text = |what: Result<u64>| match what {
        Ok(n) => n.to_string(),
        Err(error) if error.is_timeout() => "too late".to_owned(),
        Err(_) => "misfit".to_owned(),
    };
    ctx.step("first", 0, plus).await?;
    seen.push(text(ctx.signal("early").await));
    seen.push(text(ctx.signal("late").timeout(Duration::from_secs(60)).await));
    seen.push(text(ctx.signal("missed").timeout(Duration::from_secs(60)).await));
    seen.push(text(ctx.signal("odd").await));
    Ok(seen)
}

async fn asks(ctx: Ctx, _: ()) -> Result<Value> {
    let allowed: bool = ctx.signal("may I").ask(Wait::Approval, &json!({"what": "pay", "how much": 7})).await?;
    let name: String = ctx.signal("who are you").ask(Wait::Answer, &"a name").await?;
    Ok(json!([allowed, name]))
}

async fn parent(ctx: Ctx, modes: Vec<String>) -> Result<Vec<String>> {
    let kids = modes.into_iter().map(|mode| ctx.child::<u64>("kid", &mode).id(format!("kid {mode}")));
    let ends = join_all(kids).await.into_iter();
    Ok(ends.map(|end| end.map_or_else(|error| error.message().to_owned(), |n| n.to_string())).collect())
}

async fn kid(ctx: Ctx, mode: String) -> Result<u64> {
    let n = ctx.step("work", 1, plus).await?;
    match mode.as_str() {
        "fails" => Err(terminal("it would not")),
        "waits" => ctx.signal("go").await,
        _ => Ok(n),
    }
}

async fn cleans(ctx: Ctx, _: ()) -> Result<u64> {
    ctx.step("make", 1, plus).await?;
    let waited = join(ctx.signal::<u64>("go"), ctx.sleep(Duration::from_secs(9_999))).await;
    if ctx.cancelled() {
        ctx.step("clean up", 2, plus).await?;
    }
    waited.1?;
    waited.0
}

async fn flaky(ctx: Ctx, how: String) -> Result<u64> {
    let attempt = |how: String| async move {
        match (step_attempt() < Some(3), how.as_str()) {
            (false, _) => Ok(7),
            (_, "in an hour") => Err(retry_after(Duration::from_secs(3_600), "come back later")),
            (_, "limited") => {
                Err(Error::new(ErrorKind::RetryAfter { ms: 3_600_000, rate_limit: true }, "too many requests"))
            }
            (_, "never") => Err(terminal("no")),
            _ => Err(Error::new(ErrorKind::Plain, "not now")),
        }
    };
    let got: Result<u64> = ctx.step("try", how, attempt).await;
    Ok(got.unwrap_or(0))
}

async fn doubtful(ctx: Ctx, _: ()) -> Result<String> {
    let pay = |()| async {
        if step_attempt() == Some(1) { Err(Error::new(ErrorKind::Plain, "who knows")) } else { Ok(2_u64) }
    };
    let paid: Result<u64> = ctx.step("pay", (), pay).once().await;
    ctx.step("after", 0, plus).await?;
    Ok(paid.map_or_else(|error| error.message().to_owned(), |n| n.to_string()))
}

async fn probed(ctx: Ctx, says: String) -> Result<u64> {
    let pay = |_: String| async {
        if step_attempt() == Some(1) { Err(Error::new(ErrorKind::Plain, "who knows")) } else { Ok(2_u64) }
    };
    let probe = |says: String, _: Arc<str>| async move {
        Ok::<_, Error>(match says.as_str() {
            "landed" => Reconciled::Landed(1_u64),
            "did not happen" => Reconciled::DidNotHappen,
            _ => Reconciled::Unknown,
        })
    };
    ctx.step("pay", says, pay).once().reconcile(probe).await
}

async fn gated(ctx: Ctx, _: ()) -> Result<u64> {
    let side = u64::from(ctx.version("side", 1..=2));
    ctx.step("first", side, plus).await?;
    let n: u64 = ctx.signal("go").await?;
    ctx.step("second", n + u64::from(ctx.version("side", 1..=2)), plus).await
}

async fn generations(ctx: Ctx, n: u64) -> Result<u64> {
    let next = ctx.step("count", n, plus).await?;
    if n < 3 {
        return ctx.continue_as_new(&next);
    }
    ctx.signal("go").await
}

async fn long(ctx: Ctx, texts: Vec<String>) -> Result<Vec<String>> {
    let mut said = texts;
    for i in 0..4_u64 {
        let more = |said: Vec<String>| async move { Ok::<_, Error>(format!("{} {}", said.len(), "word ".repeat(60))) };
        said.push(ctx.step("say", said.clone(), more).await?);
        ctx.step("count", i, plus).await?;
    }
    ctx.signal::<u64>("go").await?;
    Ok(said)
}

async fn fails(ctx: Ctx, how: String) -> Result<u64> {
    ctx.step("first", 1, plus).await?;
    assert!(how != "panics", "it panics as told");
    Err(terminal("it fails as told"))
}

async fn parks(ctx: Ctx, what: Parked) -> Result<u64> {
    let ask = |what: Parked| async move {
        if step_attempt() == Some(1) {
            Err(Error::new(ErrorKind::Park(what), "somebody must mend that"))
        } else {
            Ok(1_u64)
        }
    };
    ctx.step("call", what, ask).await
}

/// What is in flight when its journal is taken: for ever, or until the gate opens.
async fn held(ctx: Ctx, effect: Effect) -> Result<u64> {
    let gate = ctx.resource::<Recording>().map(|recording| recording.0.subscribe());
    let slow = move |n: u64| {
        let gate = gate.clone();
        async move {
            if let Some(mut gate) = gate {
                gate.wait_for(|open| *open).await.unwrap();
            }
            plus(n).await
        }
    };
    let one = ctx.step("slow", 1, slow).effect(effect).await?;
    ctx.step("next", one, plus).await
}

/// Breaks a rule while a step is under way; mended code does not.
async fn breaks(ctx: Ctx, _: ()) -> Result<u64> {
    let recording = ctx.resource::<Recording>();
    let gate = recording.as_ref().map(|recording| recording.0.subscribe());
    let beside = move |n: u64| {
        let gate = gate.clone();
        async move {
            if let Some(mut gate) = gate {
                gate.wait_for(|open| *open).await.unwrap();
            }
            plus(n).await
        }
    };
    let foreign = async {
        let one = ctx.step("pay", 6, plus).once().await?;
        if let Some(recording) = recording {
            recording.0.send_replace(true);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok::<_, Error>(one)
    };
    let (one, two) = join(foreign, ctx.step("beside", 0, beside).once()).await;
    Ok(one? + two?)
}
