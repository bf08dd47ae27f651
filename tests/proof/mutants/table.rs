//! The mutants, by the proof that must catch them: one list a proof, so that they grow apart. It runs nothing.

use super::Mutant;

/// All lists.
pub(super) const TABLE: &[&[Mutant]] = &[BOUNDARIES, POWER, DOUBT];

const BOUNDARIES: &[Mutant] = &[Mutant {
    name: "chain-from-nothing",
    file: "runtime/host/submit.rs",
    from: "let first = if nothing { None } else { Some(chained(&self.hash, &row, most)?) };",
    to: "let first = if nothing { None } else if MUTANT { Some(chained(&[0; 32], &row, most)?) } else { Some(chained(&self.hash, &row, most)?) };",
    proof: "host::boundaries::killed",
    count: None,
}];

const POWER: &[Mutant] = &[
    Mutant {
        name: "synchronous-normal",
        file: "runtime/store/open.rs",
        from: "        (\"synchronous\", \"FULL\", \"2\"),",
        to: "        if MUTANT { (\"synchronous\", \"NORMAL\", \"1\") } else { (\"synchronous\", \"FULL\", \"2\") },",
        proof: "proof::power::a_power_loss",
        count: None,
    },
    Mutant {
        name: "synchronous-off",
        file: "runtime/store/open.rs",
        from: "        (\"fullfsync\", \"1\", \"1\"),",
        to: "        if MUTANT { (\"synchronous\", \"OFF\", \"0\") } else { (\"fullfsync\", \"1\", \"1\") },",
        proof: "proof::power::a_power_loss",
        count: None,
    },
    Mutant {
        name: "no-marker",
        file: "runtime/store/marker.rs",
        from: "        if self.written || !(self.commit || self.checkpoint) {",
        to: "        if MUTANT || self.written || !(self.commit || self.checkpoint) {",
        proof: "proof::power::sync::a_file_that_nobody",
        count: None,
    },
];

const DOUBT: &[Mutant] = &[
    Mutant {
        name: "once-recovered-as-idempotent",
        file: "runtime/host/take_up.rs",
        from: "        if effect == Effect::Once {",
        to: "        if effect == Effect::Once && !MUTANT {",
        proof: "proof::doubt::what_is_cut_off",
        count: None,
    },
    Mutant {
        name: "once-recovered-as-idempotent-by-agents",
        file: "llm/agent_loop.rs",
        from: "kind(StepKind::Tool).effect(spec.effect);",
        to: "kind(StepKind::Tool).effect(if MUTANT { Effect::Idempotent } else { spec.effect });",
        proof: "proof::doubt::agents::calls",
        count: None,
    },
    Mutant {
        name: "key-per-attempt",
        file: "runtime/host/act.rs",
        from: "let key: Arc<str> = self.machine.seed().step_key(id.as_str()).into();",
        to: "let of = if MUTANT { format!(\"{id}!{n}\") } else { id.to_string() };
        let key: Arc<str> = self.machine.seed().step_key(&of).into();",
        proof: "proof::doubt::what_is_cut_off",
        count: None,
    },
    Mutant {
        name: "key-per-attempt-of-agents",
        file: "llm/agent_loop.rs",
        from: "host.tools.call(call, meta(step_key()));",
        to: "host.tools.call(
            call,
            meta(step_key().map(|key| match abide_engine::step_attempt() {
                Some(n) if MUTANT => format!(\"{key}!{n}\").into(),
                _ => key,
            })),
        );",
        proof: "proof::doubt::agents::calls",
        count: None,
    },
    Mutant {
        name: "resolution-in-memory-only",
        file: "runtime/host/doubt.rs",
        from: "        self.host.push(HostEvent::Resolved { id: id.clone(), verdict, by, at });
        match verdict {
            Verdict::Retry => {
                self.start_after_commit(id, n + 1, 0, at, true);",
        to: "        if !MUTANT {
            self.host.push(HostEvent::Resolved { id: id.clone(), verdict, by, at });
        }
        match verdict {
            Verdict::Retry => {
                self.start_after_commit(id, n + 1, 0, at, !MUTANT);",
        proof: "proof::doubt::what_is_cut_off",
        count: None,
    },
    Mutant {
        name: "unknown-as-did-not-happen",
        file: "runtime/host/doubt.rs",
        from: "        let why = match answer {",
        to: "        let answer = match answer {
            Ok(Reconciled::Unknown) if MUTANT => Ok(Reconciled::DidNotHappen),
            answer => answer,
        };
        let why = match answer {",
        proof: "proof::doubt::what_is_cut_off",
        count: None,
    },
];
