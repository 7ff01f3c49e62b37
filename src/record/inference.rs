//! Rows that `rlaif chat` and `rlaif score` write.

use serde::{Deserialize, Serialize};

use super::{Record, id_text};

/// What a model answered to a prompt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answered {
    /// [`Prompt::id`](super::Prompt::id).
    #[serde(deserialize_with = "id_text")]
    pub id: String,
    /// Tokens that the model read.
    pub prompt_ids: Vec<u32>,
    /// Tokens that it wrote, the end-of-text token included when it came to it.
    pub completion_ids: Vec<u32>,
    /// Their text, special tokens left out.
    pub completion: String,
}

/// How probable a model finds a completion.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scored {
    /// [`Demonstration::id`](super::Demonstration::id).
    #[serde(deserialize_with = "id_text")]
    pub id: String,
    /// Tokens of the completion alone; no end-of-text token is added.
    pub token_ids: Vec<u32>,
    /// Log-probability of each in nats, at temperature 1.
    pub token_log_probs: Vec<f32>,
    /// Their sum.
    pub log_prob: f32,
}

/// What a reward model makes of a completion.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rewarded {
    /// [`Demonstration::id`](super::Demonstration::id).
    #[serde(deserialize_with = "id_text")]
    pub id: String,
    /// The number of the model's head, as any reader of the folder computes it.
    pub reward: f32,
    /// With the training texts' mean taken off and divided by their deviation, as the policy
    /// optimisation sees it; the same number for a folder that names neither.
    pub normalized_reward: f32,
}

impl Record for Answered {}
impl Record for Scored {}
impl Record for Rewarded {}
