//! What may be done with a tool: its policy, effect, time-out and probe, from the user's rules and from annotations that
//! are believed. A pure function of both; it never asks anyone and never looks at arguments.

use abide_engine::Effect;
use abide_llm::Policy;
use globset::{GlobBuilder, GlobMatcher};
use serde::{Deserialize, Serialize};

/// How long a call may take without a sign of life when no rule says so, in seconds.
pub const DEFAULT_TIMEOUT_S: u64 = 60;

/// How long a call may take altogether when no rule says so, in seconds: for as long as its server shows progress.
pub const DEFAULT_MAX_TIMEOUT_S: u64 = 3_600;

/// One `[tools."PATTERN"]` table of `abide.toml`. Fields left out say nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolRule {
    /// A glob over `server_tool`: `*`, `?`, `[..]`, `{a,b}`.
    pub pattern: String,
    /// May it be called without asking?
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<Policy>,
    /// What repeating a call would do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect: Option<Effect>,
    /// Seconds without a sign of life (an answer, progress) after which an attempt is given up; at least 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_s: Option<u64>,
    /// Seconds after which an attempt is given up in any case; at least 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_timeout_s: Option<u64>,
    /// How often a call is attempted that may be repeated, in all; at least 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
    /// The read-only tool that tells whether a call in doubt has happened: `server_tool`, or `server_tool#/pointer` into its answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reconcile: Option<String>,
}

/// What a server says about one of its tools; believed only of servers that the user trusts.
///
/// `destructiveHint` is not here: whatever is not read-only is asked for, destructive or not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Hints {
    /// `readOnlyHint`: it changes nothing.
    pub read_only: bool,
    /// `idempotentHint`: repeating it with the same arguments changes nothing more.
    pub idempotent: bool,
}

/// What holds for one tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// May it be called without asking?
    pub policy: Policy,
    /// What repeating a call would do.
    pub effect: Effect,
    /// Seconds without a sign of life after which an attempt is given up.
    pub timeout_s: u64,
    /// Seconds after which an attempt is given up in any case; no less than the other.
    pub max_timeout_s: u64,
    /// How often a call is attempted that may be repeated; none for the usual.
    pub attempts: Option<u32>,
    /// The read-only tool that tells whether a call in doubt has happened.
    pub reconcile: Option<String>,
}

/// A rule that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RuleError {
    /// The pattern is not a glob.
    #[error("[tools.\"{pattern}\"] is not a glob: {why}; write it like \"memory_*\"")]
    Pattern {
        /// The pattern as written.
        pattern: String,
        /// What is wrong with it.
        why: String,
    },
    /// A call cannot be given no time at all.
    #[error(
        "[tools.\"{pattern}\"] has a time-out of 0, which no call can meet; write at least 1, or leave it out for {DEFAULT_TIMEOUT_S} \
         (max_timeout_s: {DEFAULT_MAX_TIMEOUT_S})"
    )]
    Timeout {
        /// The pattern as written.
        pattern: String,
    },
}

/// The user's rules, ready for use.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    rules: Vec<(GlobMatcher, ToolRule)>,
}

impl Rules {
    /// Takes the rules in any order.
    ///
    /// # Errors
    /// A pattern that is not a glob, and a time-out of zero.
    pub fn new(rules: impl IntoIterator<Item = ToolRule>) -> Result<Self, RuleError> {
        let compile = |rule: ToolRule| {
            if rule.timeout_s == Some(0) || rule.max_timeout_s == Some(0) {
                return Err(RuleError::Timeout { pattern: rule.pattern });
            }
            // Names are not paths: a star crosses slashes, and a backslash means the same on every system.
            match GlobBuilder::new(&rule.pattern).literal_separator(false).backslash_escape(true).build() {
                Ok(glob) => Ok((glob.compile_matcher(), rule)),
                Err(error) => Err(RuleError::Pattern { why: error.kind().to_string(), pattern: rule.pattern }),
            }
        };
        Ok(Self { rules: rules.into_iter().map(compile).collect::<Result<_, _>>()? })
    }

