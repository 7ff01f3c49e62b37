//! Training of the reward model: cross-entropy between the labeler's soft label and the model's own
//! preference (section 2.2.1 of the paper). A hard label is a soft one of 1.

use burn::prelude::*;
use rand::seq::SliceRandom;

use super::RewardConfig;
use super::model::{pooled, raw_rewards};
use super::objective::{Pair, RewardReport, pair_loss, statistics};
use crate::batch::{Batch, Tree};
use crate::config::PolicyConfig;
use crate::epochs::Epochs;
use crate::error::{Error, Result};
use crate::model::{Activations, CausalLm, ScalarHead, device_of};
use crate::optim::{Learner, grad_norm};
use crate::progress::Progress;
use crate::record::Preference;
use crate::run::Journal;
use crate::seed::rng_for;
use crate::tokenizer::Tokenizer;
use crate::training::Training;

/// Names and values for the log.
type Told = Vec<(&'static str, f64)>;

/// Trains a reward model from `backbone` on the first `config.max_pairs` of `preferences`; the share `config.holdout` of the pairs is kept to
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
    journal: &mut Journal,
    seed: u64,
) -> Result<(ScalarHead<M>, RewardReport)> {
    let pad = backbone.pad_token();
    let pair = |row: &Preference| {
        let mut pair = Pair::new(row, policy, tokenizer, config)?;
        pair.tree = pooled(pair.tree, pad);
        Ok(pair)
    };
    let used = preferences
        .iter()
        .take(config.max_pairs.unwrap_or(usize::MAX));
    let pairs: Vec<Pair> = used.map(pair).collect::<Result<_>>()?;
    let (pairs, held) = held_out(fitting(pairs, config), config, seed)?;
    let mut epochs = Epochs::new(pairs.len(), config.batch_size, "reward", seed);
    let total = epochs.steps() * config.num_train_epochs;
    let learner = config.optim.init(ScalarHead::new(backbone), total);
    let mut training = Training::resume(learner, config.validation, journal)?;
    let mut progress = Progress::new("reward", total as u64, "steps");
    progress.inc(training.learner.steps() as u64);
    for at in training.learner.steps()..total {
        let picked = epochs.batch(at).iter().map(|&i| pairs[i].clone());
        let picked: Vec<Pair> = picked.collect();
        training.n_tokens += picked.iter().map(|pair| pair.tree.len()).sum::<usize>();
        let learning_rate = training.learner.learning_rate();
        let (next, mut told) = step(training.learner, &picked, config)?;
        training.learner = next;
        let steps = training.learner.steps();
        told.extend([
            ("learning_rate", learning_rate),
            ("num_tokens", training.n_tokens as f64),
        ]);
        told.extend(training.learner.scaling());
        let mut stop = steps == total;
        if training.validation.is_due(steps, total) {
            let model = training.learner.model.valid();
            let (loss, rows) = measure(&model, &held, config)?;
            told.extend(rows);
            stop |= training.validation.observe(loss, || model);
        }
        progress.message(format!("loss {:.3}, accuracy {:.2}", told[0].1, told[1].1));
        journal.write(steps, &told)?;
        progress.inc(1);
        if stop {
            break;
        }
        journal.step_done(steps, |dir| training.save(dir))?;
    }
    finish(training.finish(), &pairs, &held, config)
}

/// The pairs that are no longer than `max_length`.
fn fitting(mut pairs: Vec<Pair>, config: &RewardConfig) -> Vec<Pair> {
    let n = pairs.len();
    if let Some(max_length) = config.max_length {
        pairs.retain(|pair| pair.len() <= max_length);
    }
    if pairs.len() < n {
        let left_out = n - pairs.len();
        tracing::warn!("{left_out} of {n} pairs are longer than `reward.max_length`: left out");
    }
    pairs
}

