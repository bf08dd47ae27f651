//! Tests of `[workflows]`: every key where it belongs, and an error that helps where it does not.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use super::super::project::tests::Home;
use super::*;

fn project_of(text: &str) -> super::super::Project {
    project(text).unwrap_or_else(|error| panic!("{text}\n{error}"))
}

fn project(text: &str) -> Result<super::super::Project, ConfigError> {
    Home::with(&[("p/abide.toml", text)]).load()
}

#[test]
fn the_keys_of_each_pattern_are_documented_and_read_as_the_documentation_shows() {
    for (name, pattern) in PATTERNS {
        let agents = if pattern.takes(1).is_none() { "agents = [\"a\"]" } else { "" };
        let mut text = format!("[workflows.x]\npattern = \"{name}\"\n{agents}\n");
        // Either of two, not both.
        for key in pattern.keys().iter().filter(|key| !EITHER.iter().any(|(one, _)| one == *key)) {
            let doc = keys::WORKFLOW.iter().find(|doc| doc.key == *key).unwrap_or_else(|| panic!("{key} of {name}"));
            text += doc.example;
            text.push('\n');
        }
        let project = project(&text).unwrap_or_else(|error| panic!("{text}\n{error}"));
        assert_eq!(project.workflows()["x"].pattern.as_str(), *name);
    }
    let patterns = || PATTERNS.iter().flat_map(|(_, pattern)| pattern.keys());
    let used = |key: &&str| keys::EVERY_WORKFLOW.contains(key) || patterns().any(|own| own == key);
    assert!(keys::WORKFLOW.iter().map(|doc| doc.key).all(|key| used(&key)));
}

#[test]
fn values_are_what_they_say() {
    let text = "[workflows.d]\npattern = \"evaluator-optimizer\"\nagents = [\"w\"]\nevaluator = \"r\"\nat_least = \"good\"\nrefinements = 2\n";
    let project = project(text).unwrap();
    let draft = &project.workflows()["d"];
    assert_eq!((draft.at_least, draft.count("refinements")), (Some(Rating::Grade(Grade::Good)), Some(2)));
    let text = "[workflows.c]\npattern = \"classifier\"\nembed = \"v\"\n[workflows.c.intents]\nbug = \"it crashes\"\nrefund = [\"a\", \"b\"]\n";
    let listener = &project_of(text).workflows()["c"].clone();
    assert_eq!(
        (listener.embed.as_deref(), listener.intents["refund"].len(), listener.intents["bug"].len()),
        (Some("v"), 2, 1)
    );
    assert_eq!(draft.named().collect::<Vec<_>>(), [("agents", "w"), ("evaluator", "r")]);
}

#[test]
fn what_is_wrong_names_file_line_and_the_fix() {
    for (text, at, problem, fix) in [
        (
            "pattern = \"orchestrater\"\nagents = [\"a\"]",
            "abide.toml:2",
            "is no pattern",
            "did you mean `orchestrator`",
        ),
        ("pattern = 3\nagents = [\"a\"]", "abide.toml:2", "a whole number", "the patterns are chain"),
        ("pattern = \"chain\"", "abide.toml:1", "takes at least one agent", "agents = ["),
        (
            "pattern = \"chain\"\nagents = [\"a\"]\nrefinements = 3",
            "abide.toml:4",
            "unknown key `refinements`",
            "known keys",
        ),
        ("pattern = \"parallel\"\nagents = [\"a\"]\nfanin = \"b\"", "abide.toml:4", "`fanin`", "did you mean `fan_in`"),
        (
            "pattern = \"parallel\"\nagents = [\"a\"]\nvote = true\nfan_in = \"b\"",
            "abide.toml:5",
            "has `vote` and `fan_in`",
            "keep the one",
        ),
        ("pattern = \"evaluator-optimizer\"\nagents = [\"a\", \"b\"]", "abide.toml:1", "has 2 agents", "agents = ["),
        (
            "pattern = \"evaluator-optimizer\"\nagents = [\"a\"]\nat_least = 11",
            "abide.toml:4",
            "from 0 to 10, or poor",
            "at_least = 8",
        ),
        (
            "pattern = \"orchestrator\"\nagents = [\"a\"]\nplan = \"whole\"",
            "abide.toml:4",
            "full or iterative",
            "plan = ",
        ),
        ("pattern = \"orchestrator\"\nagents = [\"a\"]\nparallel = 0", "abide.toml:4", "above 0", "parallel = 4"),
    ] {
        let error = project(&format!("[workflows.x]\n{text}")).unwrap_err();
        let (shown, help) = (error.to_string(), error.help());
        assert!(shown.contains(at) && shown.contains(problem), "{text}\n{shown}");
        assert!(help.contains(fix), "{text}\n{help}");
    }
}
