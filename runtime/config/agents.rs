//! Finds agents by name or path (DESIGN section 9), in `abide.toml` or in files of their own. It reads those files and nothing else.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::agent_file::AgentDef;
use super::agent_front::{Form, INSTRUCTIONS, form_of};
use super::discover::{Env, read_text};
use super::error::{ConfigError, Origin, Place, nearest};
use super::parse::yaml_table;

/// How deep folders of agents are searched, as people sort theirs into a few.
const DEPTH: usize = 3;

/// Those of `abide.toml`, by name.
type Tables = BTreeMap<String, AgentDef>;

/// The folders in which agents lie, the first wins. A table of `abide.toml` goes before the folders of whoever's file it stands in.
pub(super) fn folders(root: &Path, env: &Env) -> Vec<(PathBuf, Origin)> {
    let project = [".abide", ".claude"].map(|dir| (root.join(dir).join("agents"), Origin::Project));
    let users = env.user_dir().map(|dir| (dir.join("agents"), Origin::User));
    project.into_iter().chain(users).collect()
}

/// All agents that can be named, sorted by name, and the errors of the files that cannot be read. Of several with one
/// name, the first folder's stands.
pub(super) fn list(root: &Path, env: &Env, tables: &Tables) -> (Vec<AgentDef>, Vec<ConfigError>) {
    let (mut agents, mut errors): (Vec<AgentDef>, _) = (Vec::new(), Vec::new());
    for whose in [Origin::Project, Origin::User] {
        let own = tables.values().filter(|agent| agent.origin == whose).cloned().map(Ok);
        let files = folders(root, env).into_iter().filter(|(_, origin)| *origin == whose);
        let files = files.flat_map(|(folder, _)| files_in(&folder)).map(|path| AgentDef::read(&path, root, whose));
        for read in own.chain(files) {
            match read {
                Ok(agent) if agents.iter().any(|known| known.name == agent.name) => {}
                Ok(agent) => agents.push(agent),
                Err(error) => errors.push(error),
            }
        }
    }
    agents.sort_by(|a, b| a.name.cmp(&b.name));
    (agents, errors)
}

/// The agent that `target` names: a path to its file, relative to the working folder, or a name.
pub(super) fn find(root: &Path, env: &Env, tables: &Tables, target: &str) -> Result<AgentDef, ConfigError> {
    let is_path = target.contains(['/', '\\']) || AgentDef::is_file(Path::new(target));
    if is_path {
        let path = env.cwd.join(target);
        return if path.exists() {
            AgentDef::read(&path, root, env.origin_of(&path))
        } else {
            Err(missing(root, env, tables, target))
        };
    }
    for whose in [Origin::Project, Origin::User] {
        if let Some(found) = tables.get(target).filter(|agent| agent.origin == whose) {
            return Ok(found.clone());
        }
        for (folder, origin) in folders(root, env).into_iter().filter(|(_, origin)| *origin == whose) {
            if let Some(found) = find_in(&folder, root, origin, target)? {
                return Ok(found);
            }
        }
    }
    Err(missing(root, env, tables, target))
}

/// The agent of this name in one folder: the one that calls itself so, else the one whose file is called so. Others
/// that are broken do not matter.
fn find_in(folder: &Path, root: &Path, origin: Origin, name: &str) -> Result<Option<AgentDef>, ConfigError> {
    let mut named: Option<AgentDef> = None;
    let mut of_file = None;
    for path in files_in(folder) {
        let read = AgentDef::read(&path, root, origin);
        match (read, &named) {
            (Ok(agent), Some(first)) if agent.name == name => {
                return Err(ConfigError::Unresolved {
                    problem: format!("two agents are called `{name}`: {} and {}", first.path.display(), path.display()),
                    help: "give one of them another `name`, or give the path of the one that is meant".to_owned(),
                });
            }
            (Ok(agent), None) if agent.name == name => named = Some(agent),
            (read, _) if path.file_stem().is_some_and(|stem| stem == name) => of_file = of_file.or(Some(read)),
            _ => {}
        }
    }
    match named {
        Some(agent) => Ok(Some(agent)),
        None => of_file.transpose(),
    }
}

/// The error that lists what there is.
fn missing(root: &Path, env: &Env, tables: &Tables, name: &str) -> ConfigError {
    let (agents, errors) = list(root, env, tables);
    let names: Vec<&str> = agents.iter().map(|agent| agent.name.as_str()).collect();
    let looked: Vec<String> = folders(root, env).iter().map(|(dir, _)| dir.display().to_string()).collect();
    let looked = looked.join(", ");
    let mut help = if names.is_empty() {
        format!(
            "there are no agents yet: write {0}.md in one of {looked} or [agents.{0}] in abide.toml, or give the path of a file",
            stem(name)
        )
    } else {
        format!("there are: {}; looked in abide.toml, {looked}", names.join(", "))
    };
    for error in errors {
        let _ = write!(help, "; not readable: {error}");
    }
    ConfigError::NoSuchAgent { name: name.to_owned(), near: nearest(stem(name), names).map(str::to_owned), help }
}

fn stem(name: &str) -> &str {
    Path::new(name).file_stem().and_then(|stem| stem.to_str()).unwrap_or(name)
}

/// The agents' files below a folder, sorted; a folder that is not there has none. A schema may lie beside an agent: a table without
/// instructions is none.
fn files_in(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![(folder.to_path_buf(), 0)];
    while let Some((dir, depth)) = open.pop() {
        for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() && depth < DEPTH {
                open.push((path, depth + 1));
            } else if form_of(&path) == Some(Form::Markdown) || (AgentDef::is_file(&path) && has_instructions(&path)) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// Does the table say what an agent is to do? One that cannot be read is taken for an agent's, so that somebody hears of it.
fn has_instructions(path: &Path) -> bool {
    let place = Place::file(path, Origin::Project);
    let table = read_text(path).and_then(|text| yaml_table(&text, &place));
    table.map_or(true, |table| INSTRUCTIONS.iter().any(|key| table.contains_key(*key)))
}

#[cfg(test)]
#[path = "agents_tests.rs"]
mod tests;
