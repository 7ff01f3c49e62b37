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

use burn::prelude::*;
use rand::rngs::StdRng;
use serde::{Deserialize, Serialize};

use super::advantage::returns_to_go;
use super::loss::{masked_mean, policy_gradient, value_loss};
use super::value::{ValueModel, explained_variance, padded};
use super::{Algorithm, RlConfig, Rollout, UpdateStats, trees};
use crate::batch::Batch;
use crate::error::{Error, Result};
use crate::log_prob::token_log_probs_and_entropy;
use crate::model::{CausalLm, device_of};
use crate::optim::Learner;

/// REINFORCE has no settings of its own: `rl.kl_coef` is the paper's beta.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReinforceConfig {}

/// REINFORCE with a value model of its own: one optimizer step per rollout batch.
pub struct Reinforce<M: CausalLm> {
    beta: f32,
    temperature: f32,
    /// `None` only while an update is under way or after one failed.
    value: Option<ValueModel<M>>,
}

impl<M: CausalLm> Reinforce<M> {
    /// REINFORCE whose value model starts from the initial policy.
    pub fn new(_config: ReinforceConfig, rl: &RlConfig, initial: M) -> Self {
        let value = ValueModel::new(rl, initial);
        Self {
            beta: rl.kl_coef,
            temperature: rl.sampling.temperature,
            value: Some(value),
        }
    }

    /// `Z_t` for every token.
    fn returns(&self, rollout: &Rollout) -> Vec<f32> {
        let mut rewards: Vec<f32> = rollout.kl().map(|kl| -self.beta * kl).collect();
        if let Some(last) = rewards.last_mut() {
            *last += (1.0 - self.beta) * rollout.reward;
        }
        returns_to_go(&rewards, 1.0)
    }
}

impl<M: CausalLm> Algorithm<M> for Reinforce<M> {
    fn update(
        &mut self,
        policy: Learner<M>,
        rollouts: &[Rollout],
        _rng: &mut StdRng,
    ) -> Result<(Learner<M>, UpdateStats)> {
        let value = self.value.take();
        let value =
            value.ok_or_else(|| Error::Usage("an update of REINFORCE failed before".into()))?;
        let device = device_of(&policy.model);
        let (vocab, max_len) = (policy.model.vocab_size(), policy.model.max_len());
        let batch = Batch::new(&trees(rollouts), vocab, max_len, &device)?;
        let returns: Vec<Vec<f32>> = rollouts
            .iter()
            .map(|rollout| self.returns(rollout))
            .collect();
        let (target, mask) = (padded(&returns, &batch), batch.mask.clone());

        let values = value.forward(&batch);
        let baseline = values.clone().detach();
        let (log_probs, entropy) =
            token_log_probs_and_entropy(&policy.model, &batch, self.temperature);
        let loss = policy_gradient(log_probs, target.clone() - baseline.clone(), mask.clone());
        let value_loss = value_loss(values, target, mask.clone());
        let told = vec![
            loss.clone().detach(),
            value_loss.clone().detach(),
            masked_mean(entropy.detach(), mask),
        ];
        let told = Tensor::cat(told, 0).try_into_vec_as::<f32>()?;
        let predicted = host_rows(baseline, rollouts)?;

        let (policy, grad_norm) = policy.step(loss)?;
        let (learner, _) = value.0.step(value_loss)?;
        self.value = Some(ValueModel(learner));
        let names = ["loss/policy_avg", "loss/value_avg", "policy/entropy_avg"];
        let mut stats: UpdateStats = names
            .into_iter()
            .zip(told.into_iter().map(f64::from))
            .collect();
        stats.push(("grad_norm", grad_norm.into()));
        stats.push((
            "critic/vf_explained_var",
            explained_variance(&predicted, &returns),
        ));
        Ok((policy, stats))
    }
}

/// The unpadded rows of a `[completions, len]` tensor.
fn host_rows(rows: Tensor<2>, rollouts: &[Rollout]) -> Result<Vec<Vec<f32>>> {
    let len = rows.dims()[1].max(1);
    let values = rows.try_into_vec_as::<f32>()?;
    let cut = |(row, rollout): (&[f32], &Rollout)| row[..rollout.tokens.len()].to_vec();
    Ok(values.chunks(len).zip(rollouts).map(cut).collect())
}
