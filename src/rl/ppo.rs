//! Proximal policy optimisation. Schulman et al. 2017, arXiv:1707.06347, in the form of Huang et
//! al. 2024, arXiv:2403.17031, with these differences: the score is given at the last token (the
//! end-of-text token, or the last before the cut), padding takes no part in any mean, gradients are
//! clipped by their global norm.

use burn::prelude::*;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use super::advantage::{gae, whiten};
use super::loss::{approx_kl, clip_fraction, clipped_surrogate, clipped_value_loss, masked_mean};
use super::value::{MAX_TOKENS, ValueModel, explained_variance, padded};
use super::{Algorithm, RlConfig, Rollout, UpdateStats, trees};
use crate::batch::Batch;
use crate::config::at_least;
use crate::error::{Error, Result};
use crate::log_prob::{log_probs_of, token_log_probs_and_entropy};
use crate::model::{CausalLm, device_of};
use crate::optim::Learner;

/// PPO's own settings; names and defaults as in TRL's `PPOConfig`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PpoConfig {
    /// Passes over a rollout batch.
    pub num_ppo_epochs: usize,
    /// Optimizer steps in a pass.
    pub num_mini_batches: usize,
    /// How far the probability ratio may leave 1 before its gradient is cut.
    pub cliprange: f32,
    /// How far a value may leave its old one before its gradient is cut.
    pub cliprange_value: f32,
    /// Discount per token.
    pub gamma: f32,
    /// Decay of the advantage estimator.
    pub lam: f32,
}

impl Default for PpoConfig {
    fn default() -> Self {
        Self {
            num_ppo_epochs: 4,
            num_mini_batches: 1,
            cliprange: 0.2,
            cliprange_value: 0.2,
            gamma: 1.0,
            lam: 0.95,
        }
    }
}

impl PpoConfig {
    pub(super) fn validate(&self, batch_size: usize) -> Result<()> {
        at_least("rl.algorithm.num_ppo_epochs", self.num_ppo_epochs, 1)?;
        if self.num_mini_batches == 0 || self.num_mini_batches > batch_size {
            let expected = format!("1 to rl.batch_size = {batch_size}");
            let field = "rl.algorithm.num_mini_batches";
            return Err(Error::field(field, self.num_mini_batches, expected));
        }
        let positive = [
            ("cliprange", self.cliprange),
            ("cliprange_value", self.cliprange_value),
        ];
        if let Some((name, x)) = positive.into_iter().find(|(_, x)| x.is_nan() || *x <= 0.0) {
            return Err(Error::field(
                format!("rl.algorithm.{name}"),
                x,
                "a positive number",
            ));
        }
        let unit = [("gamma", self.gamma), ("lam", self.lam)];
        if let Some((name, x)) = unit.into_iter().find(|(_, x)| !(0.0..=1.0).contains(x)) {
            return Err(Error::field(
                format!("rl.algorithm.{name}"),
                x,
                "a number in [0, 1]",
            ));
        }
        Ok(())
    }
}

/// PPO with a value model of its own.
pub struct Ppo<M: CausalLm> {
    config: PpoConfig,
    kl_coef: f32,
    temperature: f32,
    /// `None` only while an update is under way or after one failed.
    value: Option<ValueModel<M>>,
}

/// A rollout batch with everything that stays fixed during its update.
struct Fixed {
    old_log_probs: Vec<Vec<f32>>,
    old_values: Vec<Vec<f32>>,
    advantages: Vec<Vec<f32>>,
    returns: Vec<Vec<f32>>,
}

impl<M: CausalLm> Ppo<M> {
    /// PPO whose value model starts from the initial policy.
    pub fn new(config: PpoConfig, rl: &RlConfig, initial: M) -> Self {
        Self {
            kl_coef: rl.kl_coef,
            temperature: rl.sampling.temperature,
            value: Some(ValueModel::new(rl, initial)),
            config,
        }
    }

    fn prepare(&self, policy: &M, value: &ValueModel<M>, rollouts: &[Rollout]) -> Result<Fixed> {
        let old_values = value.values(rollouts)?;
        // Scored anew by whole forwards rather than taken from the sampler, whose texts are padded
        // otherwise. Without gradients attention is another kernel, so the first ratio is 1 up to
        // rounding.
        let old_log_probs = log_probs_of(
            &policy.valid(),
            &trees(rollouts),
            self.temperature,
            MAX_TOKENS,
        )?;
        let estimate = |(rollout, values): (&Rollout, &Vec<f32>)| {
            let mut rewards: Vec<f32> = rollout.kl().map(|kl| -self.kl_coef * kl).collect();
            if let Some(last) = rewards.last_mut() {
                *last += rollout.reward;
            }
            gae(&rewards, values, self.config.gamma, self.config.lam)
        };
        let estimates = rollouts.iter().zip(&old_values).map(estimate);
        let (mut advantages, returns): (Vec<_>, Vec<_>) = estimates.unzip();
        whiten(&mut advantages);
        Ok(Fixed {
            old_log_probs,
            old_values,
            advantages,
            returns,
        })
    }

