//! What the corpus records: for each file what happens until its journal is taken, and what happens to its unfinished runs then. Data only.

use abide::engine::Wait;
use abide::engine::event::Verdict;
use serde_json::{Value, json};

use super::acts::Act;

/// A file to record.
pub(super) struct Story {
    pub(super) name: &'static str,
    pub(super) shows: &'static str,
    pub(super) before: Vec<Act>,
    pub(super) then: Vec<Act>,
}

fn story(name: &'static str, shows: &'static str, before: Vec<Vec<Act>>, then: Vec<Vec<Act>>) -> Story {
    Story { name, shows, before: before.into_iter().flatten().collect(), then: then.into_iter().flatten().collect() }
}

fn start(run: &str, workflow: &str, input: Value) -> Vec<Act> {
    vec![Act::Start { run: run.to_owned(), workflow: workflow.to_owned(), input }]
}

fn stands(run: &str, status: &str) -> Vec<Act> {
    vec![Act::Stands { run: run.to_owned(), status: status.to_owned(), waiting_for: None }]
}

fn waits(run: &str, what: &str) -> Vec<Act> {
    vec![Act::Stands { run: run.to_owned(), status: "waiting".to_owned(), waiting_for: Some(what.to_owned()) }]
}

/// Resumed, it ends like that.
fn ends(run: &str, status: &str) -> Vec<Act> {
    [vec![Act::Resume { run: run.to_owned() }], stands(run, status)].concat()
}

fn signal(run: &str, name: &str, value: Value) -> Vec<Act> {
    vec![Act::Signal { run: run.to_owned(), name: name.to_owned(), value }]
}

fn advance(ms: u64) -> Vec<Act> {
    vec![Act::Advance { ms }]
}

fn answer(run: &str, wait: Wait, step: &str, value: Value) -> Vec<Act> {
    vec![Act::Answer { run: run.to_owned(), wait, step: step.to_owned(), value }]
}

fn resolve(run: &str, verdict: Verdict, result: Option<Value>, message: Option<&str>) -> Vec<Act> {
    let (run, step, message) = (run.to_owned(), "pay".to_owned(), message.map(str::to_owned));
    vec![Act::Resolve { run, step, verdict, result, message }]
}

fn running(run: &str, step: &str) -> Vec<Act> {
    vec![Act::Step { run: run.to_owned(), step: step.to_owned(), status: "running".to_owned() }]
}

fn resume(run: &str) -> Vec<Act> {
    vec![Act::Resume { run: run.to_owned() }]
}

/// All of them.
pub(super) fn all() -> Vec<Story> {
    [ended(), timed(), talked(), family(), people(), interrupted()].into_iter().flatten().collect()
}

fn ended() -> Vec<Story> {
    let done = |run: &str, workflow: &str, input: Value, status: &str| {
        [start(run, workflow, input), stands(run, status)].concat()
    };
    vec![
        story(
            "sequence",
            "steps one after the other, of every effect; time, randomness, ids, progress",
            vec![done("r", "sequence", json!(1), "completed")],
            vec![],
        ),
        story(
            "wide",
            "a fan-out, a map, a race, a select with a drop, a scope",
            vec![done("r", "wide", json!(16), "completed")],
            vec![],
        ),
        story(
            "failed",
            "a workflow's error, its panic, and a step's terminal error that it survives",
            vec![
                done("error", "fails", json!("fails"), "failed"),
                done("panic", "fails", json!("panics"), "failed"),
                done("survives", "flaky", json!("never"), "completed"),
            ],
            vec![],
        ),
    ]
}

