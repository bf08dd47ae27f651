//! Finds the project's root, the user's config folder, the files of both and the database. It never makes or changes
//! anything.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::error::{ConfigError, Origin};

/// The largest file of configuration that is read, in bytes: more is a mistake, and not worth the memory.
const MAX_FILE: u64 = 4 * 1024 * 1024;

/// What marks a folder as a project's root (DESIGN section 9).
const MARKERS: [&str; 3] = [".abide", "abide.toml", ".mcp.json"];

/// All that finding files depends on, so that tests need no state of the process.
#[derive(Clone, Default)]
pub struct Env {
    /// The working folder, absolute.
    pub cwd: PathBuf,
    /// The environment variables that are valid Unicode.
    pub vars: BTreeMap<String, String>,
    /// The folder under which programs of this user keep their configuration; none without a home folder.
    pub config_base: Option<PathBuf>,
}

impl fmt::Debug for Env {
    /// Without the variables: keys are among them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Env").field("cwd", &self.cwd).field("config_base", &self.config_base).finish_non_exhaustive()
    }
}

impl Env {
    /// The surroundings of this process. Fails if the working folder is gone.
    pub fn of_process() -> Result<Self, ConfigError> {
        use etcetera::BaseStrategy as _;
        let cwd = std::env::current_dir().map_err(|e| ConfigError::Unreadable {
            path: PathBuf::from("."),
            problem: format!("the working folder cannot be found: {e}"),
        })?;
        let vars = std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)));
        let config_base = etcetera::choose_base_strategy().ok().map(|base| base.config_dir());
        Ok(Self { cwd, vars: vars.collect(), config_base })
    }

    /// The value of a variable; an empty one counts as unset.
    pub fn var(&self, name: &str) -> Option<&str> {
        self.vars.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The user's config folder: `ABIDE_CONFIG_DIR`, else `abide` under [`Env::config_base`]. It need not exist.
    pub fn user_dir(&self) -> Option<PathBuf> {
        match self.var("ABIDE_CONFIG_DIR") {
            Some(dir) => Some(self.cwd.join(dir)),
            None => self.config_base.as_ref().map(|base| base.join("abide")),
        }
    }

    /// The project's root: the nearest folder upwards with `.abide`, `abide.toml` or `.mcp.json`, else the working
    /// folder.
    pub fn project_root(&self) -> PathBuf {
        let marked = |dir: &&Path| MARKERS.iter().any(|marker| dir.join(marker).exists());
        self.cwd.ancestors().find(marked).unwrap_or(&self.cwd).to_path_buf()
    }

    /// Every `abide.toml` that counts, the nearest first: from the folder `from` upwards, then the user's.
    pub fn settings_files(&self, from: &Path) -> Vec<(PathBuf, Origin)> {
        let users = self.user_dir().map(|dir| dir.join("abide.toml"));
        let is_users = |path: &Path| users.as_deref().is_some_and(|users| same_file(path, users));
        let mut files: Vec<_> = from
            .ancestors()
            .map(|dir| dir.join("abide.toml"))
            .filter(|path| path.exists() && !is_users(path))
            .map(|path| (path, Origin::Project))
            .collect();
        files.extend(users.filter(|path| path.exists()).map(|path| (path, Origin::User)));
        files
    }

    /// Whose file `path` is: the user's if it lies in the user's config folder, links resolved.
    pub fn origin_of(&self, path: &Path) -> Origin {
        let inside = |dir: &Path| match (std::fs::canonicalize(path), std::fs::canonicalize(dir)) {
            (Ok(path), Ok(dir)) => path.starts_with(dir),
            _ => false,
        };
        match self.user_dir() {
            Some(dir) if inside(&dir) => Origin::User,
            _ => Origin::Project,
        }
    }

    /// The database (DESIGN section 7): `flag` (`--db`), else `ABIDE_DB`, else `.abide/runs.db` found from the working
    /// folder upwards, else where `run` and `serve` would make it: in the project's root, so that making it never
    /// turns a folder below into a project of its own.
    pub fn database(&self, flag: Option<&Path>) -> Database {
        if let Some(path) = flag {
            return Database { path: self.cwd.join(path), source: DatabaseSource::Flag };
        }
        if let Some(path) = self.var("ABIDE_DB") {
            return Database { path: self.cwd.join(path), source: DatabaseSource::Variable };
        }
        let relative: PathBuf = [".abide", "runs.db"].iter().collect();
        // A dangling link counts as found: whoever opens the database refuses links, and says so.
        let found = self.cwd.ancestors().map(|dir| dir.join(&relative)).find(|path| path.symlink_metadata().is_ok());
        match found {
            Some(path) => Database { path, source: DatabaseSource::Found },
            None => Database { path: self.project_root().join(relative), source: DatabaseSource::New },
        }
    }
}

/// Where the database is, and how that was settled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Database {
    /// The file, which need not exist.
    pub path: PathBuf,
    /// How it was found.
    pub source: DatabaseSource,
}

/// How the database's path was settled. Printed commands carry `--db` unless it is [`DatabaseSource::Found`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DatabaseSource {
    /// `--db`.
    Flag,
    /// `ABIDE_DB`.
    Variable,
    /// `.abide/runs.db`, upwards of the working folder.
    Found,
    /// There is none yet: this is where it would be made, with its folder.
    New,
}

