//! Proximal policy optimisation. Schulman et al. 2017, arXiv:1707.06347, in the form of Huang et
//! al. 2024, arXiv:2403.17031, with these differences: the score is given at the last token (the
//! end-of-text token, or the last before the cut), padding takes no part in any mean, gradients are
//! clipped by their global norm.

use std::path::Path;

use burn::prelude::*;
use rand::rngs::StdRng;
use serde::{Deserialize, Serialize};

use super::advantage::{gae, rescale, whiten};
use super::config::{ascending, mini_batches_fit, positive};
use super::critic::{Critic, ValueKind};
use super::loss::{
    Clip, KlEstimator, clipped_surrogate, clipped_value_loss, high_clipped, kl, low_clipped,
    token_log_ratio,
};
use super::rollout::old_log_probs;
use super::update::{Losses, Means, MicroBatch, Passes};
use super::value::{Held, explained_variance};
use super::{Algorithm, RlConfig, Rollout, UpdateStats};
use crate::config::at_least;
use crate::error::{Error, Result};
use crate::log_prob::Scores;
use crate::model::CausalLm;
use crate::optim::Learner;

/// Weight of the loss of shared values where a run file names none: TRL's.
const VF_COEF: f32 = 0.1;

/// PPO's own settings; names and defaults as in TRL's `PPOConfig`, with `dual_clip`,
/// `normalize_rewards` and `reward_clip_range` added.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PpoConfig {
    /// Passes over a rollout batch.
    pub num_ppo_epochs: usize,
    /// Optimizer steps in a pass.
    pub num_mini_batches: usize,
    /// How far the probability ratio may leave 1 before its gradient is cut.
    pub cliprange: f32,
    /// Bound of the ratio itself where the advantage is negative, above `1 + cliprange` (3 as
    /// published); no bound when absent.
    pub dual_clip: Option<f32>,
    /// How far a value may leave its old one before its gradient is cut.
    pub cliprange_value: f32,
    /// Discount per token.
    pub gamma: f32,
    /// Decay of the advantage estimator.
    pub lam: f32,
    /// How the KL penalty in the reward of a token is estimated.
    pub kl_estimator: KlEstimator,
    /// Brings the scores of a batch to mean 0 and deviation 1, before all else.
    pub normalize_rewards: bool,
    /// Bounds of a score, after it is normalised and before the KL penalty.
    pub reward_clip_range: Option<[f32; 2]>,
    /// Brings the rewards of a batch's tokens, KL penalty included, to deviation 1.
    pub whiten_rewards: bool,
    /// Whose network estimates the values.
    pub value_model: ValueKind,
    /// Weight of the loss of the values beside the policy's, 0.1 when absent; of a shared network
    /// alone, for a separate one has an optimizer of its own.
    pub vf_coef: Option<f32>,
}

impl Default for PpoConfig {
    fn default() -> Self {
        Self {
            num_ppo_epochs: 4,
            num_mini_batches: 1,
            cliprange: 0.2,
            dual_clip: None,
            cliprange_value: 0.2,
            gamma: 1.0,
            lam: 0.95,
            kl_estimator: KlEstimator::K1,
            normalize_rewards: false,
            reward_clip_range: None,
            whiten_rewards: false,
            value_model: ValueKind::Separate,
            vf_coef: None,
        }
    }
}

impl PpoConfig {
    fn clip(&self) -> Clip {
        Clip {
            dual: self.dual_clip,
            ..Clip::symmetric(self.cliprange)
        }
    }

    pub(super) fn validate(&self, batch_size: usize) -> Result<()> {
        at_least("rl.algorithm.num_ppo_epochs", self.num_ppo_epochs, 1)?;
        mini_batches_fit(self.num_mini_batches, batch_size)?;
        positive("rl.algorithm.cliprange", self.cliprange)?;
        positive("rl.algorithm.cliprange_value", self.cliprange_value)?;
        for (name, x) in [("gamma", self.gamma), ("lam", self.lam)] {
            if !(0.0..=1.0).contains(&x) {
                let field = format!("rl.algorithm.{name}");
                return Err(Error::field(field, x, "a number in [0, 1]"));
            }
        }
        if let Some(vf_coef) = self.vf_coef {
            let field = "rl.algorithm.vf_coef";
            if self.value_model == ValueKind::Separate {
                let expected = "absent: a separate value model has an optimizer of its own";
                return Err(Error::field(field, vf_coef, expected));
            }
            positive(field, vf_coef)?;
        }
        let least = 1.0 + self.cliprange;
        match self.dual_clip {
            Some(bound) if !(bound > least && bound.is_finite()) => {
                let expected = format!("a number above 1 + cliprange = {least}");
                Err(Error::field("rl.algorithm.dual_clip", bound, expected))
            }
            _ => ascending(self.reward_clip_range),
        }
    }
}

