//! The loop over labeled pairs, and its optimizer step.

use std::path::Path;

use burn::prelude::*;

use super::losses::{Part, Told, Whole, losses};
use super::pairs::{add_reference, log_prob_sums, pairs_alone};
use super::{DpoConfig, PreferenceLoss, PreferencePair, pairs};
use crate::batch::Tree;
use crate::config::PolicyConfig;
use crate::epochs::Epochs;
use crate::error::{Error, Result};
use crate::log_prob::{gradients, scores};
use crate::micro_batch::MicroBatches;
use crate::model::{Activations, CausalLm};
use crate::optim::{Learner, grad_norm};
use crate::progress::Progress;
use crate::record::Preference;
use crate::rl::loss::reference_point;
use crate::rl::{MAX_TOKENS, Reference, UpdateStats};
use crate::run::Journal;
use crate::tokenizer::Tokenizer;
use crate::training::Training;
use crate::validation::held_out;

/// What is told of held-out pairs, and how it is called there.
const MEASURED: [(&str, &str); 7] = [
    ("loss", "eval_loss"),
    ("rewards/chosen", "eval_rewards/chosen"),
    ("rewards/rejected", "eval_rewards/rejected"),
    ("rewards/margins", "eval_rewards/margins"),
    ("rewards/accuracies", "eval_rewards/accuracies"),
    ("logps/chosen", "eval_logps/chosen"),
    ("logps/rejected", "eval_logps/rejected"),
];

/// Optimises `initial`, which is also the reference, on `preferences`, of which the share
/// `config.holdout` is kept to measure the policy; returns the policy without gradients. Goes on from the journal's last checkpoint, if it has one.
///
/// # Errors
/// There are no preferences, a text does not fit the model, the device fails, or a gradient is not
/// a number, or the user interrupts.
pub fn train<M: CausalLm>(
    config: &DpoConfig,
    policy: &PolicyConfig,
    (initial, tokenizer): (M, &Tokenizer),
    preferences: &[Preference],
    journal: &mut Journal,
    seed: u64,
) -> Result<M> {
    if preferences.is_empty() {
        return Err(Error::Usage(
            "there are no preferences to learn from".into(),
        ));
    }
    let rows = held_out(preferences.to_vec(), config.holdout, ("dpo", seed))?;
    let initial = initial.valid();
    let model = (&initial, tokenizer);
    let mut reference =
        (config.reference.is_synced()).then(|| Reference::new(&initial, config.reference));
    let prepared = |rows: &[Preference]| match &reference {
        _ if rows.is_empty() => Ok(Vec::new()),
        Some(_) => pairs_alone(rows, policy, model, &config.loss, config.labels),
        None => pairs(rows, policy, model, &config.loss, config.labels),
    };
    let (pairs, mut held) = (prepared(&rows.0)?, prepared(&rows.1)?);
    let mut epochs = Epochs::new(pairs.len(), config.batch_size, "dpo", seed);
    let total = epochs.steps() * config.num_train_epochs;
    let learner = config.optim.init(initial, total);
    let beside = |dir: &Path| reference.iter_mut().try_for_each(|held| held.load(dir));
    let mut training = Training::resume_with(learner, config.validation, journal, beside)?;
    let (pieces, activations) = (config.micro_batches(), config.activations());
    let mut progress = Progress::new("dpo", total as u64, "steps");
    progress.inc(training.learner.steps() as u64);
    for at in training.learner.steps()..total {
        let picked = epochs.batch(at).iter().map(|&i| pairs[i].clone());
        let mut picked: Vec<PreferencePair> = picked.collect();
        refer(&reference, &mut picked)?;
        training.n_tokens += picked.iter().map(|pair| pair.tree.len()).sum::<usize>();
        let learner = training.learner;
        let learning_rate = learner.learning_rate();
        let (next, mut stats) = update(learner, &picked, &config.loss, 1.0, pieces, activations)?;
        training.learner = next;
        let steps = training.learner.steps();
        if let Some(reference) = &mut reference {
            reference.observe(steps, &training.learner);
        }
        progress.message(message(&stats));
        stats.extend([
            ("learning_rate", learning_rate),
            ("num_tokens", training.n_tokens as f64),
            ("epoch", steps as f64 / epochs.steps() as f64),
        ]);
        stats.extend(training.learner.scaling());
        let mut stop = steps == total;
        if training.validation.is_due(steps, total) {
            refer(&reference, &mut held)?;
            stop |= measure(&mut training, &held, &config.loss, &mut stats)?;
        }
        journal.write(steps, &stats)?;
        progress.inc(1);
        if stop {
            break;
        }
        journal.step_done(steps, |dir| {
            reference.iter().try_for_each(|held| held.save(dir))?;
            training.save(dir)
        })?;
    }
    Ok(training.finish())
}

/// What a reference that moves says of `pairs` now; of one that stays it is known.
fn refer<M: CausalLm>(
    reference: &Option<Reference<M>>,
    pairs: &mut [PreferencePair],
) -> Result<()> {
    match reference.as_ref().and_then(Reference::model) {
        Some(reference) => add_reference(reference, pairs),
        None => Ok(()),
    }
}

