//! What critique and revision made of a prompt: a demonstration with how it came about.

use serde::{Deserialize, Serialize};

use super::{Context, Record, id_text};

/// A prompt with the last revision of a model's response: a row for supervised fine-tuning, whose
/// columns `prompt` and `completion` are all that a training reads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Revised {
    /// Place of the prompt in its file, from 0.
    pub index: usize,
    /// Name of the prompt.
    #[serde(deserialize_with = "id_text")]
    pub id: String,
    /// The prompt.
    #[serde(flatten)]
    pub prompt: Context,
    /// The last revision; the response where there is none.
    pub completion: String,
    /// How it came about.
    pub chain: Chain,
}

/// From a response to its last revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chain {
    /// Who wrote all of it.
    pub model: String,
    /// The first response.
    pub response: String,
    /// The rounds.
    pub rounds: Vec<Revision>,
    /// Why there are fewer rounds than were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<String>,
}

/// One round.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revision {
    /// Name of the principle that was drawn.
    pub principle: String,
    /// What is wrong with the text before.
    pub critique: String,
    /// The text without that.
    pub revision: String,
}

/// A prompt that the model gave no response to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Unanswered {
    /// Place of the prompt in its file, from 0.
    pub index: usize,
    /// Name of the prompt.
    #[serde(deserialize_with = "id_text")]
    pub id: String,
    /// The prompt.
    #[serde(flatten)]
    pub prompt: Context,
    /// What went wrong.
    pub reason: String,
}

impl Record for Revised {}
impl Record for Unanswered {}
