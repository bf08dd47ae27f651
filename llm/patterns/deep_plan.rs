//! A plan whose assignments have names and need each other, as a deep orchestrator's planner gives it: what makes one useless, and what of it
//! was done before. Pure functions; they mend nothing that a planner was not told of first.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Work;
use super::plan::{find, no_agent};
use super::verdict::{Shape, list, name_of, object, text};

/// What a planner says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct DeepPlan {
    /// Is the objective reached by what was done before?
    pub(crate) complete: bool,
    /// In their order.
    pub(crate) steps: Vec<DeepStep>,
}

/// Assignments that are carried out side by side.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct DeepStep {
    pub(crate) assignments: Vec<Need>,
}

/// Who does what, and what has to be known before.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Need {
    pub(crate) name: String,
    pub(crate) agent: String,
    pub(crate) instruction: String,
    /// Names of assignments of earlier steps or earlier plans.
    pub(crate) needs: Vec<String>,
}

impl Need {
    /// What makes two assignments the same, whatever they are called.
    pub(crate) fn same(&self) -> (String, String) {
        let words: Vec<String> = self.instruction.split_whitespace().map(str::to_lowercase).collect();
        (self.agent.clone(), words.join(" ").trim_end_matches('.').to_owned())
    }
}

impl DeepPlan {
    /// The form in which it is asked for.
    pub(crate) fn shape(workers: &[Arc<dyn Work>]) -> Shape {
        let of = |known: bool| {
            let agent = name_of(known.then(|| workers.iter().map(Work::name)));
            let assignment = object([
                ("name", text("A short name that no other assignment has.")),
                ("agent", agent),
                ("instruction", text("All that this agent has to know of what it is to do.")),
                ("needs", list(&text("The name of an assignment of an earlier step whose result it needs."))),
            ]);
            let step = object([("assignments", list(&assignment))]);
            let complete =
                json!({"type": "boolean", "description": "Is the objective reached by what is done already?"});
            object([("complete", complete), ("steps", list(&step))])
        };
        Shape { name: "plan", schema: of(true), checked: of(false) }
    }

    /// As it is meant: before anything is done a plan with steps is not complete, as small models say.
    pub(crate) fn meant(mut self, done: &BTreeSet<String>) -> Self {
        self.complete &= self.steps.is_empty() || !done.is_empty();
        self
    }

    /// Leaves out needs of what there is nowhere, or of itself: for a planner that was told of them and says them again.
    pub(crate) fn drop_senseless_needs(&mut self, done: &BTreeSet<String>) {
        let known: BTreeSet<String> = self.all().map(|(_, one)| one.name.clone()).chain(done.iter().cloned()).collect();
        for one in self.steps.iter_mut().flat_map(|step| &mut step.assignments) {
            one.needs.retain(|need| *need != one.name && known.contains(need));
        }
    }

    /// Everything that is wrong with it, to be told to the planner; `done` are the names of earlier plans.
    pub(crate) fn check(&self, workers: &[Arc<dyn Work>], done: &BTreeSet<String>) -> Vec<String> {
        if self.complete {
            return Vec::new();
        }
        let mut wrong = Vec::new();
        if self.steps.iter().all(|step| step.assignments.is_empty()) {
            wrong.push("it is not complete, and there is nothing to do in it".to_owned());
        }
        let place = |name: &str| self.steps.iter().position(|step| step.assignments.iter().any(|one| one.name == name));
        let mut names: BTreeSet<&str> = BTreeSet::new();
        for (at, one) in self.all() {
            if find(workers, &one.agent).is_none() {
                wrong.push(format!("assignment `{}`: {}", one.name, no_agent(&one.agent, workers)));
            }
            if !names.insert(&one.name) || done.contains(&one.name) {
                wrong.push(format!(
                    "the name `{}` is given twice: each assignment has its own, those of earlier plans too",
                    one.name
                ));
                continue;
            }
            for need in &one.needs {
                let why = match place(need) {
                    _ if done.contains(need) => continue,
                    Some(step) if step < at => continue,
                    Some(step) if step == at => {
                        format!("stands in the same step {}, whose assignments run side by side", at + 1)
                    }
                    Some(step) => format!("comes later, in step {}", step + 1),
                    None => "does not exist".to_owned(),
                };
                wrong.push(format!("assignment `{}` of step {} needs `{need}`, which {why}", one.name, at + 1));
            }
        }
        if let Some(cycle) = self.cycle() {
            wrong.push(format!("assignments need each other in a circle: {}", cycle.join(" -> ")));
        }
        wrong
    }

