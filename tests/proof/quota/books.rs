//! What the database and the provider's own record say, read while nobody is asked: who is on the way, what a kill took along, and in the end the
//! figures. It changes nothing.

use std::collections::BTreeMap;

use rusqlite::Connection;

use super::endpoint::{Endpoint, MINUTE};

/// What the kills of a scene took along.
#[derive(Default)]
pub struct Losses {
    /// How often each run's call was under way when its process was killed.
    pub under_way: BTreeMap<String, usize>,
    /// When places were granted whose calls never arrived: nobody could know that, so they count as used.
    pub unsent: Vec<i64>,
    /// Runs that were over when something was killed, and how many requests had come then.
    over: Vec<(String, usize)>,
    /// When nobody worked.
    pub dead: Vec<(i64, i64)>,
}

impl Losses {
    /// Takes account of a process that has just been killed.
    pub fn note(&mut self, conn: &Connection, endpoint: &Endpoint, pid: u32) {
        let arrivals = endpoint.arrivals();
        let sql = "SELECT r.id, a.at_ms FROM admissions a JOIN runs r ON r.key = a.run JOIN owners o ON o.id = a.owner
                   WHERE o.pid = ?1 AND a.at_ms IS NOT NULL AND a.ended_ms IS NULL";
        for (run, at) in rows::<(String, i64)>(conn, sql, pid) {
            if !arrivals.iter().any(|one| one.run == run && one.at >= at) {
                self.unsent.push(at);
            }
            *self.under_way.entry(run).or_default() += 1;
        }
        let sql = "SELECT r.id, 0 FROM heads h JOIN runs r ON r.key = h.run WHERE h.status = 'completed' AND ?1 = ?1";
        let over = rows::<(String, i64)>(conn, sql, pid);
        self.over.extend(over.into_iter().map(|(run, _)| (run, arrivals.len())));
    }
}

fn rows<T>(conn: &Connection, sql: &str, param: u32) -> Vec<(String, i64)>
where
    (String, i64): Into<T>,
{
    let mut statement = conn.prepare_cached(sql).unwrap();
    let rows = statement.query_map([param], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    rows.map(Result::unwrap).collect()
}

/// A run, as it stands.
struct Standing {
    run: String,
    status: String,
    until: Option<i64>,
    pid: Option<u32>,
    /// What the line says of it: it comes back then; it went then.
    due: Option<i64>,
    at: Option<i64>,
}

/// Is something about to happen that takes no time: a process that comes up, a run that it takes up, a call on its way or an answer on its
/// way back, a run whose time has come? (With a clock that is set, only the provider's thinking and waiting take time.)
pub fn is_moving(conn: &Connection, endpoint: &Endpoint, living: &[u32]) -> Option<String> {
    let now = endpoint.clock.now();
    let up = "SELECT count(*) FROM owners WHERE pid = ?1";
    for pid in living {
        if conn.prepare_cached(up).unwrap().query_row([pid], |row| row.get::<_, i64>(0)).unwrap() == 0 {
            return Some(format!("process {pid} comes up"));
        }
    }
    let sql = "SELECT r.id, h.status, h.until_ms, o.pid, a.due_ms, a.at_ms FROM heads h JOIN runs r ON r.key = h.run
               LEFT JOIN owners o ON o.id = h.owner LEFT JOIN admissions a ON a.run = h.run AND a.ended_ms IS NULL
               WHERE h.status IN ('running', 'waiting')";
    let mut statement = conn.prepare_cached(sql).unwrap();
    let standing = |row: &rusqlite::Row<'_>| {
        let (run, status) = (row.get(0)?, row.get(1)?);
        Ok(Standing { run, status, until: row.get(2)?, pid: row.get(3)?, due: row.get(4)?, at: row.get(5)? })
    };
    for one in statement.query_map([], standing).unwrap().map(Result::unwrap) {
        let moves = match one.pid.filter(|pid| living.contains(pid)) {
            None => !living.is_empty(),
            Some(_) if one.status == "running" => one.at.is_none_or(|at| !endpoint.thinks_about(&one.run, at)),
            Some(_) => one.due.or(one.until).is_some_and(|due| due <= now) || one.at.is_some(),
        };
        if moves {
            return Some(format!(
                "{} is {}, of {:?}, until {:?}, due {:?}",
                one.run, one.status, one.pid, one.until, one.due
            ));
        }
    }
    None
}

/// What came of a scene.
#[derive(Debug)]
pub struct Figures {
    pub requests: usize,
    /// Over the limit in the 60 s before them.
    pub over: usize,
    /// Per mille of the limit that were used while a process was alive.
    pub share: i64,
    pub repeated: usize,
    pub unsent: usize,
    pub dead_ms: i64,
    pub took_ms: i64,
}

/// Compares the books.
pub fn judge(conn: &Connection, endpoint: &Endpoint, losses: &Losses, runs: usize, limit: usize) -> Figures {
    let arrivals = endpoint.arrivals();
    let served: Vec<_> = arrivals.iter().filter(|one| !one.refused).collect();
    for (run, before) in &losses.over {
        assert!(arrivals[*before..].iter().all(|one| one.run != *run), "{run} was over, and its call was made again");
    }
    let mut repeated = 0;
    for n in 0..runs {
        let run = super::worker::name(n);
        let calls = served.iter().filter(|one| one.run == run).count();
        let lost = losses.under_way.get(&run).copied().unwrap_or(0);
        assert!((1..=1 + lost).contains(&calls), "{run} was called {calls} times, and {lost} kills cut it off");
        repeated += calls - 1;
    }
    accounts(conn, losses, runs);
    let over = served
        .iter()
        .filter(|last| served.iter().filter(|one| one.at > last.at - MINUTE && one.at <= last.at).count() > limit)
        .count();
    let mut used: Vec<i64> = served.iter().map(|one| one.at).chain(losses.unsent.iter().copied()).collect();
    used.sort_unstable();
    let (first, last) = (served[0].at, served[served.len() - 1].at);
    let alive = |at: &i64| !losses.dead.iter().any(|(from, to)| from <= at && at < to);
    let within = |at: i64| used.iter().filter(|one| **one <= at && **one > at - MINUTE).count().min(limit) as i64;
    let looks: Vec<i64> = (first..last.max(first + 1)).step_by(50).filter(alive).map(within).collect();
    let share = looks.iter().sum::<i64>() * 1_000 / (looks.len().max(1) * limit) as i64;
    let dead_ms = losses.dead.iter().map(|(from, to)| to - from).sum();
    Figures {
        requests: arrivals.len(),
        over: over + arrivals.len() - served.len(),
        share,
        repeated,
        unsent: losses.unsent.len(),
        dead_ms,
        took_ms: last - first,
    }
}

/// Nothing is held, waits or is under way any more, and what was spent is what was called.
fn accounts(conn: &Connection, losses: &Losses, runs: usize) {
    let ask = |sql: &str| conn.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(ask("SELECT count(*) FROM heads WHERE status = 'completed'"), runs as i64);
    assert_eq!(ask("SELECT count(*) FROM admissions WHERE ended_ms IS NULL"), 0, "places that nobody has given back");
    assert_eq!(ask("SELECT sum(held_tokens) FROM spend"), 0);
    let lost = losses.under_way.values().sum::<usize>() as i64;
    assert_eq!(ask("SELECT sum(lost) FROM spend WHERE spender = ''"), lost);
    assert_eq!(ask("SELECT sum(calls) FROM spend WHERE spender = ''"), runs as i64 + lost);
}
