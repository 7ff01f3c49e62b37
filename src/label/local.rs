//! A language model on this machine answers a labeler's questions.

use std::path::Path;

use burn::prelude::*;
use serde::{Deserialize, Serialize};

use super::{
    Answered, Answerer, Candidates, Choice, Decoding, NoAnswer, PromptedLabeler, Question, Reply,
    Request, Sharing, Usage, answer_log_probs,
};
use crate::batch::Tree;
use crate::error::{Error, Result};
use crate::generate::{Sample, SamplingConfig, generate_seeded};
use crate::model::{CausalLm, Loader, Transformer};
use crate::precision::Precision;
use crate::record::{Conversation, Message, Method};
use crate::tokenizer::Tokenizer;

/// Tokens held in memory while texts are written, what they go on from included.
const MAX_HELD_TOKENS: usize = 32_768;

/// How a question becomes the text that a model reads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// As it is.
    #[default]
    Plain,
    /// As a user's turn in the model's chat template; the ending begins the assistant's.
    Chat,
}

/// A language model and its tokenizer. Answers are read from the probabilities of their tokens,
/// never from text.
///
/// Consecutive questions with one prefix share one encoding of it.
pub struct LocalAnswerer<M = Transformer> {
    name: String,
    /// Who answers, without gradients.
    pub(crate) model: M,
    tokenizer: Tokenizer,
    format: Format,
    sharing: Sharing,
    /// Answers that were asked for before, as tokens.
    known: Vec<(Vec<String>, Candidates)>,
}

/// A text to go on from, and a seed for each text to be written.
struct Prompt {
    tokens: Vec<u32>,
    seeds: Vec<u64>,
}

/// A labeler that asks a language model on this machine.
pub type LocalLabeler<M = Transformer> = PromptedLabeler<LocalAnswerer<M>>;

impl LocalLabeler<Transformer> {
    /// Loads the model of a Hugging Face folder, whose name is the labeler's, to be asked what is
    /// asked by default.
    ///
    /// # Errors
    /// As [`model::load`](crate::model::load) and [`Tokenizer::load`].
    pub fn load(dir: &Path, device: &Device) -> Result<Self> {
        Self::over(LocalAnswerer::load(dir, device)?)
    }
}

impl<M: CausalLm> LocalLabeler<M> {
    /// A labeler from a model and its tokenizer, which asks what is asked by default.
    ///
    /// # Errors
    /// As [`Asking::new`](super::Asking::new).
    pub fn of(name: String, model: M, tokenizer: Tokenizer) -> Result<Self> {
        Self::over(LocalAnswerer::new(name, model, tokenizer))
    }
}

impl LocalAnswerer<Transformer> {
    /// Loads the model of a Hugging Face folder; its name is the folder's.
    ///
    /// # Errors
    /// As [`model::load`](crate::model::load) and [`Tokenizer::load`].
    pub fn load(dir: &Path, device: &Device) -> Result<Self> {
        Self::load_in(dir, device, Precision::F32)
    }

    /// [`load`](Self::load) in another format than 32 bits.
    ///
    /// # Errors
    /// As [`load`](Self::load), and when the device does not compute in it.
    pub fn load_in(dir: &Path, device: &Device, precision: Precision) -> Result<Self> {
        let name = dir
            .file_name()
            .unwrap_or(dir.as_os_str())
            .to_string_lossy()
            .into_owned();
        let tokenizer = Tokenizer::load(dir)?;
        let mut loader = Loader::new(device).in_precision(precision)?;
        Ok(Self::new(name, loader.load(dir)?, tokenizer))
    }
}

impl<M: CausalLm> LocalAnswerer<M> {
    /// An answerer from a model and its tokenizer.
    pub fn new(name: String, model: M, tokenizer: Tokenizer) -> Self {
        Self {
            name,
            model,
            tokenizer,
            format: Format::Plain,
            sharing: Sharing::default(),
            known: Vec::new(),
        }
    }

    /// The same answerer with questions in another format.
    ///
    /// # Errors
    /// [`Format::Chat`] for a tokenizer without chat template.
    pub fn with_format(self, format: Format) -> Result<Self> {
        if format == Format::Chat && self.tokenizer.chat_template().is_none() {
            let expected = "plain: the tokenizer has no chat template";
            return Err(Error::field("labeler.format", "chat", expected));
        }
        Ok(Self { format, ..self })
    }

