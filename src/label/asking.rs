//! From a pair or a completion to the questions that are put to a language model.

use std::borrow::Cow;
use std::sync::Arc;

use rand::RngExt;
use rand::rngs::StdRng;

use super::config::{AskConfig, Orders, RationaleConfig, Truncation};
use super::exemplar::{Draw, Exemplar, after, drawn, exemplars, shown};
use super::prompt::{Prompt, Slots, Task};
use super::{Answerer, Candidate, Pair, Question, fit};
use crate::error::{Error, Result};
use crate::seed::rng_for;

/// What a labeler asks: the prompts of both tasks, read and checked.
pub struct Asking {
    pub(super) config: AskConfig,
    pub(super) compare: Prompt,
    pub(super) score: Prompt,
    exemplars: Vec<Exemplar>,
    /// The exemplars as text, where all pairs are shown the same.
    shown: String,
    seed: u64,
}

/// A question, and how a rationale for it is asked for.
pub(super) struct Posed {
    pub(super) question: Question,
    request: String,
    /// Seed of the rationales.
    pub(super) seed: u64,
}

/// The questions about one pair or one completion.
pub(super) struct Item {
    /// One for each order.
    pub(super) posed: Vec<Posed>,
    /// Whether the pair's `a` is shown first, for each order.
    pub(super) a_first: Vec<bool>,
    /// Whether the text that is judged lost its beginning.
    pub(super) truncated: bool,
}

/// What one item needs besides the texts.
struct Frame<'a> {
    prompt: &'a Prompt,
    rationale: Option<&'a RationaleConfig>,
    principle: &'a str,
    exemplars: Cow<'a, str>,
    /// Names the item, for its seeds.
    id: &'a str,
}

impl Asking {
    /// Reads the prompts and exemplars that `config` names; `seed` decides what is left to chance.
    ///
    /// # Errors
    /// A file cannot be read, or a prompt is for another task or without what is asked of it.
    pub fn new(config: &AskConfig, seed: u64) -> Result<Self> {
        let reasoning = config.rationale.is_some();
        let compare = prompt("prompt", &config.prompt, Task::Compare, reasoning)?;
        let scores_reason = config.score_rationale.is_some();
        let score = prompt(
            "score_prompt",
            &config.score_prompt,
            Task::Score,
            scores_reason,
        )?;
        let mut rng = rng_for(seed, "exemplars", 0);
        let exemplars = exemplars(&compare, &config.exemplars, reasoning, &mut rng)?;
        let shown = match config.exemplars.draw {
            Draw::First | Draw::Run => shown(&compare, &exemplars, reasoning)?,
            Draw::Pair => String::new(),
        };
        Ok(Self {
            config: config.clone(),
            compare,
            score,
            exemplars,
            shown,
            seed,
        })
    }

    /// The questions about each pair, in the orders that are asked for.
    pub(super) fn pairs<A: Answerer>(&self, pairs: &[Pair], answerer: &A) -> Result<Vec<Item>> {
        let mut prefix = Arc::from("");
        let item = |pair: &Pair| {
            // What is left to chance is the same for a pair and the pair turned round.
            let (low, high) = (pair.a.min(pair.b), pair.a.max(pair.b));
            let mut rng = self.rng("pair", &[pair.prompt_id, low, high]);
            let frame = Frame {
                prompt: &self.compare,
                rationale: self.config.rationale.as_ref(),
                principle: principle(&self.compare, &mut rng),
                exemplars: self.exemplars_of_pair(&mut rng)?,
                id: pair.prompt_id,
            };
            let low_first: bool = rng.random();
            let a_first = match self.config.orders {
                Orders::Both => vec![true, false],
                Orders::Given => vec![true],
                Orders::Random => vec![low_first == (pair.a == low)],
            };
            let order = |&a_first: &bool| match a_first {
                true => vec![pair.a, pair.b],
                false => vec![pair.b, pair.a],
            };
            let samples: Vec<Vec<&str>> = a_first.iter().map(order).collect();
            let text = pair.prompt.transcript();
            let (posed, truncated) = self.pose(&frame, &text, &samples, &mut prefix, answerer)?;
            Ok(Item {
                posed,
                a_first,
                truncated,
            })
        };
        pairs.iter().map(item).collect()
    }

    /// The question about each completion.
    pub(super) fn candidates<A: Answerer>(
        &self,
        candidates: &[Candidate],
        answerer: &A,
    ) -> Result<Vec<Item>> {
        let mut prefix = Arc::from("");
        let item = |row: &Candidate| {
            let mut rng = self.rng("score", &[row.prompt_id, row.completion]);
            let frame = Frame {
                prompt: &self.score,
                rationale: self.config.score_rationale.as_ref(),
                principle: principle(&self.score, &mut rng),
                exemplars: "".into(),
                id: row.prompt_id,
            };
            let samples = [vec![row.completion]];
            let text = row.prompt.transcript();
            let (posed, truncated) = self.pose(&frame, &text, &samples, &mut prefix, answerer)?;
            Ok(Item {
                posed,
                a_first: Vec::new(),
                truncated,
            })
        };
        candidates.iter().map(item).collect()
    }

