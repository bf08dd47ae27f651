//! Finds a program as Windows' own shell does: in the folders of `PATH`, with the endings of `PATHEXT`. It starts nothing, and looks
//! at nothing but what it is given.
#![cfg(any(not(unix), test))]

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// What holds where `PATHEXT` is not set.
const USUAL: &str = ".COM;.EXE;.BAT;.CMD";

/// The file that `program` means in this environment; `None` if there is none, and then the system's own error is the best.
pub(super) fn find(
    program: &Path,
    env: &BTreeMap<OsString, OsString>,
    is_file: impl Fn(&Path) -> bool,
) -> Option<PathBuf> {
    let endings = var(env, "PATHEXT").and_then(OsStr::to_str).unwrap_or(USUAL);
    let endings: Vec<&str> = endings.split(';').filter(|ending| !ending.is_empty()).collect();
    let has_ending = program.extension().is_some_and(|own| {
        endings.iter().any(|ending| ending.strip_prefix('.').is_some_and(|ending| own.eq_ignore_ascii_case(ending)))
    });
    let spellings = |path: PathBuf| -> Vec<PathBuf> {
        if has_ending {
            return vec![path];
        }
        let with = |ending: &&str| {
            let mut name = path.clone().into_os_string();
            name.push(ending);
            PathBuf::from(name)
        };
        endings.iter().map(with).collect()
    };
    let bare = program.components().count() == 1 && !program.is_absolute();
    let folders: Vec<PathBuf> = match var(env, "PATH") {
        Some(path) if bare => std::env::split_paths(path).collect(),
        _ if bare => Vec::new(),
        _ => vec![PathBuf::new()],
    };
    folders.into_iter().flat_map(|folder| spellings(folder.join(program))).find(|path| is_file(path))
}

/// Names of variables have no case there.
fn var<'e>(env: &'e BTreeMap<OsString, OsString>, name: &str) -> Option<&'e OsStr> {
    env.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_os_str())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn found(program: &str, env: &[(&str, OsString)], files: &[PathBuf]) -> Option<PathBuf> {
        let env = env.iter().map(|(name, value)| (OsString::from(name), value.clone())).collect();
        find(Path::new(program), &env, |path| files.iter().any(|file| file == path))
    }

    #[test]
    fn a_script_is_found_by_its_bare_name() {
        let (system, node) = (Path::new("system"), Path::new("node"));
        let path = ("Path", std::env::join_paths([system, node]).unwrap());
        let files = [node.join("npx"), node.join("npx.CMD"), node.join("uvx.EXE"), node.join("run.py")];
        let env = [path.clone()];
        assert_eq!(found("npx", &env, &files), Some(node.join("npx.CMD")));
        assert_eq!(found("uvx", &env, &files), Some(node.join("uvx.EXE")));
        assert_eq!(found("uvx.EXE", &env, &files), Some(node.join("uvx.EXE")));
        assert_eq!(found("absent", &env, &files), None);
        assert_eq!(found("run", &env, &files), None);
        assert_eq!(found("run", &[path, ("PATHEXT", ".EXE;.py".into())], &files), Some(node.join("run.py")));
    }

    #[test]
    fn a_path_is_completed_and_never_looked_for() {
        let server = Path::new("tools").join("server");
        let files = [Path::new("tools").join("server.BAT"), Path::new("node").join("server.EXE")];
        let env = [("PATH", OsString::from("node"))];
        assert_eq!(found(server.to_str().unwrap(), &env, &files), Some(files[0].clone()));
        assert_eq!(found("server", &[], &files), None);
    }
}
