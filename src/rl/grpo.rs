//! Group-relative policy optimisation. Shao et al. 2024 (DeepSeekMath), arXiv:2402.03300, and what
//! was published on top of it, by configuration:
//!
//! | variant | settings |
//! |---|---|
//! | GRPO as published | `beta = 0.04`, `loss_type = "grpo"` |
//! | DAPO, arXiv:2503.14476 | `epsilon_high = 0.28`, `mask_truncated_completions = true` |
//! | Dr. GRPO, arXiv:2503.20783 | `loss_type = "dr_grpo"`, `scale_rewards = "none"` |
//! | GSPO, arXiv:2507.18071 | `importance_sampling_level = "sequence"`, `loss_type = "grpo"`, |
//! | | `epsilon = 3e-4`, `epsilon_high = 4e-4` |
//! | CISPO, arXiv:2506.13585 | `loss_type = "cispo"`, `epsilon = 1.0`, a wide `epsilon_high` |
//!
//! There is no value model: what a completion is held against are the other completions of its
//! prompt, so at least two of them are needed. The KL penalty is a term of the loss, not of the
//! reward. Differences from TRL: tokens of masked completions do not count in the divisor of the
//! loss; CISPO's weight is held within `[1 - epsilon, 1 + epsilon_high]` as published; the
//! minibatches of a pass are drawn anew each time.

use burn::prelude::*;
use rand::rngs::StdRng;
use serde::{Deserialize, Serialize};

use super::advantage::{ScaleRewards, group_relative};
use super::config::{mini_batches_fit, positive};
use super::loss::{
    Clip, KlEstimator, LossType, Normalizer, cispo, clipped_surrogate, kl, mean_log_ratio,
    token_log_ratio, weighted_sum,
};
use super::rollout::old_log_probs;
use super::update::{Losses, MicroBatch, Passes, clip_ratios};
use super::{Algorithm, RlConfig, Rollout, UpdateStats};
use crate::config::at_least;
use crate::error::{Error, Result};
use crate::log_prob::Scores;
use crate::model::CausalLm;
use crate::optim::Learner;

/// GRPO's own settings; names and defaults as in TRL's `GRPOConfig`, `num_mini_batches` and
/// `kl_estimator` added.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GrpoConfig {
    /// Weight of the KL penalty in the loss.
    pub beta: f32,
    /// How the KL is estimated there. The gradient of `k1` is 0 on average: it regularises nothing
    /// as a term of a loss.
    pub kl_estimator: KlEstimator,
    /// Passes over a rollout batch.
    pub num_iterations: usize,
    /// Optimizer steps in a pass.
    pub num_mini_batches: usize,
    /// How far the probability ratio may fall below 1 before its gradient is cut.
    pub epsilon: f32,
    /// How far it may rise above 1; `epsilon` when absent.
    pub epsilon_high: Option<f32>,
    /// Bound of the ratio itself where the advantage is negative (dual clip), above
    /// `1 + epsilon_high`; no bound when absent.
    pub delta: Option<f32>,
    /// How the losses of tokens become one number.
    pub loss_type: LossType,
    /// Whether a ratio is one of tokens or of completions.
    pub importance_sampling_level: RatioLevel,
    /// What advantages are divided by.
    pub scale_rewards: ScaleRewards,
    /// Leaves completions out of the loss that were cut by their length; they stay in the baseline.
    pub mask_truncated_completions: bool,
    /// Weight of a bonus on the mean entropy of the policy.
    pub entropy_coef: f32,
}

/// Whose probabilities a ratio compares; TRL's `importance_sampling_level`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RatioLevel {
    /// Each token's own.
    #[default]
    Token,
    /// The completion's, brought to the scale of one token: GSPO.
    Sequence,
}

impl Default for GrpoConfig {
    fn default() -> Self {
        Self {
            beta: 0.0,
            kl_estimator: KlEstimator::K3,
            num_iterations: 1,
            num_mini_batches: 1,
            epsilon: 0.2,
            epsilon_high: None,
            delta: None,
            loss_type: LossType::Dapo,
            importance_sampling_level: RatioLevel::Token,
            scale_rewards: ScaleRewards::Group,
            mask_truncated_completions: false,
            entropy_coef: 0.0,
        }
    }
}

impl GrpoConfig {
    fn clip(&self) -> Clip {
        Clip {
            low: self.epsilon,
            high: self.epsilon_high.unwrap_or(self.epsilon),
            dual: self.delta,
        }
    }

    pub(super) fn validate(&self, batch_size: usize) -> Result<()> {
        at_least("rl.algorithm.num_iterations", self.num_iterations, 1)?;
        mini_batches_fit(self.num_mini_batches, batch_size)?;
        if !(self.epsilon > 0.0 && self.epsilon <= 1.0) {
            let field = "rl.algorithm.epsilon";
            return Err(Error::field(field, self.epsilon, "a number in (0, 1]"));
        }
        if let Some(high) = self.epsilon_high {
            positive("rl.algorithm.epsilon_high", high)?;
        }
        let entropy_coef = ("rl.algorithm.entropy_coef", self.entropy_coef);
        for (field, x) in [("rl.algorithm.beta", self.beta), entropy_coef] {
            if !(x >= 0.0 && x.is_finite()) {
                return Err(Error::field(field, x, "a number >= 0"));
            }
        }
        self.validate_delta()
    }