    /// One optimizer step of policy and value model on the rollouts `picked`; adds to `sums`.
    fn step(
        &self,
        (policy, value): (Learner<M>, ValueModel<M>),
        rollouts: &[Rollout],
        fixed: &Fixed,
        picked: &[usize],
        sums: &mut Sums,
    ) -> Result<(Learner<M>, ValueModel<M>)> {
        let chosen: Vec<Rollout> = picked.iter().map(|&i| rollouts[i].clone()).collect();
        let device = device_of(&policy.model);
        let (vocab, max_len) = (policy.model.vocab_size(), policy.model.max_len());
        let batch = Batch::new(&trees(&chosen), vocab, max_len, &device)?;
        let tensor = |rows: &[Vec<f32>]| {
            let rows: Vec<Vec<f32>> = picked.iter().map(|&i| rows[i].clone()).collect();
            padded(&rows, &batch)
        };
        let (old, advantages) = (tensor(&fixed.old_log_probs), tensor(&fixed.advantages));
        let (mask, clip) = (batch.mask.clone(), self.config.cliprange);

        let (log_probs, entropy) =
            token_log_probs_and_entropy(&policy.model, &batch, self.temperature);
        let detached = log_probs.clone().detach();
        let loss = clipped_surrogate(
            log_probs,
            old.clone(),
            advantages.clone(),
            mask.clone(),
            clip,
        );
        let values = value.forward(&batch);
        let value_loss = clipped_value_loss(
            values,
            tensor(&fixed.old_values),
            tensor(&fixed.returns),
            mask.clone(),
            self.config.cliprange_value,
        );
        let ratio = masked_mean((detached.clone() - old.clone()).exp(), mask.clone());
        sums.add(vec![
            loss.clone().detach(),
            value_loss.clone().detach(),
            approx_kl(detached.clone(), old.clone(), mask.clone()),
            clip_fraction(detached, old, advantages, mask.clone(), clip),
            masked_mean(entropy.detach(), mask),
            ratio,
        ])?;
        let (policy, grad_norm) = policy.step(loss)?;
        let (learner, _) = value.0.step(value_loss)?;
        sums.grad_norm += f64::from(grad_norm);
        Ok((policy, ValueModel(learner)))
    }
}

impl<M: CausalLm> Algorithm<M> for Ppo<M> {
    fn update(
        &mut self,
        policy: Learner<M>,
        rollouts: &[Rollout],
        rng: &mut StdRng,
    ) -> Result<(Learner<M>, UpdateStats)> {
        let value = self.value.take();
        let value = value.ok_or_else(|| Error::Usage("an update of PPO failed before".into()))?;
        let fixed = self.prepare(&policy.model, &value, rollouts)?;
        let mut sums = Sums::default();
        let mut state = (policy, value);
        let size = rollouts.len().div_ceil(self.config.num_mini_batches);
        for _ in 0..self.config.num_ppo_epochs {
            let mut order: Vec<usize> = (0..rollouts.len()).collect();
            order.shuffle(rng);
            for picked in order.chunks_mut(size) {
                // In rollout order, samples of one prompt stand together and share its encoding.
                picked.sort_unstable();
                state = self.step(state, rollouts, &fixed, picked, &mut sums)?;
            }
        }
        let (policy, value) = state;
        self.value = Some(value);
        let mut stats = sums.means();
        stats.push((
            "critic/vf_explained_var",
            explained_variance(&fixed.old_values, &fixed.returns),
        ));
        Ok((policy, stats))
    }
}

/// Sums of the statistics over the optimizer steps of an update.
#[derive(Default)]
struct Sums {
    values: [f64; 6],
    grad_norm: f64,
    steps: f64,
}

impl Sums {
    /// Adds one number each, read from the device at once.
    fn add(&mut self, values: Vec<Tensor<1>>) -> Result<()> {
        let values = Tensor::cat(values, 0).try_into_vec_as::<f32>()?;
        for (sum, value) in self.values.iter_mut().zip(values) {
            *sum += f64::from(value);
        }
        self.steps += 1.0;
        Ok(())
    }

    fn means(&self) -> UpdateStats {
        let names = [
            "loss/policy_avg",
            "loss/value_avg",
            "policy/approxkl_avg",
            "policy/clipfrac_avg",
            "policy/entropy_avg",
            "val/ratio",
        ];
        let means = names
            .into_iter()
            .zip(self.values.map(|sum| sum / self.steps));
        means
            .chain([("grad_norm", self.grad_norm / self.steps)])
            .collect()
    }
}
