//! Online DPO: the policy writes several completions of a prompt, the reward says which is better,
//! and the policy takes a DPO step. With the labeler's comparison for a reward (`rl.reward =
//! "win_rate"`) that is OAIF: Guo et al. 2024, arXiv:2402.04792.
//!
//! Of more than two completions the best and the worst make the pair. Prompts whose completions are
//! all worth the same are left out: there is nothing to prefer. Names as in TRL's
//! `OnlineDPOConfig`; unlike there, labels may be soft.

use rand::rngs::StdRng;
use serde::{Deserialize, Serialize};

use super::update::{Means, Passes};
use super::{Algorithm, RlConfig, Rollout, UpdateStats};
use crate::batch::Tree;
use crate::config::at_least;
use crate::dpo::{self, DpoOptions, Labels, PreferenceLoss, PreferencePair};
use crate::error::{Error, Result};
use crate::micro_batch::MicroBatches;
use crate::model::CausalLm;
use crate::optim::Learner;
use crate::reward::RewardKind;
use crate::rl::loss::DpoLossType;

/// Online DPO's own settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OnlineDpoConfig {
    /// How strongly the policy is held to its reference.
    pub beta: f32,
    /// The loss of a pair.
    pub loss_type: DpoLossType,
    /// Share of the labels taken to be wrong, for `robust` and `exo_pair`.
    pub label_smoothing: f32,
    /// How a comparison counts: as a verdict, or with the labeler's probability. The latter takes
    /// the reward `win_rate` between two completions.
    pub labels: Labels,
    /// Passes over a rollout batch.
    pub num_iterations: usize,
    /// Optimizer steps in a pass.
    pub num_mini_batches: usize,
}

impl Default for OnlineDpoConfig {
    fn default() -> Self {
        let DpoOptions {
            beta,
            loss_type,
            label_smoothing,
            ..
        } = DpoOptions::default();
        Self {
            beta,
            loss_type,
            label_smoothing,
            labels: Labels::Hard,
            num_iterations: 1,
            num_mini_batches: 1,
        }
    }
}

impl OnlineDpoConfig {
    fn loss(&self, beta: f32) -> PreferenceLoss {
        PreferenceLoss::Dpo(DpoOptions {
            beta,
            loss_type: self.loss_type,
            label_smoothing: self.label_smoothing,
            rpo_alpha: 0.0,
        })
    }

    pub(super) fn validate(&self, rl: &RlConfig) -> Result<()> {
        at_least("rl.algorithm.num_iterations", self.num_iterations, 1)?;
        let n_pairs = rl.batch_size / rl.num_generations.max(1);
        if !(1..=n_pairs).contains(&self.num_mini_batches) {
            let expected = format!("1 to the {n_pairs} pairs of a batch");
            let field = "rl.algorithm.num_mini_batches";
            return Err(Error::field(field, self.num_mini_batches, expected));
        }
        let is_probability = rl.num_generations == 2
            && rl.missing_eos_penalty == 0.0
            && rl.reward == RewardKind::WinRate {}.into();
        if self.labels == Labels::Soft && !is_probability {
            let expected = "hard, or rl.reward = \"win_rate\" alone between two completions: other \
                            rewards are no probabilities";
            return Err(Error::field("rl.algorithm.labels", "soft", expected));
        }
        self.loss(self.beta).validate("rl.algorithm")
    }
}

/// Online DPO: no value model, no state between updates.
pub struct OnlineDpo {
    config: OnlineDpoConfig,
    num_generations: usize,
    passes: Passes,
    /// How many pairs go through the network at once.
    pieces: MicroBatches,
}

impl OnlineDpo {
    /// Online DPO with the groups and the sampling of `rl`.
    pub fn new(config: OnlineDpoConfig, rl: &RlConfig) -> Self {
        Self {
            num_generations: rl.num_generations,
            passes: Passes::new(config.num_iterations, config.num_mini_batches, rl),
            pieces: MicroBatches {
                size: rl
                    .micro_batch_size
                    .map(|completions| (completions / 2).max(1)),
                tokens: rl.micro_batch_tokens,
            },
            config,
        }
    }

    /// The best and the worst completion of each prompt, and the mean difference of their rewards.
    fn pairs(&self, rollouts: &[Rollout]) -> (Vec<PreferencePair>, f64) {
        let sides: Vec<[&Rollout; 2]> = rollouts
            .chunks(self.num_generations)
            .filter_map(best_and_worst)
            .collect();
        let margin = |[best, worst]: &[&Rollout; 2]| best.reward - worst.reward;
        let sum: f64 = sides.iter().map(|sides| f64::from(margin(sides))).sum();
        let pair = |sides: &[&Rollout; 2]| PreferencePair {
            tree: Tree {
                prompt: sides[0].prompt_tokens.clone(),
                completions: sides.map(|row| row.tokens.clone()).into(),
            },
            p_chosen: match self.config.labels {
                Labels::Hard => 1.0,
                // Two win rates are p and 1 - p.
                Labels::Soft => (0.5 + 0.5 * margin(sides)).min(1.0),
            },
            ref_log_probs: sides.map(|row| row.ref_log_probs.iter().sum()),
            mismatched: None,
        };
        let mean = sum / sides.len().max(1) as f64;
        (sides.iter().map(pair).collect(), mean)
    }
}

