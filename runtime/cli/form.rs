//! A question of a server as it is put to a person, line by line: may it be answered, then each field of its form in turn. It prints
//! nothing and reads nothing; it trusts no text of the server's and always says who asks.

use abide_mcp::{Question, Reply, Wants};
use serde_json::{Map, Value, json};

use super::screen::yes_or_no;

/// A question that is being answered.
#[derive(Debug)]
pub(crate) struct Dialog {
    question: Question,
    fields: Vec<(String, Value)>,
    /// The field whose value is typed next; `None` before the person has said that they will answer.
    at: Option<usize>,
    content: Map<String, Value>,
    /// What was wrong with the last line.
    complaint: Option<String>,
}

impl Dialog {
    pub(crate) fn new(question: Question) -> Self {
        let properties = match &question.wants {
            Wants::Form(form) => form.get("properties").and_then(Value::as_object),
            _ => None,
        };
        let fields =
            properties.into_iter().flatten().map(|(name, property)| (name.clone(), property.clone())).collect();
        Self { question, fields, at: None, content: Map::new(), complaint: None }
    }

    /// What is put before the person now.
    pub(crate) fn prompt(&self) -> String {
        let complaint = self.complaint.as_ref().map(|why| format!("  that does not fit: {why}\n")).unwrap_or_default();
        let asked = match self.at.and_then(|at| self.fields.get(at)) {
            Some((name, property)) => format!("{}:", field(name, property)),
            None => self.opening(),
        };
        complaint + &asked
    }

    fn opening(&self) -> String {
        let Question { server, tool, message, wants } = &self.question;
        let who = format!("the server `{server}` asks, for its tool `{tool}`:\n  {message}\n");
        match wants {
            Wants::Visit(url) => format!(
                "{who}Open this address yourself, if you know what it is for:\n  {url}\nHave you done so? [y/N]"
            ),
            _ => format!("{who}Answer it? [y/N]"),
        }
    }

    /// Takes what was typed; the reply, once it is whole.
    pub(crate) fn hear(&mut self, line: &str) -> Option<Reply> {
        self.complaint = None;
        match self.at {
            None => match yes_or_no(line) {
                Some(false) => return Some(Reply::Decline),
                Some(true) => self.at = Some(0),
                None => return None,
            },
            Some(at) => match self.take(at, line.trim()) {
                Ok(()) => self.at = Some(at + 1),
                Err(why) => self.complaint = Some(why),
            },
        }
        if self.at.is_some_and(|at| at < self.fields.len()) {
            return None;
        }
        match self.question.accepted(Value::Object(self.content.clone())) {
            Ok(content) => Some(Reply::Accept(content)),
            Err(why) => {
                (self.at, self.complaint) = (Some(0), Some(why));
                self.content.clear();
                // Without a field nothing could be typed to mend it.
                self.fields.is_empty().then_some(Reply::Cancel)
            }
        }
    }

    fn take(&mut self, at: usize, line: &str) -> Result<(), String> {
        let Some((name, property)) = self.fields.get(at) else { return Ok(()) };
        if line.is_empty() {
            let required = match &self.question.wants {
                Wants::Form(form) => form.get("required").and_then(Value::as_array),
                _ => None,
            };
            let required = required.is_some_and(|names| names.iter().any(|required| required == name));
            let missing = required && property.get("default").is_none();
            return if missing { Err("it has to be given".to_owned()) } else { Ok(()) };
        }
        let value = value(line, property)?;
        self.content.insert(name.clone(), value);
        Ok(())
    }
}

/// The question of a step, if a server asks it.
pub(crate) fn question_of(input: Option<&crate::engine::Json>) -> Option<Question> {
    serde_json::from_str(input?.get()).ok()
}

/// What the run is told: an `ElicitResult`.
pub(crate) fn result(reply: &Reply) -> Value {
    match reply {
        Reply::Accept(Value::Null) => json!({"action": "accept"}),
        Reply::Accept(content) => json!({"action": "accept", "content": content}),
        Reply::Decline => json!({"action": "decline"}),
        _ => json!({"action": "cancel"}),
    }
}

/// A question on one line, with what it takes.
pub(crate) fn in_short(question: &Question) -> String {
    let Question { server, tool, message, wants } = question;
    let takes = match wants {
        Wants::Visit(url) => format!("open {url}"),
        Wants::Form(form) => {
            let fields = form.get("properties").and_then(Value::as_object).into_iter().flatten();
            fields.map(|(name, property)| field(name, property).trim().to_owned()).collect::<Vec<_>>().join(", ")
        }
        _ => "an answer".to_owned(),
    };
    format!("{server} asks for {tool}: {message} ({takes})")
}

/// A field with what may be typed.
fn field(name: &str, property: &Value) -> String {
    let text = |key: &str| property.get(key).and_then(Value::as_str);
    let kind = text("type").unwrap_or("text");
    let about = text("description").or_else(|| text("title")).map(|about| format!(": {about}")).unwrap_or_default();
    let of = choices(property);
    let of = if of.is_empty() { of } else { format!(" one of {of}") };
    let default = property.get("default").map(|default| format!(" [{default}]")).unwrap_or_default();
    format!("  {name} ({kind}{of}){about}{default}")
}