    /// What holds for the tool of these names; `hints` only of a server that the user trusts.
    ///
    /// Of overlapping patterns the longest one that has the field wins, field by field; of two equally long ones the
    /// stricter. Without a rule a tool believed to be read-only is allowed and pure, every other one is asked for.
    /// `names` are all the names the tool goes by (the model's, and the unreduced `server_tool`).
    pub fn decide(&self, names: &[&str], hints: Option<Hints>) -> Decision {
        let matching: Vec<&ToolRule> = self
            .rules
            .iter()
            .filter(|(glob, _)| names.iter().any(|name| glob.is_match(name)))
            .map(|(_, r)| r)
            .collect();
        let hints = hints.unwrap_or_default();
        let (policy, effect) = match hints {
            Hints { read_only: true, .. } => (Policy::Allow, Effect::Pure),
            Hints { idempotent: true, .. } => (Policy::Ask, Effect::Idempotent),
            Hints { .. } => (Policy::Ask, Effect::Once),
        };
        let timeout_s = pick(&matching, |rule| rule.timeout_s, |s| u64::MAX - s).unwrap_or(DEFAULT_TIMEOUT_S);
        let max = pick(&matching, |rule| rule.max_timeout_s, |s| u64::MAX - s);
        Decision {
            policy: pick(&matching, |rule| rule.policy, |policy| policy_rank(*policy)).unwrap_or(policy),
            effect: pick(&matching, |rule| rule.effect, |effect| effect_rank(*effect)).unwrap_or(effect),
            // A ceiling that is said holds for both.
            timeout_s: timeout_s.min(max.unwrap_or(u64::MAX)),
            max_timeout_s: max.unwrap_or(DEFAULT_MAX_TIMEOUT_S.max(timeout_s)),
            attempts: pick(&matching, |rule| rule.attempts, |n| u32::MAX - n),
            reconcile: pick(&matching, |rule| rule.reconcile.clone(), Clone::clone),
        }
    }
}

impl Rules {
    /// The patterns that decide on the policy and on the effect of a tool, where one does.
    pub fn said_by(&self, name: &str, server: &str, tool: &str) -> (Option<String>, Option<String>) {
        let names = crate::servers::all_names(name, server, tool);
        let matching: Vec<&ToolRule> = self
            .rules
            .iter()
            .filter(|(glob, _)| names.iter().any(|name| glob.is_match(name)))
            .map(|(_, r)| r)
            .collect();
        let by = |field: &dyn Fn(&ToolRule) -> Option<u8>| {
            let found = |rule: &ToolRule| field(rule).map(|rank| (rank, rule.pattern.clone()));
            pick(&matching, found, |(rank, _)| *rank).map(|(_, pattern)| pattern)
        };
        (by(&|rule| rule.policy.map(policy_rank)), by(&|rule| rule.effect.map(effect_rank)))
    }
}

/// The field of the longest pattern that has it; a tie goes to the higher rank.
fn pick<T, R: Ord>(rules: &[&ToolRule], field: impl Fn(&ToolRule) -> Option<T>, rank: impl Fn(&T) -> R) -> Option<T> {
    let found = rules.iter().filter_map(|rule| field(rule).map(|value| (rule.pattern.chars().count(), value)));
    found.max_by_key(|(length, value)| (*length, rank(value))).map(|(_, value)| value)
}

fn policy_rank(policy: Policy) -> u8 {
    match policy {
        Policy::Allow => 0,
        Policy::Ask => 1,
        Policy::Deny => 2,
    }
}

