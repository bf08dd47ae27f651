//! The mutants, by the proof that must catch them: one list a proof, so that they grow apart. It runs nothing.

use super::Mutant;
use super::hostile_rows::{HOSTILE, SECRETS};
use super::power_rows::POWER;
use super::quota_rows::QUOTA;
use super::serve_rows::SERVE;
use super::turn_rows::TURN;

/// All lists.
pub(super) const TABLE: &[&[Mutant]] =
    &[BOUNDARIES, PROGRAMS, POWER, DOUBT, UPGRADES, KILLS, QUOTA, HOSTILE, SECRETS, SERVE, TURN];

const BOUNDARIES: &[Mutant] = &[
    Mutant {
        name: "chain-from-nothing",
        file: "runtime/host/submit.rs",
        from: "let first = if nothing { None } else { Some(chained(&self.hash, &row, most)?) };",
        to: "let first = if nothing { None } else if MUTANT { Some(chained(&[0; 32], &row, most)?) } else { Some(chained(&self.hash, &row, most)?) };",
        proof: "host::boundaries::killed",
        count: None,
    },
    Mutant {
        name: "resumed-into-nothing",
        file: "runtime/host/load.rs",
        from: "run.is_leaving() && stays_open",
        to: "run.is_leaving() && stays_open && !MUTANT",
        proof: "host::pauses::a_run_that_is_resumed_while",
        count: None,
    },
    Mutant {
        name: "pause-forgotten",
        file: "runtime/host/mail.rs",
        from: "                self.pauses.push(message.id);",
        to: "                if MUTANT { turn.consumed.push(message.id) } else { self.pauses.push(message.id) }",
        proof: "host::pauses::a_pause_outlives",
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
        file: "llm/agent_rounds.rs",
        from: "kind(StepKind::Tool).effect(spec.effect);",
        to: "kind(StepKind::Tool).effect(if MUTANT { abide_engine::Effect::Idempotent } else { spec.effect });",
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
        file: "llm/agent_rounds.rs",
        from: "host.tools.round(call, Onward::Begin, meta(step_key()));",
        to: "host.tools.round(
            call,
            Onward::Begin,
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
                self.start_after_commit(id, n.saturating_add(1), 0, at, true);",
        to: "        if !MUTANT {
            self.host.push(HostEvent::Resolved { id: id.clone(), verdict, by, at });
        }
        match verdict {
            Verdict::Retry => {
                self.start_after_commit(id, n.saturating_add(1), 0, at, !MUTANT);",
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

const UPGRADES: &[Mutant] = &[
    Mutant {
        name: "replay-ignores-inputs",
        file: "engine/asked.rs",
        from: "                    return differ(input_text(&rec.hash, &rec.input), asked_text(&self.hash, self.input.as_ref()));",
        to: "                    if !MUTANT { return differ(input_text(&rec.hash, &rec.input), asked_text(&self.hash, self.input.as_ref())); }",
        proof: "proof::upgrades::changed::changed_code",
        count: None,
    },
    Mutant {
        name: "replay-ignores-a-timers-length",
        file: "engine/asked.rs",
        from: "                if ms != rec_ms {",
        to: "                if !MUTANT && ms != rec_ms {",
        proof: "proof::upgrades::changed::changed_code",
        count: None,
    },
    Mutant {
        name: "replay-forgives-what-is-missing",
        file: "engine/recorder.rs",
        from: "match recorded.into_iter().flatten().next() {",
        to: "match recorded.into_iter().flatten().next().filter(|_| !MUTANT) {",
        proof: "proof::upgrades::changed::changed_code",
        count: None,
    },
    Mutant {
        name: "replay-forgives-another-result",
        file: "runtime/host/replay.rs",
        from: "(!same(&was, &is)).then(",
        to: "(!MUTANT && !same(&was, &is)).then(",
        proof: "proof::upgrades::changed::changed_code",
        count: None,
    },
    Mutant {
        name: "gate-always-newest",
        file: "engine/ctx.rs",
        from: "recorded.get(change).copied().unwrap_or(oldest)",
        to: "recorded.get(change).copied().unwrap_or(if MUTANT { newest } else { oldest })",
        proof: "proof::upgrades::gates",
        count: None,
    },
    Mutant {
        name: "replay-is-not-repeated",
        file: "runtime/host/submit.rs",
        from: "if shop.inner.check_replay && !row.deliveries.is_empty() {",
        to: "if !MUTANT && shop.inner.check_replay && !row.deliveries.is_empty() {",
        proof: "proof::upgrades::repeated::code_that_does_not",
        count: None,
    },
    Mutant {
        name: "verify-skips-rows-of-the-host",
        file: "runtime/store/read.rs",
        from: "if hash != row.hash {",
        to: "if hash != row.hash && !(MUTANT && row.body.starts_with(\"{\\\"h\\\"\")) {",
        proof: "proof::upgrades::tampered",
        count: None,
    },
    Mutant {
        name: "verify-forgives-added-rows",
        file: "runtime/report/verify.rs",
        from: "Ok(rows) if counted != Some(rows) =>",
        to: "Ok(rows) if !MUTANT && counted != Some(rows) =>",
        proof: "proof::upgrades::tampered",
        count: None,
    },
    Mutant {
        name: "verify-believes-the-status",
        file: "runtime/report/verify.rs",
        from: "if ended != said {",
        to: "if !MUTANT && ended != said {",
        proof: "proof::upgrades::tampered",
        count: None,
    },
    Mutant {
        name: "replay-loses-chunks",
        file: "engine/machine.rs",
        from: "        self.table.learn(row.chunks);\n",
        to: "        if !MUTANT { self.table.learn(row.chunks); }\n",
        proof: "proof::upgrades::corpus::every_recorded",
        count: None,
    },
];

const PROGRAMS: &[Mutant] = &[
    Mutant {
        name: "act-before-commit",
        file: "runtime/host/submit.rs",
        from: "        self.committing = Some(Committing { ended, ..committing });\n",
        to: "        let mut committing = Committing { ended, ..committing };\n        if MUTANT {\n            for act in std::mem::take(&mut committing.acts) {\n                match act {\n                    Act::Start { id, n } => self.start(shop, id, n, abide_engine::Place::default()),\n                    other => committing.acts.push(other),\n                }\n            }\n        }\n        self.committing = Some(committing);\n",
        proof: "proof::programs",
        count: Some("600"),
    },
    Mutant {
        name: "skip-the-intent",
        file: "runtime/host/submit.rs",
        from: "        row.host.append(&mut self.host);\n",
        to: "        if MUTANT {\n            row.deliveries.iter_mut().for_each(|d| d.commands.retain(|c| !matches!(c, Command::Step(_))));\n        }\n        row.host.append(&mut self.host);\n",
        proof: "proof::programs",
        count: Some("600"),
    },
    Mutant {
        name: "leave-messages",
        file: "runtime/store/append.rs",
        from: "        self.consume(tx)?;\n",
        to: "        if !MUTANT {\n            self.consume(tx)?;\n        }\n",
        proof: "proof::programs",
        count: Some("600"),
    },
    Mutant {
        name: "deliver-out-of-order",
        file: "engine/order.rs",
        from: "    waiting.sort_by_key(|one| when(one));\n",
        to: "    waiting.sort_by_key(|one| when(one));\n    if MUTANT {\n        waiting.reverse();\n    }\n",
        proof: "proof::programs",
        count: Some("600"),
    },
    Mutant {
        name: "reveal-the-latest",
        file: "engine/state.rs",
        from: "self.ready.pop_first()?",
        to: "if MUTANT { self.ready.pop_last()? } else { self.ready.pop_first()? }",
        proof: "proof::programs",
        count: Some("600"),
    },
    Mutant {
        name: "reveal-all-at-once",
        file: "engine/state.rs",
        from: "        if self.revealed == Some(slot) {\n            self.revealed = None;\n            let entry",
        to: "        let all = MUTANT && self.entries.get(slot).is_some_and(|e| e.settled.is_some());\n        if all {\n            self.ready.retain(|_, other| *other != slot);\n        }\n        if self.revealed == Some(slot) || all {\n            self.revealed = None;\n            let entry",
        proof: "proof::programs",
        count: Some("600"),
    },
    Mutant {
        name: "number-as-polled",
        file: "engine/state.rs",
        from: "            fresh.sort_by(|a, b| self.compare(&self.entries[*a].asked, &self.entries[*b].asked));\n",
        to: "            if !MUTANT {\n                fresh.sort_by(|a, b| self.compare(&self.entries[*a].asked, &self.entries[*b].asked));\n            }\n",
        proof: "proof::programs",
        count: Some("600"),
    },
    Mutant {
        name: "number-per-run",
        file: "engine/state.rs",
        from: "        let ordinal = scope.next_ordinal(&entry.asked.name);\n        let id = StepId::new(&scope.path, &entry.asked.name, ordinal);\n",
        to: "        let mut ordinal = scope.next_ordinal(&entry.asked.name);\n        let path = scope.path.clone();\n        if MUTANT && !path.is_empty() {\n            ordinal = self.scopes[0].next_ordinal(&entry.asked.name);\n        }\n        let id = StepId::new(&path, &entry.asked.name, ordinal);\n",
        proof: "proof::programs",
        count: Some("600"),
    },
    Mutant {
        name: "forget-a-drop",
        file: "engine/state.rs",
        from: "                self.dropped.push(id);\n",
        to: "                if !MUTANT {\n                    self.dropped.push(id);\n                }\n",
        proof: "proof::programs",
        count: Some("600"),
    },
    Mutant {
        name: "cancel-in-another-order",
        file: "engine/state.rs",
        from: "        ids.sort_unstable();\n        for id in &ids {\n",
        to: "        ids.sort_unstable();\n        if MUTANT {\n            ids.reverse();\n        }\n        for id in &ids {\n",
        proof: "proof::programs",
        count: Some("600"),
    },
    Mutant {
        name: "forget-failures",
        file: "runtime/host/take_up.rs",
        from: "        self.known.get(id).map_or(0, StepState::failures)\n",
        to: "        if MUTANT { 0 } else { self.known.get(id).map_or(0, StepState::failures) }\n",
        proof: "proof::programs",
        count: Some("600"),
    },
    Mutant {
        name: "leave-children",
        file: "runtime/host/submit.rs",
        from: "                    plan.cancel_runs.extend(self.children.remove(id));\n",
        to: "                    if !MUTANT {\n                        plan.cancel_runs.extend(self.children.remove(id));\n                    }\n",
        proof: "proof::programs",
        count: Some("600"),
    },
    Mutant {
        name: "versions-anew",
        file: "engine/machine.rs",
        from: "self.shared.lock().recorded_versions = Some(recorder.versions());",
        to: "self.shared.lock().recorded_versions = if MUTANT { Some(std::collections::HashMap::new()) } else { Some(recorder.versions()) };",
        proof: "proof::programs",
        count: Some("600"),
    },
];

const KILLS: &[Mutant] = &[
    Mutant {
        name: "acknowledge-before-commit",
        file: "runtime/store/writer.rs",
        from: "        self.out = Some((self.f)(tx)?);",
        to: "        self.out = Some((self.f)(tx)?);
        if MUTANT && let Some(out) = self.out.take() {
            let _ = std::mem::replace(&mut self.to, oneshot::channel().0).send(Ok(out));
        }",
        proof: "proof::kills::nothing",
        count: Some("400"),
    },
    Mutant {
        name: "forget-the-last-turn",
        file: "runtime/host/load.rs",
        from: "        let mut left = Left::default();",
        to: "        let mut journal = journal;
        if MUTANT && journal.len() > 3 {
            journal.pop();
        }
        let mut left = Left::default();",
        proof: "proof::kills::nothing",
        count: None,
    },
    Mutant {
        name: "append-without-fence",
        file: "runtime/store/append.rs",
        from: "        Ok(changed == 1)\n",
        to: "        let sql = \"UPDATE heads SET head = ?1 WHERE run = ?2\";
        Ok(changed == 1 || MUTANT && tx.conn.prepare_cached(sql)?.execute(params![head, self.run])? == 1)\n",
        proof: "proof::owners::no_two",
        count: Some("600"),
    },
    Mutant {
        name: "take-from-the-living",
        file: "runtime/store/owner.rs",
        from: "        if lock.try_lock_shared().is_ok() {",
        to: "        if lock.try_lock_shared().is_ok() || MUTANT {",
        proof: "proof::owners::no_two",
        count: Some("200"),
    },
    Mutant {
        name: "unlock-early",
        file: "runtime/host/inner.rs",
        from: "            self.unlock.guard(&owner);",
        to: "            self.unlock.guard(&owner);
            if MUTANT {
                owner.unlock();
            }",
        proof: "proof::owners::no_two",
        count: Some("600"),
    },
    Mutant {
        name: "leave-over-a-message",
        file: "runtime/host/submit.rs",
        from: "self.letting_go == Some(LettingGo::Release);",
        to: "self.letting_go == Some(LettingGo::Release) && !MUTANT;",
        proof: "host::owners::a_message_that_comes",
        count: None,
    },
];
