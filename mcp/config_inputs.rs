//! VS Code's `${input:id}`: abide runs without a person at hand, so an input is read from the variable
//! `ABIDE_INPUT_<ID>`, or is its declared default. It never prompts and never reads the variable itself.

use std::collections::BTreeMap;

/// The declared inputs: id to default.
#[derive(Debug, Default)]
pub(crate) struct Inputs(BTreeMap<String, Option<String>>);

impl Inputs {
    /// Declares an input. A default that cannot stand inside `${..:-..}` is left out.
    pub(crate) fn add(&mut self, id: String, default: Option<String>) {
        self.0.insert(id, default.filter(|text| !text.contains(['}', '$'])));
    }

    /// Writes every `${input:id}` of the text as the variable it is read from.
    ///
    /// # Errors
    /// The id of an input that is not declared.
    pub(crate) fn rewrite(&self, text: &str) -> Result<String, String> {
        let mut parts = text.split("${input:");
        let mut out = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let Some((id, rest)) = part.split_once('}') else {
                // Unclosed: left as it is, for the expansion to complain about.
                out.push_str("${input:");
                out.push_str(part);
                continue;
            };
            let default = self.0.get(id).ok_or_else(|| id.to_owned())?;
            let default = default.as_ref().map(|text| format!(":-{text}")).unwrap_or_default();
            out.extend(["${", &variable(id), &default, "}", rest]);
        }
        Ok(out)
    }
}

/// The variable that an input is read from.
fn variable(id: &str) -> String {
    let id: String = id.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect();
    format!("ABIDE_INPUT_{id}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn inputs_become_variables_with_their_defaults() {
        let mut inputs = Inputs::default();
        inputs.add("github-token".into(), None);
        inputs.add("level".into(), Some("info".into()));
        inputs.add("odd".into(), Some("a}b".into()));
        let table = [
            ("Bearer ${input:github-token}", "Bearer ${ABIDE_INPUT_GITHUB_TOKEN}"),
            ("${input:level}/${input:level}", "${ABIDE_INPUT_LEVEL:-info}/${ABIDE_INPUT_LEVEL:-info}"),
            ("${input:odd}", "${ABIDE_INPUT_ODD}"),
            ("${env:HOME} and nothing", "${env:HOME} and nothing"),
            ("${input:open", "${input:open"),
        ];
        for (text, expected) in table {
            assert_eq!(inputs.rewrite(text).unwrap(), expected);
        }
        assert_eq!(inputs.rewrite("${input:other}"), Err("other".to_owned()));
    }
}
