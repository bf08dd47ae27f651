//! Splits an agent's file into its front matter and its body. It gives no key a meaning.

use super::error::{ConfigError, Place};
use super::node::Table;
use super::parse::yaml_table;

/// The front matter's keys, if there is one, and the text after it.
pub(super) fn split<'a>(text: &'a str, file: &Place) -> Result<(Option<Table>, &'a str), ConfigError> {
    let mut lines = text.split_inclusive('\n');
    let Some(first) = lines.next().filter(|line| line.trim_end() == "---") else { return Ok((None, text)) };
    let mut end = first.len();
    for line in lines {
        let start = end;
        end += line.len();
        if matches!(line.trim_end(), "---" | "...") {
            // An empty line takes the place of the `---`, so that lines are counted as in the file.
            let yaml = format!("\n{}", text.get(first.len()..start).unwrap_or_default());
            return Ok((Some(parse(&yaml, file)?), text.get(end..).unwrap_or_default()));
        }
    }
    Err(ConfigError::invalid(
        &file.at(1),
        "the front matter that begins with `---` does not end",
        "add a line `---` after its last key, before the instructions",
    ))
}

/// Parses the YAML; if that fails, once more with its plain one-line texts put in quotes. Claude Code does the like,
/// and files written for it rely on that: their descriptions hold `: ` unquoted.
fn parse(yaml: &str, file: &Place) -> Result<Table, ConfigError> {
    yaml_table(yaml, file).or_else(|error| yaml_table(&quoted(yaml), file).map_err(|_| error))
}

fn quoted(yaml: &str) -> String {
    let quote = |line: &str| -> Option<String> {
        let (key, value) = line.split_once(": ")?;
        let value = value.trim();
        let plain_key = key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
        let plain_value = value.contains(": ") || value.ends_with(':') || value.contains(" #");
        let starts_plain = !value.starts_with(['"', '\'', '[', '{', '|', '>', '&', '*', '!', '#']);
        (plain_key && plain_value && starts_plain).then(|| format!("{key}: '{}'", value.replace('\'', "''")))
    };
    yaml.lines().map(|line| quote(line).unwrap_or_else(|| line.to_owned()) + "\n").collect()
}
