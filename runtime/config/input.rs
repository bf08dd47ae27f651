//! Reads INPUT as the command line takes it (DESIGN section 7): text, `@file`, `-`, or JSON. It checks no schema.

use std::io::Read;
use std::path::Path;

use serde_json::Value as Json;

use super::error::ConfigError;

/// The largest input, in bytes: it is kept in the journal.
const MAX_INPUT: u64 = 64 * 1024 * 1024;

/// What the target takes, as far as it decides how INPUT is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// A string, as agents do: INPUT is that string, whatever it looks like.
    Text,
    /// Anything else: INPUT is JSON if it parses, otherwise a string.
    Json,
}

/// The input that `arg` stands for; none is null. `@file` is relative to `cwd`; `-` reads `stdin` to its end. Text is
/// kept to the byte, its last line break included.
///
/// A number too large for JSON in Rust counts as JSON that does not parse, and so stays text: no digit is lost.
pub fn read_input(arg: Option<&str>, takes: Takes, cwd: &Path, stdin: &mut dyn Read) -> Result<Json, ConfigError> {
    let text = match arg {
        None => return Ok(Json::Null),
        Some("-") => read_all(stdin, "standard input", "pipe UTF-8 text into it")?,
        Some(arg) => match arg.strip_prefix('@') {
            Some(file) => read_file(&cwd.join(file))?,
            None => arg.to_owned(),
        },
    };
    Ok(match takes {
        Takes::Text => Json::String(text),
        Takes::Json => serde_json::from_str(&text).unwrap_or(Json::String(text)),
    })
}

fn read_file(path: &Path) -> Result<String, ConfigError> {
    let shown = path.display().to_string();
    let help = "name a readable file after the @; to give text that begins with @, pipe it and write - as the input";
    let mut file = std::fs::File::open(path).map_err(|e| refused(&shown, &e.to_string(), help))?;
    read_all(&mut file, &shown, help)
}

fn read_all(reader: &mut dyn Read, name: &str, help: &str) -> Result<String, ConfigError> {
    let mut bytes = Vec::new();
    reader.take(MAX_INPUT + 1).read_to_end(&mut bytes).map_err(|e| refused(name, &e.to_string(), help))?;
    if bytes.len() as u64 > MAX_INPUT {
        let help = "give the path of the file as the input, and let a tool read it";
        return Err(refused(name, &format!("it is larger than {} MiB", MAX_INPUT / 1024 / 1024), help));
    }
    String::from_utf8(bytes).map_err(|_| refused(name, "it is not UTF-8 text", help))
}

fn refused(name: &str, problem: &str, help: &str) -> ConfigError {
    ConfigError::Input { problem: format!("{name}: {problem}"), help: help.to_owned() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use serde_json::json;

    use super::*;

    #[test]
    fn input_is_text_or_json_as_the_target_takes_it() {
        let table = [
            (None, Takes::Text, json!(null)),
            (Some("hello"), Takes::Text, json!("hello")),
            (Some("hello"), Takes::Json, json!("hello")),
            (Some("{\"a\": 1}"), Takes::Json, json!({"a": 1})),
            (Some("{\"a\": 1}"), Takes::Text, json!("{\"a\": 1}")),
            (Some("7"), Takes::Json, json!(7)),
            (Some("7"), Takes::Text, json!("7")),
            (Some("{\"a\": "), Takes::Json, json!("{\"a\": ")),
            (Some("1 2"), Takes::Json, json!("1 2")),
            (Some("1e999"), Takes::Json, json!("1e999")),
            (Some(""), Takes::Json, json!("")),
            (Some("\"x\""), Takes::Json, json!("x")),
        ];
        for (arg, takes, expected) in table {
            let got = read_input(arg, takes, Path::new("."), &mut std::io::empty()).unwrap();
            assert_eq!(got, expected, "{arg:?} {takes:?}");
        }
    }

    #[test]
    fn deep_json_is_text_and_no_crash() {
        let deep = "[".repeat(100_000);
        let got = read_input(Some(&deep), Takes::Json, Path::new("."), &mut std::io::empty()).unwrap();
        assert_eq!(got, Json::String(deep));
    }

    #[test]
    fn files_and_stdin_are_read_to_the_byte() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("in.txt"), "{\"a\":1}\n").unwrap();
        let read = |arg, takes| read_input(Some(arg), takes, dir.path(), &mut "piped\n".as_bytes());
        assert_eq!(read("@in.txt", Takes::Json).unwrap(), json!({"a": 1}));
        assert_eq!(read("@in.txt", Takes::Text).unwrap(), json!("{\"a\":1}\n"));
        assert_eq!(read("-", Takes::Json).unwrap(), json!("piped\n"));
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("bad"), [0xff]).unwrap();
        for (arg, stdin, named) in [
            ("@none.txt", &b""[..], "none.txt"),
            ("@", b"", "cannot be read"),
            ("@bad", b"", "not UTF-8"),
            ("-", b"\xff", "standard input"),
        ] {
            let error = read_input(Some(arg), Takes::Text, dir.path(), &mut { stdin }).unwrap_err();
            assert!(error.to_string().contains(named), "{arg}: {error}");
            assert_eq!((error.code(), error.exit_code()), ("input_unreadable", 2));
            assert!(!error.help().is_empty());
        }
        let endless = read_input(Some("-"), Takes::Text, dir.path(), &mut std::io::repeat(b'x')).unwrap_err();
        assert!(endless.to_string().contains("64 MiB"), "{endless}");
    }
}