    /// Leaves out what was done before or stands there twice; what needs it is told by the name under which it was done. How many were left out.
    pub(crate) fn drop_known(&mut self, known: &[((String, String), String)]) -> usize {
        let mut known = known.to_vec();
        let (mut dropped, mut called) = (0, Vec::new());
        for step in &mut self.steps {
            step.assignments.retain(|one| match known.iter().find(|(same, _)| *same == one.same()) {
                Some((_, name)) => {
                    dropped += 1;
                    called.push((one.name.clone(), name.clone()));
                    false
                }
                None => {
                    known.push((one.same(), one.name.clone()));
                    true
                }
            });
        }
        for need in self.steps.iter_mut().flat_map(|step| &mut step.assignments).flat_map(|one| &mut one.needs) {
            if let Some((_, name)) = called.iter().find(|(name, _)| name == need) {
                need.clone_from(name);
            }
        }
        self.steps.retain(|step| !step.assignments.is_empty());
        dropped
    }

    fn all(&self) -> impl Iterator<Item = (usize, &Need)> {
        self.steps.iter().enumerate().flat_map(|(at, step)| step.assignments.iter().map(move |one| (at, one)))
    }

    /// The first circle of needs, from one name back to it.
    fn cycle(&self) -> Option<Vec<&str>> {
        let needs = |name: &str| self.all().find(|(_, one)| one.name == name).map(|(_, one)| &one.needs);
        for (_, start) in self.all() {
            // Every way from here, each name once.
            let mut ways = vec![vec![start.name.as_str()]];
            let mut seen: BTreeSet<&str> = BTreeSet::new();
            while let Some(way) = ways.pop() {
                for need in way.last().and_then(|name| needs(name)).into_iter().flatten() {
                    if *need == start.name {
                        return Some([way.as_slice(), &[need]].concat());
                    }
                    if seen.insert(need) {
                        ways.push([way.as_slice(), &[need]].concat());
                    }
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::agent::Agent;

    fn plan(steps: &[&[(&str, &str, &[&str])]]) -> DeepPlan {
        let need = |(name, instruction, needs): &(&str, &str, &[&str])| Need {
            name: (*name).to_owned(),
            agent: "w".to_owned(),
            instruction: (*instruction).to_owned(),
            needs: needs.iter().map(|need| (*need).to_owned()).collect(),
        };
        let step = |step: &&[(&str, &str, &[&str])]| DeepStep { assignments: step.iter().map(need).collect() };
        DeepPlan { complete: false, steps: steps.iter().map(step).collect() }
    }

    fn wrong(plan: &DeepPlan) -> String {
        let worker: Arc<dyn Work> = Arc::new(Agent::new("w"));
        plan.check(&[worker], &BTreeSet::from(["old".to_owned()])).join("; ")
    }

    #[test]
    fn needs_may_only_look_back() {
        assert_eq!(wrong(&plan(&[&[("a", "x", &["old"])], &[("b", "y", &["a", "old"])]])), "");
        for (plan, why) in [
            (
                plan(&[&[("a", "x", &["b"])], &[("b", "y", &[])]]),
                "`a` of step 1 needs `b`, which comes later, in step 2",
            ),
            (
                plan(&[&[("a", "x", &[]), ("b", "y", &["a"])]]),
                "`b` of step 1 needs `a`, which stands in the same step 1",
            ),
            (plan(&[&[("a", "x", &["zz"])]]), "needs `zz`, which does not exist"),
            (
                plan(&[&[("a", "x", &["c"])], &[("b", "y", &["a"])], &[("c", "z", &["b"])]]),
                "in a circle: a -> c -> b -> a",
            ),
            (plan(&[&[("a", "x", &["a"])]]), "in a circle: a -> a"),
            (plan(&[&[("a", "x", &[])], &[("a", "y", &[])]]), "the name `a` is given twice"),
            (plan(&[&[("old", "x", &[])]]), "the name `old` is given twice"),
            (plan(&[&[]]), "nothing to do"),
        ] {
            assert!(wrong(&plan).contains(why), "{why:?} in {}", wrong(&plan));
        }
        let mut unknown = plan(&[&[("a", "x", &[])]]);
        unknown.steps.iter_mut().flat_map(|step| &mut step.assignments).for_each(|one| one.agent = "v".to_owned());
        assert!(wrong(&unknown).contains("`a`: there is no agent `v`; there are: `w`"));
        assert_eq!(wrong(&DeepPlan { complete: true, ..unknown }), "");
    }

    #[test]
    fn what_was_done_before_is_left_out_and_its_name_taken_over() {
        let known = [(("w".to_owned(), "find a".to_owned()), "old".to_owned())];
        let mut new = plan(&[
            &[("a", "Find  A.", &[]), ("b", "find b", &[])],
            &[("c", "use", &["a", "b"]), ("d", "find b", &[])],
        ]);
        assert_eq!(new.drop_known(&known), 2);
        let left: Vec<(&str, &[String])> =
            new.all().map(|(_, one)| (one.name.as_str(), one.needs.as_slice())).collect();
        assert_eq!(left, [("b", &[][..]), ("c", &["old".to_owned(), "b".to_owned()][..])]);
        let mut same = plan(&[&[("x", "find a", &[])]]);
        assert_eq!((same.drop_known(&known), same.steps.len()), (1, 0));
    }
}
