//! What files say of agents and models beside their words: how they sample and stop, the form of an answer, servers to choose among, and
//! what each call has cost.

use serde_json::{Value, json};

use super::{gives, heard, offered, says};
use crate::support::mcp;
use crate::support::model::{Model, Say};
use crate::support::project::Project;

fn project(model: &Model, front: &str) -> Project {
    let project = Project::new(model);
    project.write(".mcp.json", "{}");
    project.write("helper.md", &format!("---\nname: helper\nmodel: local\n{front}---\nYou help.\n"));
    project
}

#[test]
fn an_agents_temperature_and_stops_take_the_place_of_its_models() {
    let model = Model::new(|_, _| says("x"));
    for (entry, front, temperature, stop) in [
        ("", "", Value::Null, Value::Null),
        ("temperature = 0.5\nstop = [\"END\"]\n", "", json!(0.5), json!(["END"])),
        ("temperature = 0.5\nstop = [\"END\"]\n", "temperature: 0\nstop: \"###\"\n", json!(0.0), json!(["###"])),
    ] {
        let project = project(&model, front);
        project.settings(&model, entry);
        project.abide(&["run", "helper.md", "go"]).is(0);
        let body = model.asked().pop().unwrap().body;
        assert_eq!((&body["temperature"], &body["stop"]), (&temperature, &stop), "{entry:?} {front:?}");
    }
    let project = project(&model, "stop: \"###\"\n");
    let responses =
        format!("[models.local]\nprovider = \"openai-responses\"\nbase_url = \"{}\"\nmodel = \"m\"\n", model.base_url);
    project.write("abide.toml", &responses);
    project.abide(&["run", "helper.md", "go"]).is(1).says("has no `stop`");
}

#[test]
fn an_answer_in_the_form_that_the_file_says_is_printed_as_json() {
    let schema = json!({"type": "object", "properties": {"title": {"type": "string"}, "pages": {"type": "integer"}},
        "required": ["title", "pages"], "additionalProperties": false});
    let inline = format!("output: {schema}\n");
    for (front, file) in [(inline.as_str(), None), ("output_schema: answer.json\n", Some(&schema))] {
        let model = Model::new(|n, _| match n {
            0 => gives(&json!({"title": "Bees"})),
            _ => gives(&json!({"title": "Bees", "pages": 9})),
        });
        let project = project(&model, front);
        if let Some(schema) = file {
            project.write("answer.json", &schema.to_string());
        }
        let out = project.abide(&["run", "helper.md", "which book?", "--id", "r"]).is(0);
        assert_eq!(serde_json::from_str::<Value>(&out.stdout).unwrap(), json!({"title": "Bees", "pages": 9}));
        let asked = model.asked();
        assert_eq!(asked[0].body["response_format"]["json_schema"]["schema"], schema);
        assert!(heard(&asked[1], "user").contains("pages"), "it is told once what is missing: {:?}", asked[1].body);
        // What lies there later changes nothing of the run.
        project.write("answer.json", "{}");
        project.abide(&["replay", "r"]).is(0);
        assert_eq!(project.show("r")["run"]["output"], json!({"title": "Bees", "pages": 9}));
    }
}

#[test]
fn an_agent_may_be_a_table_in_yaml_or_json() {
    let model = Model::new(|_, asked| says(&heard(asked, "system")));
    let project = project(&model, "");
    let folder = project.root.join(".abide/agents");
    std::fs::create_dir_all(&folder).unwrap();
    project.write(".abide/agents/poet.yaml", "name: poet\nmodel: local\ninstructions: |\n  You rhyme.\n");
    project.write("judge.json", "{\"name\": \"judge\", \"model\": \"local\", \"instructions\": \"You judge.\"}");
    assert_eq!(project.abide(&["run", "poet", "go"]).is(0).stdout, "You rhyme.\n");
    assert_eq!(project.abide(&["run", "judge.json", "go", "--id", "j"]).is(0).stdout, "You judge.\n");
    assert_eq!(project.show("j")["run"]["workflow"], "agent:judge");
}

