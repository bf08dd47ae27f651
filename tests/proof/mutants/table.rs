//! The mutants, by the proof that must catch them: one list a proof, so that they grow apart. It runs nothing.

use super::Mutant;

/// All lists.
pub(super) const TABLE: &[&[Mutant]] = &[BOUNDARIES, POWER];

const BOUNDARIES: &[Mutant] = &[Mutant {
    name: "chain-from-nothing",
    file: "runtime/host/submit.rs",
    from: "let first = if nothing { None } else { Some(chained(&self.hash, &row)?) };",
    to: "let first = if nothing { None } else if MUTANT { Some(chained(&[0; 32], &row)?) } else { Some(chained(&self.hash, &row)?) };",
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