/// Reads a text file of configuration: a regular file in UTF-8 of at most 4 MiB, without its byte order mark.
pub(super) fn read_text(path: &Path) -> Result<String, ConfigError> {
    let unreadable = |problem: String| ConfigError::Unreadable { path: path.to_path_buf(), problem };
    // Asked before opening: opening a named pipe would wait for a writer.
    let meta = std::fs::metadata(path).map_err(|e| unreadable(e.to_string()))?;
    if !meta.is_file() {
        return Err(unreadable("it is not a regular file".to_owned()));
    }
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(|e| unreadable(e.to_string()))?;
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(|e| unreadable(e.to_string()))?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(unreadable(format!("it is larger than {} MiB", MAX_FILE / 1024 / 1024)));
    }
    let text = String::from_utf8(bytes).map_err(|e| {
        let line = e.as_bytes().iter().take(e.utf8_error().valid_up_to()).filter(|b| **b == b'\n').count() + 1;
        unreadable(format!("it is not UTF-8 (line {line})"))
    })?;
    Ok(match text.strip_prefix('\u{feff}') {
        Some(rest) => rest.to_owned(),
        None => text,
    })
}

/// True if both paths lead to one existing file.
fn same_file(a: &Path, b: &Path) -> bool {
    match (std::fs::canonicalize(a), std::fs::canonicalize(b)) {
        (Ok(a), Ok(b)) => a == b,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use std::fs;

    use super::*;

    fn env_in(cwd: &Path, vars: &[(&str, &str)]) -> Env {
        let vars = vars.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Env { cwd: cwd.to_path_buf(), vars, config_base: None }
    }

    #[test]
    fn the_nearest_marked_folder_is_the_root() {
        for marker in MARKERS {
            let dir = tempfile::tempdir().unwrap();
            let deep = dir.path().join("a/b/c");
            fs::create_dir_all(&deep).unwrap();
            assert_eq!(env_in(&deep, &[]).project_root(), deep, "unmarked: the working folder");
            fs::write(dir.path().join("a").join(marker), "").unwrap();
            assert_eq!(env_in(&deep, &[]).project_root(), dir.path().join("a"), "{marker}");
        }
    }

    #[test]
    fn the_users_folder_follows_the_variables() {
        let cwd = Path::new("here");
        let mut env = env_in(cwd, &[("ABIDE_CONFIG_DIR", "mine")]);
        assert_eq!(env.user_dir().unwrap(), cwd.join("mine"));
        env = env_in(cwd, &[("ABIDE_CONFIG_DIR", "")]);
        assert_eq!(env.user_dir(), None);
        env.config_base = Some(PathBuf::from("base"));
        assert_eq!(env.user_dir().unwrap(), Path::new("base").join("abide"));
    }

    #[test]
    fn settings_files_are_listed_nearest_first_and_each_once() {
        let dir = tempfile::tempdir().unwrap();
        let (below, mine) = (dir.path().join("below"), dir.path().join("mine"));
        fs::create_dir_all(&below).unwrap();
        fs::create_dir_all(&mine).unwrap();
        for folder in [dir.path(), &below, &mine] {
            fs::write(folder.join("abide.toml"), "").unwrap();
        }
        let users = mine.to_str().unwrap();
        let listed = |cwd: &Path| -> Vec<_> {
            let all = env_in(cwd, &[("ABIDE_CONFIG_DIR", users)]).settings_files(cwd);
            all.into_iter().filter(|(path, _)| path.starts_with(dir.path())).collect()
        };
        let (near, far) = (below.join("abide.toml"), dir.path().join("abide.toml"));
        let own = (mine.join("abide.toml"), Origin::User);
        assert_eq!(listed(&below), [(near, Origin::Project), (far.clone(), Origin::Project), own.clone()]);
        assert_eq!(listed(&mine), [(far, Origin::Project), own], "the user's own folder is not a project's");
    }

    #[test]
    fn the_database_is_looked_for_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("project/src");
        fs::create_dir_all(&deep).unwrap();
        fs::write(dir.path().join("project/.mcp.json"), "{}").unwrap();
        let file = dir.path().join("project").join(".abide").join("runs.db");
        let plain = env_in(&deep, &[]);
        assert_eq!(plain.database(None), Database { path: file.clone(), source: DatabaseSource::New });
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, "").unwrap();
        assert_eq!(plain.database(None), Database { path: file, source: DatabaseSource::Found });
        let named = env_in(&deep, &[("ABIDE_DB", "x.db")]);
        assert_eq!(named.database(None), Database { path: deep.join("x.db"), source: DatabaseSource::Variable });
        let flagged = named.database(Some(Path::new("y.db")));
        assert_eq!(flagged, Database { path: deep.join("y.db"), source: DatabaseSource::Flag });
    }

    #[test]
    fn only_readable_text_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("abide.toml");
        fs::write(&path, b"\xef\xbb\xbfa = 1").unwrap();
        assert_eq!(read_text(&path).unwrap(), "a = 1");
        fs::write(&path, b"a = 1\nb = \xff").unwrap();
        assert!(read_text(&path).unwrap_err().to_string().contains("abide.toml: it is not UTF-8 (line 2)"));
        fs::write(&path, vec![b'#'; usize::try_from(MAX_FILE).unwrap() + 1]).unwrap();
        assert!(read_text(&path).unwrap_err().to_string().contains("larger than 4 MiB"));
        assert!(read_text(dir.path()).unwrap_err().to_string().contains("not a regular file"));
        assert!(read_text(&dir.path().join("none")).unwrap_err().help().contains("none"));
    }
}
