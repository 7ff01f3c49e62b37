//! Stage 2: a labeler judges completions. It says which of two is better, or how good one is.
//!
//! Lee et al. 2023, arXiv:2309.00267, section 2.1: the answer is read from the probabilities of the
//! answer tokens, never from generated text, and every pair is asked in both orders, for labelers
//! favour a position. [`Labeler`] is the extension point. [`PromptedLabeler`] decides what is asked
//! and leaves it to an [`Answerer`] to answer: [`LocalLabeler`] is that over a language model on
//! this machine, and [`endpoint`] holds models behind servers. [`OracleLabeler`] is the embedded
//! world's truth. This room knows nothing of rewards or RL.

mod alignment;
mod answer;
mod answerer;
mod asking;
pub mod config;
pub mod endpoint;
mod ensemble;
mod exemplar;
mod file;
mod fit;
mod handle;
mod judgement;
mod labeling;
mod local;
mod metrics;
mod oracle;
mod output;
mod position;
pub mod prompt;
mod prompted;
mod report;
mod shared;
mod stage;
mod tally;
mod verdict;

pub use alignment::{Alignment, AlignmentCounts, alignment};
pub use answer::{Candidates, Sharing, answer_log_probs};
pub use answerer::{Answered, Answerer, Choice, Decoding, NoAnswer, Question, Reply, Request};
pub use asking::Asking;
pub use config::{AskConfig, LabelerConfig};
pub use ensemble::{Combine, Ensemble};
pub use file::{LabelFile, LabelRun, Shard, label_file};
pub use handle::SharedLabeler;
pub use judgement::{Judgement, Scored};
pub use labeling::LabelingConfig;
pub use local::{Format, LocalAnswerer, LocalLabeler};
pub use oracle::{OracleLabeler, held_out_pairs};
pub use position::{PositionCounts, Positions};
pub use prompted::PromptedLabeler;
pub use report::{
    GoldReport, LabelerAgreement, LabelerReport, LabelingReport, LengthReport, PositionReport,
    Prices, Rate, RatioBin, report_labels,
};
pub use stage::{LabelCounts, LabelReport, Labels, judge, label, pairs};
pub(crate) use tally::Tally as LabelTally;

pub use crate::record::Usage;

use crate::error::Result;
use crate::record::{AnswerPair, Completion, Context};

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
    /// The texts of two answers; what a file says of them stays behind.
    pub fn between(pair: &'a AnswerPair) -> Self {
        Self {
            prompt_id: &pair.prompt_id,
            prompt: &pair.prompt,
            a: &pair.a.text,
            b: &pair.b.text,
        }
    }

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

impl<'a> Candidate<'a> {
    /// A completion.
    pub fn of(row: &'a Completion) -> Self {
        Self {
            prompt_id: &row.prompt_id,
            prompt: &row.prompt,
            completion: &row.completion,
        }
    }
}

/// Judges completions. One answer per request, in request order.
pub trait Labeler {
    /// Name for records and tables.
    fn name(&self) -> &str;

    /// Which completion of each pair is better.
    ///
    /// # Errors
    /// The labeler fails as a whole; where a single request fails, its answer says so.
    fn compare(&mut self, pairs: &[Pair]) -> Result<Vec<Judgement>>;

    /// Pairs or completions that it is best handed at once.
    fn batch_size(&self) -> usize {
        64
    }

    /// How good each completion is, in `[-1, 1]` (d-RLAIF; section 2.2.2 of the paper).
    ///
    /// # Errors
    /// The labeler fails as a whole; where a single request fails, its answer says so.
    fn score(&mut self, candidates: &[Candidate]) -> Result<Vec<Scored>>;
}

#[cfg(test)]
mod tests;
