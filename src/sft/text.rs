//! Demonstrations as tokens, and which of them count.

use super::SftConfig;
use super::packing::{best_fit_decreasing, split};
use crate::batch::Document;
use crate::config::PolicyConfig;
use crate::error::{Error, Result};
use crate::record::{Demonstration, Form};
use crate::tokenizer::Tokenizer;

/// How documents that share a row are put there; TRL's `packing_strategy`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PackingStrategy {
    /// Best fit, the longest first; what is longer than a row is cut at its end.
    #[default]
    Bfd,
    /// The same, and what is longer than a row goes on in another.
    BfdSplit,
}

/// Tokens of a demonstration: prompt and completion, a conversation as the chat template writes it,
/// or a text with an end-of-text token.
fn document(
    row: &Demonstration,
    config: &SftConfig,
    policy: &PolicyConfig,
    tokenizer: &Tokenizer,
) -> Result<Document> {
    match &row.form {
        Form::PromptCompletion { prompt, completion } => {
            let mut tokens = policy.encode_prompt(tokenizer, prompt)?;
            let mut counts = vec![!config.completion_only_loss; tokens.len()];
            tokens.extend(policy.encode_completion(tokenizer, prompt, completion)?);
            counts.resize(tokens.len(), true);
            Ok(Document { tokens, counts })
        }
        Form::Messages(conversation) if config.assistant_only_loss => {
            let conversation = policy.conversation(conversation);
            let (tokens, mask) = tokenizer.encode_with_mask(&conversation)?;
            let counts = mask.into_iter().map(|written| written > 0.0).collect();
            Ok(Document { tokens, counts })
        }
        Form::Messages(conversation) => {
            let tokens = tokenizer.encode_conversation(&policy.conversation(conversation))?;
            Ok(Document {
                counts: vec![true; tokens.len()],
                tokens,
            })
        }
        Form::Text(text) => {
            let mut tokens = tokenizer.encode_prompt(text)?;
            let ended = tokens
                .last()
                .is_some_and(|last| tokenizer.eos().contains(last));
            tokens.extend(tokenizer.eos().first().filter(|_| !ended));
            Ok(Document {
                counts: vec![true; tokens.len()],
                tokens,
            })
        }
    }
}

/// The rows to train on: one demonstration each, or several with `packing`.
///
/// # Errors
/// A text cannot be encoded, or none has a token that counts.
pub(super) fn rows(
    demonstrations: &[Demonstration],
    config: &SftConfig,
    (policy, tokenizer): (&PolicyConfig, &Tokenizer),
    max_len: usize,
) -> Result<Vec<Vec<Document>>> {
    let encode = |row: &Demonstration| document(row, config, policy, tokenizer);
    let mut documents: Vec<Document> = demonstrations.iter().map(encode).collect::<Result<_>>()?;
    let limit = config.max_length.unwrap_or(max_len);
    let splits = config.packing && config.packing_strategy == PackingStrategy::BfdSplit;
    if splits {
        documents = documents
            .into_iter()
            .flat_map(|document| split(document, limit))
            .collect();
    } else if config.packing || config.max_length.is_some() {
        cut(&mut documents, limit);
    }
    documents.retain(|document| document.n_targets() > 0);
    if documents.is_empty() {
        let message = "there are no demonstrations to fine-tune on: none has a token that counts";
        return Err(Error::Usage(message.into()));
    }
    if config.packing {
        return Ok(best_fit_decreasing(documents, limit));
    }
    Ok(documents
        .into_iter()
        .map(|document| vec![document])
        .collect())
}

/// Cuts what is longer than `limit` at its end.
fn cut(documents: &mut [Document], limit: usize) {
    let longer = documents
        .iter()
        .filter(|document| document.tokens.len() > limit)
        .count();
    if longer > 0 {
        let n = documents.len();
        tracing::warn!("{longer} of {n} demonstrations are longer than {limit} tokens: cut there");
    }
    for document in documents {
        document.truncate(limit);
    }
}
