//! Looks up what secrets refer to, anew each time: variables, and literals in the files of configuration. It keeps and
//! prints no value of a file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use abide_llm::Vars;

use super::discover::{Env, read_text};
use super::error::{Origin, Place};
use super::node::{Table, Value};
use super::parse::toml_table;
use super::{agent_file, agent_front};

/// The variables of this process and the files of a project, for [`abide_llm::SecretRef`].
#[derive(Clone)]
pub struct FileVars {
    root: PathBuf,
    vars: BTreeMap<String, String>,
}

impl FileVars {
    /// References to files are relative to `root`, the project's root.
    pub fn new(root: &Path, env: &Env) -> Self {
        Self { root: root.to_path_buf(), vars: env.vars.clone() }
    }
}

impl Vars for FileVars {
    fn var(&self, name: &str) -> Option<String> {
        self.vars.get(name).cloned()
    }

    fn file_value(&self, file: &str, key: &str) -> Option<String> {
        let path = self.root.join(file);
        let text = read_text(&path).ok()?;
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("toml") => dotted(&toml_table(&text, &Place::file(&path, Origin::Project)).ok()?, key),
            // What servers' files are written in, agents' files may be, too.
            Some(extension) if extension.eq_ignore_ascii_case("json") => {
                abide_mcp::literal_at(&text, key).or_else(|| agent_file::literal_at(&text, &path, key))
            }
            _ if agent_front::form_of(&path).is_some() => agent_file::literal_at(&text, &path, key),
            _ => abide_mcp::literal_at(&text, key),
        }
    }
}

/// The text at a dotted key. Names may hold dots themselves, so every way to split the key is tried.
fn dotted(table: &Table, key: &str) -> Option<String> {
    table.iter().find_map(|(name, node)| {
        let rest = key.strip_prefix(name.as_str())?;
        match (&node.value, rest.strip_prefix('.')) {
            (Value::Table(inner), Some(rest)) => dotted(inner, rest),
            (value, None) if rest.is_empty() => value.as_setting(),
            _ => None,
        }
    })
}

/// How a file is called in references and in what is pinned: relative to the project's root where it lies within, with
/// forward slashes, so that it stays right when the project moves.
pub(super) fn label(path: &Path, root: &Path) -> String {
    match path.strip_prefix(root) {
        Ok(inside) => inside.components().map(|part| part.as_os_str().to_string_lossy()).collect::<Vec<_>>().join("/"),
        Err(_) => path.to_string_lossy().into_owned(),
    }
}
