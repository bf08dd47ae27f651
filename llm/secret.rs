//! References to secrets: template texts with `${VAR}`, or a place in a config file. It never keeps, serialises or prints a
//! resolved value: whoever resolves one uses it at once.

use abide_engine::{Error, ErrorKind, Parked};
use serde::{Deserialize, Serialize};

use crate::redact::Redactor;

/// Where the values of references come from, asked anew at each call.
pub trait Vars: Send + Sync {
    /// The value of a variable. `name` is as written: an environment variable, or a prefixed name such as `input:id`
    /// for an implementor that knows such prefixes.
    fn var(&self, name: &str) -> Option<String>;

    /// The text that stands in this file at this dotted key.
    fn file_value(&self, file: &str, key: &str) -> Option<String>;
}

/// The environment of this process; it knows no files.
#[derive(Debug, Clone, Copy, Default)]
pub struct EnvVars;

impl Vars for EnvVars {
    fn var(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn file_value(&self, _file: &str, _key: &str) -> Option<String> {
        None
    }
}

/// A value that is looked up when it is needed. Plain data that may be pinned in a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum SecretRef {
    /// A text as [`expand`] reads it. A text without any `${...}` is kept as it is: whoever reads a config file turns
    /// a literal secret into [`SecretRef::File`] instead.
    Template(String),
    /// A literal that stands in a config file: only its place is kept.
    File {
        /// The file's path.
        file: String,
        /// The dotted key within it.
        key: String,
    },
}

impl SecretRef {
    /// A reference to the variable `name`.
    pub fn variable(name: &str) -> Self {
        Self::Template(format!("${{{name}}}"))
    }

    /// The value of today. A missing one is an [`ErrorKind::Park`] that names it and what to do.
    pub fn resolve(&self, vars: &dyn Vars) -> Result<String, Error> {
        let park = |message| Error::new(ErrorKind::Park(Parked::Credentials), message);
        match self {
            Self::Template(text) => expand(text, vars).map_err(|missing| park(missing.to_string())),
            Self::File { file, key } => vars.file_value(file, key).ok_or_else(|| {
                park(format!("`{key}` in {file} is needed and is not there: put it back, then `abide resume` the run"))
            }),
        }
    }

    /// Tells the redactor every value that this refers to today; what is missing is skipped. A default is not a secret:
    /// it stands openly in the template.
    pub fn teach(&self, vars: &dyn Vars, redactor: &Redactor) {
        match self {
            Self::Template(text) => pieces(text, |piece| {
                if let Piece::Var { name, .. } = piece
                    && let Some(value) = vars.var(name)
                {
                    redactor.learn(name, &value);
                }
            }),
            Self::File { file, key } => {
                if let Some(value) = vars.file_value(file, key) {
                    redactor.learn(key, &value);
                }
            }
        }
    }
}

/// A variable that a template names and that has neither a value nor a default.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the variable {name} is not set: set it where abide runs, then `abide resume` the run")]
pub struct MissingVar {
    /// The variable's name.
    pub name: String,
}

/// Expands `${VAR}`, `${env:VAR}` and `${VAR:-default}`, as many as there are.
///
/// As in a shell, the default also stands in for an empty value, and it is not expanded itself. `$${` gives a literal
/// `${`; a lone `$`, and braces that hold no name, stay as they are.
pub fn expand(template: &str, vars: &dyn Vars) -> Result<String, MissingVar> {
    let mut out = String::with_capacity(template.len());
    let mut missing = None;
    pieces(template, |piece| match piece {
        Piece::Text(text) => out.push_str(text),
        Piece::Var { name, default } => match (vars.var(name), default) {
            (Some(value), None) => out.push_str(&value),
            (Some(value), Some(_)) if !value.is_empty() => out.push_str(&value),
            (_, Some(default)) => out.push_str(default),
            (None, None) => {
                missing.get_or_insert_with(|| name.to_owned());
            }
        },
    });
    match missing {
        None => Ok(out),
        Some(name) => Err(MissingVar { name }),
    }
}

enum Piece<'t> {
    Text(&'t str),
    Var { name: &'t str, default: Option<&'t str> },
}

