//! Queues on the command line: who waits, what is told of it, and what names a queue.

use serde_json::{Value, json};

use crate::support::model::{Model, Say};
use crate::support::project::{Project, out};

/// An agent whose answer is held back until the gate opens.
fn held() -> (Model, Project) {
    let model = Model::new(|_, _| Say::Held("done"));
    let project = Project::new(&model);
    project.settings(&model, "[queues.slow]\nconcurrency = 1\npriority = 2\n");
    std::fs::write(project.root.join(".mcp.json"), "{}").unwrap();
    (model, project)
}

#[test]
fn runs_wait_for_their_turn_and_are_told_so() {
    let (model, project) = held();
    let run = |id: &str, more: &[&str]| {
        let words = ["run", "helper.md", "go", "--trust", "--queue", "slow", "--id", id];
        project.spawn(&[&words[..], more].concat())
    };
    let first = run("first", &[]);
    model.wait_for(1);
    let parked = out(run("second", &["--no-wait"])).is(3).says("run `second` waits for a place in its queue `slow`");
    assert!(parked.stderr.contains("abide resume second"), "{parked:?}");
    let third = run("third", &["--priority", "7"]);
    let shown = project.wait_until("third", |shown| shown["run"]["waiting_for"] == "queue");
    assert_eq!((&shown["run"]["status"], &shown["run"]["queue"]), (&json!("waiting"), &json!("slow")));
    assert_eq!((&shown["run"]["owner_pid"], &shown["steps"]), (&Value::Null, &json!([])));
    let listed = project.abide(&["ls"]).is(0).stdout;
    assert_eq!(listed.lines().filter(|line| line.contains("waiting") && line.contains("queue")).count(), 2, "{listed}");
    assert_eq!(model.count(), 1);
    project.abide(&["verify"]).is(0);
    // One that nobody has begun is cancelled without a call.
    project.abide(&["run", "helper.md", "go", "--queue", "slow", "--id", "fourth", "--no-wait", "--trust"]).is(3);
    project.abide(&["cancel", "fourth", "--resume"]).is(4);
    model.open_gate();
    assert_eq!(out(first).is(0).stdout, "done\n");
    assert_eq!(out(third).is(0).says("run third waits for a place in the queue `slow`").stdout, "done\n");
    assert_eq!(project.show("second")["run"]["status"], "interrupted", "its turn has come, and nobody works on it");
    project.abide(&["resume", "--trust"]).is(0);
    assert_eq!(project.show("second")["run"]["output"], "done");
    assert_eq!(model.count(), 3);
    assert!(project.show("second")["run"].get("queue").is_none());
}

#[test]
fn a_killed_run_keeps_its_place_until_it_is_resumed() {
    let (model, project) = held();
    let words = ["run", "helper.md", "go", "--trust", "--queue", "slow", "--id"];
    let mut first = project.spawn(&[&words[..], &["first"]].concat());
    model.wait_for(1);
    first.kill().unwrap();
    first.wait().unwrap();
    project.abide(&[&words[..], &["second", "--no-wait"]].concat()).is(3);
    model.open_gate();
    // Both go on, one after the other.
    project.abide(&["resume", "--trust"]).is(0);
    for id in ["first", "second"] {
        assert_eq!(project.show(id)["run"]["status"], "completed");
    }
}

#[test]
fn files_name_queues_and_a_name_that_is_none_is_told() {
    let (model, project) = held();
    let more = "[queues.slow]\nconcurrency = 1\n[workflows.both]\npattern = \"chain\"\nagents = [\"helper\"]\nqueue = \"slow\"\n";
    project.settings(&model, more);
    let folder = project.root.join(".abide").join("agents");
    std::fs::create_dir_all(&folder).unwrap();
    let agent = |queue: &str| {
        let text = format!("---\nname: helper\nmodel: local\nqueue: {queue}\npriority: 3\n---\nYou help.\n");
        std::fs::write(folder.join("helper.md"), text).unwrap();
    };
    agent("slow");
    let first = project.spawn(&["run", "helper", "go", "--trust", "--id", "first"]);
    model.wait_for(1);
    for (id, target) in [("second", "helper"), ("third", "both")] {
        project.abide(&["run", target, "go", "--trust", "--id", id, "--no-wait"]).is(3).says("queue `slow`");
    }
    let checked = project.abide(&["check"]).is(0).stdout;
    assert!(checked.contains("queues\n  slow  1 at a time"), "{checked}");
    let schema = project.abide(&["schema"]).is(0).json();
    assert_eq!(schema["properties"]["queues"]["additionalProperties"]["properties"]["concurrency"]["type"], "integer");
    model.open_gate();
    out(first).is(0);

    agent("slwo");
    let told = project.abide(&["check"]).is(8).stdout;
    assert!(
        told.contains("helper.md:4") && told.contains("no queue `slwo`") && told.contains("did you mean `slow`"),
        "{told}"
    );
    project.abide(&["run", "helper", "go", "--trust"]).is(8).says("there is no queue `slwo`");
    project.abide(&["run", "helper.md", "go", "--queue", "fast"]).is(8).says("[queues.fast]");
    project.abide(&["run", "helper.md", "go", "--priority", "3"]).is(2).says("is in no queue");
    for (table, says) in [
        ("[queues.x]\n", "concurrency = 4"),
        ("[queues.x]\nconcurrency = 0\n", "a whole number from 1"),
        ("[queues.x]\nconcurency = 4\n", "concurrency"),
        ("[queues.x]\nconcurrency = 4\npriority = \"high\"\n", "a whole number"),
    ] {
        project.settings(&model, table);
        let told = project.abide(&["check"]).is(8).stdout;
        assert!(told.contains(says), "{told}");
    }
}
