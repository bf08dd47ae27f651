//! A draft that is rated and written anew until it is good enough, or until there were enough drafts: then the best one counts. It never
//! asks for a draft more than it was allowed.

use std::sync::Arc;

use abide_engine::{Ctx, Result, terminal};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Work;
use super::builders::pattern;
use super::verdict::{Shape, object, text, verdict};
use super::words::cut;
use super::work::{Tally, Title};
use crate::agent::{Agent, Answer};
use crate::input::Input;

/// Drafts after the first one when nothing is said.
const REFINEMENTS: u32 = 3;

/// How good a draft has to be: points from 0 to 10, or a grade.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Rating {
    /// Points from 0 to 10.
    Points(u8),
    /// A grade.
    Grade(Grade),
}

/// A rating in words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Grade {
    /// It misses what was asked for.
    Poor,
    /// It has what matters, with faults.
    Fair,
    /// It can be used as it is.
    Good,
    /// There is nothing to mend.
    Excellent,
}

impl From<u8> for Rating {
    fn from(points: u8) -> Self {
        Self::Points(points)
    }
}

impl From<Grade> for Rating {
    fn from(grade: Grade) -> Self {
        Self::Grade(grade)
    }
}

/// One writes, one rates; what is not good enough is written anew with what was said of it.
///
/// ```
/// use abide_llm::{Agent, EvaluatorOptimizer};
///
/// let draft = EvaluatorOptimizer::new(Agent::new("writer"), Agent::new("reviewer")).at_least(8).refinements(3);
/// ```
#[derive(Clone)]
pub struct EvaluatorOptimizer {
    title: Title,
    writer: Arc<dyn Work>,
    evaluator: Agent,
    at_least: Rating,
    refinements: u32,
}

pattern!(EvaluatorOptimizer);

/// What an evaluator says.
#[derive(Deserialize)]
struct Evaluation {
    rating: Value,
    feedback: String,
}

impl EvaluatorOptimizer {
    /// The writer, which may be any pattern, and who rates it. 8 points of 10 are enough, and there are at most 3 refinements.
    pub fn new(writer: impl Work, evaluator: Agent) -> Self {
        Self {
            title: Title::new("evaluator-optimizer"),
            writer: Arc::new(writer),
            evaluator,
            at_least: Rating::Points(8),
            refinements: REFINEMENTS,
        }
    }

    /// The rating that is good enough: points of 10 (`8`), or a [`Grade`]. The evaluator is asked for the same.
    #[must_use]
    pub fn at_least(mut self, rating: impl Into<Rating>) -> Self {
        self.at_least = rating.into();
        self
    }

    /// The most drafts after the first one.
    #[must_use]
    pub fn refinements(mut self, refinements: u32) -> Self {
        self.refinements = refinements;
        self
    }

    async fn drive(self, ctx: Ctx, input: Input) -> Result<Answer> {
        let mut tally = Tally::default();
        let mut best: Option<(u32, Answer)> = None;
        let mut next = input.clone();
        for left in (0..=self.refinements).rev() {
            let draft = self.writer.begin(&ctx, next).await?;
            tally.add(&draft);
            let (rating, feedback) = self.rate(&ctx, &input, &draft, &mut tally).await?;
            next = refined(&input, &draft, &feedback);
            // Of two that are as good, the later one has heard more.
            if best.as_ref().is_none_or(|(known, _)| rating >= *known) {
                best = Some((rating, draft));
            }
            if left == 0 || rating >= self.at_least.points() {
                break;
            }
        }
        best.map(|(_, draft)| tally.on(draft)).ok_or_else(|| terminal("there was no draft"))
    }

    /// Points of 10 and what could be better.
    async fn rate(&self, ctx: &Ctx, input: &Input, draft: &Answer, tally: &mut Tally) -> Result<(u32, String)> {
        let asked = Input {
            text: "Rate this answer.".to_owned(),
            attachments: input.attachments.clone(),
            prompt: input.prompt.clone(),
            context: vec![
                "What was asked for:\n\n".to_owned(),
                input.whole(),
                "\n\nThe answer:\n\n".to_owned(),
                cut(&draft.text),
            ],
        };
        let (scale, duty) = self.at_least.asked();
        let schema = object([
            ("rating", scale),
            ("feedback", text("What is wrong with it and how to mend it; empty if nothing is.")),
        ]);
        let shape = Shape { name: "evaluation", checked: schema.clone(), schema };
        let said: Evaluation = verdict(&self.evaluator, ctx, duty, shape, asked, tally).await?;
        Ok((points(&said.rating), said.feedback))
    }
}

impl Rating {
    fn points(self) -> u32 {
        match self {
            Self::Points(points) => points.into(),
            Self::Grade(grade) => grade.points(),
        }
    }

    /// The scale, as a schema and in words.
    fn asked(self) -> (Value, &'static str) {
        match self {
            Self::Points(_) => (
                json!({"type": "integer", "description": "From 0 (useless) to 10 (nothing to mend)."}),
                "You rate answers strictly, from 0 (useless) to 10 (nothing to mend), and say what has to become better.",
            ),
            Self::Grade(_) => (
                json!({"type": "string", "enum": ["poor", "fair", "good", "excellent"]}),
                "You rate answers strictly, as poor, fair, good or excellent, and say what has to become better.",
            ),
        }
    }
}

impl Grade {
    fn points(self) -> u32 {
        match self {
            Self::Poor => 2,
            Self::Fair => 5,
            Self::Good => 8,
            Self::Excellent => 10,
        }
    }
}

/// A rating in points; one that is above all is 10.
fn points(rating: &Value) -> u32 {
    match rating.as_u64() {
        Some(points) => points.min(10) as u32,
        None => serde_json::from_value::<Grade>(rating.clone()).map_or(0, Grade::points),
    }
}

/// What the writer is asked the next time.
fn refined(input: &Input, draft: &Answer, feedback: &str) -> Input {
    Input {
        text: "Answer again as a whole, better by what was said of your last answer.".to_owned(),
        attachments: input.attachments.clone(),
        prompt: input.prompt.clone(),
        context: vec![
            input.whole(),
            "\n\nYour last answer:\n\n".to_owned(),
            cut(&draft.text),
            format!("\n\nWhat was said of it:\n\n{feedback}"),
        ],
    }
}
