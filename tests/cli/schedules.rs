//! `abide schedule`: keeping and changing schedules, and runs that `serve` and `resume` start by them, over kills and changed files.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::model::{Model, PATIENCE, Say};
use crate::support::project::{Project, out};

fn project() -> (Model, Project) {
    let model = Model::new(|_, _| Say::Text("done"));
    let project = Project::new(&model);
    std::fs::write(project.root.join(".mcp.json"), "{}").unwrap();
    (model, project)
}

fn add(project: &Project, name: &str, more: &[&str]) -> Value {
    project.abide(&[&["schedule", "add", name, "--json"], more].concat()).is(0).json()["schedule"].clone()
}

fn shown(project: &Project, name: &str) -> Value {
    project.abide(&["schedule", "show", name, "--json"]).is(0).json()
}

fn wait_until(project: &Project, name: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let since = std::time::Instant::now();
    loop {
        let shown = shown(project, name);
        if wanted(&shown) {
            return shown;
        }
        assert!(since.elapsed() < PATIENCE, "it never came to that: {shown}");
    }
}

fn completed(shown: &Value) -> BTreeSet<String> {
    let runs = shown["runs"].as_array().unwrap().iter().filter(|run| run["status"] == "completed");
    runs.map(|run| run["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn serve_starts_what_is_due_and_takes_it_up_again_after_a_kill() {
    let (_model, project) = project();
    let info = add(&project, "beat", &["--every", "1s", "helper.md", "beat", "--missed", "all", "--overlap", "allow"]);
    assert_eq!((&info["target"], &info["input"]), (&json!(project.root.join("helper.md")), &json!("beat")));
    assert_eq!(info["when"]["every_ms"], 1_000);
    let from = info["when"]["from_ms"].as_i64().unwrap();
    // Two at once, one of which dies between a time and its commit, the other by a real signal.
    let mut doomed = project.command(&project.root, &["serve", "--trust"]);
    let mut doomed = doomed.env("ABIDE_CRASH", "schedule.due:2").spawn().unwrap();
    let mut other = project.spawn(&["serve", "--trust"]);
    wait_until(&project, "beat", |shown| completed(shown).len() >= 2);
    doomed.wait().unwrap();
    other.kill().unwrap();
    other.wait().unwrap();
    let mut last = project.spawn(&["serve", "--trust"]);
    let before = shown(&project, "beat")["schedule"]["last_ms"].as_i64().unwrap();
    let shown = wait_until(&project, "beat", |shown| {
        shown["schedule"]["last_ms"].as_i64().unwrap() >= before + 2_000
            && shown["runs"].as_array().unwrap().iter().all(|run| run["status"] == "completed")
    });
    project.abide(&["schedule", "pause", "beat"]).is(0).says("beat is paused");
    last.kill().unwrap();
    last.wait().unwrap();
    let last =
        project.abide(&["schedule", "show", "beat", "--json"]).is(0).json()["schedule"]["last_ms"].as_i64().unwrap();
    // One for each second, none twice and none left out.
    let runs = project.abide(&["ls", "--json", "-n", "1000"]).is(0).json();
    let runs = runs["runs"].as_array().unwrap().len();
    assert_eq!(i64::try_from(runs).unwrap(), (last - from) / 1_000, "{shown}");
}

#[test]
fn resume_starts_what_is_due_with_the_files_of_that_day() {
    let (model, project) = project();
    add(&project, "nightly", &["--every", "1s", "helper.md", "go"]);
    let resume_until = |wanted: &dyn Fn(&Value) -> bool| {
        let since = std::time::Instant::now();
        loop {
            project.abide(&["resume", "--trust"]).is(0);
            let shown = shown(&project, "nightly");
            if wanted(&shown) {
                return shown;
            }
            assert!(since.elapsed() < PATIENCE, "it never came to that: {shown}");
        }
    };
    resume_until(&|shown| !completed(shown).is_empty());
    let system = || model.asked().last().unwrap().body["messages"][0]["content"].clone();
    assert_eq!(system(), "You help.");
    project.write("helper.md", "---\nname: helper\nmodel: local\nmaxTurnz: 3\n---\nYou help.\n");
    let broken = resume_until(&|shown| !shown["schedule"]["note"].is_null());
    let note = broken["schedule"]["note"].as_str().unwrap();
    assert!(note.contains("nothing was started") && note.contains("maxTurnz") && note.contains("helper.md"), "{note}");
    assert!(project.abide(&["schedule", "ls"]).is(0).stdout.contains("nothing was started"));
    project.abide(&["schedule", "trigger", "nightly"]).is(2).says("cannot start anything").says("maxTurnz");
    project.write("helper.md", "---\nname: helper\nmodel: local\n---\nYou help better.\n");
    let before = completed(&shown(&project, "nightly")).len();
    let mended = resume_until(&|shown| completed(shown).len() > before);
    assert_eq!(system(), "You help better.");
    // On a slow machine times were missed meanwhile, and the note says that.
    assert!(!mended["schedule"]["note"].to_string().contains("helper.md"), "{mended}");
    let run = project.abide(&["schedule", "trigger", "nightly", "--trust"]).is(0);
    assert_eq!(run.stdout, "done\n");
}

/// Nobody is there at night to be asked: the run waits visibly, and the next ones are not started beside it.
#[test]
fn a_run_that_needs_consent_parks_and_the_schedule_goes_on() {
    let model = Model::new(|_, _| Say::Text("done"));
    let project = Project::new(&model);
    let added = project.abide(&["schedule", "add", "nightly", "--every", "1s", "helper.md", "go"]).is(0);
    added.says("ask for consent that was not given").says("`abide serve` starts what is due");
    let mut serve = project.spawn(&["serve"]);
    let skips = |shown: &Value| shown["schedule"]["note"].as_str().is_some_and(|note| note.contains("has not ended"));
    let waits = |shown: &Value| shown["runs"][0]["waiting_for"] == "trust";
    let shown = wait_until(&project, "nightly", |shown| skips(shown) && waits(shown));
    assert_eq!(shown["runs"].as_array().unwrap().len(), 1);
    assert_eq!(model.count(), 0);
    let told = project.abide(&["schedule", "show", "nightly"]).is(0).stdout;
    assert!(told.contains("trust") && told.contains("every 1.0 s"), "{told}");
    serve.kill().unwrap();
    serve.wait().unwrap();
}

#[test]
fn a_schedule_is_kept_told_changed_and_removed() {
    let (model, project) = project();
    let info = add(&project, "daily", &["--cron", "0 3 * * *", "--tz", "Europe/Berlin", "helper.md", "go"]);
    assert_eq!(info["when"], json!({"cron": "0 3 * * *", "tz": "Europe/Berlin"}));
    assert_eq!((&info["missed"], &info["overlap"], &info["queue"]), (&json!("once"), &json!("skip"), &Value::Null));
    let next = info["next_ms"].as_i64().unwrap();
    // At 3:00 in Berlin, summer or winter.
    assert!([1, 2].contains(&(next / 3_600_000 % 24)) && next % 3_600_000 == 0, "{next}");
    // The same again is the same; something else has to say so.
    add(&project, "daily", &["--cron", "0 3 * * *", "--tz", "Europe/Berlin", "helper.md", "go"]);
    project
        .abide(&["schedule", "add", "daily", "--cron", "0 4 * * *", "helper.md", "go"])
        .is(2)
        .says("says something else")
        .says("--replace");
    project.settings(&model, "[queues.slow]\nconcurrency = 1\npriority = 2\n");
    let changed = add(&project, "daily", &["--every", "1h30m", "helper.md", "go", "--queue", "slow", "--replace"]);
    assert_eq!((&changed["when"]["every_ms"], &changed["queue"]), (&json!(5_400_000), &json!("slow")));
    let listed = project.abide(&["schedule", "ls"]).is(0).stdout;
    assert!(listed.contains("daily") && listed.contains("every 90 min"), "{listed}");
    assert_eq!(project.abide(&["schedule", "list", "--json"]).is(0).json()["schedules"], json!([changed]));
    project.abide(&["schedule", "pause", "daily"]).is(0).says("daily is paused");
    assert!(project.abide(&["schedule", "ls"]).is(0).stdout.contains("paused"));
    project.abide(&["schedule", "resume", "daily"]).is(0).says("daily goes on: it is due");
    let run = project.spawn(&["schedule", "trigger", "daily", "--detach", "--trust", "--json"]);
    let id = out(run).is(0).json()["run"]["id"].as_str().unwrap().to_owned();
    assert!(id.starts_with("daily-2") && id.ends_with('Z'), "{id}");
    project.wait_until(&id, |shown| shown["run"]["status"] == "completed");
    project.abide(&["schedule", "remove", "daily"]).is(0).says("daily is removed");
    for verb in ["show", "pause", "resume", "rm", "trigger"] {
        project.abide(&["schedule", verb, "daily"]).is(6).says("there is no schedule `daily`");
    }
}

#[test]
fn what_cannot_be_is_refused_when_it_is_added() {
    let (_model, project) = project();
    for (words, code, says) in [
        (&["--cron", "0 25 * * *", "helper.md", "go"][..], 2, "the hour `25`"),
        (&["--cron", "0 3 * * *", "--tz", "Mars/Olympus", "helper.md", "go"], 2, "time zone `Mars/Olympus`"),
        (&["--every", "soon", "helper.md", "go"], 2, "no length of time"),
        (&["helper.md", "go"], 2, "--cron"),
        (&["--every", "1h", "--cron", "* * * * *", "helper.md", "go"], 2, "cannot be used with"),
        (&["--every", "1h", "helper.md"], 2, "needs an input"),
        (&["--every", "1h", "nobody", "go"], 6, "nobody"),
        (&["--every", "1h", "helper.md", "go", "--missed", "maybe"], 2, "skip, once, all"),
        (&["--every", "1h", "helper.md", "go", "--queue", "q"], 8, "there is no queue `q`"),
    ] {
        project.abide(&[&["schedule", "add", "x"], words].concat()).is(code).says(says);
    }
    project.abide(&["schedule", "add", "a b", "--every", "1h", "helper.md", "go"]).is(2).says("the name `a b`");
    assert!(project.abide(&["schedule", "ls", "--json"]).is(0).json()["schedules"].as_array().unwrap().is_empty());
}
