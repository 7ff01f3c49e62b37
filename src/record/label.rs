//! What labeling a file of pairs writes.

use serde::{Deserialize, Serialize};

use super::{Preference, Record, Unlabeled, probability};
use crate::error::Result;

/// A preference with its place in the file of pairs that was labeled, what that file says of it,
/// and what it cost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Label {
    /// Which pair of the file it is, from 0; labels made elsewhere do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<usize>,
    /// What the labeler says.
    #[serde(flatten)]
    pub preference: Preference,
    /// Probability that `chosen` is better as the file of pairs says: 1 where both agree, 0 where
    /// they do not, 0.5 where it calls a tie. The labeler does not see it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p_gold: Option<f32>,
    /// Tokens that the labeler read.
    #[serde(default)]
    pub prompt_tokens: u64,
    /// Tokens that it wrote.
    #[serde(default)]
    pub completion_tokens: u64,
}

/// A pair of a file that the labeler gave no verdict on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LabelFailure {
    /// Which pair of the file it is, from 0.
    pub index: usize,
    /// The pair, and why.
    #[serde(flatten)]
    pub unlabeled: Unlabeled,
}

impl Record for Label {
    fn check(&self) -> Result<()> {
        self.p_gold.map_or(Ok(()), |p| probability("p_gold", p))?;
        self.preference.check()
    }

    fn set_default_id(&mut self, line: usize) {
        self.preference.set_default_id(line);
    }
}

impl Record for LabelFailure {}