/// The sides of a pair among the completions of one prompt, if one is better than another.
fn best_and_worst(group: &[Rollout]) -> Option<[&Rollout; 2]> {
    let by_reward = |a: &&Rollout, b: &&Rollout| a.reward.total_cmp(&b.reward);
    let best = group.iter().max_by(by_reward)?;
    let worst = group.iter().min_by(by_reward)?;
    (best.reward > worst.reward).then_some([best, worst])
}

impl<M: CausalLm> Algorithm<M> for OnlineDpo {
    fn update(
        &mut self,
        mut policy: Learner<M>,
        rollouts: &[Rollout],
        kl_coef: f32,
        rng: &mut StdRng,
    ) -> Result<(Learner<M>, UpdateStats)> {
        let (pairs, margin) = self.pairs(rollouts);
        let n_groups = rollouts.len() / self.num_generations;
        let finished = rollouts.iter().filter(|row| row.completion.finished);
        let share = |part: usize, whole: usize| part as f64 / whole.max(1) as f64;
        let mut means = Means::default();
        means.add(vec![
            ("beta", kl_coef.into()),
            ("objective/scores_margin", margin),
            ("frac_pairs", share(pairs.len(), n_groups)),
            (
                "val/contain_eos_token",
                share(finished.count(), rollouts.len()),
            ),
        ]);
        let (loss, passes) = (self.config.loss(kl_coef), self.passes);
        for picked in passes.mini_batches(pairs.len(), rng) {
            // Prompts with nothing to prefer leave fewer pairs than there may be steps.
            if picked.is_empty() {
                continue;
            }
            let picked: Vec<PreferencePair> = picked.iter().map(|&i| pairs[i].clone()).collect();
            let (next, told) = dpo::update(
                policy,
                &picked,
                &loss,
                passes.temperature,
                self.pieces,
                passes.activations,
            )?;
            policy = next;
            means.add(told);
        }
        Ok((policy, means.finish()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Completion;

    /// A completion of token `token` twice, half as probable as under the reference.
    fn rollout(token: u32, reward: f32) -> Rollout {
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
            prompt_tokens: vec![9],
            tokens: vec![token; 2],
            log_probs: vec![-1.0; 2],
            old_log_probs: vec![-1.0; 2],
            ref_log_probs: vec![-0.5 * token as f32; 2],
            reward,
        }
    }

    fn online(labels: Labels, num_generations: usize) -> OnlineDpo {
        let config = OnlineDpoConfig {
            labels,
            ..Default::default()
        };
        let rl = format!(
            "reward = \"win_rate\"\nsteps = 1\nbatch_size = 12\n\
             num_generations = {num_generations}\nalgorithm = {{ kind = \"online_dpo\" }}"
        );
        OnlineDpo::new(config, &toml::from_str(&rl).unwrap())
    }

    // Rewards 1, 5, 3 and 2, 2, 2: tokens 2 against 1, a margin of 4; nothing to prefer in the
    // second group.
    #[test]
    fn the_best_is_held_against_the_worst() {
        let rewards = [1.0, 5.0, 3.0, 2.0, 2.0, 2.0];
        let rollouts: Vec<Rollout> = (1..).zip(rewards).map(|(i, r)| rollout(i, r)).collect();
        let (pairs, margin) = online(Labels::Hard, 3).pairs(&rollouts);
        assert_eq!((pairs.len(), margin), (1, 4.0));
        assert_eq!(pairs[0].tree.completions, [[2, 2], [1, 1]]);
        assert_eq!(
            (pairs[0].p_chosen, pairs[0].ref_log_probs),
            (1.0, [-2.0, -1.0])
        );
    }

    // Win rates .3 and .7 are one comparison: p = .7, a margin of .4.
    #[test]
    fn a_probability_enters_the_loss() {
        let (pairs, margin) = online(Labels::Soft, 2).pairs(&[rollout(1, 0.3), rollout(2, 0.7)]);
        assert!((pairs[0].p_chosen - 0.7).abs() < 1e-6);
        assert!((margin - 0.4).abs() < 1e-6);
        assert_eq!(pairs[0].tree.completions[0], [2, 2]);
    }
}