    fn rng(&self, purpose: &str, names: &[&str]) -> StdRng {
        rng_for(self.seed, &format!("{purpose}\0{}", names.join("\0")), 0)
    }

    fn exemplars_of_pair(&self, rng: &mut StdRng) -> Result<Cow<'_, str>> {
        let config = &self.config.exemplars;
        if config.draw != Draw::Pair {
            return Ok(self.shown.as_str().into());
        }
        let rows = drawn(&self.exemplars, config.shots, rng);
        let text = shown(&self.compare, rows, self.config.rationale.is_some())?;
        Ok(text.into())
    }

    /// The questions about all samples of one text, which is cut where that is asked for; whether
    /// it was. `prefix` is that of the question before, to be shared.
    fn pose<A: Answerer>(
        &self,
        frame: &Frame,
        text: &str,
        samples: &[Vec<&str>],
        prefix: &mut Arc<str>,
        answerer: &A,
    ) -> Result<(Vec<Posed>, bool)> {
        let mut posed = |text: &str| {
            let begin = frame.prefix(text)?;
            if **prefix != *begin {
                *prefix = begin.into();
            }
            let posed = |sample: &Vec<&str>| self.posed(frame, prefix, sample);
            samples.iter().map(posed).collect::<Result<Vec<_>>>()
        };
        let start = match (self.config.truncation, answerer.max_len()) {
            (Truncation::KeepEnd, Some(max_len)) => {
                let written = frame.rationale.map_or(0, |r| r.decoding.max_new_tokens);
                let limit = max_len.saturating_sub(written + ANSWER_TOKENS);
                fit::start(text, limit, |text| longest(&posed(text)?, limit, answerer))?
            }
            _ => 0,
        };
        Ok((posed(&text[start..])?, start > 0))
    }

    fn posed(&self, frame: &Frame, prefix: &Arc<str>, sample: &[&str]) -> Result<Posed> {
        let slots = Slots {
            prompt: "",
            completions: sample,
            principle: frame.principle,
        };
        let file = &frame.prompt.file;
        let cot = file.chain_of_thought.as_ref();
        let request = cot.filter(|_| frame.rationale.is_some());
        let request = request.map(|cot| frame.prompt.fill(&cot.request, &slots));
        let names = [&[frame.id], sample].concat();
        Ok(Posed {
            question: Question {
                prefix: prefix.clone(),
                text: frame.prompt.fill(&file.sample, &slots)?,
                ending: frame.prompt.fill(&file.ending, &slots)?,
            },
            request: request.transpose()?.unwrap_or_default(),
            seed: self.rng("rationale", &names).random(),
        })
    }
}

/// Room left for the answer and for where texts meet, which tokenizers may see otherwise.
const ANSWER_TOKENS: usize = 16;

/// Length in tokens of the longest question with its request; a text of few enough bytes need not
/// be counted, for no token is shorter than a byte.
fn longest<A: Answerer>(posed: &[Posed], limit: usize, answerer: &A) -> Result<usize> {
    let mut longest = 0;
    for posed in posed {
        let question = match posed.request.is_empty() {
            true => posed.question.clone(),
            false => posed.after(""),
        };
        let bytes = question.full().len();
        let tokens = if bytes + ANSWER_TOKENS <= limit {
            bytes
        } else {
            answerer.count_tokens(&question)?.unwrap_or(0)
        };
        longest = longest.max(tokens);
    }
    Ok(longest)
}

impl Frame<'_> {
    fn prefix(&self, text: &str) -> Result<String> {
        let slots = Slots {
            prompt: text,
            completions: &[],
            principle: self.principle,
        };
        let preamble = self.prompt.preamble(self.rationale.is_some(), &slots)?;
        let context = self.prompt.fill(&self.prompt.file.context, &slots)?;
        Ok(format!("{preamble}{}{context}", self.exemplars))
    }
}

impl Posed {
    /// The question for a rationale.
    pub(super) fn request(&self) -> Question {
        Question {
            ending: self.request.clone(),
            ..self.question.clone()
        }
    }

    /// The question after a rationale was given.
    pub(super) fn after(&self, rationale: &str) -> Question {
        Question {
            text: format!("{}{}", self.question.text, after(&self.request, rationale)),
            ..self.question.clone()
        }
    }
}

fn prompt(field: &str, name: &str, task: Task, reasoning: bool) -> Result<Prompt> {
    let prompt = Prompt::load(name)?;
    let refused =
        |expected: &str| Err(Error::field(format!("labeler.ask.{field}"), name, expected));
    match task {
        Task::Compare if prompt.file.task != task => refused("a prompt with `task = \"compare\"`"),
        Task::Score if prompt.file.task != task => refused("a prompt with `task = \"score\"`"),
        _ if reasoning && prompt.file.chain_of_thought.is_none() => {
            refused("a prompt with `[chain_of_thought]`, for rationales are asked for")
        }
        _ => Ok(prompt),
    }
}

/// One of the prompt's principles; nothing where it has none.
fn principle<'a>(prompt: &'a Prompt, rng: &mut StdRng) -> &'a str {
    match prompt.file.principles.len() {
        0 => "",
        n => &prompt.file.principles[rng.random_range(0..n)],
    }
}

#[cfg(test)]
mod tests;
