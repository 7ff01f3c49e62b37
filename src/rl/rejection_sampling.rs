//! Rejection-sampling fine-tuning: of the completions of each prompt the best is imitated, the others
//! are thrown away. RAFT: Dong et al. 2023, arXiv:2304.06767; Llama 2: Touvron et al. 2023,
//! arXiv:2307.09288, section 3.2.3.
//!
//! Best is the highest `R - kl_coef sum_t log(pi / pi_ref)`, and the first of equals. The loss is that
//! of supervised fine-tuning, `-log pi(token)`, a mean over tokens, but at the temperature at which
//! the completions were drawn: at another one a policy would move even if every completion were kept.
//! Many `steps` with fresh completions are RAFT; one step over all prompts is the offline variant,
//! whose completions are all of the initial policy.

use std::cmp::Ordering;

use rand::rngs::StdRng;
use serde::{Deserialize, Serialize};

use super::loss::KlEstimator;
use super::update::{Losses, Passes};
use super::{Algorithm, RlConfig, Rollout, UpdateStats};
use crate::config::at_least;
use crate::error::{Error, Result};
use crate::model::CausalLm;
use crate::optim::Learner;

/// Settings of rejection-sampling fine-tuning; `rl.num_generations` says of how many the best is
/// kept, `rl.kl_coef` weighs the KL in the choice.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RejectionSamplingConfig {
    /// Passes over the completions that were kept.
    pub num_iterations: usize,
    /// Optimizer steps in a pass.
    pub num_mini_batches: usize,
}

impl Default for RejectionSamplingConfig {
    fn default() -> Self {
        Self {
            num_iterations: 1,
            num_mini_batches: 1,
        }
    }
}

impl RejectionSamplingConfig {
    pub(super) fn validate(&self, n_prompts: usize) -> Result<()> {
        at_least("rl.algorithm.num_iterations", self.num_iterations, 1)?;
        if (1..=n_prompts).contains(&self.num_mini_batches) {
            return Ok(());
        }
        let expected = format!("1 to the {n_prompts} prompts of a batch");
        let field = "rl.algorithm.num_mini_batches";
        Err(Error::field(field, self.num_mini_batches, expected))
    }
}

/// Rejection-sampling fine-tuning: no value model, no state between updates.
pub struct RejectionSampling {
    num_generations: usize,
    passes: Passes,
}

impl RejectionSampling {
    /// Rejection sampling with the groups and the sampling of `rl`.
    pub fn new(config: RejectionSamplingConfig, rl: &RlConfig) -> Self {
        Self {
            num_generations: rl.num_generations,
            passes: Passes::new(config.num_iterations, config.num_mini_batches, rl),
        }
    }
}

/// The best of every `n` rollouts.
fn best_of(rollouts: &[Rollout], n: usize, kl_coef: f32) -> Vec<Rollout> {
    let worth = |rollout: &Rollout| {
        let kl: f32 = rollout.kl(KlEstimator::K1).sum();
        rollout.reward - kl_coef * kl
    };
    let better = |a: &&Rollout, b: &&Rollout| match worth(a).total_cmp(&worth(b)) {
        // `max_by` takes the last of equals.
        Ordering::Equal => Ordering::Greater,
        order => order,
    };
    let groups = rollouts.chunks(n);
    groups
        .filter_map(|group| group.iter().max_by(better).cloned())
        .collect()
}

impl<M: CausalLm> Algorithm<M> for RejectionSampling {
    fn update(
        &mut self,
        policy: Learner<M>,
        rollouts: &[Rollout],
        kl_coef: f32,
        rng: &mut StdRng,
    ) -> Result<(Learner<M>, UpdateStats)> {
        let kept = best_of(rollouts, self.num_generations, kl_coef);
        let n = kept.len().max(1) as f64;
        let sum = |value: fn(&Rollout) -> f64| kept.iter().map(value).sum::<f64>();
        let told = [
            ("kept/reward", sum(|row| row.reward.into()) / n),
            ("kept/mean_length", sum(|row| row.tokens.len() as f64) / n),
        ];
        let (policy, mut stats) = self.passes.run(policy, &kept, rng, |scores, part| {
            let loss = part.mean(scores.log_probs.neg());
            let stats = vec![
                ("loss", loss.clone()),
                ("entropy", part.mean(scores.entropy)),
            ];
            Losses { loss, stats }
        })?;
        stats.extend(told);
        Ok((policy, stats))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Completion;

    fn rollout(id: &str, reward: f32, log_ratio: f32) -> Rollout {
        Rollout {
            completion: Completion {
                prompt_id: id.into(),
                prompt: "p".into(),
                index: 0,
                completion: "c".into(),
                n_tokens: 1,
                log_prob: 0.0,
                finished: true,
            },
            prompt_tokens: vec![1],
            tokens: vec![2],
            log_probs: vec![0.0],
            old_log_probs: vec![log_ratio],
            ref_log_probs: vec![0.0],
            reward,
        }
    }

    // The second group: 2 - 0.5 * 4 = 0 against 1 - 0.5 * 1 = 0.5.
    #[test]
    fn the_best_of_each_prompt_is_kept_and_the_first_of_equals() {
        let rollouts = [
            rollout("a", 1.0, 0.0),
            rollout("a", 3.0, 0.0),
            rollout("b", 2.0, 4.0),
            rollout("b", 1.0, 1.0),
            rollout("c", 1.0, 3.0),
            rollout("c", 1.0, 3.0),
        ];
        let kept = |kl_coef| best_of(&rollouts, 2, kl_coef);
        assert_eq!(
            kept(0.5),
            [
                rollouts[1].clone(),
                rollouts[3].clone(),
                rollouts[4].clone()
            ]
        );
        assert_eq!(kept(0.0)[1], rollouts[2]);
    }
}