fn effect_rank(effect: Effect) -> u8 {
    match effect {
        Effect::Pure => 0,
        Effect::Idempotent => 1,
        Effect::Once => 2,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    fn rule(pattern: &str) -> ToolRule {
        ToolRule {
            pattern: pattern.to_owned(),
            policy: None,
            effect: None,
            timeout_s: None,
            max_timeout_s: None,
            attempts: None,
            reconcile: None,
        }
    }

    #[test]
    fn annotations_count_only_when_believed() {
        let hint = |read_only, idempotent| Some(Hints { read_only, idempotent });
        let table = [
            (None, Policy::Ask, Effect::Once),
            (hint(false, false), Policy::Ask, Effect::Once),
            (hint(false, true), Policy::Ask, Effect::Idempotent),
            (hint(true, false), Policy::Allow, Effect::Pure),
            (hint(true, true), Policy::Allow, Effect::Pure),
        ];
        for (hints, policy, effect) in table {
            let got = Rules::default().decide(&["s_t"], hints);
            assert_eq!((got.policy, got.effect, got.timeout_s, got.reconcile), (policy, effect, 60, None), "{hints:?}");
        }
    }

    #[test]
    fn the_longest_pattern_wins_field_by_field() {
        let rules = Rules::new([
            ToolRule { policy: Some(Policy::Deny), timeout_s: Some(5), ..rule("*") },
            ToolRule { policy: Some(Policy::Allow), effect: Some(Effect::Idempotent), ..rule("memory_*") },
            ToolRule { effect: Some(Effect::Pure), reconcile: Some("memory_read".into()), ..rule("memory_read*") },
        ])
        .unwrap();
        let table = [
            ("other_tool", Policy::Deny, Effect::Once, 5, None),
            ("memory_write", Policy::Allow, Effect::Idempotent, 5, None),
            ("memory_read_graph", Policy::Allow, Effect::Pure, 5, Some("memory_read")),
        ];
        for (name, policy, effect, timeout_s, reconcile) in table {
            let reconcile = reconcile.map(str::to_owned);
            let expected = Decision { policy, effect, timeout_s, max_timeout_s: 3_600, attempts: None, reconcile };
            assert_eq!(rules.decide(&[name], None), expected, "{name}");
        }
    }

    #[test]
    fn equally_long_patterns_are_decided_by_the_stricter_one() {
        let allow = ToolRule { policy: Some(Policy::Allow), effect: Some(Effect::Pure), ..rule("a_*") };
        let deny = ToolRule { policy: Some(Policy::Deny), effect: Some(Effect::Once), ..rule("*_x") };
        for order in [[allow.clone(), deny.clone()], [deny, allow]] {
            let got = Rules::new(order).unwrap().decide(&["a_x"], None);
            assert_eq!((got.policy, got.effect), (Policy::Deny, Effect::Once));
        }
    }

    #[test]
    fn a_rule_overrides_what_is_believed_and_any_of_the_names_may_match() {
        let rules = Rules::new([ToolRule { policy: Some(Policy::Ask), ..rule("my.server_*") }]).unwrap();
        let hints = Some(Hints { read_only: true, idempotent: false });
        assert_eq!(rules.decide(&["my_server_x", "my.server_x"], hints).policy, Policy::Ask);
        assert_eq!(rules.decide(&["my_server_x"], hints).policy, Policy::Allow);
    }

    #[test]
    fn the_ceiling_is_never_below_the_time_without_a_sign_of_life() {
        for (timeout_s, max_timeout_s, expected) in [
            (None, None, (60, 3_600)),
            (Some(7_200), None, (7_200, 7_200)),
            (None, Some(10), (10, 10)),
            (Some(5), Some(10), (5, 10)),
        ] {
            let got = Rules::new([ToolRule { timeout_s, max_timeout_s, ..rule("*") }]).unwrap().decide(&["a_b"], None);
            assert_eq!((got.timeout_s, got.max_timeout_s), expected);
        }
    }

    #[test]
    fn unusable_rules_say_why() {
        let error = Rules::new([rule("memory_[")]).unwrap_err().to_string();
        assert!(error.contains("memory_[") && error.contains("not a glob"), "{error}");
        let error = Rules::new([ToolRule { timeout_s: Some(0), ..rule("x") }]).unwrap_err().to_string();
        assert!(error.contains("a time-out of 0"), "{error}");
        let error = Rules::new([ToolRule { max_timeout_s: Some(0), ..rule("x") }]).unwrap_err().to_string();
        assert!(error.contains("a time-out of 0"), "{error}");
    }
}
