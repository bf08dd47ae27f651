//! What servers ask in the middle of their work: questions to people and to models, works that go on by themselves, in both eras of the
//! protocol, over kills.

use serde_json::{Value, json};

use crate::support::asking::{count, declaration, gate, requests, tasks};
use crate::support::model::{Model, Say};
use crate::support::project::{Out, Project, out};

const ALLOW: &str = "[tools.\"ask_*\"]\npolicy = \"allow\"\n";

/// Calls this tool once, then tells what it was told.
fn caller(tool: &'static str, arguments: Value) -> Model {
    Model::new(move |_, asked| {
        let messages = asked.body["messages"].as_array().unwrap();
        if messages[0]["content"] == "You dream." {
            return Say::Text("of the Danube");
        }
        let called = messages.iter().any(|message| message["role"] == "assistant");
        if called { Say::Text("so it is") } else { Say::Calls(vec![(tool, arguments.clone())]) }
    })
}

fn project(model: &Model, era: &str, more: &str) -> Project {
    let project = Project::new(model);
    project.write(".mcp.json", &declaration(era));
    project.settings(model, &format!("{ALLOW}{more}"));
    project
}

fn run(project: &Project) -> Out {
    project.abide(&["run", "helper.md", "go", "--id", "r", "--trust"])
}

/// What the model was told by the tool.
fn told(model: &Model) -> String {
    let asked = model.asked();
    asked.last().unwrap().body["messages"].as_array().unwrap().last().unwrap()["content"].to_string()
}

fn status<'a>(shown: &'a Value, id: &str) -> &'a str {
    let steps = shown["steps"].as_array().unwrap();
    steps.iter().find(|step| step["id"] == id).map_or("not there", |step| step["status"].as_str().unwrap())
}

/// Why a step is in doubt.
fn doubt(project: &Project, id: &str) -> String {
    let shown = project.show("r");
    assert_eq!(status(&shown, id), "in_doubt");
    let steps = shown["steps"].as_array().unwrap();
    steps.iter().find(|step| step["id"] == id).unwrap()["error"].as_str().unwrap().to_owned()
}

#[test]
fn a_question_parks_the_run_and_the_call_is_made_anew_with_the_answer() {
    let model = caller("ask_ask", json!({}));
    let project = project(&model, "modern", "");
    run(&project).is(3).says("waits for an answer").says("who are you?").says("name (string): yours").says("--decline");
    let shown = project.show("r");
    assert_eq!((&shown["run"]["waiting_for"], &shown["run"]["owner_pid"]), (&json!("answer"), &json!(null)));
    assert_eq!(status(&shown, "helper/ask_ask.answer"), "scheduled");
    assert!(project.abide(&["ls"]).is(0).stdout.contains("answer"));
    for (wrong, words) in
        [("{\"name\": 7}", "at /name"), ("{}", "\"name\" is a required property"), ("Ada", "not a JSON object")]
    {
        project.abide(&["answer", "r", wrong]).is(2).says("does not fit the form").says(words);
    }
    project.abide(&["resume", "r", "--trust"]).is(3);
    assert_eq!(count(&project.log(), "tools/call"), 1, "nothing is called again while it waits");
    project.abide(&["answer", "r", "{\"name\": \"Ada\"}"]).is(0).says("abide resume r");
    project.abide(&["resume", "r", "--trust"]).is(0);
    let seen = requests(&project.log());
    assert_eq!(seen.len(), 2);
    assert_eq!(seen[1]["given"]["q"], json!({"action": "accept", "content": {"name": "Ada", "style": "kindly"}}));
    assert_eq!((&seen[1]["state"], &seen[0]["key"]), (&json!("state-7"), &seen[1]["key"]));
    assert!(told(&model).contains("state-7"), "{}", told(&model));
    let shown = project.show("r");
    assert_eq!(shown["run"]["status"], "completed");
    let kinds = ["helper/ask_ask", "helper/ask_ask.answer", "helper/ask_ask#2"].map(|id| status(&shown, id).to_owned());
    assert_eq!(kinds, ["completed"; 3]);
}

#[test]
fn a_person_may_decline_or_leave_it_open_and_an_address_is_opened() {
    for (tool, words, action) in [
        ("ask_ask", &["--decline"][..], "decline"),
        ("ask_ask", &["--cancel"], "cancel"),
        ("ask_visit", &["true"], "accept"),
    ] {
        let model = caller(tool, json!({}));
        let project = project(&model, "modern", "");
        let parked = run(&project).is(3);
        if tool == "ask_visit" {
            parked.says("https://example.com/sign-in").says("abide answer r true --resume");
            project.abide(&["answer", "r", "{\"name\": 1}"]).is(2).says("an address to be opened");
        }
        project.abide(&[&["answer", "r", "--resume", "--trust"][..], words].concat()).is(0);
        assert_eq!(requests(&project.log())[1]["given"]["q"]["action"], action);
    }
}

