//! Training of the reward model: cross-entropy between the labeler's soft label and the model's own
//! preference (section 2.2.1 of the paper). A hard label is a soft one of 1.

use burn::prelude::*;
use rand::seq::SliceRandom;
use serde::Serialize;

use super::model::{raw_rewards, tree};
use crate::batch::{Batch, Tree};
use crate::config::{PolicyConfig, RewardConfig};
use crate::error::{Error, Result};
use crate::eval::stats::{Interval, wilson};
use crate::model::{Activations, CausalLm, ScalarHead, device_of};
use crate::progress::Progress;
use crate::record::Preference;
use crate::rl::loss::soft_bradley_terry;
use crate::run::MetricsLog;
use crate::seed::rng_for;
use crate::tokenizer::Tokenizer;

/// How good a reward model came out.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RewardReport {
    /// Share of held-out pairs whose chosen completion has the higher reward.
    pub accuracy: f64,
    /// 95% interval of it.
    pub ci: Interval,
    /// Held-out pairs.
    pub n: usize,
    /// Mean reward on the training texts, before normalisation.
    pub mean: f32,
    /// Its standard deviation.
    pub std: f32,
}

/// Trains a reward model from `backbone`; the share `config.holdout` of the pairs is kept to
/// measure it.
///
/// # Errors
/// There are no pairs, a text does not fit the model, the device fails, or a gradient is not a
/// number.
pub fn train<M: CausalLm>(
    config: &RewardConfig,
    policy: &PolicyConfig,
    (backbone, tokenizer): (M, &Tokenizer),
    preferences: &[Preference],
    metrics: &mut MetricsLog,
    seed: u64,
) -> Result<(ScalarHead<M>, RewardReport)> {
    let pair = |row: &Preference| {
        Ok((
            tree(
                tokenizer,
                policy,
                &row.prompt,
                &[row.chosen.clone(), row.rejected.clone()],
            )?,
            row.p_chosen,
        ))
    };
    let mut pairs: Vec<(Tree, f32)> = preferences.iter().map(pair).collect::<Result<_>>()?;
    pairs.shuffle(&mut rng_for(seed, "reward-holdout", 0));
    let n_held = (pairs.len() as f64 * config.holdout).round() as usize;
    let held = pairs.split_off(pairs.len() - n_held);
    if pairs.is_empty() {
        return Err(Error::Usage(
            "there are no preferences to train a reward model on".into(),
        ));
    }

    let total = pairs.len().div_ceil(config.batch_size) * config.num_train_epochs;
    let device = device_of(&backbone).autodiff();
    let (vocab, max_len) = (backbone.vocab_size(), backbone.max_len());
    let activations = Activations::of(config.gradient_checkpointing);
    let mut learner = config.optim.init(ScalarHead::new(backbone), total);
    let mut progress = Progress::new("reward", total as u64, "steps");
    for epoch in 0..config.num_train_epochs {
        pairs.shuffle(&mut rng_for(seed, "reward", epoch as u64));
        for chunk in pairs.chunks(config.batch_size) {
            let (trees, labels): (Vec<Tree>, Vec<f32>) = chunk.iter().cloned().unzip();
            let pieces = config.micro_batches().split_trees(&trees);
            let learning_rate = learner.learning_rate();
            let (next, grad_norm, told) = learner.step_over(pieces, |model, piece| {
                let batch = Batch::new(&trees[piece.clone()], vocab, max_len, &device)?;
                let (input, last) = (batch.input, batch.last);
                let share = piece.len() as f32 / trees.len() as f32;
                Ok(model.gradients(input, last, activations, |rewards| {
                    pair_loss(rewards, &labels[piece], share)
                }))
            })?;
            learner = next;
            let told = Tensor::cat(told, 0).sum_dim(0).try_into_vec_as::<f32>()?;
            let values = [
                ("loss", f64::from(told[0])),
                ("accuracy", told[1].into()),
                ("margin", told[2].into()),
                ("mean_reward", told[3].into()),
                ("grad_norm", grad_norm.into()),
                ("learning_rate", learning_rate),
            ];
            metrics.write("reward", learner.steps(), &values)?;
            progress.message(format!("loss {:.3}, accuracy {:.2}", told[0], told[1]));
            progress.inc(1);
        }
    }
    finish(learner.model.valid(), &pairs, &held)
}

/// The loss of a `share` of a batch, and to be told: loss, accuracy, margin, mean reward, `[1, 4]`.
/// `rewards` lists chosen, rejected, chosen, ...
fn pair_loss(rewards: Tensor<1>, labels: &[f32], share: f32) -> (Tensor<1>, Tensor<2>) {
    let n = labels.len();
    let rewards = rewards.reshape([n, 2]);
    let chosen = rewards.clone().slice(s![.., 0..1]).squeeze_dim::<1>(1);
    let rejected = rewards.clone().slice(s![.., 1..2]).squeeze_dim::<1>(1);
    let p_chosen = Tensor::<1>::from_data(labels, &rewards.device());
    let margin = (chosen.clone() - rejected.clone()).detach();
    let loss = soft_bradley_terry(chosen, rejected, p_chosen) * share;
    let accuracy = margin.clone().greater_scalar(0.0).float().mean();
    let told = vec![
        loss.clone().detach(),
        accuracy * share,
        margin.mean() * share,
        rewards.detach().mean() * share,
    ];
    (loss, Tensor::cat(told, 0).unsqueeze())
}

/// Measures the model on the pairs held out, and its mean and deviation on the others.
fn finish<M: CausalLm>(
    mut model: ScalarHead<M>,
    pairs: &[(Tree, f32)],
    held: &[(Tree, f32)],
) -> Result<(ScalarHead<M>, RewardReport)> {
    let trees = |pairs: &[(Tree, f32)]| {
        pairs
            .iter()
            .map(|(tree, _)| tree.clone())
            .collect::<Vec<_>>()
    };
    let rewards = raw_rewards(&model, &trees(pairs))?;
    let mean = rewards.iter().sum::<f32>() / rewards.len() as f32;
    let variance = rewards.iter().map(|r| (r - mean).powi(2)).sum::<f32>() / rewards.len() as f32;
    // A model that gives one reward to all texts is left as it is.
    let std = if variance > 0.0 { variance.sqrt() } else { 1.0 };
    (model.mean, model.std) = (mean, std);

    let rewards = raw_rewards(&model, &trees(held))?;
    let points = |pair: &[f32]| match pair[0].total_cmp(&pair[1]) {
        std::cmp::Ordering::Greater => 1.0,
        std::cmp::Ordering::Equal => 0.5,
        std::cmp::Ordering::Less => 0.0,
    };
    let right: f64 = rewards.chunks_exact(2).map(points).sum();
    let n = held.len();
    let report = RewardReport {
        accuracy: right / n.max(1) as f64,
        ci: wilson(right, n),
        n,
        mean,
        std,
    };
    Ok((model, report))
}