    /// The same answerer with another amount of work at once.
    pub fn with_sharing(self, sharing: Sharing) -> Self {
        Self { sharing, ..self }
    }

    fn candidates(&mut self, answers: &[String]) -> Result<Candidates> {
        if let Some((_, known)) = self.known.iter().find(|(texts, _)| texts == answers) {
            return Ok(known.clone());
        }
        let texts: Vec<&str> = answers.iter().map(String::as_str).collect();
        let candidates = Candidates::new(&texts, &self.tokenizer)?;
        self.known.push((answers.to_vec(), candidates.clone()));
        Ok(candidates)
    }

    /// The questions of each prefix as one tree.
    fn trees(&self, questions: &[Question]) -> Result<Vec<Tree>> {
        let tree = |group: &[Question]| {
            if self.format == Format::Chat {
                let asked = group.iter().map(|question| self.encode(question));
                return Ok(common_tree(asked.collect::<Result<_>>()?));
            }
            let rest = |question: &Question| self.tokenizer.encode_continuation(&question.rest());
            Ok(Tree {
                prompt: self.tokenizer.encode_prompt(&group[0].prefix)?,
                completions: group.iter().map(rest).collect::<Result<_>>()?,
            })
        };
        let groups = questions.chunk_by(|a, b| a.prefix == b.prefix);
        groups.map(tree).collect()
    }

    fn encode(&self, question: &Question) -> Result<Vec<u32>> {
        if self.format == Format::Chat {
            let asked = format!("{}{}", question.prefix, question.text);
            let ending = question.ending.trim_start();
            return self.encode_turns(&asked, Some(ending).filter(|text| !text.is_empty()));
        }
        let mut tokens = self.tokenizer.encode_prompt(&question.prefix)?;
        tokens.extend(self.tokenizer.encode_continuation(&question.rest())?);
        Ok(tokens)
    }

    fn encode_turns(&self, user: &str, assistant: Option<&str>) -> Result<Vec<u32>> {
        let user = Message::new("user", user);
        let assistant = assistant.map(|text| Message::new("assistant", text));
        self.tokenizer.encode_chat(&Conversation {
            messages: [user].into_iter().chain(assistant).collect(),
            ..Conversation::default()
        })
    }

    /// What a text is written after: in a chat all of the question is the user's, for the text is
    /// the assistant's from its beginning.
    fn encode_request(&self, question: &Question) -> Result<Vec<u32>> {
        match self.format {
            Format::Plain => self.encode(question),
            Format::Chat => self.encode_turns(&question.full(), None),
        }
    }

    /// The texts of prompts that ask for equally many.
    fn write_all(&self, prompts: &[Prompt], decoding: &Decoding) -> Result<Vec<Answered<Reply>>> {
        let limit = self.model.max_len();
        let needed = |prompt: &Prompt| prompt.tokens.len() + decoding.max_new_tokens;
        let fitting = || prompts.iter().filter(|prompt| needed(prompt) <= limit);
        let tokens: Vec<Vec<u32>> = fitting().map(|prompt| prompt.tokens.clone()).collect();
        let seeds: Vec<u64> = fitting().flat_map(|prompt| prompt.seeds.clone()).collect();
        let (eos, config) = (self.tokenizer.eos(), sampling(decoding, &tokens));
        let samples = generate_seeded(&self.model, &tokens, &seeds, eos, &config)?;
        let mut samples = samples.into_iter();
        let mut replies = Vec::new();
        for prompt in prompts {
            for _ in &prompt.seeds {
                let fits = needed(prompt) <= limit;
                replies.push(match fits.then(|| samples.next()).flatten() {
                    Some(sample) => {
                        let reply = self.reply(&sample, decoding)?;
                        answered(Ok(reply), prompt.tokens.len(), sample.tokens.len())
                    }
                    None => answered(Err(too_long(needed(prompt), limit)), 0, 0),
                });
            }
        }
        Ok(replies)
    }

