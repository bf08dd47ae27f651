//! The mutants, by the proof that must catch them: one list a proof, so that they grow apart. It runs nothing.

use super::Mutant;

/// All lists.
pub(super) const TABLE: &[&[Mutant]] = &[BOUNDARIES];

const BOUNDARIES: &[Mutant] = &[Mutant {
    name: "chain-from-nothing",
    file: "runtime/host/submit.rs",
    from: "let first = if nothing { None } else { Some(chained(&self.hash, &row)?) };",
    to: "let first = if nothing { None } else if MUTANT { Some(chained(&[0; 32], &row)?) } else { Some(chained(&self.hash, &row)?) };",
    proof: "host::boundaries::killed",
    count: None,
}];
