//! Talking to a model: one conversation as it is written, or the prompts of a file in batches.

use std::ops::ControlFlow;

use rand::rngs::StdRng;
use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::generate::{SamplingConfig, generate, stream};
use crate::model::CausalLm;
use crate::record::{Answered, Context, Conversation, Message, Prompt};
use crate::tokenizer::Tokenizer;

/// Batches that are read, answered and written at a time: enough for prompts of similar length to
/// find each other.
const BATCHES: usize = 4;

/// How a prompt is shown to the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shown {
    /// A text as it stands, with the special tokens that the tokenizer puts around texts.
    Raw,
    /// By the chat template; a text is what the user says.
    Chat {
        /// What the system says first, where the conversation does not begin with it.
        system: Option<String>,
        /// Variables of the chat template; those of a row come before them.
        template_kwargs: Map<String, Value>,
    },
}

/// A model that answers.
pub struct Responder<'a, M> {
    /// Weights, without gradients.
    pub model: &'a M,
    /// Text to tokens and back.
    pub tokenizer: &'a Tokenizer,
    /// How prompts are shown to it.
    pub shown: Shown,
    /// How answers are drawn.
    pub sampling: SamplingConfig,
}

impl<M: CausalLm> Responder<'_, M> {
    /// Answers the prompts one batch after the other and hands each answer to `write`, in the order
    /// of the prompts; memory does not grow with their number. Returns how many there were.
    ///
    /// # Errors
    /// A row cannot be read, shown or written, or does not fit the model.
    pub fn answer_all(
        &self,
        prompts: impl IntoIterator<Item = Result<Prompt>>,
        rng: &mut StdRng,
        mut write: impl FnMut(&Answered) -> Result<()>,
    ) -> Result<usize> {
        let mut prompts = prompts.into_iter();
        let mut n = 0;
        loop {
            let some = prompts.by_ref().take(BATCHES * self.sampling.batch_size);
            let rows: Vec<Prompt> = some.collect::<Result<_>>()?;
            if rows.is_empty() {
                return Ok(n);
            }
            n += rows.len();
            for answer in self.answer(rows, rng)? {
                write(&answer)?;
            }
        }
    }

    fn answer(&self, rows: Vec<Prompt>, rng: &mut StdRng) -> Result<Vec<Answered>> {
        let mut encoded = Vec::with_capacity(rows.len());
        for row in &rows {
            let of_row = |e: Error| Error::Usage(format!("prompt `{}`: {e}", row.id));
            let ids = self.encode(&row.prompt).map_err(of_row)?;
            let found = ids.len() + self.sampling.max_new_tokens;
            if found > self.model.max_len() {
                return Err(Error::TooLong {
                    what: format!("prompt `{}` with its completion", row.id),
                    found,
                    limit: self.model.max_len(),
                });
            }
            encoded.push(ids);
        }
        let eos = self.tokenizer.eos();
        let samples = generate(self.model, &encoded, 1, eos, &self.sampling, rng)?;
        let rows = rows.into_iter().zip(encoded).zip(samples);
        let answered = rows.map(|((row, prompt_ids), sample)| {
            Ok(Answered {
                id: row.id,
                prompt_ids,
                completion: self.tokenizer.decode(&sample.tokens)?,
                completion_ids: sample.tokens,
            })
        });
        answered.collect()
    }

    /// Answers one prompt and hands the text to `tell` piece by piece as it is drawn; returns it
    /// whole. The answer is as long as the model has room for, `max_new_tokens` at most.
    ///
    /// # Errors
    /// The prompt cannot be shown or leaves no room for an answer; those of `tell`.
    pub fn stream(
        &self,
        prompt: &Context,
        rng: &mut StdRng,
        mut tell: impl FnMut(&str) -> Result<()>,
    ) -> Result<String> {
        let ids = self.encode(prompt)?;
        let room = self.model.max_len().saturating_sub(ids.len());
        let mut sampling = self.sampling.clone();
        sampling.max_new_tokens = sampling.max_new_tokens.min(room).max(1);
        let (mut tokens, mut told) = (Vec::new(), String::new());
        let eos = self.tokenizer.eos();
        stream(self.model, &ids, eos, &sampling, rng, |token| {
            tokens.push(token);
            let text = self.tokenizer.decode(&tokens)?;
            // The bytes of a character may come one token at a time.
            if let Some(piece) = text
                .strip_prefix(&told)
                .filter(|_| !text.ends_with('\u{fffd}'))
            {
                tell(piece)?;
                told = text;
            }
            Ok(ControlFlow::Continue(()))
        })?;
        let text = self.tokenizer.decode(&tokens)?;
        if let Some(piece) = text.strip_prefix(&told).filter(|piece| !piece.is_empty()) {
            tell(piece)?;
        }
        Ok(text)
    }

    fn encode(&self, prompt: &Context) -> Result<Vec<u32>> {
        match (&self.shown, prompt) {
            (Shown::Raw, Context::Text(text)) => self.tokenizer.encode_prompt(text),
            (Shown::Raw, Context::Conversation(_)) => Err(Error::Usage(
                "a list of messages cannot be shown raw, for it needs a chat template".into(),
            )),
            (
                Shown::Chat {
                    system,
                    template_kwargs,
                },
                prompt,
            ) => {
                let mut conversation = match prompt {
                    Context::Conversation(conversation) => conversation.clone(),
                    Context::Text(text) => Conversation {
                        messages: vec![Message::new("user", text)],
                        ..Default::default()
                    },
                };
                let begins = conversation
                    .messages
                    .first()
                    .is_some_and(|first| first.role == "system");
                if let Some(system) = system.as_ref().filter(|_| !begins) {
                    conversation
                        .messages
                        .insert(0, Message::new("system", system));
                }
                for (name, value) in template_kwargs {
                    let kwargs = &mut conversation.chat_template_kwargs;
                    kwargs.entry(name).or_insert_with(|| value.clone());
                }
                self.tokenizer.encode_chat(&conversation)
            }
        }
    }
}