/// The values that may be chosen, wherever the schema says so.
fn choices(property: &Value) -> String {
    let list = |at: &Value| -> Vec<String> {
        let plain = at.get("enum").and_then(Value::as_array).into_iter().flatten();
        let titled = ["oneOf", "anyOf"].into_iter().filter_map(|key| at.get(key)?.as_array()).flatten();
        let titled = titled.filter_map(|one| one.get("const"));
        plain.chain(titled).map(|one| one.as_str().map_or_else(|| one.to_string(), str::to_owned)).collect()
    };
    let mut all = list(property);
    all.extend(property.get("items").map(list).unwrap_or_default());
    all.join(" | ")
}

/// What a typed line means for this field.
fn value(line: &str, property: &Value) -> Result<Value, String> {
    match property.get("type").and_then(Value::as_str) {
        Some("integer") => line.parse::<i64>().map(Value::from).map_err(|_| "a whole number is wanted".to_owned()),
        Some("number") => line.parse::<f64>().map(Value::from).map_err(|_| "a number is wanted".to_owned()),
        Some("boolean") => {
            let said = yes_or_no(line).or_else(|| line.parse().ok());
            said.map(Value::from).ok_or_else(|| "y or n is wanted".to_owned())
        }
        Some("array") => Ok(line.split(',').map(|part| Value::from(part.trim())).collect()),
        _ => Ok(line.into()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn dialog(form: Value) -> Dialog {
        let wants = Wants::Form(form);
        Dialog::new(Question { server: "s".into(), tool: "t".into(), message: "who?".into(), wants })
    }

    fn form() -> Value {
        json!({"type": "object", "required": ["name"], "properties": {"age": {"type": "integer", "maximum": 150},
            "name": {"type": "string"}, "style": {"type": "string", "default": "kindly"}}})
    }

    #[test]
    fn a_form_is_filled_in_line_by_line() {
        let mut dialog = dialog(form());
        assert!(
            dialog.prompt().contains("the server `s` asks, for its tool `t`") && dialog.prompt().ends_with("[y/N]")
        );
        assert_eq!(dialog.hear("what?"), None);
        assert_eq!((dialog.hear("y"), dialog.prompt().as_str()), (None, "  age (integer):"));
        assert_eq!(dialog.hear("many"), None);
        assert!(dialog.prompt().contains("a whole number is wanted"), "{}", dialog.prompt());
        assert_eq!((dialog.hear("36"), dialog.hear("")), (None, None));
        assert!(dialog.prompt().contains("it has to be given"), "{}", dialog.prompt());
        assert_eq!(dialog.hear("Ada"), None);
        assert_eq!(dialog.hear(""), Some(Reply::Accept(json!({"age": 36, "name": "Ada", "style": "kindly"}))));
    }

    #[test]
    fn what_does_not_fit_as_a_whole_is_asked_again() {
        let mut dialog = dialog(form());
        for line in ["y", "200", "Ada"] {
            assert_eq!(dialog.hear(line), None);
        }
        assert_eq!(dialog.hear(""), None);
        assert!(
            dialog.prompt().contains("/age") && dialog.prompt().ends_with("  age (integer):"),
            "{}",
            dialog.prompt()
        );
    }

    #[test]
    fn a_person_may_say_no_and_an_address_takes_one_word() {
        assert_eq!(dialog(form()).hear("n"), Some(Reply::Decline));
        assert_eq!(dialog(json!({})).hear("y"), Some(Reply::Accept(json!({}))));
        let wants = Wants::Visit("https://example.com/x".into());
        let question = Question { server: "s".into(), tool: "t".into(), message: "sign in".into(), wants };
        assert!(in_short(&question).contains("open https://example.com/x"));
        let mut visit = Dialog::new(question);
        assert!(visit.prompt().contains("https://example.com/x"));
        assert_eq!(visit.hear("y").map(|reply| result(&reply)), Some(json!({"action": "accept"})));
    }

    #[test]
    fn typed_lines_become_values_of_their_kind() {
        for (kind, line, expected) in [
            ("integer", "7", Some(json!(7))),
            ("integer", "seven", None),
            ("number", "1.5", Some(json!(1.5))),
            ("boolean", "yes", Some(json!(true))),
            ("boolean", "false", Some(json!(false))),
            ("boolean", "perhaps", None),
            ("string", "7", Some(json!("7"))),
            ("array", "a, b", Some(json!(["a", "b"]))),
        ] {
            assert_eq!(value(line, &json!({"type": kind})).ok(), expected, "{kind} {line}");
        }
    }

    #[test]
    fn a_field_is_shown_with_what_it_takes() {
        let property = json!({"type": "string", "description": "which", "enum": ["a", "b"], "default": "a"});
        assert_eq!(field("x", &property), "  x (string one of a | b): which [\"a\"]");
        let titled = json!({"type": "array", "items": {"anyOf": [{"const": "a", "title": "A"}, {"const": "b"}]}});
        assert_eq!(field("x", &titled), "  x (array one of a | b)");
    }
}
