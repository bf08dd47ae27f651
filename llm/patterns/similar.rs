//! Which of some texts an input is most like, by the angle between their embeddings. It asks a model for vectors as a step, and keeps none.

use abide_engine::{Ctx, Result};

use super::router::Choice;
use crate::charge::Limit;
use crate::model::ModelConfig;

/// Likeness by a model of embeddings.
#[derive(Debug, Clone)]
pub(crate) struct Similar {
    model: ModelConfig,
    /// What the run may spend in all.
    pub(crate) run_budget: Limit,
}

impl Similar {
    pub(crate) fn new(model: ModelConfig) -> Self {
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