#[test]
fn a_router_chooses_among_servers_too() {
    let model = Model::new(|_, asked| {
        let system = heard(asked, "system");
        if system.contains("You decide who") {
            assert!(system.contains("- fix: Mends things"), "{system}");
            assert!(system.contains("- bare: All that the MCP server `bare` can do"), "{system}");
            return gives(&json!({"choices": [{"name": "fix", "confidence": 1.0, "reason": "it is about that"}]}));
        }
        assert!(offered(asked).iter().all(|tool| tool.starts_with("fix_")), "{:?}", offered(asked));
        let turns = asked.body["messages"].as_array().unwrap().iter().filter(|m| m["role"] == "assistant").count();
        if turns == 0 { Say::Calls(vec![("fix_read", json!({"n": 7}))]) } else { Say::Text("mended") }
    });
    let project = project(&model, "");
    project.write(
        ".mcp.json",
        &json!({"mcpServers": {"fix": mcp::declaration(), "bare": mcp::declaration()}}).to_string(),
    );
    let desk = "[defaults]\nmodel = \"local\"\n[servers.fix]\ndescription = \"Mends things\"\n\
                [tools.\"fix_*\"]\npolicy = \"allow\"\n\
                [workflows.desk]\npattern = \"router\"\nagents = [\"helper.md\"]\nservers = [\"fix\", \"bare\"]\n";
    project.settings(&model, desk);
    assert_eq!(project.abide(&["run", "desk", "mend it", "--trust"]).is(0).stdout, "mended\n");
    assert_eq!(project.calls(), [("read".to_owned(), json!({"n": 7}))]);
    project.settings(&model, "[workflows.desk]\npattern = \"router\"\nservers = [\"gone\"]\n");
    project.abide(&["run", "desk", "x"]).is(8).says("names `gone`, which nothing declares");
}

#[test]
fn each_call_is_told_in_the_tree_of_its_workflows_and_agents_with_its_cost() {
    let model = Model::new(|_, asked| match heard(asked, "system") {
        system if system.contains("You rate") => gives(&json!({"rating": 9, "feedback": ""})),
        _ => says("a draft"),
    });
    let project = project(&model, "");
    // 10 tokens sent and 2 received cost 10 * 100 + 2 * 1000 millionths of a dollar.
    let flows = "price = { input = 100.0, output = 1000.0 }\n[defaults]\nmodel = \"local\"\n\
                 [workflows.report]\npattern = \"chain\"\nagents = [\"draft\", \"helper.md\"]\n\
                 [workflows.draft]\npattern = \"evaluator-optimizer\"\nagents = [\"helper.md\"]\n";
    project.settings(&model, flows);
    project.abide(&["run", "report", "bees", "--id", "r"]).is(0);
    let usage = project.abide(&["usage", "r", "--calls", "--json"]).is(0).json();
    let names = |tree: &Value| -> Vec<String> {
        let children = tree["children"].as_array().map(Vec::as_slice).unwrap_or_default();
        children.iter().map(|child| child["name"].as_str().unwrap().to_owned()).collect()
    };
    let report = &usage["calls"]["children"][0];
    assert_eq!(
        (names(&usage["calls"]), names(report)),
        (vec!["report".to_owned()], vec!["draft".into(), "helper".into()])
    );
    let draft = &report["children"][0];
    assert_eq!(names(draft), ["helper", "evaluator"]);
    assert_eq!(names(&draft["children"][1]), ["llm"]);
    let near = |tree: &Value, calls: u64| {
        let cost = tree["cost_usd"].as_f64().unwrap();
        assert!((cost - 0.003 * calls as f64).abs() < 1e-9 && tree["calls"] == calls, "{tree}");
        assert_eq!((&tree["input_tokens"], &tree["output_tokens"]), (&json!(10 * calls), &json!(2 * calls)));
    };
    near(&usage["calls"], 3);
    near(draft, 2);
    near(&draft["children"][0]["children"][0], 1);
    let whole = usage["spending"].as_array().unwrap().iter().find(|row| row["spender"].is_null()).unwrap();
    assert!((whole["cost_usd"].as_f64().unwrap() - 0.009).abs() < 1e-9, "the same as the budget counts: {whole}");
    let text = project.abide(&["usage", "r", "--calls"]).is(0).stdout;
    let line = |name: &str| text.lines().find(|line| line.trim_start().starts_with(name)).unwrap();
    assert!(line("draft").contains("0.0060") && line("evaluator").contains("0.0030"), "{text}");
}

#[test]
fn a_models_entry_without_a_price_has_no_invented_cost() {
    let model = Model::new(|_, _| says("x"));
    let project = project(&model, "");
    project.abide(&["run", "helper.md", "go", "--id", "r"]).is(0);
    let usage = project.abide(&["usage", "r", "--calls", "--json"]).is(0).json();
    assert_eq!((&usage["calls"]["cost_usd"], &usage["calls"]["calls"]), (&Value::Null, &json!(1)));
    assert!(project.abide(&["usage", "r", "--calls"]).is(0).stdout.contains("unknown"));
}