/// The pairs to train on, and those to measure on.
fn held_out(
    mut pairs: Vec<Pair>,
    config: &RewardConfig,
    seed: u64,
) -> Result<(Vec<Pair>, Vec<Pair>)> {
    pairs.shuffle(&mut rng_for(seed, "reward-holdout", 0));
    let n_held = (pairs.len() as f64 * config.holdout).round() as usize;
    let held = pairs.split_off(pairs.len() - n_held);
    if pairs.is_empty() {
        return Err(Error::Usage(
            "there are no preferences to train a reward model on".into(),
        ));
    }
    Ok((pairs, held))
}

/// One step on a batch, in pieces, and what it has to tell: the loss first, then the accuracy.
fn step<M: CausalLm>(
    learner: Learner<ScalarHead<M>>,
    pairs: &[Pair],
    config: &RewardConfig,
) -> Result<(Learner<ScalarHead<M>>, Told)> {
    let trees = trees(pairs);
    let pieces = config.micro_batches().split_trees(&trees);
    let way = learner.backward(Activations::of(config.gradient_checkpointing));
    let device = device_of(&learner.model);
    let (learner, norm, told) = learner.step_over(pieces, |model, piece| {
        let (vocab, max_len) = (model.backbone.vocab_size(), model.backbone.max_len());
        let batch = Batch::new(&trees[piece.clone()], vocab, max_len, &device)?;
        let share = piece.len() as f32 / pairs.len() as f32;
        let loss = |rewards: Tensor<1>| {
            let loss = pair_loss(rewards.clone(), &pairs[piece], config) * share;
            (loss.clone(), (loss.detach(), rewards.detach()))
        };
        Ok(model.gradients(batch.input, batch.last, way, loss))
    })?;
    let (losses, rewards): (Vec<_>, Vec<_>) = told.into_iter().unzip();
    let read = |parts| Tensor::cat(parts, 0).try_into_vec_as::<f32>();
    let loss: f32 = read(losses)?.iter().sum();
    let mut told = vec![("loss", f64::from(loss))];
    told.extend(statistics(&read(rewards)?));
    told.extend(grad_norm(norm));
    Ok((learner, told))
}

fn trees(pairs: &[Pair]) -> Vec<Tree> {
    pairs.iter().map(|pair| pair.tree.clone()).collect()
}

/// The loss on held-out pairs, and what there is to tell of them.
fn measure<M: CausalLm>(
    model: &ScalarHead<M>,
    held: &[Pair],
    config: &RewardConfig,
) -> Result<(f64, Told)> {
    let rewards = raw_rewards(model, &trees(held))?;
    let values = Tensor::<1>::from_data(rewards.as_slice(), &device_of(model));
    let loss: f64 = pair_loss(values, held, config)
        .try_into_scalar::<f32>()?
        .into();
    let names = [
        "eval_accuracy",
        "eval_margin",
        "eval_min_reward",
        "eval_mean_reward",
        "eval_max_reward",
    ];
    let values = statistics(&rewards).map(|(_, value)| value);
    let mut told = vec![("eval_loss", loss)];
    told.extend(names.into_iter().zip(values));
    Ok((loss, told))
}

/// Measures the model on the pairs held out, and its mean and deviation on the others.
fn finish<M: CausalLm>(
    mut model: ScalarHead<M>,
    pairs: &[Pair],
    held: &[Pair],
    config: &RewardConfig,
) -> Result<(ScalarHead<M>, RewardReport)> {
    let rewards = raw_rewards(&model, &trees(pairs))?;
    let mean = rewards.iter().sum::<f32>() / rewards.len() as f32;
    let variance = rewards.iter().map(|r| (r - mean).powi(2)).sum::<f32>() / rewards.len() as f32;
    // A model that gives one reward to all texts is left as it is.
    let std = if variance > 0.0 { variance.sqrt() } else { 1.0 };
    if config.normalize_rewards {
        (model.mean, model.std) = (mean, std);
    }
    let rewards = raw_rewards(&model, &trees(held))?;
    let report = RewardReport::new(held, &rewards, (mean, std));
    Ok((model, report))
}