#[test]
fn a_server_may_ask_again_and_it_stays_one_call() {
    let model = caller("ask_ask", json!({"again": true}));
    let project = project(&model, "modern", "");
    run(&project).is(3);
    project.abide(&["answer", "r", "{\"name\": \"Ada\"}", "--resume", "--trust"]).is(3).says("sign in");
    project.abide(&["answer", "r", "true", "--resume", "--trust"]).is(0);
    let seen = requests(&project.log());
    let states: Vec<_> = seen.iter().map(|request| request["state"].clone()).collect();
    assert_eq!(states, [json!(null), json!("state-7"), json!("state-8")]);
    assert!(seen[0]["key"].is_string() && seen.iter().all(|request| request["key"] == seen[0]["key"]), "{seen:?}");
}

#[test]
fn a_kill_while_the_answer_is_on_its_way_asks_nobody_twice() {
    let model = caller("ask_ask", json!({"stall": 1}));
    let project = project(&model, "modern", "");
    run(&project).is(3);
    project.abide(&["answer", "r", "{\"name\": \"Ada\"}"]).is(0);
    let mut killed = project.spawn(&["resume", "r", "--trust"]);
    project.wait_until("r", |_| count(&project.log(), "tools/call") == 2);
    killed.kill().unwrap();
    out(killed);
    assert_eq!(status(&project.show("r"), "helper/ask_ask#2"), "in_doubt");
    project.abide(&["resume", "r", "--trust"]).is(3).says("in doubt");
    assert_eq!(count(&project.log(), "tools/call"), 2, "it is not repeated by itself");
    project.abide(&["resolve", "r", "--retry", "--resume", "--trust"]).is(0);
    let seen = requests(&project.log());
    assert_eq!((seen.len(), &seen[1]), (3, &seen[2]), "the same answer, state and key");
}

#[test]
fn a_question_within_an_open_call_is_answered_from_another_process() {
    let model = caller("ask_ask", json!({}));
    let project = project(&model, "legacy", "");
    let working = project.spawn(&["run", "helper.md", "go", "--id", "r", "--trust"]);
    let shown = project.wait_until("r", |shown| shown["run"]["waiting_for"] == "answer");
    assert!(shown["run"]["owner_pid"].is_u64(), "the process stays: the call is open in it");
    project.abide(&["answer", "r", "{\"name\": 7}"]).is(2).says("does not fit the form");
    project.abide(&["answer", "r", "{\"name\": \"Ada\"}"]).is(0).says("hears of it");
    out(working).is(0);
    assert_eq!(count(&project.log(), "tools/call"), 1);
    assert!(told(&model).contains("Ada") && told(&model).contains("kindly"), "{}", told(&model));
    project.abide(&["replay", "r"]).is(0);
}

#[test]
fn yes_allows_calls_and_answers_no_question_and_no_wait_leaves_an_open_call() {
    let model = caller("ask_ask", json!({}));
    let parks = Project::new(&model);
    parks.write(".mcp.json", &declaration("modern"));
    parks.abide(&["run", "helper.md", "go", "--id", "r", "--trust", "--yes"]).is(3).says("waits for an answer");
    parks.abide(&["resume", "r", "--trust", "--yes"]).is(3).says("abide answer r JSON --resume");
    let leaves = project(&model, "legacy", "");
    let left = leaves.abide(&["run", "helper.md", "go", "--id", "r", "--trust", "--no-wait"]).is(3);
    left.says("waits for an answer");
    leaves.abide(&["answer", "r", "{\"name\": \"Ada\"}", "--resume", "--trust"]).is(3).says("step in doubt");
    assert_eq!(count(&leaves.log(), "tools/call"), 1);
}

#[test]
fn an_open_call_that_died_with_its_process_is_in_doubt() {
    let model = caller("ask_ask", json!({}));
    let project = project(&model, "legacy", "");
    let mut killed = project.spawn(&["run", "helper.md", "go", "--id", "r", "--trust"]);
    project.wait_until("r", |shown| shown["run"]["waiting_for"] == "answer");
    killed.kill().unwrap();
    out(killed);
    project.abide(&["resume", "r", "--trust"]).is(3).says("abide resolve r --retry");
    assert!(doubt(&project, "helper/ask_ask#2").contains("ended with the process that made it"));
    assert_eq!(count(&project.log(), "tools/call"), 1, "it is not repeated by itself");
    let again = project.spawn(&["resolve", "r", "--retry", "--resume", "--trust"]);
    let shown = project.wait_until("r", |shown| shown["run"]["waiting_for"] == "answer");
    let asking = shown["steps"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|step| step["asks"] == "answer" && step["status"] == "scheduled");
    assert_eq!(asking.count(), 1, "only the new question waits");
    project.abide(&["answer", "r", "--decline"]).is(0);
    out(again).is(0);
    assert_eq!(count(&project.log(), "tools/call"), 2);
    assert!(told(&model).contains("decline"), "{}", told(&model));
}

