//! An agent's question as it is put to a person, and what a typed line says to it. It prints nothing and reads nothing.

use abide_llm::AgentQuestion;

use crate::StepReport;

/// The question of a step, if an agent asks it.
pub(crate) fn question_of(step: &StepReport) -> Option<AgentQuestion> {
    serde_json::from_str(step.input.as_ref()?.get()).ok()
}

/// As it is put before the person.
pub(crate) fn prompt(asked: &AgentQuestion) -> String {
    let option = |(n, option): (u32, &String)| format!("    {n}) {option}\n");
    let options: Vec<String> = (1..).zip(&asked.options).map(option).collect();
    let how = if asked.options.is_empty() { "your answer:" } else { "your answer, or its number:" };
    let question = asked.question.trim().replace('\n', "\n    ");
    format!("\n  {} asks:\n    {question}\n{}  {how}", asked.agent, options.concat())
}

/// What a line says; nothing if it has to be asked again.
pub(crate) fn heard(asked: &AgentQuestion, line: &str) -> Option<String> {
    let line = line.trim();
    let number = line.parse::<usize>().ok().and_then(|n| asked.options.get(n.checked_sub(1)?));
    number.cloned().or_else(|| (!line.is_empty()).then(|| line.to_owned()))
}

/// On one line, with what it proposes.
pub(crate) fn in_short(asked: &AgentQuestion) -> String {
    let options = if asked.options.is_empty() { String::new() } else { format!(" ({})", asked.options.join(" | ")) };
    format!("{} asks: {}{options}", asked.agent, asked.question)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_shown_and_a_number_means_what_it_stands_before() {
        let asked = |options: &[&str]| AgentQuestion {
            agent: "helper".into(),
            question: "Which\none?".into(),
            options: options.iter().map(|option| (*option).to_owned()).collect(),
        };
        assert_eq!(prompt(&asked(&[])), "\n  helper asks:\n    Which\n    one?\n  your answer:");
        let two = asked(&["red", "7"]);
        assert!(prompt(&two).ends_with("\n    1) red\n    2) 7\n  your answer, or its number:"));
        for (line, said) in [
            (" 1 ", Some("red")),
            ("2", Some("7")),
            ("3", Some("3")),
            ("0", Some("0")),
            ("blue", Some("blue")),
            (" ", None),
        ] {
            assert_eq!(heard(&two, line).as_deref(), said, "{line:?}");
        }
        assert_eq!(heard(&asked(&[]), "1").as_deref(), Some("1"));
        assert_eq!(in_short(&two), "helper asks: Which\none? (red | 7)");
    }
}
