//! Which tool tells whether a call of another one in doubt has happened (DESIGN rule 16): the user's `reconcile` rules against the tools
//! there are. A probe that may not be called freely is refused here, before anything is called; this never calls one.

use abide_engine::{Effect, Error, ErrorKind};
use abide_llm::{Policy, Reconcile, ToolSpec};

use crate::policy::Rules;
use crate::servers::all_names;

/// Gives every tool whose calls may come into doubt the probe that its rules name.
///
/// # Errors
/// A probe that is none of these tools, that must be asked for, or that is not known to change nothing.
pub(crate) fn name(specs: &mut [ToolSpec], rules: &Rules) -> Result<(), Error> {
    let probes = specs.iter().map(|spec| probe(spec, specs, rules)).collect::<Result<Vec<_>, _>>()?;
    for (spec, probe) in specs.iter_mut().zip(probes) {
        spec.reconcile = probe;
    }
    Ok(())
}

fn probe(spec: &ToolSpec, specs: &[ToolSpec], rules: &Rules) -> Result<Option<Reconcile>, Error> {
    if spec.effect != Effect::Once || spec.policy == Policy::Deny {
        return Ok(None);
    }
    let names = all_names(&spec.name, &spec.server, &spec.tool);
    let Some(rule) = rules.decide(&names.each_ref().map(String::as_str), None).reconcile else { return Ok(None) };
    let (name, pointer) = split(&rule);
    let refuse = |why: String| {
        let message = format!(
            "abide.toml names `{rule}` as the probe (`reconcile`) of `{}`, but {why} (a run keeps the settings that it began with: after \
             a change of them start a new run)",
            spec.name
        );
        Err(Error::new(ErrorKind::Environment, message))
    };
    let found = specs.iter().find(|other| all_names(&other.name, &other.server, &other.tool).iter().any(|n| n == name));
    let Some(found) = found else {
        return refuse(format!("no server of this agent has a tool `{name}`: name one of its tools as `server_tool`"));
    };
    if found.effect != Effect::Pure {
        return refuse(format!(
            "`{name}` is not known to be read-only: trust its server, or write [tools.\"{name}\"] effect = \"pure\", and consent to \
             that (`abide trust`)"
        ));
    }
    if found.policy != Policy::Allow {
        return refuse(format!(
            "`{name}` may not be called without asking: write [tools.\"{name}\"] policy = \"allow\", and consent to that \
             (`abide trust`)"
        ));
    }
    Ok(Some(Reconcile {
        name: name.to_owned(),
        server: found.server.clone(),
        tool: found.tool.clone(),
        pointer: pointer.to_owned(),
        timeout_s: found.timeout_s,
    }))
}

/// `server_tool#/pointer` in its two parts; without a pointer the whole answer is looked at.
fn split(rule: &str) -> (&str, &str) {
    match rule.find("#/") {
        Some(at) => (rule.get(..at).unwrap_or(rule), rule.get(at + 1..).unwrap_or_default()),
        None => (rule, ""),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use serde_json::json;

    use super::*;
    use crate::policy::ToolRule;

    fn spec(name: &str, effect: Effect, policy: Policy) -> ToolSpec {
        let (server, tool) = name.split_once('_').unwrap();
        ToolSpec {
            name: name.into(),
            server: server.into(),
            tool: tool.into(),
            description: String::new(),
            input_schema: json!({}),
            effect,
            policy,
            timeout_s: 9,
            max_timeout_s: None,
            attempts: None,
            hash: String::new(),
            reconcile: None,
        }
    }

    fn named(rule: &str) -> Result<Vec<Option<Reconcile>>, String> {
        let mut specs = [
            spec("bank_pay", Effect::Once, Policy::Ask),
            spec("bank_find", Effect::Pure, Policy::Allow),
            spec("bank_peek", Effect::Pure, Policy::Ask),
            spec("bank_note", Effect::Idempotent, Policy::Allow),
            spec("bank_burn", Effect::Once, Policy::Deny),
        ];
        let reconcile = Some(rule.to_owned());
        let rule = ToolRule {
            pattern: "bank_*".into(),
            policy: None,
            effect: None,
            timeout_s: None,
            max_timeout_s: None,
            attempts: None,
            reconcile,
        };
        name(&mut specs, &Rules::new([rule]).unwrap()).map_err(|error| {
            assert_eq!(*error.kind(), ErrorKind::Environment);
            error.message().to_owned()
        })?;
        Ok(specs.into_iter().map(|spec| spec.reconcile).collect())
    }

    #[test]
    fn only_what_may_come_into_doubt_gets_a_probe() {
        for (rule, pointer) in [("bank_find", ""), ("bank_find#/order/0", "/order/0")] {
            let probe = Reconcile {
                name: "bank_find".into(),
                server: "bank".into(),
                tool: "find".into(),
                pointer: pointer.into(),
                timeout_s: 9,
            };
            assert_eq!(named(rule).unwrap(), [Some(probe), None, None, None, None]);
        }
    }

    #[test]
    fn a_probe_must_be_there_allowed_and_read_only() {
        for (rule, why) in [
            ("bank_gone", "no server of this agent has a tool `bank_gone`"),
            ("bank_find#", "no server of this agent has a tool `bank_find#`"),
            ("bank_peek", "may not be called without asking"),
            ("bank_note#/x", "`bank_note` is not known to be read-only"),
            ("bank_pay", "`bank_pay` is not known to be read-only"),
        ] {
            let error = named(rule).unwrap_err();
            assert!(error.contains(why) && error.contains("probe (`reconcile`) of `bank_pay`"), "{error}");
        }
    }
}