/// Tells what held-out pairs come to; whether the training should end.
fn measure<M: CausalLm>(
    training: &mut Training<M>,
    held: &[PreferencePair],
    loss: &PreferenceLoss,
    told: &mut UpdateStats,
) -> Result<bool> {
    let model = training.learner.model.valid();
    let whole = whole(&model, held, loss, 1.0)?;
    let trees: Vec<Tree> = held.iter().map(|pair| pair.tree.clone()).collect();
    let bounds = MicroBatches {
        size: None,
        tokens: Some(MAX_TOKENS),
    };
    let part = |rows: std::ops::Range<usize>| {
        let part = Part::new(&model, &held[rows])?;
        Ok(losses(loss, scores(&model, &part.batch, 1.0), &part, whole).1)
    };
    let parts = bounds.split_trees(&trees).into_iter().map(part);
    let found = summed(parts.collect::<Result<_>>()?)?;
    let value = |name: &str| found.iter().find(|(found, _)| *found == name);
    for (name, eval_name) in MEASURED {
        told.extend(value(name).map(|(_, value)| (eval_name, *value)));
    }
    let loss = value("loss").map_or(f64::NAN, |(_, loss)| *loss);
    Ok(training.validation.observe(loss, || model))
}

fn message(stats: &UpdateStats) -> String {
    let value = |name: &str| {
        let found = stats.iter().find(|(found, _)| *found == name);
        found.map_or(f64::NAN, |(_, value)| *value)
    };
    let (loss, accuracy) = (value("loss"), value("rewards/accuracies"));
    format!("loss {loss:.3}, accuracy {accuracy:.2}")
}

/// One optimizer step down the loss of `pairs`, which go through the network in `pieces`; tells the
/// statistics of the batch. `temperature` divides the logits, as it did for the reference.
///
/// # Errors
/// A text does not fit the model, the device fails, or a gradient is not a number.
pub fn update<M: CausalLm>(
    learner: Learner<M>,
    pairs: &[PreferencePair],
    loss: &PreferenceLoss,
    temperature: f32,
    pieces: MicroBatches,
    activations: Activations,
) -> Result<(Learner<M>, UpdateStats)> {
    let whole = whole(&learner.model.valid(), pairs, loss, temperature)?;
    let trees: Vec<Tree> = pairs.iter().map(|pair| pair.tree.clone()).collect();
    let way = learner.backward(activations);
    let (learner, norm, told) = learner.step_over(pieces.split_trees(&trees), |model, rows| {
        let part = Part::new(model, &pairs[rows])?;
        let evaluate = |scores| losses(loss, scores, &part, whole);
        Ok(gradients(model, &part.batch, temperature, way, evaluate))
    })?;
    let mut stats = summed(told)?;
    stats.extend(grad_norm(norm));
    if loss.has_mismatched() {
        stats.push(("kl", whole.kl.into()));
    }
    Ok((learner, stats))
}

/// What the loss of a part has to know of all `pairs`.
fn whole<M: CausalLm>(
    model: &M,
    pairs: &[PreferencePair],
    loss: &PreferenceLoss,
    temperature: f32,
) -> Result<Whole> {
    let n_tokens = |i: usize| pairs.iter().map(move |pair| pair.tree.completions[i].len());
    let n_chosen_tokens = n_tokens(0).sum();
    Ok(Whole {
        n_pairs: pairs.len(),
        n_chosen_tokens,
        n_tokens: n_chosen_tokens + n_tokens(1).sum::<usize>(),
        kl: if loss.has_mismatched() {
            estimated_kl(model, pairs, temperature)?
        } else {
            0.0
        },
    })
}

/// The reference point of KTO from the mismatched completions of `pairs`.
fn estimated_kl<M: CausalLm>(model: &M, pairs: &[PreferencePair], temperature: f32) -> Result<f32> {
    let mismatched = || pairs.iter().filter_map(|pair| pair.mismatched.as_ref());
    let trees: Vec<Tree> = mismatched().map(|other| other.tree.clone()).collect();
    let sums = log_prob_sums(model, &trees, temperature)?;
    let ratios = sums
        .iter()
        .zip(mismatched())
        .flat_map(|(sums, other)| [0, 1].map(|i| sums[i] - other.ref_log_probs[i]));
    Ok(reference_point(&ratios.collect::<Vec<_>>()))
}

/// Adds up what the parts of a batch told, read from the device at once.
fn summed(told: Vec<Told>) -> Result<UpdateStats> {
    let (names, values): (Vec<_>, Vec<_>) = told.into_iter().flatten().unzip();
    let values = Tensor::cat(values, 0).try_into_vec_as::<f32>()?;
    let mut sums = UpdateStats::new();
    for (name, value) in names.into_iter().zip(values) {
        match sums.iter_mut().find(|(found, _)| *found == name) {
            Some((_, sum)) => *sum += f64::from(value),
            None => sums.push((name, value.into())),
        }
    }
    Ok(sums)
}