#[test]
fn a_model_is_asked_for_a_server_only_if_a_person_or_the_policy_allows_it() {
    for era in ["modern", "legacy"] {
        let model = caller("ask_dream", json!({}));
        let allowed = project(&model, era, "[servers.ask]\nsampling = \"allow\"\n");
        run(&allowed).is(0);
        assert!(told(&model).contains("of the Danube"), "{era}: {}", told(&model));
        let sampled = &model.asked()[1].body;
        assert_eq!((&sampled["max_tokens"], &sampled["tools"]), (&json!(50), &json!(null)), "{era}: {sampled}");
        assert_eq!(
            (model.count(), count(&allowed.log(), "tools/call")),
            (3, if era == "modern" { 2 } else { 1 }),
            "{era}"
        );
        assert_eq!(allowed.show("r")["run"]["usage"]["input_tokens"], 30, "{era}: it is the run's own usage");
        allowed.abide(&["replay", "r"]).is(0);

        let model = caller("ask_dream", json!({}));
        let denied = project(&model, era, "[servers.ask]\nsampling = \"deny\"\n");
        run(&denied).is(0);
        assert_eq!(model.count(), 2, "{era}: no model was asked for the server");
        assert!(told(&model).contains("policy does not let this server"), "{era}: {}", told(&model));
    }
}

#[test]
fn a_person_is_asked_whether_a_model_may_be_asked() {
    let model = caller("ask_dream", json!({}));
    let project = project(&model, "modern", "");
    run(&project).is(3).says("waits for approval").says("ask wants a model asked for dream").says("dream of rivers");
    assert_eq!(model.count(), 1);
    project.abide(&["approve", "r", "--resume", "--trust"]).is(0);
    assert!(told(&model).contains("of the Danube"), "{}", told(&model));
    // The project's own word for it needs consent.
    let model = caller("ask_dream", json!({}));
    let other = self::project(&model, "modern", "[servers.ask]\nsampling = \"allow\"\n");
    let asked = other.abide(&["trust", "--json"]).is(0).json();
    assert!(asked.to_string().contains("allow_sampling"), "{asked}");
    other.abide(&["run", "helper.md", "go", "--id", "r"]).is(0);
}

#[test]
fn a_budget_holds_over_what_servers_ask_of_models() {
    let model = caller("ask_dream", json!({}));
    let project = project(&model, "modern", "[servers.ask]\nsampling = \"allow\"\n[budget]\nmax_turns = 1\n");
    run(&project).is(3).says("waits for a higher budget");
    assert_eq!(model.count(), 1);
    project.abide(&["resume", "r", "--trust", "--budget", "+5calls"]).is(0);
    assert_eq!((model.count(), count(&project.log(), "tools/call")), (3, 2));
}

/// Starts a run whose tool goes on by itself, and kills it when that has been looked at.
fn killed_while_it_goes_on(project: &Project) {
    let mut killed = project.spawn(&["run", "helper.md", "go", "--id", "r", "--trust"]);
    project.wait_until("r", |shown| status(shown, "helper/ask_long.look#2") != "not there");
    killed.kill().unwrap();
    out(killed);
}

#[test]
fn a_work_that_goes_on_at_the_server_is_taken_up_again_after_a_kill() {
    let model = caller("ask_long", json!({}));
    let project = project(&model, "modern", "");
    killed_while_it_goes_on(&project);
    let shown = project.show("r");
    let handle = shown["steps"].as_array().unwrap().iter().find(|step| step["id"] == "helper/ask_long").unwrap();
    assert_eq!(
        (&handle["output"]["id"], &handle["status"]),
        (&json!("t-1"), &json!("completed")),
        "the handle is kept"
    );
    std::fs::write(gate(&project.log()), "").unwrap();
    project.abide(&["resume", "r", "--trust"]).is(0);
    assert_eq!(count(&project.log(), "tools/call"), 1, "it is called once");
    assert!(told(&model).contains("it took long"), "{}", told(&model));
    project.abide(&["replay", "r"]).is(0);
}

