//! What a model makes of given completions: their log-probabilities, or a reward model's rewards.

use crate::batch::Tree;
use crate::config::PolicyConfig;
use crate::error::{Error, Result};
use crate::log_prob::log_probs_of;
use crate::model::CausalLm;
use crate::record::{Answer, Completion, Context, Demonstration, Form, Rewarded, Scored};
use crate::reward::ModelReward;
use crate::tokenizer::Tokenizer;

/// Rows that are read, scored and written at a time.
const CHUNK: usize = 64;
/// Numbers in the largest tensor of log-probabilities of all tokens (256 MB).
const MAX_LOG_PROBS: usize = 64 << 20;

/// Hands rows in chunks to `score` and what it makes of them to `write`, in order; memory does not
/// grow with their number.
///
/// # Errors
/// A row cannot be read, those of `score` and of `write`.
pub fn in_chunks<T>(
    rows: impl IntoIterator<Item = Result<Demonstration>>,
    mut score: impl FnMut(&[Demonstration]) -> Result<Vec<T>>,
    mut write: impl FnMut(&T) -> Result<()>,
) -> Result<()> {
    let mut rows = rows.into_iter();
    loop {
        let chunk: Vec<Demonstration> = rows.by_ref().take(CHUNK).collect::<Result<_>>()?;
        if chunk.is_empty() {
            return Ok(());
        }
        score(&chunk)?.iter().try_for_each(&mut write)?;
    }
}

/// Log-probabilities of completions under a language model, a row each.
///
/// The prompt is read as `policy` shows it: a text through its template, a conversation through the
/// chat template. A completion is its text and nothing else, neither an end-of-text token nor what
/// a chat template puts behind an answer, split into tokens as it follows the prompt.
///
/// # Errors
/// A row is no prompt and completion, a text does not fit the model, or the device fails.
pub fn log_probs<M: CausalLm>(
    (model, tokenizer): (&M, &Tokenizer),
    policy: &PolicyConfig,
    rows: &[Demonstration],
) -> Result<Vec<Scored>> {
    let tree = |row: &Demonstration| {
        let (prompt, completion) = parts(row)?;
        let completion = match prompt {
            Context::Text(text) => {
                tokenizer.encode_following(&policy.render(text), &completion.text)?
            }
            Context::Conversation(asked) => {
                tokenizer.encode_open_answer(&policy.conversation(asked), completion)?
            }
        };
        Ok(Tree::single(
            policy.encode_prompt(tokenizer, prompt)?,
            completion,
        ))
    };
    let of_row = |row: &Demonstration| {
        let tree = tree(row).and_then(|tree| {
            crate::batch::check(&tree, model.vocab_size(), model.max_len()).map(|()| tree)
        });
        tree.map_err(|e| Error::Usage(format!("row `{}`: {e}", row.id)))
    };
    let trees: Vec<Tree> = rows.iter().map(of_row).collect::<Result<_>>()?;
    let max_tokens = (MAX_LOG_PROBS / model.vocab_size().max(1)).clamp(64, 16_384);
    let log_probs = log_probs_of(model, &trees, 1.0, max_tokens)?;
    let scored = rows.iter().zip(trees).zip(log_probs);
    let scored = scored.map(|((row, mut tree), log_probs)| Scored {
        id: row.id.clone(),
        token_ids: tree.completions.pop().unwrap_or_default(),
        log_prob: log_probs.iter().sum(),
        token_log_probs: log_probs,
    });
    Ok(scored.collect())
}

/// Rewards of completions, a row each. The reward model reads what it was trained on: the prompt,
/// the completion and what ends it.
///
/// # Errors
/// As [`log_probs`].
pub fn rewards<M: CausalLm>(
    model: &ModelReward<M>,
    rows: &[Demonstration],
) -> Result<Vec<Rewarded>> {
    let completion = |row: &Demonstration| {
        let (prompt, completion) = parts(row)?;
        Ok(Completion {
            prompt_id: row.id.clone(),
            prompt: prompt.clone(),
            index: 0,
            completion: completion.text.clone(),
            n_tokens: 0,
            log_prob: 0.0,
            finished: true,
        })
    };
    let completions: Vec<Completion> = rows.iter().map(completion).collect::<Result<_>>()?;
    let raw = model.raw(&completions)?;
    let rewarded = rows.iter().zip(raw).map(|(row, reward)| Rewarded {
        id: row.id.clone(),
        reward,
        normalized_reward: model.normalized(reward),
    });
    Ok(rewarded.collect())
}

fn parts(row: &Demonstration) -> Result<(&Context, &Answer)> {
    match &row.form {
        Form::PromptCompletion { prompt, completion } => Ok((prompt, completion)),
        Form::Messages(_) | Form::Text(_) => Err(Error::Usage(format!(
            "row `{}` has no `prompt` and `completion`",
            row.id
        ))),
    }
}