    fn validate_delta(&self) -> Result<()> {
        let Some(delta) = self.delta else {
            return Ok(());
        };
        let field = "rl.algorithm.delta";
        if self.loss_type == LossType::Cispo {
            let expected = "none for loss_type = \"cispo\", which bounds every weight already";
            return Err(Error::field(field, delta, expected));
        }
        let least = 1.0 + self.clip().high;
        if !(delta > least && delta.is_finite()) {
            let expected = format!("a number above 1 + epsilon_high = {least}");
            return Err(Error::field(field, delta, expected));
        }
        Ok(())
    }
}

/// GRPO: no value model, no state between updates.
pub struct Grpo {
    config: GrpoConfig,
    num_generations: usize,
    max_len: usize,
    passes: Passes,
}

/// A rollout batch with everything that stays fixed during its update.
struct Fixed {
    old_log_probs: Vec<Vec<f32>>,
    ref_log_probs: Vec<Vec<f32>>,
    advantages: Vec<Vec<f32>>,
    /// Tokens of each completion that count in the loss.
    n_counted: Vec<usize>,
    beta: f32,
}

impl Grpo {
    /// GRPO with the groups and the sampling of `rl`.
    pub fn new(config: GrpoConfig, rl: &RlConfig) -> Self {
        let passes = Passes::new(config.num_iterations, config.num_mini_batches, rl);
        Self {
            num_generations: rl.num_generations,
            max_len: rl.sampling.max_new_tokens,
            passes: if config.entropy_coef > 0.0 {
                passes.with_entropy()
            } else {
                passes
            },
            config,
        }
    }

    fn prepare(&self, rollouts: &[Rollout], beta: f32) -> Fixed {
        let rewards: Vec<f32> = rollouts.iter().map(|rollout| rollout.reward).collect();
        let scale = self.config.scale_rewards;
        let advantages = group_relative(&rewards, self.num_generations, scale);
        let per_token =
            |(rollout, advantage): (&Rollout, f32)| vec![advantage; rollout.tokens.len()];
        let counts = |rollout: &Rollout| {
            let masked = self.config.mask_truncated_completions && !rollout.completion.finished;
            if masked { 0 } else { rollout.tokens.len() }
        };
        Fixed {
            old_log_probs: old_log_probs(rollouts),
            ref_log_probs: rollouts
                .iter()
                .map(|row| row.ref_log_probs.clone())
                .collect(),
            advantages: rollouts.iter().zip(advantages).map(per_token).collect(),
            n_counted: rollouts.iter().map(counts).collect(),
            beta,
        }
    }

    /// Weights of the tokens of a micro-batch in the loss of its minibatch.
    fn weights(&self, part: &MicroBatch, n_counted: &[usize]) -> Tensor<2> {
        let n_all: usize = n_counted.iter().sum();
        let normalizer = Normalizer {
            n_completions: part.mini_batch.len(),
            n_tokens: part.mini_batch.iter().map(|&i| n_counted[i]).sum(),
            mean_n_tokens: n_all as f32 / self.config.num_mini_batches as f32,
            max_len: self.max_len,
        };
        let weight = |&n: &usize| match n {
            0 => 0.0,
            n => normalizer.weight(self.config.loss_type, n),
        };
        let weights: Vec<f32> = n_counted.iter().map(weight).collect();
        part.column(&weights) * part.batch.mask.clone()
    }

    fn losses(&self, scores: Scores, part: &MicroBatch, fixed: &Fixed) -> Losses {
        let (config, clip) = (&self.config, self.config.clip());
        let log_probs = scores.log_probs;
        let advantages = part.tensor(&fixed.advantages);
        let old = part.tensor(&fixed.old_log_probs);
        let log_ratio = match config.importance_sampling_level {
            RatioLevel::Token => token_log_ratio(log_probs.clone(), old),
            RatioLevel::Sequence => mean_log_ratio(log_probs.clone(), old, part.batch.mask.clone()),
        };
        let surrogate = match config.loss_type {
            LossType::Cispo => cispo(
                log_probs.clone(),
                log_ratio.clone(),
                advantages.clone(),
                &clip,
            ),
            _ => clipped_surrogate(log_ratio.clone(), advantages.clone(), &clip),
        };
        let reference = part.tensor(&fixed.ref_log_probs);
        let kl = kl(log_probs, reference, config.kl_estimator);
        let weights = self.weights(part, &fixed.n_counted);
        let policy_loss = weighted_sum(surrogate, weights.clone());
        let mut loss = policy_loss.clone();
        if fixed.beta > 0.0 {
            loss = loss + weighted_sum(kl.clone(), weights) * fixed.beta;
        }
        let entropy = part.mean(scores.entropy);
        if config.entropy_coef > 0.0 {
            loss = loss - entropy.clone() * config.entropy_coef;
        }
        let mut stats = clip_ratios(part, log_ratio, advantages, &clip);
        stats.extend([
            ("loss", loss.clone()),
            ("policy_loss", policy_loss),
            ("entropy", entropy),
            ("kl", part.mean(kl)),
        ]);
        Losses { loss, stats }
    }
}

impl<M: CausalLm> Algorithm<M> for Grpo {
    fn update(
        &mut self,
        policy: Learner<M>,
        rollouts: &[Rollout],
        kl_coef: f32,
        rng: &mut StdRng,
    ) -> Result<(Learner<M>, UpdateStats)> {
        let fixed = self.prepare(rollouts, kl_coef);
        self.passes.run(policy, rollouts, rng, |scores, part| {
            self.losses(scores, part, &fixed)
        })
    }
}