#[test]
fn a_work_asks_a_person_and_gets_the_answer_once() {
    let model = caller("ask_long", json!({"asks": true}));
    let project = project(&model, "modern", "");
    run(&project).is(3).says("waits for an answer").says("who are you?");
    std::fs::write(gate(&project.log()), "").unwrap();
    project.abide(&["answer", "r", "{\"name\": \"Ada\"}", "--resume", "--trust"]).is(0);
    assert_eq!((count(&project.log(), "tools/call"), count(&project.log(), "tasks/update")), (1, 1));
    assert!(told(&model).contains("Ada"), "{}", told(&model));
}

#[test]
fn the_cancel_of_a_run_cancels_the_work_at_its_server() {
    let model = caller("ask_long", json!({}));
    let project = project(&model, "modern", "");
    let working = project.spawn(&["run", "helper.md", "go", "--id", "r", "--trust"]);
    project.wait_until("r", |shown| status(shown, "helper/ask_long.look") != "not there");
    project.abide(&["cancel", "r"]).is(0);
    out(working).is(4);
    let cancelled: Vec<_> =
        requests(&project.log()).into_iter().filter(|one| one["method"] == "tasks/cancel").collect();
    assert_eq!((cancelled.len(), &cancelled[0]["task"]), (1, &json!("t-1")));
}

#[test]
fn a_work_that_its_server_has_forgotten_is_in_doubt() {
    let model = caller("ask_long", json!({}));
    let project = project(&model, "modern", "");
    killed_while_it_goes_on(&project);
    std::fs::remove_file(tasks(&project.log())).unwrap();
    project.abide(&["resume", "r", "--trust"]).is(3).says("abide resolve r --retry");
    assert!(doubt(&project, "helper/ask_long#2").contains("does not know the task of `long` any more"));
    assert_eq!(count(&project.log(), "tools/call"), 1, "it is not called again by itself");
    std::fs::write(gate(&project.log()), "").unwrap();
    project.abide(&["resolve", "r", "--retry", "--resume", "--trust"]).is(0);
    assert_eq!(count(&project.log(), "tools/call"), 2);
}

#[test]
fn a_prompt_of_a_servers_begins_the_conversation() {
    let model = Model::by_turn(vec![Say::Text("hello")]);
    for era in ["modern", "legacy"] {
        let project = project(&model, era, "");
        let listed = project.abide(&["tools", "--trust", "--json"]).is(0).json();
        assert_eq!(
            (&listed["prompts"][0]["name"], &listed["prompts"][0]["arguments"][0]["required"]),
            (&json!("greet"), &json!(true))
        );
        assert!(project.abide(&["tools", "--trust"]).is(0).stdout.contains("name [style]"));
        for (wrong, words) in [
            (&["greet"][..], "does not name a server"),
            (&["other/greet"], "has no server `other`"),
            (&["ask/greet", "Ada"], "no argument of a prompt"),
        ] {
            project.abide(&[&["run", "helper.md", "--trust", "--prompt"][..], wrong].concat()).is(2).says(words);
        }
        let words = ["run", "helper.md", "Be brief.", "--prompt", "ask/greet", "name=Ada", "--id", "r", "--trust"];
        assert_eq!(project.abide(&words).is(0).stdout, "hello\n");
        let first = model.asked().last().unwrap().body["messages"][1].to_string();
        assert!(first.contains("Greet Ada.") && first.contains("Be brief."), "{first}");
        assert_eq!(count(&project.log(), "prompts/get"), 1);
        project.abide(&words).is(0);
        assert_eq!(count(&project.log(), "prompts/get"), 1, "the same run");
        let none = project.abide(&["run", "helper.md", "--prompt", "ask/none", "--trust"]).is(1);
        none.says("does not give the prompt `none`");
    }
}

#[test]
fn resources_of_an_agents_file_are_shown_first_and_read_once() {
    let model = Model::by_turn(vec![Say::Text("42")]);
    let project = project(&model, "modern", "");
    let agent =
        |resource: &str| format!("---\nname: helper\nmodel: local\nresources: [\"{resource}\"]\n---\nYou help.\n");
    project.write("helper.md", &agent("ask:note://one"));
    run(&project).is(0);
    let first = model.asked()[0].body["messages"][1].to_string();
    assert!(first.contains("the note says 42") && first.contains("go"), "{first}");
    project.abide(&["replay", "r"]).is(0);
    assert_eq!(count(&project.log(), "resources/read"), 1);
    for (resource, code, words) in [
        ("note", 8, "does not name a server and an address"),
        ("other:note://one", 8, "a server `other`"),
        ("ask:note://two", 1, "note://two"),
    ] {
        project.write("helper.md", &agent(resource));
        project.abide(&["run", "helper.md", "go", "--trust"]).is(code).says(words);
    }
}
