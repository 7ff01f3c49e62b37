//! A trained reward model as the reward.

use super::Reward;
use crate::batch::{Batch, Tree};
use crate::config::PolicyConfig;
use crate::error::Result;
use crate::log_prob::chunks_by_length;
use crate::model::{CausalLm, ScalarHead, device_of};
use crate::record::{Answer, Completion, Context};
use crate::tokenizer::Tokenizer;

/// Padded tokens in one forward pass.
const MAX_TOKENS: usize = 16_384;

/// Reads a prompt, as the policy reads it, with a completion and an end-of-text token; the head's
/// number at the last token that is no padding, with the training texts' mean taken off and divided
/// by their deviation, is the reward.
pub struct ModelReward<M: CausalLm> {
    model: ScalarHead<M>,
    tokenizer: Tokenizer,
    policy: PolicyConfig,
}

impl<M: CausalLm> ModelReward<M> {
    /// From a model without gradients.
    pub fn new(model: ScalarHead<M>, tokenizer: Tokenizer, policy: PolicyConfig) -> Self {
        Self {
            model,
            tokenizer,
            policy,
        }
    }

    /// The head's number for each completion, in their order.
    ///
    /// # Errors
    /// A text does not fit the model, or the device fails.
    pub fn raw(&self, completions: &[Completion]) -> Result<Vec<f32>> {
        let tree = |group: &[Completion]| {
            let texts = group.iter().map(|row| row.completion.as_str().into());
            let texts: Vec<Answer> = texts.collect();
            tree(&self.tokenizer, &self.policy, &group[0].prompt, &texts)
        };
        let groups = completions.chunk_by(|a, b| a.prompt == b.prompt);
        let trees: Vec<Tree> = groups.map(tree).collect::<Result<_>>()?;
        raw_rewards(&self.model, &trees)
    }

    /// The reward that a number of the head amounts to.
    pub fn normalized(&self, raw: f32) -> f32 {
        (raw - self.model.mean) / self.model.std
    }
}

impl<M: CausalLm> Reward for ModelReward<M> {
    fn reward(&mut self, completions: &[Completion]) -> Result<Vec<f32>> {
        let raw = self.raw(completions)?.into_iter();
        Ok(raw.map(|raw| self.normalized(raw)).collect())
    }
}

/// What the reward model reads: the prompt and each of its completions.
pub(crate) fn tree(
    tokenizer: &Tokenizer,
    policy: &PolicyConfig,
    prompt: &Context,
    completions: &[Answer],
) -> Result<Tree> {
    let encode = |answer: &Answer| policy.encode_completion(tokenizer, prompt, answer);
    Ok(Tree {
        prompt: policy.encode_prompt(tokenizer, prompt)?,
        completions: completions.iter().map(encode).collect::<Result<_>>()?,
    })
}

/// A tree whose completions end at the token that a classifier reads a text's score from, the
/// right-most that is no padding: where a model pads with its end-of-text token, as many do, that
/// is the one before it. `*ForSequenceClassification` of `transformers` does the same.
pub(super) fn pooled(mut tree: Tree, pad: Option<u32>) -> Tree {
    for completion in &mut tree.completions {
        while completion.last().is_some_and(|&last| Some(last) == pad) {
            completion.pop();
        }
    }
    tree
}

/// The head's number at the last token of each completion that is no padding, before normalisation;
/// completions in the order of the trees.
///
/// # Errors
/// As [`Batch::new`], and when the device fails.
pub fn raw_rewards<M: CausalLm>(model: &ScalarHead<M>, trees: &[Tree]) -> Result<Vec<f32>> {
    let device = device_of(model);
    let pad = model.backbone.pad_token();
    let trees: Vec<Tree> = trees.iter().map(|tree| pooled(tree.clone(), pad)).collect();
    let (vocab, max_len) = (model.backbone.vocab_size(), model.backbone.max_len());
    let mut answers: Vec<Vec<f32>> = vec![Vec::new(); trees.len()];
    for chunk in chunks_by_length(&trees, MAX_TOKENS) {
        let picked: Vec<Tree> = chunk.iter().map(|&i| trees[i].clone()).collect();
        let batch = Batch::new(&picked, vocab, max_len, &device)?;
        let mut values = model
            .forward(batch.input, batch.last)
            .try_into_vec_as::<f32>()?
            .into_iter();
        for &i in &chunk {
            answers[i] = values.by_ref().take(trees[i].completions.len()).collect();
        }
    }
    Ok(answers.into_iter().flatten().collect())
}
