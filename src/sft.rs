//! Stage 0: supervised fine-tuning on demonstrations: completions, conversations or whole texts.

mod config;
mod packing;
mod text;

use std::time::Instant;

use burn::prelude::*;

pub use self::config::SftConfig;
pub use self::text::PackingStrategy;
use crate::batch::{Batch, Document};
use crate::config::PolicyConfig;
use crate::epochs::Epochs;
use crate::error::Result;
use crate::log_prob::{Scores, gradients, scores};
use crate::micro_batch::MicroBatches;
use crate::model::{Activations, CausalLm, device_of};
use crate::optim::{Learner, grad_norm};
use crate::progress::Progress;
use crate::record::Demonstration;
use crate::rl::loss::weighted_sum;
use crate::run::Journal;
use crate::tokenizer::Tokenizer;
use crate::training::Training;
use crate::validation::held_out;

/// Padded tokens in one forward pass without gradients.
const MAX_TOKENS: usize = 16_384;

/// Documents that share a row.
type Row = Vec<Document>;

/// Fine-tunes `model` on demonstrations.
///
/// Of prompt and completion, the prompt as the template renders it and an end-of-text token behind,
/// the completion counts in the loss; of conversations and texts all tokens do, unless `config`
/// says otherwise. The loss is the mean over the tokens that count. The log has TRL's names:
/// `mean_token_accuracy` is the share of these tokens that the model thought likeliest, `entropy`
/// the mean over them.
///
/// Returns the model without gradients, and the training tokens per second.
///
/// # Errors
/// There are no demonstrations, a text does not fit the model, the device fails, or a gradient is
/// not a number.
pub fn train<M: CausalLm>(
    config: &SftConfig,
    policy: &PolicyConfig,
    (model, tokenizer): (M, &Tokenizer),
    demonstrations: &[Demonstration],
    journal: &mut Journal,
    seed: u64,
) -> Result<(M, f64)> {
    let rows = text::rows(demonstrations, config, (policy, tokenizer), model.max_len())?;
    let (rows, held) = held_out(rows, config.holdout, ("sft", seed))?;
    let mut epochs = Epochs::new(rows.len(), config.batch_size, "sft", seed);
    let total = epochs.steps() * config.num_train_epochs;
    let learner = config.optim.init(model, total);
    let mut training = Training::resume(learner, config.validation, journal)?;
    let mut progress = Progress::new("sft", total as u64, "steps");
    progress.inc(training.learner.steps() as u64);
    let (started, n_tokens_before) = (Instant::now(), training.n_tokens);
    for at in training.learner.steps()..total {
        let picked = epochs.batch(at).iter().map(|&i| rows[i].clone());
        let picked: Vec<Row> = picked.collect();
        training.n_tokens += picked.iter().map(n_tokens_of).sum::<usize>();
        let learning_rate = training.learner.learning_rate();
        let (next, norm, means) = step(training.learner, picked, config)?;
        training.learner = next;
        let steps = training.learner.steps();
        let mut told = named(["loss", "entropy", "mean_token_accuracy"], &means);
        told.extend(grad_norm(norm));
        told.extend([
            ("learning_rate", learning_rate),
            ("num_tokens", training.n_tokens as f64),
        ]);
        told.extend(training.learner.scaling());
        let mut stop = steps == total;
        if training.validation.is_due(steps, total) {
            let model = training.learner.model.valid();
            let means = measure(&model, &held)?;
            let names = ["eval_loss", "eval_entropy", "eval_mean_token_accuracy"];
            told.extend(names.into_iter().zip(means));
            stop |= training.validation.observe(means[0], || model);
        }
        journal.write(steps, &told)?;
        progress.message(format!("loss {:.3}", means[0]));
        progress.inc(1);
        if stop {
            break;
        }
        journal.step_done(steps, |dir| training.save(dir))?;
    }
    let n_read = training.n_tokens - n_tokens_before;
    let rate = n_read as f64 / started.elapsed().as_secs_f64();
    Ok((training.finish(), rate))
}

fn named<const N: usize>(names: [&'static str; N], values: &[f32]) -> Vec<(&'static str, f64)> {
    let values = values.iter().map(|&value| value.into());
    names.into_iter().zip(values).collect()
}

fn n_tokens_of(row: &Row) -> usize {
    row.iter().map(|document| document.tokens.len()).sum()
}

fn n_targets_of(rows: &[Row]) -> usize {
    rows.iter().flatten().map(Document::n_targets).sum()
}

/// Cuts rows, sorted by length, into pieces within the bounds.
fn pieces(rows: &[Row], bounds: &MicroBatches) -> Vec<std::ops::Range<usize>> {
    bounds.split(rows.len(), |piece| {
        piece.len() * rows[piece].iter().map(n_tokens_of).max().unwrap_or(0)
    })
}

/// Loss, entropy and accuracy, each a sum over tokens with these weights, `[1, 3]`; and the loss,
/// for its gradient.
fn weighed(scores: Scores, weights: Tensor<2>) -> (Tensor<1>, Tensor<2>) {
    let loss = weighted_sum(scores.log_probs.neg(), weights.clone());
    let entropy = weighted_sum(scores.entropy.detach(), weights.clone());
    let told = [
        loss.clone().detach(),
        entropy,
        weighted_sum(scores.top, weights),
    ];
    (loss, Tensor::cat(told.to_vec(), 0).unsqueeze())
}

/// One step on a batch, in pieces; the norm of the gradient, and the means of loss, entropy and
/// accuracy over the tokens that count.
fn step<M: CausalLm>(
    learner: Learner<M>,
    mut rows: Vec<Row>,
    config: &SftConfig,
) -> Result<(Learner<M>, f32, Vec<f32>)> {
    // The order of the rows of a batch changes nothing; by length, pieces are padded least.
    rows.sort_by_key(n_tokens_of);
    let n_targets = n_targets_of(&rows).max(1) as f32;
    let pieces = pieces(&rows, &config.micro_batches());
    let way = learner.backward(Activations::of(config.gradient_checkpointing));
    let device = device_of(&learner.model);
    let (learner, norm, told) = learner.step_over(pieces, |model, piece| {
        let (vocab, max_len) = (model.vocab_size(), model.max_len());
        let batch = Batch::packed(&rows[piece], vocab, max_len, &device)?;
        let weights = batch.mask.clone() / n_targets;
        Ok(gradients(model, &batch, 1.0, way, |scores| {
            weighed(scores, weights)
        }))
    })?;
    let told = Tensor::cat(told, 0).sum_dim(0);
    Ok((learner, norm, told.try_into_vec_as::<f32>()?))
}

/// Means of loss, entropy and accuracy over the tokens of held-out rows that count.
fn measure<M: CausalLm>(model: &M, held: &[Row]) -> Result<[f64; 3]> {
    let mut rows = held.to_vec();
    rows.sort_by_key(n_tokens_of);
    let bounds = MicroBatches {
        size: None,
        tokens: Some(MAX_TOKENS),
    };
    let n_targets = n_targets_of(&rows).max(1) as f32;
    let device = device_of(model);
    let mut sums = [0.0; 3];
    for piece in pieces(&rows, &bounds) {
        let (vocab, max_len) = (model.vocab_size(), model.max_len());
        let batch = Batch::packed(&rows[piece], vocab, max_len, &device)?;
        let weights = batch.mask.clone() / n_targets;
        let (_, told) = weighed(scores(model, &batch, 1.0), weights);
        for (sum, part) in sums.iter_mut().zip(told.try_into_vec_as::<f32>()?) {
            *sum += f64::from(part);
        }
    }
    Ok(sums)
}
