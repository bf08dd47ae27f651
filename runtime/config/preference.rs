//! Which of the user's own models `cheapest`, `fastest` and `smartest` mean. It measures nothing: prices are known or not, and how fast or smart
//! a model is, its entry says.

use std::path::Path;

use abide_llm::{Usage, Vars};

use super::abide_toml::{ModelEntry, Settings};
use super::error::ConfigError;
use super::models;

/// What prices are compared by: most calls read far more than they write.
const TYPICAL: Usage = Usage { input_tokens: 4_000, output_tokens: 1_000, cache_read_tokens: 0, cache_write_tokens: 0 };

/// The entry of `[models]` that a preference means; any other name, and an entry of that very name, is itself.
pub(super) fn preferred<'s>(
    settings: &'s Settings,
    root: &Path,
    name: &'s str,
    vars: &dyn Vars,
) -> Result<&'s str, ConfigError> {
    if settings.models.contains_key(name) {
        return Ok(name);
    }
    let rated = |rate: fn(&ModelEntry) -> Option<u64>| {
        let rated = settings.models.iter().filter_map(|(name, entry)| Some((rate(entry)?, name)));
        // Of equals the first by name, so that it is the same one everywhere.
        rated.min_by_key(|(rate, name)| (std::cmp::Reverse(*rate), *name)).map(|(_, name)| name.as_str())
    };
    let (found, lacking) = match name {
        "cheapest" => {
            let mut priced = Vec::new();
            for (name, entry) in &settings.models {
                let cost = models::from_entry(name, entry, root)?.nano_usd(&TYPICAL, vars);
                priced.extend(cost.map(|cost| (cost, name.as_str())));
            }
            (priced.into_iter().min().map(|(_, name)| name), "price = { input = 3.0, output = 15.0 }")
        }
        "fastest" => (rated(|entry| entry.speed.as_ref().map(|n| n.value)), "speed = 5"),
        "smartest" => (rated(|entry| entry.intelligence.as_ref().map(|n| n.value)), "intelligence = 5"),
        _ => return Ok(name),
    };
    found.ok_or_else(|| ConfigError::Model {
        problem: format!("no entry of [models] tells which of them is the {name}"),
        help: format!("add to the entries of [models] in abide.toml what they are compared by: {lacking}"),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::super::project::tests::Home;

    #[test]
    fn the_best_by_what_is_preferred_and_of_equals_the_first() {
        let entry =
            |name: &str, rest: &str| format!("[models.{name}]\nprovider = \"openai\"\nmodel = \"{name}-1\"\n{rest}\n");
        let text = entry("c", "price = { input = 1.0, output = 9.0 }\nspeed = 3\nintelligence = 9")
            + &entry("b", "price = { input = 2.0, output = 2.0 }\nspeed = 7")
            + &entry("a", "speed = 7");
        let project = Home::with(&[("p/abide.toml", text.as_str())]).load().unwrap();
        for (name, model) in [("cheapest", "b-1"), ("fastest", "a-1"), ("smartest", "c-1")] {
            assert_eq!(project.model_named(Some(name)).unwrap().model, model, "{name}");
        }
        let bare = Home::with(&[]).load().unwrap();
        for name in ["cheapest", "fastest", "smartest"] {
            let error = bare.model_named(Some(name)).unwrap_err();
            assert!(error.to_string().contains(name), "{error}");
        }
        let own = entry("fastest", "");
        let project = Home::with(&[("p/abide.toml", own.as_str())]).load().unwrap();
        assert_eq!(project.model_named(Some("fastest")).unwrap().model, "fastest-1");
    }
}
