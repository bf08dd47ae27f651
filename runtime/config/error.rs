//! The errors of configuration: what is wrong, at which file and line, and how to mend it. It prints nothing.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Whose file something was read from: only the user's own needs no consent (DESIGN section 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// A file of the project, or of any folder above it: whoever wrote it may be a stranger.
    Project,
    /// A file in the user's own config folder.
    User,
}

/// Where in which file something was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file's path.
    pub file: Arc<Path>,
    /// The line, from 1; 0 where it concerns the whole file.
    pub line: usize,
    /// Whose file it is.
    pub origin: Origin,
}

impl Place {
    /// A whole file.
    pub fn file(path: &Path, origin: Origin) -> Self {
        Self { file: Arc::from(path), line: 0, origin }
    }

    /// The same file at this line.
    #[must_use]
    pub fn at(&self, line: usize) -> Self {
        Self { file: Arc::clone(&self.file), line, origin: self.origin }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}", self.file.display()),
            line => write!(f, "{}:{line}", self.file.display()),
        }
    }
}

/// What is wrong with the configuration. The message says what and where; [`ConfigError::help`] says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A file does not say what it may say.
    #[error("{place}: {problem}")]
    Invalid {
        /// The file and line.
        place: Place,
        /// What is wrong there.
        problem: String,
        /// How to mend it.
        help: String,
    },
    /// A file of configuration or an agent's file cannot be read.
    #[error("cannot read {}: {problem}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        problem: String,
    },
    /// A file in the user's config folder cannot be written.
    #[error("cannot write {}: {problem}", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// Why not.
        problem: String,
    },
    /// A model was named that nothing describes, or none was named at all.
    #[error("{problem}")]
    Model {
        /// What was asked for.
        problem: String,
        /// What to put where.
        help: String,
    },
    /// A budget in money, and a model whose price nobody knows.
    #[error("{problem}")]
    Price {
        /// Which model.
        problem: String,
        /// What to put where.
        help: String,
    },
    /// Configuration refers to something that is not there, or that abide cannot do.
    #[error("{problem}")]
    Unresolved {
        /// What was asked for.
        problem: String,
        /// What there is instead.
        help: String,
    },
    /// No agent or workflow of this name.
    #[error("there is no agent `{name}`{}", near.as_deref().map(|n| format!("; did you mean `{n}`?")).unwrap_or_default())]
    NoSuchAgent {
        /// The name as it was given.
        name: String,
        /// The nearest name there is.
        near: Option<String>,
        /// All names there are, and where was looked.
        help: String,
    },
    /// INPUT cannot be read.
    #[error("the input cannot be read: {problem}")]
    Input {
        /// Why not.
        problem: String,
        /// What to give instead.
        help: String,
    },
    /// The record of the user's consent is damaged.
    #[error("{}: the record of what you trust is damaged: {problem}", path.display())]
    TrustStore {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// There is no home folder to find the user's config folder in.
    #[error("the user's config folder cannot be found: there is no home folder")]
    NoUserFolder,
}

impl ConfigError {
    /// An [`ConfigError::Invalid`].
    pub fn invalid(place: &Place, problem: impl Into<String>, help: impl Into<String>) -> Self {
        Self::Invalid { place: place.clone(), problem: problem.into(), help: help.into() }
    }

    /// The same, said of the place that asks for what is not there.
    #[must_use]
    pub fn asked_at(self, place: &Place) -> Self {
        match self {
            Self::Model { problem, help } | Self::Unresolved { problem, help } => {
                Self::Invalid { place: place.clone(), problem, help }
            }
            error => error,
        }
    }

    /// A stable word for the kind of error, for `--json`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Invalid { .. } => "config_invalid",
            Self::Unreadable { .. } => "config_unreadable",
            Self::Unwritable { .. } => "config_unwritable",
            Self::Model { .. } => "model_unknown",
            Self::Price { .. } => "price_unknown",
            Self::Unresolved { .. } => "config_unresolved",
            Self::NoSuchAgent { .. } => "agent_not_found",
            Self::Input { .. } => "input_unreadable",
            Self::TrustStore { .. } => "trust_store_damaged",
            Self::NoUserFolder => "no_user_folder",
        }
    }

    /// The exit code of the command line (DESIGN section 7): 8, but 6 for a name that is not there and 2 for INPUT.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::NoSuchAgent { .. } => 6,
            Self::Input { .. } => 2,
            _ => 8,
        }
    }

    /// What to do about it.
    pub fn help(&self) -> String {
        match self {
            Self::Invalid { help, .. }
            | Self::Model { help, .. }
            | Self::Price { help, .. }
            | Self::Unresolved { help, .. }
            | Self::NoSuchAgent { help, .. }
            | Self::Input { help, .. } => help.clone(),
            Self::Unreadable { path, .. } => {
                format!("check that {} is a readable text file in UTF-8, or remove it", path.display())
            }
            Self::Unwritable { path, .. } => {
                format!("make {} writable, or name another folder in ABIDE_CONFIG_DIR", path.display())
            }
            Self::TrustStore { path, .. } => format!(
                "nothing is trusted while it is damaged; look at {}, or remove it and consent again with `abide trust`",
                path.display()
            ),
            Self::NoUserFolder => "set HOME, or name a folder in ABIDE_CONFIG_DIR".to_owned(),
        }
    }
}

/// The known word nearest to `word`, if it is near enough to be what was meant.
pub(super) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let fold = |s: &str| s.to_lowercase().replace(['-', '_'], "");
    let folded = fold(word);
    known
        .into_iter()
        .map(|candidate| (strsim::normalized_damerau_levenshtein(&folded, &fold(candidate)), candidate))
        .filter(|(likeness, _)| *likeness >= 0.5)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}
