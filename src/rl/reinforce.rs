//! REINFORCE with a learned value baseline, as the paper defines it (Lee et al. 2023,
//! arXiv:2309.00267, section 3.3 and appendix A.3; Williams 1992).
//!
//! The objective is `E[(1 - beta) r(y | x)] - beta KL(pi || pi_sft)`, the reward comes at the last
//! token and gamma is 1:
//!
//! - `Z_t = (1 - beta) r - beta sum_{t' >= t} (log pi(y_t') - log pi_sft(y_t'))`
//! - policy loss `-mean_t log pi(y_t | x_t) stopgrad(Z_t - V(x_t))`
//! - value loss `mean_t 0.5 (Z_t - V(x_t))^2`
//!
//! The paper sums over tokens where this averages, which differs by a factor that Adam's step does
//! not see.

use std::path::Path;

use burn::prelude::*;
use rand::rngs::StdRng;
use serde::{Deserialize, Serialize};

use super::advantage::returns_to_go;
use super::loss::{KlEstimator, policy_gradient, value_loss};
use super::update::{Losses, Means, MicroBatch, Passes};
use super::value::{Held, ValueModel, explained_variance};
use super::{Algorithm, RlConfig, Rollout, UpdateStats};
use crate::error::Result;
use crate::log_prob::Scores;
use crate::model::CausalLm;
use crate::optim::Learner;

/// REINFORCE has no settings of its own: `rl.kl_coef` is the paper's beta.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReinforceConfig {}

/// REINFORCE with a value model of its own: one optimizer step per rollout batch.
pub struct Reinforce<M: CausalLm> {
    passes: Passes,
    value: Held<ValueModel<M>>,
}

impl<M: CausalLm> Reinforce<M> {
    /// REINFORCE whose value model starts from the initial policy.
    pub fn new(_config: ReinforceConfig, rl: &RlConfig, initial: M) -> Self {
        Self {
            passes: Passes::new(1, 1, rl),
            value: Held::new(ValueModel::new(rl, initial)),
        }
    }

    fn policy_losses(scores: Scores, part: &MicroBatch, advantages: &[Vec<f32>]) -> Losses {
        let loss = policy_gradient(scores.log_probs, part.tensor(advantages));
        let loss = part.mean(loss);
        let stats = vec![
            ("loss/policy_avg", loss.clone()),
            ("policy/entropy_avg", part.mean(scores.entropy)),
        ];
        Losses { loss, stats }
    }
}

/// `Z_t` for every token. An adaptive beta may pass 1, where the objective has no reward left.
fn returns(rollout: &Rollout, beta: f32) -> Vec<f32> {
    let beta = beta.min(1.0);
    let score = (1.0 - beta) * rollout.reward;
    returns_to_go(&rollout.token_rewards(score, beta, KlEstimator::K1), 1.0)
}

fn value_losses(values: Tensor<2>, part: &MicroBatch, returns: &[Vec<f32>]) -> Losses {
    let loss = part.mean(value_loss(values, part.tensor(returns)));
    let stats = vec![("loss/value_avg", loss.clone())];
    Losses { loss, stats }
}

impl<M: CausalLm> Algorithm<M> for Reinforce<M> {
    fn update(
        &mut self,
        mut policy: Learner<M>,
        rollouts: &[Rollout],
        kl_coef: f32,
        rng: &mut StdRng,
    ) -> Result<(Learner<M>, UpdateStats)> {
        let mut value = self.value.take()?;
        let baseline = value.values(rollouts)?;
        let returns: Vec<Vec<f32>> = rollouts.iter().map(|row| returns(row, kl_coef)).collect();
        let minus = |(z, v): (&Vec<f32>, &Vec<f32>)| z.iter().zip(v).map(|(z, v)| z - v).collect();
        let advantages: Vec<Vec<f32>> = returns.iter().zip(&baseline).map(minus).collect();

        let mut means = Means::default();
        for mini_batch in self.passes.mini_batches(rollouts.len(), rng) {
            let parts = self
                .passes
                .micro_batches(&policy.model, rollouts, &mini_batch)?;
            let (next, told) = self.passes.step(policy, &parts, |scores, part| {
                Self::policy_losses(scores, part, &advantages)
            })?;
            policy = next;
            means.add(told);
            value = value.step(
                &parts,
                self.passes.activations,
                |values, part| value_losses(values, part, &returns),
                &mut means,
            )?;
        }
        self.value = Held::new(value);
        let mut stats = means.finish();
        stats.push((
            "critic/vf_explained_var",
            explained_variance(&baseline, &returns),
        ));
        Ok((policy, stats))
    }

    fn save(&self, dir: &Path) -> Result<()> {
        self.value.get()?.0.save(dir)
    }

    fn load(&mut self, dir: &Path) -> Result<()> {
        let value = self.value.take()?.0.load(dir)?;
        self.value = Held::new(ValueModel(value));
        Ok(())
    }
}
