//! What an agent's file can say beside its tools: skills, questions to a person, a template, a memory over runs, and a window that is not
//! overrun.

use serde_json::{Value, json};

use crate::support::model::{Model, Say};
use crate::support::project::Project;

/// A project without servers whose agent has this front matter.
fn project(model: &Model, front: &str) -> Project {
    let project = Project::new(model);
    project.write(".mcp.json", "{}");
    project.write("helper.md", &format!("---\nname: helper\nmodel: local\n{front}---\nYou help.\n"));
    project
}

fn steps(shown: &Value) -> Vec<(String, String, String)> {
    let word = |step: &Value, key: &str| step[key].as_str().unwrap().to_owned();
    let of = |step: &Value| (word(step, "id"), word(step, "kind"), word(step, "status"));
    shown["steps"].as_array().unwrap().iter().map(of).collect()
}

/// What the model was told last, of this role.
fn told(model: &Model, request: usize, role: &str) -> Vec<String> {
    let body = &model.asked()[request].body;
    let messages = body["messages"].as_array().unwrap().iter().filter(|message| message["role"] == role);
    messages.map(|message| message["content"].as_str().unwrap_or_default().to_owned()).collect()
}

#[test]
fn a_skill_is_loaded_from_what_the_run_has_pinned() {
    let load = |arguments: Value| ("load_skill", arguments);
    let model = Model::by_turn(vec![
        Say::Calls(vec![load(json!({"name": "review"})), load(json!({"name": "review", "file": "ref/list.md"}))]),
        Say::Calls(vec![load(json!({"name": "review", "file": "../../abide.toml"}))]),
        Say::Text("reviewed"),
    ]);
    let project = project(&model, "skills: [review]\n");
    let folder = project.root.join(".claude/skills/review");
    std::fs::create_dir_all(folder.join("ref")).unwrap();
    let say = |text: &str| {
        let main = format!("---\nname: review\ndescription: How code is reviewed here\n---\n{text}\n");
        std::fs::write(folder.join("SKILL.md"), main).unwrap();
    };
    say("Look twice. The key is sk-test-0123456789.");
    std::fs::write(folder.join("ref/list.md"), "- names").unwrap();
    project.abide(&["run", "helper.md", "review it", "--id", "r", "--detach"]).is(0);
    let ended = project.wait_until("r", |shown| shown["run"]["status"] == "completed");
    assert_eq!(ended["run"]["output"], "reviewed");
    let system = told(&model, 0, "system").remove(0);
    assert!(system.starts_with("You help.") && system.contains("- review: How code is reviewed here"), "{system}");
    assert!(!system.contains("Look twice"), "{system}");
    let loaded = told(&model, 2, "tool");
    assert!(
        loaded[0].starts_with("Look twice. The key is sk-test-0123456789.") && loaded[0].contains("ref/list.md"),
        "{loaded:?}"
    );
    assert_eq!(loaded[1], "- names");
    assert!(loaded[2].starts_with("Error: ") && loaded[2].contains("has no file `../../abide.toml`"), "{loaded:?}");
    let completed = |id: &str, kind: &str| (id.to_owned(), kind.to_owned(), "completed".to_owned());
    let tools = ["helper/load_skill", "helper/load_skill#2", "helper/load_skill#3"].map(|id| completed(id, "tool"));
    assert!(tools.iter().all(|tool| steps(&ended).contains(tool)), "{ended}");
    let db = std::fs::read(project.db()).unwrap();
    assert!(!db.windows(18).any(|part| part == b"sk-test-0123456789"), "a key in a skill is kept as a reference");

    // What was pinned counts, whatever lies there now.
    say("Look once.");
    project.abide(&["replay", "r"]).is(0);
    std::fs::remove_dir_all(&folder).unwrap();
    project.abide(&["replay", "r"]).is(0);
    let out = project.abide(&["run", "helper.md", "again", "--json"]).is(8);
    assert_eq!(out.error()["code"], "config_unresolved");
    let help = out.error()["help"].as_str().unwrap().to_owned();
    for place in [".abide", ".claude", "config"] {
        assert!(
            help.contains(&format!("{place}/skills/review/SKILL.md").replace('/', std::path::MAIN_SEPARATOR_STR)),
            "{help}"
        );
    }
}

#[cfg(unix)]
#[test]
fn no_link_leads_out_of_a_skill() {
    let load = |file: &str| ("load_skill", json!({"name": "review", "file": file}));
    let model = Model::by_turn(vec![
        Say::Calls(vec![("load_skill", json!({"name": "review"})), load("linked.txt"), load("dir/x.md")]),
        Say::Text("reviewed"),
    ]);
    let project = project(&model, "skills: review\n");
    let folder = project.root.join(".abide/skills/review");
    for dir in [&folder, &project.root.join("elsewhere")] {
        std::fs::create_dir_all(dir).unwrap();
    }
    std::fs::write(folder.join("SKILL.md"), "Look twice.").unwrap();
    project.write("elsewhere/x.md", "secret");
    project.write("secret.txt", "secret");
    std::os::unix::fs::symlink(project.root.join("secret.txt"), folder.join("linked.txt")).unwrap();
    std::os::unix::fs::symlink(project.root.join("elsewhere"), folder.join("dir")).unwrap();
    project.abide(&["run", "helper.md", "review it", "--id", "r"]).is(0);
    let told = told(&model, 1, "tool");
    assert!(told[0].contains("Look twice.") && told[0].contains("too long: dir, linked.txt]"), "{told:?}");
    for told in &told[1..] {
        assert!(told.starts_with("Error: the skill `review` has no file"), "{told}");
    }
    assert!(!model.asked()[1].body.to_string().contains("secret"));
}

