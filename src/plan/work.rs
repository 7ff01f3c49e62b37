//! The kinds of work that stages are made of, and what they take.

use std::iter::Sum;
use std::ops::{Add, AddAssign};

use serde::Serialize;

use super::config::{ModelRates, PlanConfig, QuestionRates, RowCounts};
use super::lengths::write;
use crate::config::{Config, LabelerConfig};
use crate::error::{Error, Result};
use crate::generate::SamplingConfig;
use crate::label::config::{Orders, RationaleConfig};
use crate::label::{AskConfig, endpoint::Price};

/// Tokens, time and money.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Work {
    /// Tokens written by the policy.
    pub generated: f64,
    /// Tokens read by the policy and the models that start from it, without gradients.
    pub scored: f64,
    /// Tokens trained on.
    pub trained: f64,
    /// Tokens read by labelers and judges.
    pub asked: f64,
    /// Seconds.
    pub seconds: f64,
    /// US dollars.
    pub usd: f64,
}

impl Add for Work {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            generated: self.generated + other.generated,
            scored: self.scored + other.scored,
            trained: self.trained + other.trained,
            asked: self.asked + other.asked,
            seconds: self.seconds + other.seconds,
            usd: self.usd + other.usd,
        }
    }
}

impl AddAssign for Work {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sum for Work {
    fn sum<I: Iterator<Item = Self>>(works: I) -> Self {
        works.fold(Self::default(), Add::add)
    }
}

impl Work {
    /// So many times the same.
    pub(super) fn times(self, n: f64) -> Self {
        Self {
            generated: self.generated * n,
            scored: self.scored * n,
            trained: self.trained * n,
            asked: self.asked * n,
            seconds: self.seconds * n,
            usd: self.usd * n,
        }
    }

    /// Both at the same time.
    pub(super) fn beside(self, other: Self) -> Self {
        Self {
            seconds: self.seconds.max(other.seconds),
            ..self + other
        }
    }
}

/// What a labeler is asked.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Question {
    Comparison,
    Score,
}

/// A run file with the rates that it is planned by.
pub(super) struct Planner<'a> {
    pub(super) config: &'a Config,
    pub(super) given: &'a PlanConfig,
    pub(super) rows: RowCounts,
    policy: &'a ModelRates,
    policy_name: String,
}

impl<'a> Planner<'a> {
    pub(super) fn new(config: &'a Config, given: &'a PlanConfig, rows: RowCounts) -> Result<Self> {
        let policy_name = config.policy.model.display().to_string();
        Ok(Self {
            config,
            given,
            rows,
            policy: given.rates(&policy_name)?,
            policy_name,
        })
    }

    /// Tokens of a prompt and of `n` completions drawn by `sampling`.
    pub(super) fn tree(&self, n: f64, sampling: &SamplingConfig) -> f64 {
        self.given.lengths.prompt + n * self.completion(sampling)
    }

    pub(super) fn completion(&self, sampling: &SamplingConfig) -> f64 {
        let lengths = &self.given.lengths;
        lengths.completion.mean(sampling.max_new_tokens)
    }

    /// `n` completions of each of so many prompts, which are read once.
    pub(super) fn draw(&self, prompts: usize, n: usize, sampling: &SamplingConfig) -> Result<Work> {
        let decode = self.policy.decode.ok_or_else(|| self.missing("decode"))?;
        let lengths = &self.given.lengths;
        let survival = lengths.completion.survival(sampling.max_new_tokens);
        let together = (sampling.batch_size / n.max(1)).max(1) * n;
        let written = write(prompts * n, together, &survival, decode.seconds());
        let mut work = self.read(prompts as f64 * lengths.prompt);
        work.generated = written.tokens;
        work.seconds += written.seconds;
        Ok(work)
    }

    /// So many tokens through the policy, without gradients.
    pub(super) fn read(&self, tokens: f64) -> Work {
        Work {
            scored: tokens,
            seconds: tokens / self.policy.score_tokens_per_second,
            ..Work::default()
        }
    }