/// PPO with a value model.
pub struct Ppo<M: CausalLm> {
    config: PpoConfig,
    passes: Passes,
    critic: Held<Critic<M>>,
}

/// A rollout batch with everything that stays fixed during its update.
struct Fixed {
    old_log_probs: Vec<Vec<f32>>,
    old_values: Vec<Vec<f32>>,
    advantages: Vec<Vec<f32>>,
    returns: Vec<Vec<f32>>,
}

impl<M: CausalLm> Ppo<M> {
    /// PPO for a policy that starts as `initial`, from which a separate value model starts too.
    pub fn new(config: PpoConfig, rl: &RlConfig, initial: M) -> Self {
        Self {
            passes: Passes::new(config.num_ppo_epochs, config.num_mini_batches, rl),
            critic: Held::new(Critic::new(
                config.value_model,
                config.vf_coef.unwrap_or(VF_COEF),
                rl,
                initial,
            )),
            config,
        }
    }

    fn prepare(&self, old_values: Vec<Vec<f32>>, rollouts: &[Rollout], kl_coef: f32) -> Fixed {
        let rewards = rewards(&self.config, rollouts, kl_coef);
        let estimate = |(rewards, values): (&Vec<f32>, &Vec<f32>)| {
            gae(rewards, values, self.config.gamma, self.config.lam)
        };
        let estimates = rewards.iter().zip(&old_values).map(estimate);
        let (mut advantages, returns): (Vec<_>, Vec<_>) = estimates.unzip();
        whiten(&mut advantages);
        Fixed {
            old_log_probs: old_log_probs(rollouts),
            old_values,
            advantages,
            returns,
        }
    }

    fn policy_losses(&self, scores: Scores, part: &MicroBatch, fixed: &Fixed) -> Losses {
        let clip = self.config.clip();
        let log_probs = scores.log_probs;
        let old = part.tensor(&fixed.old_log_probs);
        let advantages = part.tensor(&fixed.advantages);
        let moved = kl(log_probs.clone().detach(), old.clone(), KlEstimator::K2);
        let log_ratio = token_log_ratio(log_probs, old);
        let loss = clipped_surrogate(log_ratio.clone(), advantages.clone(), &clip);
        let loss = part.mean(loss);
        let clipped = low_clipped(log_ratio.clone(), advantages.clone(), &clip)
            + high_clipped(log_ratio.clone(), advantages, &clip);
        let stats = vec![
            ("loss/policy_avg", loss.clone()),
            ("policy/approxkl_avg", part.mean(moved)),
            ("policy/clipfrac_avg", part.mean(clipped)),
            ("policy/entropy_avg", part.mean(scores.entropy)),
            ("val/ratio", part.mean(log_ratio.detach().exp())),
        ];
        Losses { loss, stats }
    }

    fn value_losses(&self, values: Tensor<2>, part: &MicroBatch, fixed: &Fixed) -> Losses {
        let loss = clipped_value_loss(
            values,
            part.tensor(&fixed.old_values),
            part.tensor(&fixed.returns),
            self.config.cliprange_value,
        );
        let loss = part.mean(loss);
        let stats = vec![("loss/value_avg", loss.clone())];
        Losses { loss, stats }
    }
}

/// Reward of each token of each rollout: the KL penalty, and the score at the last.
fn rewards(config: &PpoConfig, rollouts: &[Rollout], kl_coef: f32) -> Vec<Vec<f32>> {
    let mut scores = vec![rollouts.iter().map(|row| row.reward).collect::<Vec<_>>()];
    if config.normalize_rewards {
        whiten(&mut scores);
    }
    let of_tokens = |(rollout, mut score): (&Rollout, f32)| {
        if let Some([low, high]) = config.reward_clip_range {
            score = score.clamp(low, high);
        }
        rollout.token_rewards(score, kl_coef, config.kl_estimator)
    };
    let scored = rollouts.iter().zip(scores.into_iter().flatten());
    let mut rewards: Vec<Vec<f32>> = scored.map(of_tokens).collect();
    if config.whiten_rewards {
        rescale(&mut rewards);
    }
    rewards
}