fn asks() -> Vec<Say> {
    let question = json!({"question": "Which colour?", "options": ["red", "blue"]});
    vec![Say::Calls(vec![("ask_person", question)]), Say::Text("thank you")]
}

#[test]
fn a_question_waits_for_its_answer() {
    let model = Model::by_turn(asks());
    let project = project(&model, "ask_person: true\n");
    let out = project.abide(&["run", "helper.md", "paint it", "--id", "r", "--yes"]).is(3);
    out.says("run `r` waits for an answer")
        .says("helper asks: Which colour? (red | blue)")
        .says("abide answer r JSON --resume");
    let shown = project.show("r");
    assert_eq!(shown["run"]["waiting_for"], "answer");
    assert!(steps(&shown).contains(&("helper/ask_person".into(), "signal".into(), "scheduled".into())), "{shown}");
    project.abide(&["approve", "r"]).is(2).says("no step of run `r` waits for approval");
    project.abide(&["resume", "r", "--yes"]).is(3);
    let said = project.abide(&["answer", "r", "green, please", "--json"]).is(0).json();
    assert_eq!(said["recorded"], json!([{"kind": "answer", "for": "helper/ask_person", "new": true}]));
    let again = project.abide(&["answer", "r", "red", "--json"]).is(0).json();
    assert_eq!(again["recorded"][0]["new"], false, "the first answer counts");
    assert_eq!(project.abide(&["resume", "r"]).is(0).stdout, "thank you\n");
    assert_eq!(told(&model, 1, "tool"), ["green, please"]);
    assert_eq!(model.count(), 2);
    project.abide(&["replay", "r"]).is(0);
}

#[test]
fn a_question_outlives_the_process_that_asked_it() {
    let model = Model::by_turn(asks());
    let project = project(&model, "ask_person: true\nask_timeout_s: 3600\n");
    let mut asking = project.spawn(&["run", "helper.md", "paint it", "--id", "r"]);
    let waits = |shown: &Value| shown["run"]["waiting_for"] == "answer" && shown["run"]["until_ms"].is_i64();
    project.wait_until("r", waits);
    asking.kill().unwrap();
    asking.wait().unwrap();
    assert_eq!(project.show("r")["run"]["status"], "interrupted");
    project.abide(&["resume", "r", "--no-wait"]).is(3).says("waits for an answer until");
    let out = project.abide(&["answer", "r", "--resume", "{\"n\": 1}"]).is(0);
    assert_eq!((out.stdout.as_str(), told(&model, 1, "tool")), ("thank you\n", vec!["{\"n\":1}".to_owned()]));
    assert_eq!(model.count(), 2, "the model was not asked again");
    project.abide(&["verify"]).is(0);
}

#[test]
fn a_question_that_nobody_answers_in_time_is_told_and_the_run_goes_on() {
    let model = Model::by_turn(vec![
        Say::Calls(vec![("AskUserQuestion", json!({"question": "Anybody?"}))]),
        Say::Text("nobody, then"),
    ]);
    let project = project(&model, "tools: AskUserQuestion\nask_timeout_s: 1\n");
    let out = project.abide(&["run", "helper.md", "ask", "--id", "r"]).is(0);
    assert!(out.stdout == "nobody, then\n" && !out.stderr.contains("warning"), "{out:?}");
    let told = told(&model, 1, "tool");
    assert!(told[0].starts_with("Error: nobody answered within 1 s"), "{told:?}");
    assert!(steps(&project.show("r")).contains(&("helper/AskUserQuestion".into(), "signal".into(), "failed".into())));
    project.abide(&["answer", "r", "late"]).is(2).says("has already ended");
    project.abide(&["replay", "r"]).is(0);
}

#[test]
fn instructions_are_filled_in_and_what_is_missing_is_named() {
    let model = Model::by_turn(vec![Say::Text("done")]);
    let project = project(&model, "template: true\n");
    project.write("helper.md", "---\nname: helper\nmodel: local\ntemplate: true\n---\nWrite for {{ reader }}.\n");
    project.abide(&["run", "helper.md", "{\"reader\": \"children\"}", "--id", "r"]).is(0);
    assert_eq!(told(&model, 0, "system"), ["Write for children."]);
    project.abide(&["run", "helper.md", "anything"]).is(1).says("reader").says("the input gives input");
    project.write("helper.md", "---\nname: helper\nmodel: local\ntemplate: true\n---\nWrite for {{ reader.\n");
    let out = project.abide(&["run", "helper.md", "anything"]).is(8);
    out.says("helper.md:4").says("no template: syntax error");
    assert_eq!(model.count(), 1);
}

