//! REINFORCE with the batch as its baseline, and PPO's clip. Hu et al. 2025 (REINFORCE++),
//! arXiv:2501.03262.
//!
//! The reward of a token is `-kl_coef log(pi / pi_ref)`, plus the score at the last one; what a
//! token is worth is the sum from there on, and its advantage that sum, brought to mean 0 and
//! deviation 1 over all tokens of the batch. No value model, and one completion per prompt is
//! enough.

use rand::rngs::StdRng;
use serde::{Deserialize, Serialize};

use super::advantage::{returns_to_go, whiten};
use super::config::{mini_batches_fit, positive};
use super::loss::{Clip, KlEstimator, clipped_surrogate, token_log_ratio};
use super::rollout::old_log_probs;
use super::update::{Losses, MicroBatch, Passes, clip_ratios};
use super::{Algorithm, RlConfig, Rollout, UpdateStats};
use crate::config::at_least;
use crate::error::Result;
use crate::log_prob::Scores;
use crate::model::CausalLm;
use crate::optim::Learner;

/// Settings of REINFORCE with a batch baseline; `rl.kl_coef` weighs its KL penalty.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReinforceBatchConfig {
    /// Passes over a rollout batch.
    pub num_iterations: usize,
    /// Optimizer steps in a pass.
    pub num_mini_batches: usize,
    /// How far the probability ratio may leave 1 before its gradient is cut.
    pub epsilon: f32,
}

impl Default for ReinforceBatchConfig {
    fn default() -> Self {
        Self {
            num_iterations: 1,
            num_mini_batches: 1,
            epsilon: 0.2,
        }
    }
}

impl ReinforceBatchConfig {
    pub(super) fn validate(&self, batch_size: usize) -> Result<()> {
        at_least("rl.algorithm.num_iterations", self.num_iterations, 1)?;
        mini_batches_fit(self.num_mini_batches, batch_size)?;
        positive("rl.algorithm.epsilon", self.epsilon)
    }
}

/// REINFORCE with a batch baseline: no value model, no state between updates.
pub struct ReinforceBatch {
    clip: Clip,
    passes: Passes,
}

/// A rollout batch with everything that stays fixed during its update.
struct Fixed {
    old_log_probs: Vec<Vec<f32>>,
    advantages: Vec<Vec<f32>>,
}

impl ReinforceBatch {
    /// REINFORCE with a batch baseline, with the sampling of `rl`.
    pub fn new(config: ReinforceBatchConfig, rl: &RlConfig) -> Self {
        Self {
            clip: Clip::symmetric(config.epsilon),
            passes: Passes::new(config.num_iterations, config.num_mini_batches, rl),
        }
    }

    fn losses(&self, scores: Scores, part: &MicroBatch, fixed: &Fixed) -> Losses {
        let log_ratio = token_log_ratio(scores.log_probs, part.tensor(&fixed.old_log_probs));
        let advantages = part.tensor(&fixed.advantages);
        let surrogate = clipped_surrogate(log_ratio.clone(), advantages.clone(), &self.clip);
        let loss = part.mean(surrogate);
        let mut stats = clip_ratios(part, log_ratio, advantages, &self.clip);
        stats.extend([
            ("loss", loss.clone()),
            ("entropy", part.mean(scores.entropy)),
        ]);
        Losses { loss, stats }
    }
}

impl<M: CausalLm> Algorithm<M> for ReinforceBatch {
    fn update(
        &mut self,
        policy: Learner<M>,
        rollouts: &[Rollout],
        kl_coef: f32,
        rng: &mut StdRng,
    ) -> Result<(Learner<M>, UpdateStats)> {
        let returns = |rollout: &Rollout| {
            let rewards = rollout.token_rewards(rollout.reward, kl_coef, KlEstimator::K1);
            returns_to_go(&rewards, 1.0)
        };
        let mut advantages: Vec<Vec<f32>> = rollouts.iter().map(returns).collect();
        whiten(&mut advantages);
        let fixed = Fixed {
            old_log_probs: old_log_probs(rollouts),
            advantages,
        };
        self.passes.run(policy, rollouts, rng, |scores, part| {
            self.losses(scores, part, &fixed)
        })
    }
}