impl<M: CausalLm> Algorithm<M> for Ppo<M> {
    fn update(
        &mut self,
        mut policy: Learner<M>,
        rollouts: &[Rollout],
        kl_coef: f32,
        rng: &mut StdRng,
    ) -> Result<(Learner<M>, UpdateStats)> {
        let mut critic = self.critic.take()?;
        let old_values = critic.values(&policy.model, rollouts)?;
        let fixed = self.prepare(old_values, rollouts, kl_coef);
        let mut means = Means::default();
        for mini_batch in self.passes.mini_batches(rollouts.len(), rng) {
            let parts = self
                .passes
                .micro_batches(&policy.model, rollouts, &mini_batch)?;
            (policy, critic) = critic.step(
                policy,
                (&self.passes, &parts),
                |scores, part| self.policy_losses(scores, part, &fixed),
                |values, part| self.value_losses(values, part, &fixed),
                &mut means,
            )?;
        }
        self.critic = Held::new(critic);
        let mut stats = means.finish();
        stats.push((
            "critic/vf_explained_var",
            explained_variance(&fixed.old_values, &fixed.returns),
        ));
        Ok((policy, stats))
    }

    fn save(&self, dir: &Path) -> Result<()> {
        self.critic.get()?.save(dir)
    }

    fn load(&mut self, dir: &Path) -> Result<()> {
        self.critic = Held::new(self.critic.take()?.load(dir)?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Completion;

    /// A rollout of two tokens with `log(pi / pi_ref)` of 1 and 2.
    fn rollout(reward: f32) -> Rollout {
        Rollout {
            completion: Completion {
                prompt_id: "p".into(),
                prompt: "p".into(),
                index: 0,
                completion: String::new(),
                n_tokens: 2,
                log_prob: -2.0,
                finished: true,
            },
            prompt_tokens: vec![1],
            tokens: vec![1, 2],
            log_probs: vec![-1.0, -1.0],
            old_log_probs: vec![-1.0, -1.0],
            ref_log_probs: vec![-2.0, -3.0],
            reward,
        }
    }

    fn check(config: PpoConfig, expected: [[f32; 2]; 2]) {
        let found = rewards(&config, &[rollout(1.0), rollout(5.0)], 0.1);
        for (x, expected) in found.iter().flatten().zip(expected.iter().flatten()) {
            assert!((x - expected).abs() < 1e-4, "{found:?}");
        }
    }

    // k1: -.1 and -.2 + score. k2: -.1 / 2 and -.1 * 4 / 2 + score. k3 at 1 and 2: e^-1 = .367879,
    // e^-2 - 1 + 2 = 1.135335, times .1.
    #[test]
    fn rewards_are_the_penalty_and_the_score() {
        let with = |kl_estimator| PpoConfig {
            kl_estimator,
            ..Default::default()
        };
        check(with(KlEstimator::K1), [[-0.1, 0.8], [-0.1, 4.8]]);
        check(with(KlEstimator::K2), [[-0.05, 0.8], [-0.05, 4.8]]);
        check(
            with(KlEstimator::K3),
            [[-0.036_788, 0.886_466], [-0.036_788, 4.886_466]],
        );
    }

    // Scores 1 and 5: mean 3, unbiased std 2.828427, so -+.707107, held within -.5 and 2.
    #[test]
    fn scores_are_normalised_then_clipped() {
        let normalized = PpoConfig {
            normalize_rewards: true,
            ..Default::default()
        };
        check(normalized.clone(), [[-0.1, -0.907_107], [-0.1, 0.507_107]]);
        let clipped = PpoConfig {
            reward_clip_range: Some([-0.5, 2.0]),
            ..normalized
        };
        check(clipped, [[-0.1, -0.7], [-0.1, 0.507_107]]);
    }

    // [-.1, .8, -.1, 4.8]: mean 1.35, squares 2.1025 + .3025 + 2.1025 + 11.9025 = 16.41, std
    // sqrt(5.47) = 2.338803; 1.35 + (x - 1.35) / 2.338803.
    #[test]
    fn whitened_rewards_keep_their_mean() {
        let config = PpoConfig {
            whiten_rewards: true,
            ..Default::default()
        };
        check(config, [[0.730_025, 1.114_837], [0.730_025, 2.825_114]]);
    }
}
