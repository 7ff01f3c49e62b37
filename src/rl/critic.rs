//! Where PPO's values come from: a network of its own, or a head on the policy's.

use std::path::Path;

use burn::prelude::*;
use serde::{Deserialize, Serialize};

use super::shared_value::SharedValue;
use super::update::{Losses, Means, MicroBatch, Passes};
use super::{RlConfig, Rollout, ValueModel};
use crate::error::Result;
use crate::log_prob::Scores;
use crate::model::CausalLm;
use crate::optim::Learner;

/// Whose network estimates the values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ValueKind {
    /// One of its own, which starts from the initial policy.
    #[default]
    Separate,
    /// The policy's, with a head beside its own: one network in memory, and one pass through it.
    Shared,
}

/// The values and what optimises them.
pub(super) enum Critic<M: CausalLm> {
    Separate(ValueModel<M>),
    Shared(SharedValue),
}

impl<M: CausalLm> Critic<M> {
    pub(super) fn new(kind: ValueKind, vf_coef: f32, rl: &RlConfig, initial: M) -> Self {
        match kind {
            ValueKind::Separate => Self::Separate(ValueModel::new(rl, initial)),
            ValueKind::Shared => Self::Shared(SharedValue::new(rl, vf_coef, &initial)),
        }
    }

    /// Values of the state before each token of each rollout, on the host and without gradients.
    pub(super) fn values(&self, policy: &M, rollouts: &[Rollout]) -> Result<Vec<Vec<f32>>> {
        match self {
            Self::Separate(value) => value.values(rollouts),
            Self::Shared(value) => value.values(policy, rollouts),
        }
    }

    /// An optimizer step of the policy and one of the values, down the losses of `parts`; what they
    /// tell goes into `means`.
    pub(super) fn step(
        self,
        policy: Learner<M>,
        (passes, parts): (&Passes, &[MicroBatch]),
        policy_losses: impl Fn(Scores, &MicroBatch) -> Losses,
        value_losses: impl Fn(Tensor<2>, &MicroBatch) -> Losses,
        means: &mut Means,
    ) -> Result<(Learner<M>, Self)> {
        match self {
            Self::Separate(value) => {
                let (policy, told) = passes.step(policy, parts, policy_losses)?;
                means.add(told);
                let value = value.step(parts, passes.activations, value_losses, means)?;
                Ok((policy, Self::Separate(value)))
            }
            Self::Shared(value) => {
                let of_batch = (passes, parts);
                let (policy, value, told) =
                    value.step(policy, of_batch, policy_losses, value_losses)?;
                means.add(told);
                Ok((policy, Self::Shared(value)))
            }
        }
    }

    /// Writes weights and optimizer into the folder of a checkpoint.
    pub(super) fn save(&self, dir: &Path) -> Result<()> {
        match self {
            Self::Separate(value) => value.0.save(dir),
            Self::Shared(value) => value.head.save(dir),
        }
    }

    /// Takes over what [`save`](Self::save) wrote.
    pub(super) fn load(self, dir: &Path) -> Result<Self> {
        Ok(match self {
            Self::Separate(value) => Self::Separate(ValueModel(value.0.load(dir)?)),
            Self::Shared(value) => Self::Shared(value.load(dir)?),
        })
    }
}