fn timed() -> Vec<Story> {
    let hour = 3_600_000;
    vec![
        story(
            "timer",
            "asleep",
            vec![start("r", "timer", json!(hour)), waits("r", "timer")],
            vec![advance(hour), resume("r"), waits("r", "timer"), advance(1), ends("r", "completed")],
        ),
        story(
            "fired",
            "two timers that came due",
            vec![
                start("r", "timer", json!(5)),
                waits("r", "timer"),
                advance(5),
                resume("r"),
                advance(1),
                ends("r", "completed"),
            ],
            vec![],
        ),
        story(
            "retry",
            "a failed attempt, and the next one in its back-off",
            vec![start("r", "flaky", json!("back off")), waits("r", "timer")],
            vec![advance(60_000), resume("r"), waits("r", "timer"), advance(60_000), ends("r", "completed")],
        ),
        story(
            "retry-after",
            "told to come back in an hour",
            vec![start("r", "flaky", json!("in an hour")), waits("r", "timer")],
            vec![advance(hour), resume("r"), waits("r", "timer"), advance(hour), ends("r", "completed")],
        ),
        story(
            "rate-limit",
            "a provider's rate limit",
            vec![start("r", "flaky", json!("limited")), waits("r", "rate_limit")],
            vec![advance(hour), resume("r"), waits("r", "rate_limit"), advance(hour), ends("r", "completed")],
        ),
    ]
}

fn talked() -> Vec<Story> {
    vec![
        story(
            "signals",
            "a signal that came early, one that came late, one that never came, and one that does not fit is still to come",
            vec![
                start("r", "signals", json!(null)),
                signal("r", "early", json!(1)),
                waits("r", "signal"),
                signal("r", "late", json!(2)),
                resume("r"),
                vec![Act::Step { run: "r".to_owned(), step: "missed".to_owned(), status: "scheduled".to_owned() }],
                advance(60_000),
                resume("r"),
                vec![Act::Step { run: "r".to_owned(), step: "odd".to_owned(), status: "scheduled".to_owned() }],
                waits("r", "signal"),
            ],
            vec![signal("r", "odd", json!("text")), ends("r", "completed")],
        ),
        story(
            "inbox",
            "messages that were sent and not delivered yet",
            vec![start("r", "gated", json!(null)), waits("r", "signal"), signal("r", "go", json!(5))],
            vec![ends("r", "completed")],
        ),
        story(
            "gated",
            "a version gate",
            vec![start("r", "gated", json!(null)), waits("r", "signal")],
            vec![signal("r", "go", json!(5)), ends("r", "completed")],
        ),
        story(
            "generations",
            "continue_as_new three times",
            vec![start("r", "generations", json!(0)), waits("r", "signal")],
            vec![signal("r", "go", json!(9)), ends("r", "completed")],
        ),
        story(
            "long",
            "payloads in chunks, and lists that grow",
            vec![start("r", "long", json!(["x".repeat(300)])), waits("r", "signal")],
            vec![signal("r", "go", json!(1)), ends("r", "completed")],
        ),
        story(
            "asks",
            "an approval and an answer",
            vec![
                start("first", "asks", json!(null)),
                waits("first", "approval"),
                start("second", "asks", json!(null)),
                waits("second", "approval"),
                answer("second", Wait::Approval, "may I", json!(true)),
                resume("second"),
                waits("second", "answer"),
            ],
            vec![
                answer("first", Wait::Approval, "may I", json!(false)),
                resume("first"),
                waits("first", "answer"),
                answer("first", Wait::Answer, "who are you", json!("me")),
                ends("first", "completed"),
                answer("second", Wait::Answer, "who are you", json!("you")),
                ends("second", "completed"),
            ],
        ),
    ]
}

fn family() -> Vec<Story> {
    vec![story(
        "children",
        "a child that ended, one that failed, and one that waits",
        vec![start("r", "parent", json!(["ends", "fails", "waits"])), waits("r", "child")],
        vec![signal("kid waits", "go", json!(5)), ends("r", "completed"), stands("kid waits", "completed")],
    )]
}

