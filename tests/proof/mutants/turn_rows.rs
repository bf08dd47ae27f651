//! The mutants of queues and schedules, and the proofs that must catch them. It runs nothing.

use super::Mutant;

const PLACES: &str = "host::queues::the_places_of_a_queue";
const TIMES: &str = "host::schedules::no_time_is_met_twice";

pub(super) const TURN: &[Mutant] = &[
    Mutant {
        name: "one-place-more",
        file: "runtime/store/queue.rs",
        from: "    if free <= 0 {\n",
        to: "    let free = free + i64::from(MUTANT);\n    if free <= 0 {\n",
        proof: PLACES,
        count: None,
    },
    Mutant {
        name: "claim-without-a-place",
        file: "runtime/store/jobs.rs",
        from: "if !queue::may_go(tx, self.run)? {",
        to: "if !queue::may_go(tx, self.run)? && !MUTANT {",
        proof: PLACES,
        count: None,
    },
    Mutant {
        name: "last-come-first-served",
        file: "runtime/store/queue.rs",
        from: "ORDER BY q.priority DESC, q.run LIMIT ?2\";",
        to: "ORDER BY q.priority DESC, q.run LIMIT ?2\";
    let newest = sql.replace(\"q.run LIMIT\", \"q.run DESC LIMIT\");
    let sql = if MUTANT { newest.as_str() } else { sql };",
        proof: "host::queues::runs_of_a_queue_begin",
        count: None,
    },
    Mutant {
        name: "move-on-without-starting",
        file: "runtime/host/meet.rs",
        from: "            for (at, start) in &starts {\n",
        to: "            for (at, start) in starts.iter().skip(usize::from(MUTANT)) {\n",
        proof: TIMES,
        count: None,
    },
    Mutant {
        name: "time-of-the-start-in-the-id",
        file: "runtime/host/meet.rs",
        from: "let id = format!(\"{}-{}\", row.name, stamp(*at));",
        to: "let id = format!(\"{}-{}\", row.name, stamp(if MUTANT { now } else { *at }));",
        proof: TIMES,
        count: None,
    },
];
