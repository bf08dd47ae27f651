//! The mutants of the limits that all runs share, and the proofs that must catch them. It runs nothing.

use super::Mutant;

pub(super) const QUOTA: &[Mutant] = &[
    Mutant {
        name: "half-a-minute",
        file: "runtime/store/places.rs",
        from: "query_row([service, now - WINDOW_MS], |row| {",
        to: "query_row([service, now - if MUTANT { WINDOW_MS / 2 } else { WINDOW_MS }], |row| {",
        proof: "proof::quota::a_limit_holds",
        count: None,
    },
    Mutant {
        name: "forget-requests-that-a-kill-cut-off",
        file: "runtime/store/settle.rs",
        from: "        .query_row(params![id, now], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?;\n",
        to: "        .query_row(params![id, now], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?;
    if MUTANT {
        tx.conn.execute(\"UPDATE admissions SET at_ms = 0 WHERE id = ?1\", [id])?;
    }\n",
        proof: "proof::quota::a_limit_holds",
        count: None,
    },
    Mutant {
        name: "tell-nobody-of-room",
        file: "runtime/store/places.rs",
        from: "self.named, self.tokens, now)?.room();",
        to: "self.named, self.tokens, now)?.room() * usize::from(!MUTANT);",
        proof: "host::lines::a_service_that_answers",
        count: None,
    },
    Mutant {
        name: "lost-call-costs-nothing",
        file: "runtime/store/settle.rs",
        from: "spend::charge(tx, run, &spender, spend::Held { tokens, nano }, None)?;",
        to: "spend::charge(tx, run, &spender, spend::Held { tokens, nano }, MUTANT.then(abide_engine::Spent::default))?;",
        proof: "proof::quota::budget::no_budget",
        count: None,
    },
];
