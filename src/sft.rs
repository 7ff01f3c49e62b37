//! Stage 0: supervised fine-tuning on demonstrations. The loss counts completion tokens only.

use std::time::Instant;

use burn::prelude::*;
use rand::seq::SliceRandom;

use crate::batch::{Batch, Tree};
use crate::config::{PolicyConfig, SftConfig};
use crate::error::{Error, Result};
use crate::log_prob::gradients;
use crate::model::{Activations, CausalLm, device_of};
use crate::optim::Learner;
use crate::progress::Progress;
use crate::record::{Demonstration, Form};
use crate::rl::loss::weighted_sum;
use crate::run::MetricsLog;
use crate::seed::rng_for;
use crate::tokenizer::Tokenizer;

/// Fine-tunes `model` to continue each prompt, as the template renders it, with its completion and
/// an end-of-text token.
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
    rows: &[Demonstration],
    metrics: &mut MetricsLog,
    seed: u64,
) -> Result<(M, f64)> {
    if rows.is_empty() {
        return Err(Error::Usage(
            "there are no demonstrations to fine-tune on".into(),
        ));
    }
    let tree = |row: &Demonstration| match &row.form {
        Form::PromptCompletion { prompt, completion } => Ok(Tree::single(
            policy.encode_prompt(tokenizer, prompt)?,
            policy.encode_completion(tokenizer, prompt, completion)?,
        )),
        Form::Messages(_) | Form::Text(_) => Err(Error::Usage(format!(
            "demonstration `{}` has no `prompt` and `completion`: fine-tuning on whole texts is \
            not implemented",
            row.id
        ))),
    };
    let trees: Vec<Tree> = rows.iter().map(tree).collect::<Result<_>>()?;
    let steps_per_epoch = trees.len().div_ceil(config.batch_size);
    let total = steps_per_epoch * config.num_train_epochs;
    let mut learner = config.optim.init(model, total);
    let mut progress = Progress::new("sft", total as u64, "steps");
    let (started, mut n_tokens) = (Instant::now(), 0);
    for epoch in 0..config.num_train_epochs {
        let mut order: Vec<usize> = (0..trees.len()).collect();
        order.shuffle(&mut rng_for(seed, "sft", epoch as u64));
        for picked in order.chunks(config.batch_size) {
            let picked: Vec<Tree> = picked.iter().map(|&i| trees[i].clone()).collect();
            n_tokens += picked.iter().map(Tree::len).sum::<usize>();
            let learning_rate = learner.learning_rate();
            let (next, grad_norm, told) = step(learner, picked, config)?;
            learner = next;
            let values = [
                ("loss", f64::from(told[0])),
                ("entropy", told[1].into()),
                ("mean_token_accuracy", told[2].into()),
                ("grad_norm", grad_norm.into()),
                ("learning_rate", learning_rate),
                ("num_tokens", n_tokens as f64),
            ];
            metrics.write("sft", learner.steps(), &values)?;
            progress.message(format!("loss {:.3}", told[0]));
            progress.inc(1);
        }
    }
    Ok((
        learner.model.valid(),
        n_tokens as f64 / started.elapsed().as_secs_f64(),
    ))
}

/// One step on a batch, in pieces; the norm of the gradient, and the means of loss, entropy and
/// accuracy over the tokens that count.
fn step<M: CausalLm>(
    learner: Learner<M>,
    mut trees: Vec<Tree>,
    config: &SftConfig,
) -> Result<(Learner<M>, f32, Vec<f32>)> {
    // The order of the texts of a batch changes nothing; by length, pieces are padded least.
    trees.sort_by_key(Tree::len);
    let n_targets: usize = trees.iter().map(Tree::n_targets).sum();
    let pieces = config.micro_batches().split_trees(&trees);
    let activations = Activations::of(config.gradient_checkpointing);
    let device = device_of(&learner.model);
    let (learner, grad_norm, told) = learner.step_over(pieces, |model, piece| {
        let (vocab, max_len) = (model.vocab_size(), model.max_len());
        let batch = Batch::new(&trees[piece], vocab, max_len, &device)?;
        let weights = batch.mask.clone() / n_targets.max(1) as f32;
        Ok(gradients(model, &batch, 1.0, activations, |scores| {
            let loss = weighted_sum(scores.log_probs.neg(), weights.clone());
            let entropy = weighted_sum(scores.entropy.detach(), weights.clone());
            let told = [
                loss.clone().detach(),
                entropy,
                weighted_sum(scores.top, weights),
            ];
            (loss, Tensor::cat(told.to_vec(), 0).unsqueeze::<2>())
        }))
    })?;
    let told = Tensor::cat(told, 0).sum_dim(0);
    Ok((learner, grad_norm, told.try_into_vec_as::<f32>()?))
}
