//! Who answers a labeler's questions: a model on this machine, an endpoint, a script in a test.
//!
//! A labeler decides what is asked ([`PromptedLabeler`](super::PromptedLabeler)); an [`Answerer`]
//! says what comes next. It has two primitives: how probable each of a few answers is, and a text.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::generate::SamplingConfig;
use crate::record::{Method, Usage};

/// A text to go on from, in the parts that an answerer may treat apart. The text is all three,
/// one after the other.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Question {
    /// What several questions begin with: preamble, exemplars and the text that is judged.
    /// Neighbouring questions with an equal prefix may share its encoding.
    pub prefix: Arc<str>,
    /// What this question is about.
    pub text: String,
    /// The beginning of the answer, such as `Preferred Summary=`.
    pub ending: String,
}

impl Question {
    /// What follows the prefix.
    pub fn rest(&self) -> String {
        format!("{}{}", self.text, self.ending)
    }

    /// The whole text.
    pub fn full(&self) -> String {
        format!("{}{}{}", self.prefix, self.text, self.ending)
    }
}

/// A text to be written.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Request {
    /// What it goes on from.
    pub question: Question,
    /// Makes the draw repeatable, and tells apart several texts for one question. Without meaning
    /// at temperature 0.
    pub seed: u64,
}

/// How a text is drawn. The default is the paper's for rationales (section 2.1.2): the most
/// probable token, at most 512 of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Decoding {
    /// Divides the logits; 0 takes the most probable token.
    pub temperature: f32,
    /// Keeps the most probable tokens that together have this probability; 1 keeps all.
    pub top_p: f32,
    /// Keeps this many most probable tokens; 0 keeps all.
    pub top_k: usize,
    /// Longest text in tokens.
    pub max_new_tokens: usize,
    /// The text ends before the first of these.
    pub stop: Vec<String>,
}

impl Default for Decoding {
    fn default() -> Self {
        Self {
            temperature: 0.0,
            top_p: 1.0,
            top_k: 0,
            max_new_tokens: 512,
            stop: Vec::new(),
        }
    }
}

impl Decoding {
    /// Checks the ranges; `field` is the path of this table in the run file.
    ///
    /// # Errors
    /// Names the field that is out of range.
    pub fn validate(&self, field: &str) -> Result<()> {
        let sampling = SamplingConfig {
            temperature: self.temperature,
            top_p: self.top_p,
            top_k: self.top_k,
            max_new_tokens: self.max_new_tokens,
            ..SamplingConfig::default()
        };
        sampling.validate(field)?;
        if self.stop.iter().any(String::is_empty) {
            let name = format!("{field}.stop");
            return Err(Error::field(name, "a list with an empty text", "texts"));
        }
        Ok(())
    }
}

/// Why a question has no answer. The others of the call have theirs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum NoAnswer {
    /// The question does not fit the model.
    #[error("{found} tokens, the model takes at most {limit}")]
    TooLong {
        /// Its length in tokens, with what was to be written.
        found: usize,
        /// The model's limit.
        limit: usize,
    },
    /// A text was written and none of the answers could be read from it.
    #[error("no answer can be read from {text:?}")]
    Unreadable {
        /// The text.
        text: String,
    },
    /// The model's numbers are none: its weights are damaged.
    #[error("the model gives the answers probabilities that are no numbers")]
    NotFinite,
    /// The answerer refused this question, or failed on it for good.
    #[error("{message}")]
    Failed {
        /// What it said.
        message: String,
    },
}

impl NoAnswer {
    /// Name of the kind, for counts.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::TooLong { .. } => "too_long",
            Self::Unreadable { .. } => "unreadable",
            Self::NotFinite => "not_finite",
            Self::Failed { .. } => "failed",
        }
    }
}

/// What came back for one question, and what it cost.
#[derive(Debug, Clone, PartialEq)]
pub struct Answered<T> {
    /// The answer.
    pub value: Result<T, NoAnswer>,
    /// The cost, of failed attempts too.
    pub usage: Usage,
}

/// How probable each answer is.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// Log-probability of each answer in nats, normalised over them; `-inf` for what is ruled out.
    pub log_probs: Vec<f32>,
    /// How it was found.
    pub method: Method,
}

/// A text that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The text, without what ended it.
    pub text: String,
    /// Whether it ended by itself or at a stop text, rather than at the limit.
    pub finished: bool,
}

/// Answers questions, many at a time, one answer per question in their order.
///
/// An error ends the run; what concerns a single question is its [`NoAnswer`]. With its own name,
/// a question's text and the other arguments an answerer has all that an answer depends on, so that
/// it may keep answers.
pub trait Answerer {
    /// The model's name.
    fn name(&self) -> &str;

    /// How probable each of `answers` is after each question, with or without a leading space.
    ///
    /// # Errors
    /// The answerer fails as a whole, or cannot write an answer.
    fn choose(
        &mut self,
        questions: &[Question],
        answers: &[String],
    ) -> Result<Vec<Answered<Choice>>>;

    /// Writes a text after each question.
    ///
    /// # Errors
    /// The answerer fails as a whole.
    fn write(&mut self, requests: &[Request], decoding: &Decoding) -> Result<Vec<Answered<Reply>>>;

    /// Questions that it is best asked at once.
    fn batch_size(&self) -> usize {
        128
    }

    /// Longest text in tokens, where it is known.
    fn max_len(&self) -> Option<usize> {
        None
    }

    /// Length of a question in tokens, where it can be counted.
    ///
    /// # Errors
    /// The tokenizer fails.
    fn count_tokens(&self, _question: &Question) -> Result<Option<usize>> {
        Ok(None)
    }
}