/// Everything that is kept of conversations: names and texts.
fn kept(project: &Project) -> Vec<(String, Value)> {
    let conn = rusqlite::Connection::open(project.db()).unwrap();
    let mut rows = conn.prepare("SELECT name, body FROM memories ORDER BY id").unwrap();
    let rows = rows.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))).unwrap();
    rows.map(|row| row.unwrap()).map(|(name, body)| (name, serde_json::from_str(&body).unwrap())).collect()
}

#[test]
fn a_conversation_goes_on_in_the_next_run() {
    let model = Model::new(|n, _| Say::Text(["Ada.", "You are Ada.", "No idea."][n]));
    let project = project(&model, "memory: talk\nmemory_turns: 1\n");
    project.abide(&["run", "helper.md", "I am Ada", "--id", "a"]).is(0);
    project.abide(&["run", "helper.md", "Who am I?", "--id", "b"]).is(0);
    assert_eq!(told(&model, 0, "user"), ["I am Ada"]);
    assert_eq!(
        (told(&model, 1, "user"), told(&model, 1, "assistant")),
        (vec!["I am Ada".into(), "Who am I?".into()], vec!["Ada.".into()])
    );
    let exchange = |input: &str, answer: &str| ("talk".to_owned(), json!({"input": input, "answer": answer}));
    assert_eq!(kept(&project), [exchange("I am Ada", "Ada."), exchange("Who am I?", "You are Ada.")]);
    let ids: Vec<String> = steps(&project.show("b")).into_iter().map(|(id, ..)| id).collect();
    assert_eq!(ids, ["helper/memory", "helper/llm", "helper/remember"]);
    // Another conversation knows nothing of it, and an older run replays with what it has recorded.
    project.write("helper.md", "---\nname: helper\nmodel: local\nmemory: other\n---\nYou help.\n");
    project.abide(&["run", "helper.md", "Who am I?", "--id", "c"]).is(0);
    assert_eq!(told(&model, 2, "user"), ["Who am I?"]);
    project.abide(&["replay", "--all"]).is(0);
    project.abide(&["verify"]).is(0);
}

#[cfg(unix)]
#[test]
fn what_is_said_is_kept_once_wherever_the_process_dies() {
    for point in ["commit.before", "commit.after"] {
        for n in 1..=8 {
            let model = Model::by_turn(vec![Say::Text("noted")]);
            let project = project(&model, "memory: talk\n");
            let mut command = project.command(&project.root, &["run", "helper.md", "note it", "--id", "r"]);
            command.env("ABIDE_CRASH", format!("{point}:{n}"));
            crate::support::project::out(command.spawn().unwrap());
            // Where it had not even begun, it begins now.
            let out = project.abide(&["run", "helper.md", "note it", "--id", "r"]).is(0);
            assert_eq!(out.stdout, "noted\n", "{point}:{n}");
            assert_eq!(
                kept(&project),
                [("talk".to_owned(), json!({"input": "note it", "answer": "noted"}))],
                "{point}:{n}"
            );
            assert!(model.count() <= 2, "{point}:{n}: only a reply that was lost is asked for again");
            project.abide(&["verify"]).is(0);
        }
    }
}

#[test]
fn a_conversation_is_summarized_before_its_models_window_is_full() {
    let model = Model::new(|_, asked| {
        let messages = asked.body["messages"].as_array().unwrap();
        let last = messages.last().unwrap()["content"].to_string();
        let seen = |words: &str| messages.iter().any(|message| message["content"].to_string().contains(words));
        let says = |text: &str| json!({"role": "assistant", "content": text});
        let message = match () {
            () if last.contains("Summarize the whole conversation") => says("two pages of x were read"),
            () if seen("two pages of x were read") => says("all read"),
            () => {
                let page = json!({"path": "x ".repeat(2_000)}).to_string();
                let call = json!({"id": "c", "type": "function", "function": {"name": "fix_read", "arguments": page}});
                json!({"role": "assistant", "content": null, "tool_calls": [call]})
            }
        };
        // As many tokens as such a text comes to.
        let tokens = asked.body.to_string().len() / 3;
        Say::Body(json!({"choices": [{"message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": tokens, "completion_tokens": 2}}))
    });
    let project = Project::new(&model);
    project.settings(&model, "context_tokens = 9000\n");
    project.abide(&["run", "helper.md", "read it", "--id", "r", "--trust", "--yes"]).is(0);
    let shown = project.show("r");
    let summary = shown["steps"].as_array().unwrap().iter().find(|step| step["name"] == "summary").unwrap();
    assert_eq!((&summary["kind"], &summary["id"]), (&json!("llm"), &json!("helper/summary")));
    let last = model.asked().pop().unwrap().body;
    let first = last["messages"][1]["content"].to_string();
    assert!(first.contains("read it") && first.contains("two pages of x were read"), "{first}");
    assert!(last.to_string().len() < 3 * 9_000 * 8 / 10, "{}", last.to_string().len());
    project.abide(&["replay", "r"]).is(0);
}