    /// So many tokens forward and backward, in `steps` steps of an optimizer.
    pub(super) fn train(&self, tokens: f64, steps: f64) -> Result<Work> {
        let rate = self.policy.train_tokens_per_second;
        let rate = rate.ok_or_else(|| self.missing("train_tokens_per_second"))?;
        Ok(Work {
            trained: tokens,
            seconds: tokens / rate + steps * self.policy.update_secs,
            ..Work::default()
        })
    }

    fn missing(&self, name: &str) -> Error {
        absent(&self.policy_name, name)
    }

    /// `n` questions to a labeler.
    pub(super) fn ask(&self, labeler: &LabelerConfig, question: Question, n: f64) -> Result<Work> {
        match labeler {
            LabelerConfig::Oracle {} => Ok(Work::default()),
            LabelerConfig::Local { model, ask, .. } => {
                let asked = Asked::new(ask, question, n);
                self.answer(&model.display().to_string(), asked, None)
            }
            LabelerConfig::Http(endpoint) => {
                let mut asked = Asked::new(&endpoint.ask, question, n);
                asked.written += asked.questions * endpoint.max_answer_tokens as f64;
                self.answer(&endpoint.model, asked, endpoint.price)
            }
            LabelerConfig::Ensemble { members, .. } => {
                let member = |member: &_| {
                    let crate::label::config::MemberConfig { labeler, .. } = member;
                    self.ask(labeler, question, n)
                };
                members.iter().map(member).sum()
            }
        }
    }

    /// `n` questions to the policy itself.
    pub(super) fn ask_itself(&self, ask: &AskConfig, question: Question, n: f64) -> Result<Work> {
        self.answer(&self.policy_name, Asked::new(ask, question, n), None)
    }

    fn answer(&self, name: &str, asked: Asked, price: Option<Price>) -> Result<Work> {
        let rates = self.given.rates(name)?;
        let QuestionRates {
            tokens,
            tokens_per_second,
        } = match asked.question {
            Question::Comparison => rates.comparison.ok_or_else(|| absent(name, "comparison"))?,
            Question::Score => rates.score.ok_or_else(|| absent(name, "score"))?,
        };
        let read = asked.questions * tokens;
        let mut seconds = read / tokens_per_second.unwrap_or(rates.score_tokens_per_second);
        if asked.reasons > 0.0 {
            let decode = rates.decode.ok_or_else(|| absent(name, "decode"))?;
            seconds += asked.reasons / decode.many;
        }
        let paid = price.map_or(0.0, |price| price.cost(read, asked.written));
        Ok(Work {
            asked: read,
            seconds,
            usd: paid + seconds / 3600.0 * rates.usd_per_hour,
            ..Work::default()
        })
    }
}

fn absent(model: &str, name: &str) -> Error {
    let field = format!("plan.models.\"{model}\".{name}");
    Error::field(field, "absent", "this rate: the run needs it")
}

/// What some questions come to.
struct Asked {
    question: Question,
    questions: f64,
    /// Tokens of rationales, which are taken to be as long as they may.
    reasons: f64,
    /// Tokens written, at most.
    written: f64,
}

impl Asked {
    fn new(ask: &AskConfig, question: Question, n: f64) -> Self {
        let (orders, rationale) = match question {
            Question::Comparison if ask.orders == Orders::Both => (2.0, &ask.rationale),
            Question::Comparison => (1.0, &ask.rationale),
            Question::Score => (1.0, &ask.score_rationale),
        };
        let questions = n * orders;
        let of_one = |config: &RationaleConfig| config.samples * config.decoding.max_new_tokens;
        let reasons = questions * rationale.as_ref().map_or(0, of_one) as f64;
        Self {
            question,
            questions,
            reasons,
            written: reasons,
        }
    }
}
