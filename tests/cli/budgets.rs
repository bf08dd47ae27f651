//! Budgets and costs: a run at its limit parks and goes on once it is raised, and every verb tells the same of what was spent.

use serde_json::{Value, json};

use crate::support::model::{Model, Say};
use crate::support::project::Project;

/// A call sends 10 tokens and receives 2, so it costs 10 * 10 + 2 * 10,000 millionths of a dollar; before it is made it may cost a bit more
/// than a tenth of a dollar.
const PRICED: &str = "max_tokens = 10\nprice = { input = 10.0, output = 10000.0 }\n";
const COST: f64 = 0.0201;

fn reads_once() -> Model {
    Model::by_turn(vec![Say::Calls(vec![("fix_read", json!({"path": "a"}))]), Say::Text("it says a")])
}

/// A project whose agent may spend what `front` says, and whose runs what `more` says.
fn project(model: &Model, more: &str, front: &str) -> Project {
    let project = Project::new(model);
    project.settings(model, more);
    project.write("helper.md", &format!("---\nname: helper\nmodel: local\n{front}---\nYou help.\n"));
    project
}

const RUN: [&str; 7] = ["run", "helper.md", "read a", "--id", "r", "--yes", "--trust"];

/// Tokens and cost of a run as each verb tells them.
fn spent(project: &Project) -> (u64, u64, f64) {
    let of = |value: &Value| {
        let count = |key: &str| value[key].as_u64().unwrap();
        (count("input_tokens"), count("output_tokens"), value["cost_usd"].as_f64().unwrap())
    };
    let shown = of(&project.show("r")["run"]["usage"]);
    let usage = project.abide(&["usage", "r", "--json"]).is(0).json();
    assert_eq!(usage["run"], "r");
    let rows = usage["spending"].as_array().unwrap();
    let spenders: Vec<&Value> = rows.iter().map(|row| &row["spender"]).collect();
    assert_eq!(spenders, [&Value::Null, &json!("helper")], "the run, and its only agent");
    assert!(rows.iter().all(|row| of(row) == shown), "{usage} {shown:?}");
    let all = project.abide(&["usage", "--json"]).is(0).json();
    assert_eq!(all["runs"], json!([{"run": "r", "spending": rows[0]}]));
    let listed = project.abide(&["ls", "--json"]).is(0).json();
    assert_eq!(of(&listed["runs"][0]["usage"]), shown);
    let text = project.abide(&["usage", "r"]).is(0).stdout;
    let line = text.lines().find(|line| line.contains("helper")).unwrap();
    assert!(line.contains(&format!("{:.4}", shown.2)), "{text}");
    shown
}

#[test]
fn a_run_at_its_limit_parks_and_goes_on_when_it_is_raised() {
    for (settings, front, whose) in [
        ("[budget]\nmax_cost_usd = 0.115\n", "", "run `r`"),
        ("", "max_cost_usd: 0.115\n", "`helper` in run `r`"),
        ("[budget]\nmax_cost_usd = 0.115\n", "max_cost_usd: 5\n", "run `r`"),
    ] {
        let model = reads_once();
        let project = project(&model, &format!("{PRICED}{settings}"), front);
        let out = project.abide(&RUN).is(3);
        assert!(out.stdout.is_empty(), "{out:?}");
        let says = format!("run `r` waits for a higher budget: {whose} has spent or reserved $0.0201 of its $0.1150");
        out.says(&says).says("this call may cost $0.1").says("abide resume r --budget +AMOUNT");
        let shown = project.show("r");
        assert_eq!((&shown["run"]["status"], &shown["run"]["waiting_for"]), (&json!("waiting"), &json!("budget")));
        assert_eq!(model.count(), 1, "the second call was not made");
        assert_eq!(spent(&project), (10, 2, COST));

        project.abide(&["resume", "r", "--trust", "--yes"]).is(3).says("waits for a higher budget");
        let little = project.abide(&["resume", "r", "--budget", "+0.001", "--trust", "--yes"]).is(3);
        little.says("of its $0.1160");
        assert_eq!(model.count(), 1);
        let out = project.abide(&["resume", "r", "--budget", "+0.50", "--trust", "--yes"]).is(0);
        assert_eq!((out.stdout.as_str(), model.count(), project.calls().len()), ("it says a\n", 2, 1));
        assert_eq!(spent(&project), (20, 4, 2.0 * COST));
        project.abide(&["replay", "r"]).is(0);
        project.abide(&["verify"]).is(0);
    }
}

