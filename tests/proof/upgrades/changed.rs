//! Code that was changed under a recorded run is caught, by `replay` and by `resume`, naming the step, what was recorded and what was asked
//! (DESIGN rule 7); nothing is lost by it, and the code of before goes on. What cannot be compared, such as a step's own code, is not tried.

use std::time::Duration;

use abide::Builder;
use abide::prelude::*;
use futures_util::future::{Either, select};

use super::{Desk, until, within};

/// What the code does; each change is another one of these.
#[derive(Debug, Clone, Copy)]
struct Code {
    first: &'static str,
    second: Option<&'static str>,
    swapped: bool,
    extra: bool,
    plus: u32,
    items: u32,
    branch: &'static str,
    keeps_loser: bool,
    sleep: u64,
    child: &'static str,
    child_input: u32,
    child_id: &'static str,
    as_signal: bool,
    text: bool,
    foreign: bool,
    next: u32,
    wait: Wait,
    result: u32,
}

#[derive(Debug, Clone, Copy)]
enum Wait {
    For(&'static str, Option<u64>),
    Not,
}

const CODE: Code = Code {
    first: "a",
    second: Some("b"),
    swapped: false,
    extra: false,
    plus: 0,
    items: 3,
    branch: "quick",
    keeps_loser: false,
    sleep: 5,
    child: "child",
    child_input: 1,
    child_id: "kid",
    as_signal: false,
    text: false,
    foreign: false,
    next: 1,
    wait: Wait::For("go", None),
    result: 1,
};

async fn flow(ctx: Ctx, generation: u32, code: Code) -> Result<u32> {
    let step = |name: &'static str, n: u32| ctx.step(name, n, |n| async move { Ok::<u32, Error>(n + 1) });
    if generation == 0 {
        step("before", 0).await?;
        return ctx.continue_as_new(&code.next);
    }
    let names = if code.swapped { [code.second, Some(code.first)] } else { [Some(code.first), code.second] };
    for name in names.into_iter().flatten() {
        if code.text {
            ctx.step(name, 0_u32, |_| async move { Ok::<_, Error>("text".to_owned()) }).await?;
        } else {
            step(name, if name == "b" { code.plus } else { 0 }).await?;
        }
    }
    if code.extra {
        step("extra", 0).await?;
    }
    if code.foreign {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    ctx.map("each", 0..code.items, |ctx, n| async move {
        ctx.step("work", n, |n| async move { Ok::<u32, Error>(n) }).await
    })
    .await;
    let (_, won) = ctx
        .race("either", [code.branch, "slow"], |ctx, branch| async move {
            if branch == "slow" {
                ctx.sleep(Duration::from_secs(1_000_000)).await?;
            }
            ctx.step("try", branch, |_| async move { Ok::<u32, Error>(1) }).await
        })
        .await;
    won?;
    let long = ctx.signal::<u32>("never");
    if let Either::Right((quick, long)) = select(long, step("against", 0)).await {
        quick?;
        if code.keeps_loser {
            std::mem::forget(long);
        }
    }
    ctx.sleep(Duration::from_millis(code.sleep)).await?;
    if code.as_signal {
        ctx.signal::<u32>("kind").await?;
    } else {
        step("kind", 0).await?;
    }
    ctx.child::<u32>(code.child, &code.child_input).id(code.child_id).await?;
    if let Wait::For(name, timeout) = code.wait {
        let wait = ctx.signal::<u32>(name);
        match timeout {
            Some(ms) => wait.timeout(Duration::from_millis(ms)).await?,
            None => wait.await?,
        };
    }
    Ok(code.result)
}

fn with(builder: Builder, code: Code) -> Builder {
    let child = |_: Ctx, n: u32| async move { Ok::<_, Error>(n) };
    builder
        .workflow("flow", move |ctx: Ctx, generation: u32| flow(ctx, generation, code))
        .workflow("child", child)
        .workflow("other", child)
}

/// A run of `CODE` that waits for its last signal.
async fn recorded() -> Desk {
    let desk = Desk::new();
    let abide = with(desk.open(), CODE).start().await.unwrap();
    let run = abide.run("flow", &0).id("r").await.unwrap();
    until(&run, "waiting", Some("timer")).await;
    desk.advance(Duration::from_millis(5));
    until(&run, "waiting", Some("signal")).await;
    abide.shutdown().await;
    desk
}

/// What was changed, where it is noticed, and what is said to be recorded and asked for.
type Change = (&'static str, Code, &'static str, &'static str, &'static str);

fn changes() -> Vec<Change> {
    vec![
        ("an input", Code { plus: 1, ..CODE }, "b", "input 0", "input 1"),
        ("a name", Code { first: "alpha", ..CODE }, "alpha", "nothing", "a step with input 0"),
        ("the order", Code { swapped: true, ..CODE }, "b", "nothing", "a step with input 0"),
        ("a step less", Code { second: None, ..CODE }, "each[0]/work", "nothing", "a step with input 0"),
        ("a step more", Code { extra: true, ..CODE }, "extra", "nothing", "a step with input 0"),
        ("a branch less", Code { items: 2, ..CODE }, "each[2]/work", "a step with input 2", "nothing"),
        ("a branch more", Code { items: 4, ..CODE }, "each[3]/work", "nothing", "a step with input 3"),
        ("a race's branch", Code { branch: "fast", ..CODE }, "either[0]/try", "input \"quick\"", "input \"fast\""),
        ("a loser that is kept", Code { keeps_loser: true, ..CODE }, "never", "dropped or cancelled", "nothing"),
        ("a timer's length", Code { sleep: 6, ..CODE }, "sleep", "a sleep of 5 ms", "one of 6 ms"),
        ("a kind", Code { as_signal: true, ..CODE }, "kind", "a step with input 0", "signal `kind`"),
        ("a child's workflow", Code { child: "other", ..CODE }, "other", "nothing", "child `other`"),
        ("a child's input", Code { child_input: 2, ..CODE }, "child", "input 1", "input 2"),
        ("a child's id", Code { child_id: "kit", ..CODE }, "child", "run `kid`", "run `kit`"),
        ("a signal's name", Code { wait: Wait::For("went", None), ..CODE }, "went", "nothing", "signal `went`"),
        ("a signal's time", Code { wait: Wait::For("go", Some(9)), ..CODE }, "go", "None", "Some(9)"),
        ("the end", Code { wait: Wait::Not, ..CODE }, "end", "that it goes on", "that the run completed"),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changed_code_is_caught_and_the_code_of_before_goes_on() {
    let desk = recorded().await;
    for (what, code, step, recorded, asked) in changes() {
        let abide = with(desk.open(), code).start().await.unwrap();
        let replayed = within(abide.replay("r")).await.unwrap();
        let [parts] = &replayed.divergences[..] else { panic!("{what}: {replayed:?}") };
        assert_eq!((parts.generation, parts.step.as_deref()), (1, Some(step)), "{what}: {parts:?}");
        let said = [&parts.recorded, &parts.asked].map(|said| said.clone().unwrap_or_default());
        assert!(said[0].contains(recorded) && said[1].contains(asked), "{what}: {said:?}");
        let error = within(abide.resume("r", false)).await.map(|_| ()).unwrap_err();
        assert_eq!(error.exit_code(), 5, "{what}: {error}");
        assert!(error.to_string().contains(&parts.why), "{what}: {error}");
        abide.shutdown().await;
    }
    let abide = with(desk.open(), CODE).start().await.unwrap();
    assert!(within(abide.replay("r")).await.unwrap().is_same());
    abide.get("r").unwrap().signal("go", &1).await.unwrap();
    let run = within(abide.resume("r", false)).await.unwrap();
    assert_eq!(within(run.result::<u32>()).await.unwrap(), 1);
    abide.shutdown().await;
    // What was recorded to its end is compared to its end.
    let changes = changes().into_iter().map(|(what, code, step, ..)| (what, code, step));
    let later = [("the result", Code { result: 2, ..CODE }, "end"), ("a next input", Code { next: 2, ..CODE }, "end")];
    let mut caught = 0;
    for (what, code, step) in changes.chain(later) {
        let abide = with(desk.open(), code).start().await.unwrap();
        let replayed = within(abide.replay("r")).await.unwrap();
        assert!(replayed.divergences.iter().any(|parts| parts.step.as_deref() == Some(step)), "{what}: {replayed:?}");
        caught += 1;
        abide.shutdown().await;
    }
    println!("{caught} changes of a workflow: 0 unnoticed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn code_that_breaks_a_rule_or_reads_another_type_is_caught() {
    let desk = recorded().await;
    for (what, code, says) in [
        ("a foreign await", Code { foreign: true, ..CODE }, "awaits something abide does not know"),
        ("another type", Code { text: true, ..CODE }, "does not fit the type"),
    ] {
        let abide = with(desk.open(), code).start().await.unwrap();
        let replayed = within(abide.replay("r")).await.unwrap();
        assert!(replayed.divergences.len() == 1 && replayed.divergences[0].why.contains(says), "{what}: {replayed:?}");
        abide.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_leaves_live_runs_and_files_alone() {
    let desk = Desk::new();
    let abide = with(desk.open(), CODE).start().await.unwrap();
    let run = abide.run("flow", &0).id("r").await.unwrap();
    until(&run, "waiting", Some("timer")).await;
    let everything = |desk: &Desk| -> (i64, i64, i64) {
        let sql = "SELECT (SELECT max(id) FROM log), (SELECT sum(epoch) FROM heads), (SELECT total(owner) FROM heads)";
        desk.sqlite().query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?, row.get::<_, f64>(2)? as i64))).unwrap()
    };
    let before = everything(&desk);
    let other = with(desk.open(), CODE).existing().start().await.unwrap();
    for _ in 0..3 {
        let replayed = within(other.replay("r")).await.unwrap();
        assert!(replayed.is_same() && replayed.generations == 2 && replayed.rows > 5, "{replayed:?}");
        assert!(within(abide.replay("r")).await.unwrap().is_same());
    }
    assert_eq!(everything(&desk), before);
    desk.advance(Duration::from_millis(5));
    until(&run, "waiting", Some("signal")).await;
    assert!(within(other.replay("kid")).await.unwrap().is_same());
    other.shutdown().await;
    let stranger = desk.open().existing().start().await.unwrap();
    assert!(matches!(within(stranger.replay("r")).await, Err(HostError::NoWorkflow { .. })));
    assert!(matches!(within(stranger.replay("no such run")).await, Err(HostError::NoSuchRun { .. })));
    stranger.shutdown().await;
    abide.shutdown().await;
}