    fn reply(&self, sample: &Sample, decoding: &Decoding) -> Result<Reply> {
        let text = self.tokenizer.decode(&sample.tokens)?;
        let stops = decoding.stop.iter().filter_map(|stop| text.find(stop));
        Ok(match stops.min() {
            Some(end) => Reply {
                text: text[..end].to_string(),
                finished: true,
            },
            None => Reply {
                text,
                finished: sample.finished,
            },
        })
    }
}

impl<M: CausalLm> Answerer for LocalAnswerer<M> {
    fn name(&self) -> &str {
        &self.name
    }

    fn choose(
        &mut self,
        questions: &[Question],
        answers: &[String],
    ) -> Result<Vec<Answered<Choice>>> {
        let candidates = self.candidates(answers)?;
        let mut trees = self.trees(questions)?;
        let limit = self.model.max_len() - candidates.longest_prefix().min(self.model.max_len());
        let lengths: Vec<usize> = trees
            .iter()
            .flat_map(|tree| {
                tree.completions
                    .iter()
                    .map(|rest| tree.prompt.len() + rest.len())
            })
            .collect();
        for tree in &mut trees {
            let room = limit.saturating_sub(tree.prompt.len());
            tree.completions.retain(|rest| rest.len() <= room);
        }
        trees.retain(|tree| !tree.completions.is_empty());
        let mut found =
            answer_log_probs(&self.model, &trees, &candidates, &self.sharing)?.into_iter();
        let answer = |length: usize| {
            let log_probs = (length <= limit).then(|| found.next()).flatten();
            let choice = log_probs.map(|log_probs| Choice {
                log_probs,
                method: Method::LogProbs,
            });
            let read = choice.as_ref().map_or(0, |_| length);
            answered(choice.ok_or(too_long(length, limit)), read, 0)
        };
        Ok(lengths.into_iter().map(answer).collect())
    }

    fn write(&mut self, requests: &[Request], decoding: &Decoding) -> Result<Vec<Answered<Reply>>> {
        let mut prompts = Vec::new();
        for group in requests.chunk_by(|a, b| a.question == b.question) {
            let tokens = self.encode_request(&group[0].question)?;
            let seeds = group.iter().map(|request| request.seed).collect();
            prompts.push(Prompt { tokens, seeds });
        }
        let mut replies = Vec::with_capacity(requests.len());
        // Prompts with as many texts each are written together.
        for prompts in prompts.chunk_by(|a, b| a.seeds.len() == b.seeds.len()) {
            replies.extend(self.write_all(prompts, decoding)?);
        }
        Ok(replies)
    }

    fn max_len(&self) -> Option<usize> {
        Some(self.model.max_len())
    }

    fn count_tokens(&self, question: &Question) -> Result<Option<usize>> {
        Ok(Some(self.encode(question)?.len()))
    }
}

/// Token sequences as one tree: what they begin with, and how each goes on.
fn common_tree(mut rows: Vec<Vec<u32>>) -> Tree {
    let (first, rest) = match rows.split_first() {
        Some((first, rest)) => (first.as_slice(), rest),
        None => (&[][..], &[][..]),
    };
    let shared = |row: &Vec<u32>| first.iter().zip(row).take_while(|(a, b)| a == b).count();
    let len = rest.iter().map(shared).min().unwrap_or(first.len());
    let prompt = first[..len].to_vec();
    for row in &mut rows {
        row.drain(..len);
    }
    Tree {
        prompt,
        completions: rows,
    }
}

fn too_long(found: usize, limit: usize) -> NoAnswer {
    NoAnswer::TooLong { found, limit }
}

fn answered<T>(value: Result<T, NoAnswer>, read: usize, written: usize) -> Answered<T> {
    Answered {
        value,
        usage: Usage {
            requests: 1,
            prompt_tokens: read as u64,
            completion_tokens: written as u64,
            ..Usage::default()
        },
    }
}

fn sampling(decoding: &Decoding, prompts: &[Vec<u32>]) -> SamplingConfig {
    let longest = prompts.iter().map(Vec::len).max().unwrap_or(0);
    SamplingConfig {
        temperature: decoding.temperature,
        top_p: decoding.top_p,
        top_k: decoding.top_k,
        max_new_tokens: decoding.max_new_tokens,
        batch_size: (MAX_HELD_TOKENS / (longest + decoding.max_new_tokens)).max(1),
    }
}

#[cfg(test)]
mod tests;