fn pieces<'t>(template: &'t str, mut each: impl FnMut(Piece<'t>)) {
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("${") {
        if let Some(escaped) = before.strip_suffix('$') {
            each(Piece::Text(escaped));
            each(Piece::Text("${"));
            rest = after;
            continue;
        }
        each(Piece::Text(before));
        match after.split_once('}').and_then(|(inner, tail)| Some((variable(inner)?, tail))) {
            Some((piece, tail)) => {
                each(piece);
                rest = tail;
            }
            None => {
                each(Piece::Text("${"));
                rest = after;
            }
        }
    }
    each(Piece::Text(rest));
}

fn variable(inner: &str) -> Option<Piece<'_>> {
    let (name, default) = match inner.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inner, None),
    };
    let name = name.strip_prefix("env:").unwrap_or(name);
    let fits = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | ':' | '-');
    (!name.is_empty() && name.chars().all(fits)).then_some(Piece::Var { name, default })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    struct Fixed;

    impl Vars for Fixed {
        fn var(&self, name: &str) -> Option<String> {
            match name {
                "KEY" => Some("sk-0123456789".into()),
                "EMPTY" => Some(String::new()),
                "input:id" => Some("typed".into()),
                _ => None,
            }
        }

        fn file_value(&self, file: &str, key: &str) -> Option<String> {
            (file == "abide.toml" && key == "models.m.api_key").then(|| "literal-secret".into())
        }
    }

    #[test]
    fn templates_expand_as_documented() {
        for (template, expected) in [
            ("", ""),
            ("plain", "plain"),
            ("${KEY}", "sk-0123456789"),
            ("${env:KEY}", "sk-0123456789"),
            ("Bearer ${KEY}, ${EMPTY}!", "Bearer sk-0123456789, !"),
            ("${UNSET:-none}", "none"),
            ("${EMPTY:-none}", "none"),
            ("${KEY:-none}${UNSET:-}", "sk-0123456789"),
            ("${UNSET:-https://host:1/v1}/x", "https://host:1/v1/x"),
            ("${input:id}", "typed"),
            ("$${KEY} costs $5", "${KEY} costs $5"),
            ("${", "${"),
            ("${}", "${}"),
            ("${KEY", "${KEY"),
            ("${a b} ${KEY}", "${a b} sk-0123456789"),
            ("$", "$"),
            ("é$${é", "é${é"),
        ] {
            assert_eq!(expand(template, &Fixed).as_deref(), Ok(expected), "{template}");
        }
        assert_eq!(expand("${KEY} ${UNSET} ${OTHER}", &Fixed).unwrap_err().name, "UNSET");
    }

    #[test]
    fn a_missing_value_parks_naming_it() {
        let error = SecretRef::variable("UNSET").resolve(&Fixed).unwrap_err();
        assert_eq!(*error.kind(), ErrorKind::Park(Parked::Credentials));
        assert!(error.message().contains("UNSET"), "{error}");

        let place = |key: &str| SecretRef::File { file: "abide.toml".into(), key: key.into() };
        assert_eq!(place("models.m.api_key").resolve(&Fixed).unwrap(), "literal-secret");
        let error = place("gone").resolve(&Fixed).unwrap_err();
        assert_eq!(*error.kind(), ErrorKind::Park(Parked::Credentials));
        assert!(error.message().contains("`gone` in abide.toml"), "{error}");
    }

    #[test]
    fn serialised_it_holds_no_value() {
        let template: SecretRef = serde_json::from_str(r#""${KEY:-none}""#).unwrap();
        assert_eq!(template, SecretRef::Template("${KEY:-none}".into()));
        let place: SecretRef = serde_json::from_str(r#"{"file":"abide.toml","key":"models.m.api_key"}"#).unwrap();
        assert_eq!(serde_json::to_string(&place).unwrap(), r#"{"file":"abide.toml","key":"models.m.api_key"}"#);
    }

    #[test]
    fn what_is_resolved_is_taught_but_not_defaults() {
        let redactor = Redactor::default();
        for reference in [
            SecretRef::Template("Bearer ${KEY} ${UNSET:-a-default-text}".into()),
            SecretRef::File { file: "abide.toml".into(), key: "models.m.api_key".into() },
        ] {
            reference.teach(&Fixed, &redactor);
        }
        assert_eq!(
            redactor.mask("sk-0123456789 a-default-text literal-secret"),
            "${KEY} a-default-text ${models.m.api_key}"
        );
    }
}
