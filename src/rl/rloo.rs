//! REINFORCE with a leave-one-out baseline. Ahmadian et al. 2024, arXiv:2402.14740.
//!
//! A completion is one action. Its reward is `r_i = R_i - beta sum_t log(pi / pi_ref)`, its
//! advantage `r_i` minus the mean of the others of its prompt, and its loss `-min(rho A, clip(rho,
//! 1 - eps, 1 + eps) A)` with `rho` the ratio of the probabilities of the whole completion; at the
//! first step of an update that is REINFORCE. No value model, no state.

use rand::rngs::StdRng;
use serde::{Deserialize, Serialize};

use super::advantage::{ScaleRewards, group_relative, leave_one_out};
use super::config::{ascending, mini_batches_fit, positive};
use super::loss::{
    Clip, KlEstimator, clipped_surrogate, high_clipped, low_clipped, total_log_ratio,
};
use super::rollout::old_log_probs;
use super::update::{Losses, MicroBatch, Passes};
use super::{Algorithm, RlConfig, Rollout, UpdateStats};
use crate::config::at_least;
use crate::error::{Error, Result};
use crate::log_prob::Scores;
use crate::model::CausalLm;
use crate::optim::Learner;

/// RLOO's own settings; names and defaults as in TRL's `RLOOConfig`, `num_mini_batches` added.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RlooConfig {
    /// Weight of the KL penalty in the reward.
    pub beta: f32,
    /// Passes over a rollout batch.
    pub num_iterations: usize,
    /// Optimizer steps in a pass.
    pub num_mini_batches: usize,
    /// How far the ratio of a completion's probabilities may leave 1 before its gradient is cut.
    pub epsilon: f32,
    /// Brings the advantages of the batch to mean 0 and deviation 1.
    pub normalize_advantages: bool,
    /// Bounds of a reward, before the KL penalty.
    pub reward_clip_range: Option<[f32; 2]>,
}

impl Default for RlooConfig {
    fn default() -> Self {
        Self {
            beta: 0.05,
            num_iterations: 1,
            num_mini_batches: 1,
            epsilon: 0.2,
            normalize_advantages: false,
            reward_clip_range: None,
        }
    }
}

impl RlooConfig {
    pub(super) fn validate(&self, batch_size: usize) -> Result<()> {
        at_least("rl.algorithm.num_iterations", self.num_iterations, 1)?;
        mini_batches_fit(self.num_mini_batches, batch_size)?;
        positive("rl.algorithm.epsilon", self.epsilon)?;
        if !(self.beta >= 0.0 && self.beta.is_finite()) {
            return Err(Error::field(
                "rl.algorithm.beta",
                self.beta,
                "a number >= 0",
            ));
        }
        ascending(self.reward_clip_range)
    }
}

/// RLOO: no value model, no state between updates.
pub struct Rloo {
    config: RlooConfig,
    num_generations: usize,
    passes: Passes,
}

/// A rollout batch with everything that stays fixed during its update.
struct Fixed {
    old_log_probs: Vec<Vec<f32>>,
    advantages: Vec<f32>,
}

impl Rloo {
    /// RLOO with the groups and the sampling of `rl`.
    pub fn new(config: RlooConfig, rl: &RlConfig) -> Self {
        Self {
            num_generations: rl.num_generations,
            passes: Passes::new(config.num_iterations, config.num_mini_batches, rl),
            config,
        }
    }

    fn advantages(&self, rollouts: &[Rollout], beta: f32) -> Vec<f32> {
        let reward = |rollout: &Rollout| {
            let kl: f32 = rollout.kl(KlEstimator::K1).sum();
            let reward = match self.config.reward_clip_range {
                Some([low, high]) => rollout.reward.clamp(low, high),
                None => rollout.reward,
            };
            reward - beta * kl
        };
        let rewards: Vec<f32> = rollouts.iter().map(reward).collect();
        let advantages = leave_one_out(&rewards, self.num_generations);
        if self.config.normalize_advantages {
            group_relative(&advantages, advantages.len(), ScaleRewards::Batch)
        } else {
            advantages
        }
    }

    fn losses(&self, scores: Scores, part: &MicroBatch, fixed: &Fixed) -> Losses {
        let clip = Clip::symmetric(self.config.epsilon);
        let old = part.tensor(&fixed.old_log_probs);
        let log_ratio = total_log_ratio(scores.log_probs, old, part.batch.mask.clone());
        let advantages = part.column(&fixed.advantages);
        let surrogate = clipped_surrogate(log_ratio.clone(), advantages.clone(), &clip);
        let loss = part.mean_of_completions(surrogate);
        let low = low_clipped(log_ratio.clone(), advantages.clone(), &clip);
        let low = part.mean_of_completions(low);
        let high = part.mean_of_completions(high_clipped(log_ratio, advantages, &clip));
        let stats = vec![
            ("loss", loss.clone()),
            ("entropy", part.mean(scores.entropy)),
            ("clip_ratio/region_mean", low.clone() + high.clone()),
            ("clip_ratio/low_mean", low),
            ("clip_ratio/high_mean", high),
        ];
        Losses { loss, stats }
    }
}

impl<M: CausalLm> Algorithm<M> for Rloo {
    fn update(
        &mut self,
        policy: Learner<M>,
        rollouts: &[Rollout],
        kl_coef: f32,
        rng: &mut StdRng,
    ) -> Result<(Learner<M>, UpdateStats)> {
        let fixed = Fixed {
            old_log_probs: old_log_probs(rollouts),
            advantages: self.advantages(rollouts, kl_coef),
        };
        self.passes.run(policy, rollouts, rng, |scores, part| {
            self.losses(scores, part, &fixed)
        })
    }
}
