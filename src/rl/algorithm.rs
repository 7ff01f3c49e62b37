//! Which algorithms a run file can name.

use serde::{Deserialize, Serialize};

use super::{
    GrpoConfig, OnlineDpoConfig, PpoConfig, ReinforceBatchConfig, ReinforceConfig,
    RejectionSamplingConfig, RlConfig, RlooConfig,
};
use crate::error::Result;

/// How rollouts change the policy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum AlgorithmConfig {
    /// Proximal policy optimisation.
    Ppo(PpoConfig),
    /// The paper's REINFORCE with a value baseline.
    Reinforce(ReinforceConfig),
    /// REINFORCE with the batch as baseline.
    ReinforceBatch(ReinforceBatchConfig),
    /// Group-relative policy optimisation and its variants.
    Grpo(GrpoConfig),
    /// REINFORCE with a leave-one-out baseline.
    Rloo(RlooConfig),
    /// Direct preference optimisation on what the policy writes.
    OnlineDpo(OnlineDpoConfig),
    /// Fine-tuning on the best completion of each prompt.
    RejectionSampling(RejectionSamplingConfig),
}

impl AlgorithmConfig {
    /// Optimizer steps per rollout batch.
    pub fn updates_per_step(&self) -> usize {
        match self {
            Self::Ppo(config) => config.num_ppo_epochs * config.num_mini_batches,
            Self::Reinforce(_) => 1,
            Self::ReinforceBatch(config) => config.num_iterations * config.num_mini_batches,
            Self::Grpo(config) => config.num_iterations * config.num_mini_batches,
            Self::Rloo(config) => config.num_iterations * config.num_mini_batches,
            Self::OnlineDpo(config) => config.num_iterations * config.num_mini_batches,
            Self::RejectionSampling(config) => config.num_iterations * config.num_mini_batches,
        }
    }

    /// Optimizer steps in a pass over a rollout batch.
    pub fn mini_batches(&self) -> usize {
        match self {
            Self::Ppo(config) => config.num_mini_batches,
            Self::Reinforce(_) => 1,
            Self::ReinforceBatch(config) => config.num_mini_batches,
            Self::Grpo(config) => config.num_mini_batches,
            Self::Rloo(config) => config.num_mini_batches,
            Self::OnlineDpo(config) => config.num_mini_batches,
            Self::RejectionSampling(config) => config.num_mini_batches,
        }
    }

    /// The `kind` of the run file.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Ppo(_) => "ppo",
            Self::Reinforce(_) => "reinforce",
            Self::ReinforceBatch(_) => "reinforce_batch",
            Self::Grpo(_) => "grpo",
            Self::Rloo(_) => "rloo",
            Self::OnlineDpo(_) => "online_dpo",
            Self::RejectionSampling(_) => "rejection_sampling",
        }
    }

    pub(super) fn has_value_model(&self) -> bool {
        matches!(self, Self::Ppo(_) | Self::Reinforce(_))
    }

    /// Whether it compares a completion with the others of its prompt.
    pub(super) fn has_groups(&self) -> bool {
        matches!(
            self,
            Self::Grpo(_) | Self::Rloo(_) | Self::OnlineDpo(_) | Self::RejectionSampling(_)
        )
    }

    /// `beta` of the algorithms that have one.
    pub(super) fn beta(&self) -> Option<f32> {
        match self {
            Self::Grpo(config) => Some(config.beta),
            Self::Rloo(config) => Some(config.beta),
            Self::OnlineDpo(config) => Some(config.beta),
            Self::Ppo(_)
            | Self::Reinforce(_)
            | Self::ReinforceBatch(_)
            | Self::RejectionSampling(_) => None,
        }
    }

    pub(super) fn validate(&self, rl: &RlConfig) -> Result<()> {
        let batch_size = rl.batch_size;
        match self {
            Self::Ppo(config) => config.validate(batch_size),
            Self::Reinforce(_) => Ok(()),
            Self::ReinforceBatch(config) => config.validate(batch_size),
            Self::Grpo(config) => config.validate(batch_size),
            Self::Rloo(config) => config.validate(batch_size),
            Self::OnlineDpo(config) => config.validate(rl),
            Self::RejectionSampling(config) => {
                config.validate(batch_size / rl.num_generations.max(1))
            }
        }
    }
}
