//! The uses that a world's prompts are divided among.

use serde::{Deserialize, Serialize};

/// Disjoint families of prompts, one for each use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Split {
    /// Language modelling from scratch.
    Pretrain,
    /// Teaching the labeler to judge.
    LabelerTrain,
    /// Measuring the labeler.
    LabelerTest,
    /// Demonstrations for supervised fine-tuning.
    Demonstration,
    /// Pairs to be labeled for the reward model.
    Preference,
    /// Prompts of the policy optimisation.
    Rl,
    /// Choosing between runs.
    Validation,
    /// Reported results.
    Test,
}

impl Split {
    /// Every split.
    pub const ALL: [Self; 8] = [
        Self::Pretrain,
        Self::LabelerTrain,
        Self::LabelerTest,
        Self::Demonstration,
        Self::Preference,
        Self::Rl,
        Self::Validation,
        Self::Test,
    ];

    /// The name, as in ids of prompts and run files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pretrain => "pretrain",
            Self::LabelerTrain => "labeler_train",
            Self::LabelerTest => "labeler_test",
            Self::Demonstration => "demonstration",
            Self::Preference => "preference",
            Self::Rl => "rl",
            Self::Validation => "validation",
            Self::Test => "test",
        }
    }

    /// The split of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|split| split.as_str() == name)
    }
}
