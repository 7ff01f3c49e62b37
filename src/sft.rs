//! Stage 0: supervised fine-tuning on demonstrations. The loss counts completion tokens only.

use std::time::Instant;

use burn::prelude::*;
use rand::seq::SliceRandom;

use crate::batch::{Batch, Tree};
use crate::config::{PolicyConfig, SftConfig};
use crate::error::{Error, Result};
use crate::log_prob::gradients;
use crate::model::{CausalLm, device_of};
use crate::progress::Progress;
use crate::record::{Demonstration, Form};
use crate::rl::loss::{masked_mean, nll};
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
    let device = device_of(&model).autodiff();
    let mut learner = config.optim.init(model, total);
    let mut progress = Progress::new("sft", total as u64, "steps");
    let (started, mut n_tokens) = (Instant::now(), 0);
    for epoch in 0..config.num_train_epochs {
        let mut order: Vec<usize> = (0..trees.len()).collect();
        order.shuffle(&mut rng_for(seed, "sft", epoch as u64));
        for picked in order.chunks(config.batch_size) {
            let picked: Vec<Tree> = picked.iter().map(|&i| trees[i].clone()).collect();
            n_tokens += picked.iter().map(Tree::len).sum::<usize>();
            let (vocab, max_len) = (learner.model.vocab_size(), learner.model.max_len());
            let batch = Batch::new(&picked, vocab, max_len, &device)?;
            let (grads, told) = gradients(&learner.model, &batch, 1.0, |scores| {
                let loss = nll(scores.log_probs, batch.mask.clone());
                let entropy = masked_mean(scores.entropy.detach(), batch.mask.clone());
                let told = Tensor::cat(vec![loss.clone().detach(), entropy], 0);
                (loss, told)
            });
            let told = told.try_into_vec_as::<f32>()?;
            let learning_rate = learner.learning_rate();
            let (next, grad_norm) = learner.apply(grads)?;
            learner = next;
            let values = [
                ("loss", f64::from(told[0])),
                ("entropy", told[1].into()),
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
