//! The mutants that hostile input and canaries must catch. It runs nothing.

use super::Mutant;

pub(super) const HOSTILE: &[Mutant] = &[
    Mutant {
        name: "malformed-row-panics",
        file: "runtime/report/mod.rs",
        from: "        // The input of a run that has not begun lies in chunks of its own.",
        to: "        assert!(!MUTANT || row.deliveries.iter().all(|one| one.at > 0), \"a row that no host writes\");",
        proof: "proof::hostile::journals",
        count: None,
    },
    Mutant {
        name: "frame-limit-ignored",
        file: "mcp/wire.rs",
        from: "next_line(&mut reader, &mut line, longest, |part|",
        to: "next_line(&mut reader, &mut line, if MUTANT { usize::MAX } else { longest }, |part|",
        proof: "proof::hostile::frames::an_answer",
        count: None,
    },
];

pub(super) const SECRETS: &[Mutant] = &[
    Mutant {
        name: "errors-unmasked",
        file: "llm/redact.rs",
        from: "        self.apply(Verb::Mask, text)",
        to: "        if MUTANT { Cow::Borrowed(text) } else { self.apply(Verb::Mask, text) }",
        proof: "proof::secrets::canaries",
        count: Some("12"),
    },
    Mutant {
        name: "stderr-unmasked",
        file: "mcp/slot.rs",
        from: "        let masked = redactor.mask_cut(&texts.join(\"\\n\"));",
        to: "        let masked = if MUTANT { texts.join(\"\\n\") } else { redactor.mask_cut(&texts.join(\"\\n\")) };",
        proof: "proof::secrets::canaries",
        count: Some("30"),
    },
];
