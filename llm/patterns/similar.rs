//! Which of some an input is for: by whom that is decided, how it is by the angle between embeddings, and which of what was found counts.
//! It asks a model for vectors as a step, and keeps none.

use abide_engine::{Ctx, Result};

use super::router::Choice;
use crate::agent::Agent;
use crate::charge::Limit;
use crate::model::ModelConfig;

/// Who decides.
#[derive(Clone)]
pub(crate) enum By {
    Model(Box<Agent>),
    Likeness(Box<Similar>),
}

impl By {
    pub(crate) fn likeness(model: ModelConfig) -> Self {
        Self::Likeness(Box::new(Similar::new(model)))
    }

    /// What the run may spend in all; agents have it by themselves.
    pub(crate) fn limit(&mut self, budget: Limit) {
        if let Self::Likeness(similar) = self {
            similar.run_budget = budget;
        }
    }
}

/// What was found, and how sure that is.
pub(crate) trait Found {
    fn name(&self) -> &str;
    fn confidence(&mut self) -> &mut f64;
}

/// The best of those that are known and sure enough, each once, the surest first; and the names that are not known.
pub(crate) fn best<F: Found>(
    found: Vec<F>,
    known: impl Fn(&str) -> bool,
    at_least: f64,
    most: usize,
) -> (Vec<F>, Vec<String>) {
    let (mut counting, mut unknown): (Vec<(f64, F)>, Vec<String>) = (Vec::new(), Vec::new());
    for mut one in found {
        let confidence = one.confidence().clamp(0.0, 1.0);
        *one.confidence() = confidence;
        if !known(one.name()) {
            unknown.push(one.name().to_owned());
        } else if confidence >= at_least && counting.iter().all(|(_, other)| other.name() != one.name()) {
            counting.push((confidence, one));
        }
    }
    counting.sort_by(|a, b| b.0.total_cmp(&a.0));
    counting.truncate(most);
    (counting.into_iter().map(|(_, one)| one).collect(), unknown)
}

/// Likeness by a model of embeddings.
#[derive(Debug, Clone)]
pub(crate) struct Similar {
    model: ModelConfig,
    /// What the run may spend in all.
    run_budget: Limit,
}

impl Similar {
    fn new(model: ModelConfig) -> Self {
        Self { model, run_budget: Limit::default() }
    }

    /// The names and how like the input their likest text is, from -1 to 1, the likest first. One request for all texts as a rule.
    pub(crate) async fn rank(
        &self,
        ctx: &Ctx,
        named: &[(String, Vec<String>)],
        input: &str,
    ) -> Result<Vec<(String, f64)>> {
        let mut texts = vec![input.to_owned()];
        texts.extend(named.iter().flat_map(|(_, texts)| texts.iter().cloned()));
        let vectors = self.model.embed_within(ctx, &texts, &self.run_budget).await?;
        let mut vectors = vectors.into_iter();
        let of_input = vectors.next().unwrap_or_default();
        let mut ranked: Vec<(String, f64)> = Vec::with_capacity(named.len());
        for (name, texts) in named {
            let likest = vectors.by_ref().take(texts.len()).map(|vector| cosine(&of_input, &vector));
            ranked.push((name.clone(), likest.fold(-1.0, f64::max)));
        }
        ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
        Ok(ranked)
    }
}

/// As choices without a reason.
pub(crate) fn of_names(ranked: Vec<(String, f64)>) -> Vec<Choice> {
    ranked.into_iter().map(|(name, confidence)| Choice { name, confidence, reason: None }).collect()
}

/// The cosine of the angle between two vectors; 0 where one has no length.
fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    let lengths = (dot(a, a) * dot(b, b)).sqrt();
    if lengths > 0.0 { dot(a, b) / lengths } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn likeness_is_the_angle_and_not_the_length() {
        assert!((cosine(&[1.0, 0.0], &[5.0, 0.0]) - 1.0).abs() < 1e-9);
        assert!(cosine(&[1.0, 0.0], &[0.0, 3.0]).abs() < 1e-9);
        assert!((cosine(&[1.0, 1.0], &[-1.0, -1.0]) + 1.0).abs() < 1e-9);
        assert!(cosine(&[0.0], &[1.0]).abs() < 1e-9);
    }
}
