//! Stage 2: a labeler judges completions. It says which of two is better, or how good one is.
//!
//! Lee et al. 2023, arXiv:2309.00267, section 2.1: the answer is read from the probabilities of the
//! answer tokens, never from generated text, and every pair is asked in both orders, for labelers
//! favour a position. [`Labeler`] is the extension point; [`LocalLabeler`] is a language model on
//! this machine and [`OracleLabeler`] the embedded world's truth. This room knows nothing of
//! rewards or RL.

mod answer;
mod local;
mod oracle;
pub mod prompt;
mod stage;

use serde::{Deserialize, Serialize};

pub use answer::{Candidates, answer_log_probs};
pub use local::LocalLabeler;
pub use oracle::{OracleLabeler, held_out_pairs};
pub use stage::{Alignment, alignment, label};

use crate::error::Result;
use crate::record::{Completion, Context};

/// Two completions of one prompt, to be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pair<'a> {
    /// Identifies the prompt.
    pub prompt_id: &'a str,
    /// What both answer.
    pub prompt: &'a Context,
    /// One completion.
    pub a: &'a str,
    /// The other.
    pub b: &'a str,
}

impl<'a> Pair<'a> {
    /// Two completions of one prompt.
    pub fn of(a: &'a Completion, b: &'a Completion) -> Self {
        Self {
            prompt_id: &a.prompt_id,
            prompt: &a.prompt,
            a: &a.completion,
            b: &b.completion,
        }
    }
}

/// One completion of a prompt, to be scored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate<'a> {
    /// Identifies the prompt.
    pub prompt_id: &'a str,
    /// What it answers.
    pub prompt: &'a Context,
    /// The completion.
    pub completion: &'a str,
}

/// What a labeler says of a pair.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Judgement {
    /// Probability that `a` is better, asked with `a` first.
    pub p_a_first: f32,
    /// Probability that `a` is better, asked with `a` second.
    pub p_a_second: f32,
}

impl Judgement {
    /// Probability that `a` is better, both orders averaged (section 2.1.1 of the paper).
    pub fn p_a(&self) -> f32 {
        0.5 * (self.p_a_first + self.p_a_second)
    }

    /// Whether the same position won in both orders: position bias at work.
    pub fn same_position(&self) -> bool {
        (self.p_a_first > 0.5) != (self.p_a_second > 0.5)
    }
}

/// Judges completions. One answer per request, in request order.
pub trait Labeler {
    /// Name for records and tables.
    fn name(&self) -> &str;

    /// Which completion of each pair is better.
    ///
    /// # Errors
    /// The labeler fails or a text does not fit it.
    fn compare(&mut self, pairs: &[Pair]) -> Result<Vec<Judgement>>;

    /// How good each completion is, in `[-1, 1]` (d-RLAIF; section 2.2.2 of the paper).
    ///
    /// # Errors
    /// The labeler fails or a text does not fit it.
    fn score(&mut self, candidates: &[Candidate]) -> Result<Vec<f32>>;
}
