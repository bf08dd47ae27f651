//! The mutants of syncs, the log and the files, and the proofs that must catch them. It runs nothing.

use super::Mutant;

pub(super) const POWER: &[Mutant] = &[
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
    Mutant {
        name: "acknowledge-into-nothing",
        file: "runtime/store/commit.rs",
        from: "if let Err(gone) = self.place.check() {",
        to: "if let Err(gone) = if MUTANT { Ok(()) } else { self.place.check() } {",
        proof: "proof::errors::gone",
        count: None,
    },
    Mutant {
        name: "message-told-once",
        file: "runtime/host/sleep.rs",
        from: "self.inbox_unread(token, tries, &error);",
        to: "if !MUTANT { self.inbox_unread(token, tries, &error); }",
        proof: "proof::errors::unread::a_message_that",
        count: None,
    },
    Mutant {
        name: "end-told-before-the-message",
        file: "runtime/host/shard.rs",
        from: "(self.is_unread(token) || !self.read_inbox(token));",
        to: "(self.is_unread(token) || !self.read_inbox(token)) && !MUTANT;",
        proof: "proof::errors::unread::a_wait_does_not",
        count: None,
    },
    Mutant {
        name: "marker-of-another-removed",
        file: "runtime/store/marker.rs",
        from: "match gone(std::fs::remove_file(&self.path)) {",
        to: "match gone(if MUTANT { remove(&self.db) } else { std::fs::remove_file(&self.path) }) {",
        proof: "proof::power::sync::one_that_makes_good",
        count: None,
    },
];
