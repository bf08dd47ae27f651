//! Instructions with variables, filled in from the input of a run: pure text work, strict about names that nobody has given. It reads no
//! file and knows no clock.

use std::borrow::Cow;
use std::collections::BTreeMap;

use abide_engine::{Result, terminal};
use minijinja::value::{Serde, Value as Filling};
use minijinja::{Environment, ErrorKind, UndefinedBehavior};
use serde_json::Value;

use crate::agent::Agent;
use crate::input::Input;

/// Steps that a template may take: a loop that would never end is an error.
const FUEL: u64 = 100_000;

impl Agent {
    /// Its instructions are a Jinja template over its input: the fields of a JSON object are the variables, and `input` is the text of the
    /// whole. A name that the input does not give is an error.
    #[must_use]
    pub fn template(self) -> Self {
        Self { template: true, ..self }
    }
}

/// Why a template cannot be read, if it cannot.
pub fn check_template(text: &str) -> std::result::Result<(), String> {
    environment().template_from_str(text).map(|_| ()).map_err(|error| words(&error))
}

/// The instructions for this input.
pub(crate) fn filled<'a>(agent: &'a Agent, input: &Input) -> Result<Cow<'a, str>> {
    agent.written.before(own(agent, input)?, input)
}

fn own<'a>(agent: &'a Agent, input: &Input) -> Result<Cow<'a, str>> {
    if !agent.template {
        return Ok(Cow::Borrowed(&agent.instructions));
    }
    let fields = match serde_json::from_str::<Value>(&input.text) {
        Ok(Value::Object(fields)) => fields.into_iter().collect(),
        _ => BTreeMap::new(),
    };
    let mut given = BTreeMap::from([("input".to_owned(), Value::String(input.text.clone()))]);
    given.extend(fields);
    let environment = environment();
    let filled = environment.template_from_str(&agent.instructions).and_then(|template| {
        template.render(Filling::from(Serde(&given))).map_err(|error| {
            if error.kind() != ErrorKind::UndefinedError {
                return error;
            }
            // The engine does not say which; what is certainly missing is known.
            let names = template.undeclared_variables(false);
            let globals: Vec<&str> = environment.globals().map(|(name, _)| name).collect();
            let mut missing: Vec<String> = names
                .into_iter()
                .filter(|name| !given.contains_key(name) && !globals.contains(&name.as_str()))
                .collect();
            missing.sort();
            if missing.is_empty() { error } else { minijinja::Error::new(error.kind(), missing.join(", ")) }
        })
    });
    filled.map(Cow::Owned).map_err(|error| {
        let names: Vec<&str> = given.keys().map(String::as_str).collect();
        terminal(format!(
            "the instructions of agent `{}` are a template that cannot be filled in ({}): the input gives {}; give a JSON \
             object with what is missing, or mend the instructions",
            agent.name,
            words(&error),
            names.join(", ")
        ))
    })
}

fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(FUEL));
    environment
}

fn words(error: &minijinja::Error) -> String {
    let line = error.line().map(|line| format!(", line {line}")).unwrap_or_default();
    let detail = error.detail().map(|detail| format!(": {detail}")).unwrap_or_default();
    format!("{}{detail}{line}", error.kind())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn fill(instructions: &str, input: &str) -> Result<String> {
        let agent = Agent::new("a").instructions(instructions).template();
        filled(&agent, &input.into()).map(Cow::into_owned)
    }

    #[test]
    fn an_object_gives_variables_and_a_text_gives_input() {
        for (instructions, input, expected) in [
            ("Be {{ tone }}.", r#"{"tone": "brief", "n": 3}"#, "Be brief."),
            (
                "{% for x in list %}{{ x.name | upper }};{% endfor %}",
                r#"{"list": [{"name": "a"}, {"name": "b"}]}"#,
                "A;B;",
            ),
            ("About {{ input }}.", "bees & birds", "About bees & birds."),
            ("{% if tone is defined %}x{% else %}plain{% endif %}", "[1]", "plain"),
            ("{{ input }} and {{ n }}", r#"{"input": "own", "n": 2}"#, "own and 2"),
            ("costs ${KEY}", "x", "costs ${KEY}"),
        ] {
            assert_eq!(fill(instructions, input).unwrap(), expected, "{instructions}");
        }
        let plain = Agent::new("a").instructions("Be {{ tone }}.");
        assert_eq!(filled(&plain, &"{}".into()).unwrap(), "Be {{ tone }}.", "only where it was asked for");
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        for (instructions, input, says) in [
            ("Be {{ tone }}.", "hello", &["tone", "`a`", "the input gives input"][..]),
            ("Be {{ tone }}.", r#"{"ton": 1}"#, &["tone", "gives input, ton"]),
            ("one\n{{ a.b.c }}", r#"{"a": {}}"#, &["undefined value", "line 2"]),
            ("{% if %}", "x", &["syntax error", "line 1"]),
            ("{% for x in range(100000) %}{% for y in range(100000) %}{% endfor %}{% endfor %}", "x", &["fuel"]),
        ] {
            let error = fill(instructions, input).unwrap_err();
            for part in says {
                assert!(error.message().contains(part), "{part}: {error}");
            }
        }
        assert!(check_template("{{ a }}").is_ok() && check_template("{{ a").unwrap_err().contains("line 1"));
    }
}