#[test]
fn tokens_and_turns_are_limited_too() {
    for (settings, front, says, raise, calls) in [
        ("", "max_tokens: 100\n", "`helper` in run `r` has used or reserved 0 of its 100 tokens", "+5000tokens", 0),
        ("[budget]\nmax_tokens = 100\n", "", "run `r` has used or reserved 0 of its 100 tokens", "+5000 tokens", 0),
        ("[budget]\nmax_turns = 1\n", "", "run `r` has made its 1 calls of models", "+1calls", 1),
    ] {
        let model = reads_once();
        let project = project(&model, &format!("{PRICED}{settings}"), front);
        let out = project.abide(&[&RUN[..], &["--json"]].concat()).is(3);
        assert_eq!(out.json()["run"]["waiting_for"], "budget");
        assert!(out.error()["message"].as_str().unwrap().contains(says), "{out:?}");
        assert!(out.error()["help"].as_str().unwrap().contains("--budget"), "{out:?}");
        assert_eq!(model.count(), calls);
        project.abide(&["resume", "r", "--budget", raise, "--trust", "--yes"]).is(0);
        assert_eq!(spent(&project), (20, 4, 2.0 * COST));
    }
}

/// A budget is raised for one run alone, and only while there is something to spend.
#[test]
fn amounts_and_runs_that_make_no_sense_are_refused() {
    let model = reads_once();
    let project = project(&model, PRICED, "");
    project.abide(&RUN).is(0);
    for amount in ["", "+", "lots", "-1", "+0", "+1.5tokens", "+3apples", "NaN"] {
        let out = project.abide(&["resume", "r", &format!("--budget={amount}"), "--json"]).is(2);
        let error = out.error().to_string();
        assert!(error.contains("amount") || error.contains("a value is required"), "{amount}: {error}");
    }
    project.abide(&["resume", "--budget", "+1"]).is(2).says("<RUN>");
    let ended = project.abide(&["resume", "r", "--budget", "+1", "--json"]).is(2);
    assert_eq!(ended.error()["code"], "ended");
    assert!(ended.error()["message"].as_str().unwrap().contains("completed"), "{ended:?}");
    project.abide(&["resume", "none", "--budget", "+1"]).is(6).says("`none`");
    project.abide(&["usage", "none"]).is(6).says("`none`");
    assert_eq!((model.count(), project.abide(&["resume", "r"]).is(0).stdout.as_str()), (2, "it says a\n"));
}

/// A price that nobody knows is said to be unknown, and no budget in money is kept with it.
#[test]
fn an_unknown_price_is_unknown_and_limits_in_money_ask_for_one() {
    let model = reads_once();
    let other = |price: &str| {
        let url = &model.base_url;
        format!(
            "price = {{ input = 1.0, output = 1.0 }}\nfallback = [\"other\"]\n\
             [models.other]\nprovider = \"openai\"\nbase_url = \"{url}\"\nmodel = \"unlisted\"\n{price}\n"
        )
    };
    let dear = "[budget]\nmax_cost_usd = 5\n";
    for (settings, front, whose) in [
        (dear.to_owned(), "", "`m`"),
        (String::new(), "max_cost_usd: 5\n", "`m`"),
        (other("") + dear, "", "`unlisted`"),
    ] {
        let project = project(&model, &settings, front);
        let out = project.abide(&[&RUN[..], &["--json"]].concat()).is(8);
        assert_eq!(out.error()["code"], "price_unknown", "{out:?}");
        let message = out.error()["message"].as_str().unwrap().to_owned();
        assert!(
            message.contains(&format!("the price of model {whose}")) && message.contains("max_cost_usd"),
            "{message}"
        );
        assert!(out.error()["help"].as_str().unwrap().contains("price = { input = 3.0, output = 15.0 }"), "{out:?}");
        assert!(!project.db().exists(), "nothing was begun");
    }
    assert_eq!(model.count(), 0);
    let priced = other("price = { input = 1.0, output = 1.0 }") + dear;
    project(&model, &priced, "").abide(&RUN).is(0);
    let unpriced = project(&model, "[budget]\nmax_tokens = 90000\n", "");
    unpriced.abide(&RUN).is(0);
    let usage = unpriced.abide(&["usage", "r", "--json"]).is(0).json();
    let row = &usage["spending"][0];
    assert_eq!((&row["cost_usd"], &row["input_tokens"]), (&Value::Null, &json!(20)));
    assert_eq!(unpriced.show("r")["run"]["usage"]["cost_usd"], Value::Null);
    assert!(unpriced.abide(&["usage"]).is(0).stdout.contains("unknown"));
}
