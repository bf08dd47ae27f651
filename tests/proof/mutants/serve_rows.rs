//! The mutants that a served run must catch. It runs nothing.

use super::Mutant;

pub(super) const SERVE: &[Mutant] = &[
    Mutant {
        name: "state-used-again",
        file: "mcp/serve/rounds.rs",
        from: "    if !server.is_first_use(opened.mark, opened.until_ms) {",
        to: "    if !server.is_first_use(opened.mark, opened.until_ms) && !MUTANT {",
        proof: "serve::people::an_approval",
        count: None,
    },
    Mutant {
        name: "any-host",
        file: "mcp/serve/gate.rs",
        from: "self.hosts.iter().any(|host| *host == name_of(authority))",
        to: "MUTANT || self.hosts.iter().any(|host| *host == name_of(authority))",
        proof: "serve::door::strangers",
        count: None,
    },
    Mutant {
        name: "any-token",
        file: "mcp/serve/gate.rs",
        from: "        blake3::hash(text.as_bytes()) == self.0",
        to: "        MUTANT || blake3::hash(text.as_bytes()) == self.0",
        proof: "serve::door::a_token_is_asked",
        count: None,
    },
    Mutant {
        name: "handle-without-proof",
        file: "runtime/serve/mod.rs",
        from: "let id = self.seal.id_of(handle)?;",
        to: "let id = if MUTANT { handle.split('.').next()? } else { self.seal.id_of(handle)? };",
        proof: "serve::runs::a_run_can_be_cancelled",
        count: None,
    },
    Mutant {
        name: "key-for-each-process",
        file: "runtime/serve/secrets.rs",
        from: "    let text = read_or_make(&path)?.0;",
        to: "    let text = if MUTANT { crate::random::run_id() } else { read_or_make(&path)?.0 };",
        proof: "serve::runs::ten_clients",
        count: None,
    },
    Mutant {
        name: "idempotency-key-ignored",
        file: "runtime/serve/begin.rs",
        from: "        if let Some(id) = id_of(call) {",
        to: "        if let Some(id) = id_of(call).filter(|_| !MUTANT) {",
        proof: "serve::runs::an_agent",
        count: None,
    },
    Mutant {
        name: "serve-recovers-nothing",
        file: "runtime/cli/session.rs",
        from: "builder.recover(recover)",
        to: "builder.recover(recover && !MUTANT)",
        proof: "serve::runs::whatever",
        count: None,
    },
    Mutant {
        name: "declined-is-allowed",
        file: "runtime/serve/questions.rs",
        from: "Approval { allow: false, reason: None }",
        to: "Approval { allow: MUTANT, reason: None }",
        proof: "serve::people::a_session_that_waits",
        count: None,
    },
    Mutant {
        name: "nobody-goes-on",
        file: "runtime/cli/serve.rs",
        from: "    if stays && left && at_work {",
        to: "    if stays && left && at_work && !MUTANT {",
        proof: "serve::lines::a_run_goes_on",
        count: None,
    },
];
