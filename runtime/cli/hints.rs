//! Commands that are printed to be pasted, from whatever folder. It never runs one.

use std::path::PathBuf;

use crate::config::{Database, DatabaseSource};
use crate::shell::quote;

/// Completes commands with what they need to find this database again.
#[derive(Debug, Clone, Default)]
pub(crate) struct Hints {
    db: Option<PathBuf>,
}

/// Verbs whose commands never need a database.
const WITHOUT: [&str; 3] = ["demo", "help", "--help"];

impl Hints {
    /// A database that the usual look-up finds needs no mention.
    pub(crate) fn new(database: &Database) -> Self {
        let usual = matches!(database.source, DatabaseSource::Found | DatabaseSource::New);
        let absolute = std::path::absolute(&database.path).unwrap_or_else(|_| database.path.clone());
        Self { db: (!usual).then_some(absolute) }
    }

    /// `abide` with these words.
    pub(crate) fn command(&self, words: &[&str]) -> String {
        let mut line = "abide".to_owned();
        for word in words {
            line.push(' ');
            line.push_str(&quote(word));
        }
        line.push_str(&self.flag());
        line
    }

    /// A text in which every command between backticks names the database, if that is needed.
    pub(crate) fn complete(&self, text: &str) -> String {
        let flag = self.flag();
        if flag.is_empty() {
            return text.to_owned();
        }
        let mut out = String::with_capacity(text.len());
        // Every second piece stands between two backticks.
        for (i, piece) in text.split('`').enumerate() {
            if i > 0 {
                out.push('`');
            }
            out.push_str(piece);
            let verb = piece.strip_prefix("abide ").and_then(|rest| rest.split_whitespace().next());
            if i % 2 == 1 && verb.is_some_and(|verb| !WITHOUT.contains(&verb)) && !piece.contains("--db") {
                out.push_str(&flag);
            }
        }
        out
    }

    fn flag(&self) -> String {
        self.db.as_ref().map(|db| format!(" --db {}", quote(&db.to_string_lossy()))).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hints(path: &str, source: DatabaseSource) -> Hints {
        Hints::new(&Database { path: PathBuf::from(path), source })
    }

    #[test]
    fn commands_name_the_database_only_where_it_is_not_the_usual_one() {
        let usual = hints("/p/.abide/runs.db", DatabaseSource::Found);
        assert_eq!(usual.command(&["resume", "a b"]), format!("abide resume {}", quote("a b")));
        for source in [DatabaseSource::Flag, DatabaseSource::Variable] {
            let path = std::path::absolute("my runs.db").unwrap_or_default();
            let named = hints("my runs.db", source).command(&["show", "x"]);
            assert_eq!(named, format!("abide show x --db {}", quote(&path.to_string_lossy())));
        }
    }

    #[test]
    fn commands_in_a_text_are_completed() {
        let path = std::path::absolute("x.db").unwrap_or_default();
        let db = quote(&path.to_string_lossy()).into_owned();
        let named = hints("x.db", DatabaseSource::Flag);
        for (text, expected) in [
            (
                "`abide ls` lists them; --db names another",
                format!("`abide ls --db {db}` lists them; --db names another"),
            ),
            ("try `abide show r` or `abide ls`", format!("try `abide show r --db {db}` or `abide ls --db {db}`")),
            ("the run `abide` is fine", "the run `abide` is fine".to_owned()),
            ("`abide show r --db y` and `abide demo`", "`abide show r --db y` and `abide demo`".to_owned()),
            ("no command", "no command".to_owned()),
        ] {
            assert_eq!(named.complete(text), expected);
            assert_eq!(hints("x.db", DatabaseSource::New).complete(text), text);
        }
    }
}