fn people() -> Vec<Story> {
    let hold = |run: &str, what: &str| [start(run, "parks", json!(what)), waits(run, what)].concat();
    vec![
        story(
            "cancelled",
            "cancelled with clean-up, and about to be",
            vec![
                start("was", "cleans", json!(null)),
                waits("was", "signal"),
                vec![Act::Cancel { run: "was".to_owned() }],
                ends("was", "cancelled"),
                start("will", "cleans", json!(null)),
                waits("will", "signal"),
            ],
            vec![vec![Act::Cancel { run: "will".to_owned() }], ends("will", "cancelled")],
        ),
        story(
            "doubt",
            "a once step in doubt, and every way out of it",
            ["r", "l", "f"]
                .into_iter()
                .flat_map(|id| {
                    let was = format!("was-{id}");
                    let out = match id {
                        "r" => resolve(&was, Verdict::Retry, None, None),
                        "l" => resolve(&was, Verdict::Landed, Some(json!(4)), None),
                        _ => resolve(&was, Verdict::Fail, None, Some("given up")),
                    };
                    vec![
                        start(id, "doubtful", json!(null)),
                        waits(id, "in_doubt"),
                        start(&was, "doubtful", json!(null)),
                        waits(&was, "in_doubt"),
                        out,
                        ends(&was, "completed"),
                    ]
                })
                .collect(),
            vec![
                resolve("r", Verdict::Retry, None, None),
                ends("r", "completed"),
                resolve("l", Verdict::Landed, Some(json!(4)), None),
                ends("l", "completed"),
                resolve("f", Verdict::Fail, None, Some("given up")),
                ends("f", "completed"),
            ],
        ),
        story(
            "probe",
            "a once step in doubt whose probe tells, and one whose probe cannot",
            vec![
                start("landed", "probed", json!("landed")),
                stands("landed", "completed"),
                start("not", "probed", json!("did not happen")),
                waits("not", "timer"),
                advance(60_000),
                ends("not", "completed"),
                start("unknown", "probed", json!("unknown")),
                waits("unknown", "in_doubt"),
            ],
            vec![resolve("unknown", Verdict::Landed, Some(json!(3)), None), ends("unknown", "completed")],
        ),
        story(
            "parked",
            "what only somebody outside can mend",
            ["trust", "credentials", "quota", "budget"].map(|what| hold(what, what)).to_vec(),
            ["trust", "credentials", "quota", "budget"].map(|what| ends(what, "completed")).to_vec(),
        ),
    ]
}

fn interrupted() -> Vec<Story> {
    vec![
        story(
            "created",
            "recorded, and not begun",
            vec![vec![Act::Detached { run: "r".to_owned(), workflow: "sequence".to_owned(), input: json!(1) }]],
            vec![ends("r", "completed")],
        ),
        story(
            "killed",
            "steps of each effect that were in flight when the process died",
            vec![
                start("pure", "held", json!("pure")),
                running("pure", "slow"),
                start("idempotent", "held", json!("idempotent")),
                running("idempotent", "slow"),
                start("once", "held", json!("once")),
                running("once", "slow"),
            ],
            vec![
                ends("pure", "completed"),
                ends("idempotent", "completed"),
                resume("once"),
                waits("once", "in_doubt"),
                vec![Act::Resolve {
                    run: "once".to_owned(),
                    step: "slow".to_owned(),
                    verdict: Verdict::Retry,
                    result: None,
                    message: None,
                }],
                ends("once", "completed"),
            ],
        ),
        story(
            "paused",
            "paused while a step was under way, and the next one held",
            vec![
                start("r", "held", json!("once")),
                running("r", "slow"),
                vec![Act::Pause { run: "r".to_owned() }, Act::Open],
                stands("r", "paused"),
            ],
            vec![ends("r", "completed")],
        ),
        story(
            "diverged",
            "code that broke a rule while a once step was under way",
            vec![start("r", "breaks", json!(null)), stands("r", "diverged")],
            vec![ends("r", "completed")],
        ),
    ]
}
