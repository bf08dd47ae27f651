//! Which runs a watching process may take up: looked for many times a second, so it costs nothing by the run that sleeps. It takes none.

use super::read::Reader;
use super::writer::patiently;
use super::{RunKey, owner};
use crate::HostError;

impl Reader {
    /// Whether other processes than this owner live on this file.
    pub(crate) fn has_others(&self, own: i64) -> Result<bool, HostError> {
        let files = self.many("SELECT file FROM owners WHERE id <> ?1", &own, |row| row.get::<_, String>(0))?;
        Ok(files.iter().any(|file| owner::is_alive(&self.path, file)))
    }

    /// Runs that can move and that nobody living works on: interrupted ones, and waiting ones whose time has come. Not those that were sent something:
    /// whoever goes on with runs by itself is told of messages as they come. One that its surroundings stopped has a note that says so,
    /// and is nobody's until somebody resumes it.
    ///
    /// Only those that are `wanted`, by key and workflow: others must not be in their way. It costs nothing by the run that sleeps.
    pub(crate) fn orphans(
        &self,
        own: i64,
        now_ms: i64,
        wanted: impl Fn(RunKey, &str) -> bool,
    ) -> Result<Vec<RunKey>, HostError> {
        let free = "SELECT h.run, r.workflow FROM heads h INDEXED BY heads_free JOIN runs r ON r.key = h.run
                      LEFT JOIN notes n ON n.run = h.run
                      WHERE h.owner IS NULL AND h.status IN ('running', 'waiting') AND h.status = 'running' AND n.error IS NULL AND ?1 = ?1
                    UNION ALL
                    SELECT h.run, r.workflow FROM heads h INDEXED BY heads_free JOIN runs r ON r.key = h.run
                      WHERE h.owner IS NULL AND h.status IN ('running', 'waiting') AND h.status = 'waiting' AND h.until_ms <= ?1
                    UNION ALL
                    SELECT h.run, r.workflow FROM heads h INDEXED BY heads_parent JOIN runs r ON r.key = h.run
                      WHERE h.owner IS NULL AND h.waiting_for = 'child'";
        let mut runs = Vec::new();
        self.gather(free, now_ms, &wanted, &mut runs)?;
        let owners = self.many("SELECT id, file FROM owners WHERE id <> ?1", &own, |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?))
        })?;
        for (id, file) in owners {
            if !owner::is_alive(&self.path, &file) {
                let left = "SELECT h.run, r.workflow FROM heads h JOIN runs r ON r.key = h.run WHERE h.owner = ?1";
                self.gather(left, id, &wanted, &mut runs)?;
            }
        }
        Ok(runs)
    }

    /// Adds the runs that are wanted, some at a time.
    fn gather(
        &self,
        sql: &str,
        param: i64,
        wanted: &impl Fn(RunKey, &str) -> bool,
        runs: &mut Vec<RunKey>,
    ) -> Result<(), HostError> {
        const AT_ONCE: usize = 1_000;
        let before = runs.len();
        Ok(patiently(|| {
            runs.truncate(before);
            let mut statement = self.conn.prepare_cached(sql)?;
            let mut rows = statement.query([param])?;
            while let Some(row) = rows.next()? {
                let key = row.get(0)?;
                if wanted(key, row.get_ref(1)?.as_str()?) {
                    runs.push(key);
                }
                if runs.len() >= before + AT_ONCE {
                    break;
                }
            }
            Ok(())
        })?)
    }
}
