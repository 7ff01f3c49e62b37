//! What a labeler and a judge made of pairs, as a stage keeps it while it is at work.

use std::iter::Sum;
use std::ops::{Add, AddAssign};

use serde::{Deserialize, Serialize};

use super::{Comparison, Method, Preference, Record, Unlabeled, id_text, probability};
use crate::error::Result;

/// What a labeler made of one pair.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Judged {
    /// The verdict.
    pub verdict: Verdict,
    /// How it was found.
    pub method: Method,
    /// Whether the text that is judged had to lose its beginning to fit.
    pub truncated: bool,
    /// What it cost.
    pub usage: Usage,
}

/// A preference, or the pair that there is none on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// One completion is better.
    Preference(Preference),
    /// There is no verdict.
    Unlabeled(Unlabeled),
}

/// What a judge made of two policies' completions of one prompt; [`Comparison`] where there is a
/// verdict.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Compared {
    /// [`Comparison::prompt_id`].
    #[serde(deserialize_with = "id_text")]
    pub prompt_id: String,
    /// [`Comparison::judge`].
    pub judge: String,
    /// [`Comparison::a`].
    pub a: String,
    /// [`Comparison::b`].
    pub b: String,
    /// [`Comparison::p_win`]; `None` where the judge gave no verdict.
    pub p_win: Option<f32>,
    /// [`Comparison::length_a`].
    pub length_a: usize,
    /// [`Comparison::length_b`].
    pub length_b: usize,
}

impl Compared {
    /// The verdict, if there is one.
    pub fn verdict(self) -> Option<Comparison> {
        Some(Comparison {
            p_win: self.p_win?,
            prompt_id: self.prompt_id,
            judge: self.judge,
            a: self.a,
            b: self.b,
            length_a: self.length_a,
            length_b: self.length_b,
        })
    }
}

impl Record for Judged {
    fn check(&self) -> Result<()> {
        match &self.verdict {
            Verdict::Preference(row) => row.check(),
            Verdict::Unlabeled(row) => row.check(),
        }
    }
}

impl Record for Compared {
    fn check(&self) -> Result<()> {
        self.p_win.map_or(Ok(()), |p| probability("p_win", p))
    }
}

/// What a question cost. Tokens are those of the texts, whatever was saved by sharing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// Questions put to the answerer.
    pub requests: u64,
    /// Of those, the ones answered from a cache.
    pub cached: u64,
    /// Tokens read.
    pub prompt_tokens: u64,
    /// Tokens written.
    pub completion_tokens: u64,
    /// US dollars, by the labeler's price; what a cache answers costs nothing.
    pub cost_usd: f64,
}

impl Add for Usage {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            requests: self.requests + other.requests,
            cached: self.cached + other.cached,
            prompt_tokens: self.prompt_tokens + other.prompt_tokens,
            completion_tokens: self.completion_tokens + other.completion_tokens,
            cost_usd: self.cost_usd + other.cost_usd,
        }
    }
}

impl AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sum for Usage {
    fn sum<I: Iterator<Item = Self>>(items: I) -> Self {
        items.fold(Self::default(), Add::add)
    }
}
