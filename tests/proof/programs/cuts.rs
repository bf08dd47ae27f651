//! Crashes: the write-ahead log of a whole run, cut off after a commit, is what a process that was killed there left behind. It resumes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

use super::book::Book;

/// A place to keep databases that is fast, if the machine has one.
pub(super) fn folder() -> tempfile::TempDir {
    let fast = Path::new("/dev/shm");
    if fast.is_dir() { tempfile::tempdir_in(fast).unwrap() } else { tempfile::tempdir().unwrap() }
}

/// The state after a commit.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cut {
    /// Bytes of the log up to here.
    end: usize,
    rows: i64,
    messages: i64,
    pub(super) clock: i64,
}

/// The database and its log as the whole run left them; nothing was moved from one to the other meanwhile.
pub(super) struct Tape {
    /// The database as far as `at` says of the log.
    image: Vec<u8>,
    at: usize,
    log: Vec<u8>,
    pub(super) cuts: Vec<Cut>,
}

fn beside(db: &Path, suffix: &str) -> PathBuf {
    let mut name = db.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Keeps the log from being moved into the database.
pub(super) fn pin(db: &Path) -> Connection {
    let conn = Connection::open_with_flags(db, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    conn.execute_batch("BEGIN").unwrap();
    conn.query_row("SELECT count(*) FROM heads", [], |row| row.get::<_, i64>(0)).unwrap();
    conn
}

fn word(bytes: &[u8], at: usize) -> usize {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()) as usize
}

impl Tape {
    /// Takes both files, and looks at what each commit brought.
    pub(super) fn of(db: &Path) -> Self {
        let (base, log) = (std::fs::read(db).unwrap(), std::fs::read(beside(db, "-wal")).unwrap());
        let page = word(&log, 8);
        let scan = folder();
        let file = scan.path().join("scan.db");
        std::fs::write(&file, &base).unwrap();
        let image = std::fs::File::options().write(true).open(&file).unwrap();
        let (mut at, mut cuts) = (32, Vec::new());
        while is_frame(&log, at, page) {
            write_at(&image, &log[at + 24..at + 24 + page], (word(&log, at) - 1) * page);
            let commit = word(&log, at + 4) != 0;
            at += 24 + page;
            if commit {
                cuts.extend(look(&file, at));
            }
        }
        Self { image: base, at: 32, log, cuts }
    }

    /// Brings the image to where this cut is. Cuts are taken in their order.
    fn advance(&mut self, cut: &Cut) {
        let page = word(&self.log, 8);
        while self.at < cut.end {
            let to = (word(&self.log, self.at) - 1) * page;
            let frame = &self.log[self.at + 24..self.at + 24 + page];
            self.image.resize(self.image.len().max(to + page), 0);
            self.image[to..to + page].copy_from_slice(frame);
            self.at += 24 + page;
        }
    }

    /// Lays the state of this cut down, all programs but these over.
    pub(super) fn lay(&mut self, cut: &Cut, db: &Path, keep: &[i64]) {
        self.advance(cut);
        std::fs::write(db, &self.image).unwrap();
        let conn = Connection::open(db).unwrap();
        let keep = keep.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        let sql = format!(
            "PRAGMA synchronous = OFF; BEGIN;
             UPDATE heads SET status = 'completed', owner = NULL, waiting_for = NULL, until_ms = NULL WHERE run NOT IN ({keep});
             DELETE FROM inbox WHERE run NOT IN ({keep}); DELETE FROM log WHERE run NOT IN ({keep});
             COMMIT;"
        );
        conn.execute_batch(&sql).unwrap();
    }

    /// For as few cuts as will do: the programs to go on with there, so that each is crashed in every state that it was in but its last.
    pub(super) fn plan(&self, book: &Book) -> BTreeMap<usize, BTreeSet<u32>> {
        let mut intervals: Vec<(usize, usize, u32)> = Vec::new();
        for (p, keys) in &book.of_program {
            let count = |all: &[(i64, i64)], last: i64| {
                all.iter().filter(|(id, run)| *id <= last && keys.contains(run)).count()
            };
            let rows: Vec<(i64, i64)> = book.rows.iter().copied().filter(|(_, run)| keys.contains(run)).collect();
            let messages: Vec<(i64, i64)> =
                book.messages.iter().copied().filter(|(_, run)| keys.contains(run)).collect();
            let mut before = (0, (0, 0));
            for (i, cut) in self.cuts.iter().enumerate() {
                let now = (count(&rows, cut.rows), count(&messages, cut.messages));
                if now != before.1 {
                    if before.1.0 > 0 {
                        intervals.push((i - 1, before.0, *p));
                    }
                    before = (i, now);
                }
            }
        }
        intervals.sort_unstable();
        let mut plan: BTreeMap<usize, BTreeSet<u32>> = BTreeMap::new();
        for (end, start, p) in intervals {
            // The latest cut so far, if this program was in this state then.
            let at = plan.range(start..=end).next_back().map_or(end, |(at, _)| *at);
            plan.entry(at).or_default().insert(p);
        }
        plan
    }
}

/// Is there a frame of this log?
fn is_frame(log: &[u8], at: usize, page: usize) -> bool {
    at + 24 + page <= log.len() && log[at + 8..at + 16] == log[16..24]
}

#[cfg(unix)]
fn write_at(file: &std::fs::File, bytes: &[u8], at: usize) {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, at as u64).unwrap();
}

#[cfg(not(unix))]
fn write_at(mut file: &std::fs::File, bytes: &[u8], at: usize) {
    use std::io::{Seek, Write};
    file.seek(std::io::SeekFrom::Start(at as u64)).unwrap();
    file.write_all(bytes).unwrap();
}

fn look(file: &Path, end: usize) -> Option<Cut> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(format!("file:{}?immutable=1", file.display()), flags).unwrap();
    let sql = "SELECT (SELECT max(id) FROM log), (SELECT seq FROM sqlite_sequence WHERE name = 'inbox'),
                      (SELECT max(updated_ms) FROM heads)";
    conn.query_row(sql, [], |row| {
        let number = |i| row.get::<_, Option<i64>>(i).map(Option::unwrap_or_default);
        Ok(Cut { end, rows: number(0)?, messages: number(1)?, clock: number(2)? })
    })
    .ok()
}
