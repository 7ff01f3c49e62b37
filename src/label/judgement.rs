//! What a labeler says.

use super::{NoAnswer, Usage};
use crate::record::Method;

/// What a labeler says of a pair.
#[derive(Debug, Clone, PartialEq)]
pub struct Judgement {
    /// Probability that `a` is better, asked with `a` first; `None` when this order was not asked
    /// or has no answer.
    pub p_a_first: Option<f32>,
    /// Probability that `a` is better, asked with `a` second.
    pub p_a_second: Option<f32>,
    /// Why there is no verdict: an order that was asked has no answer.
    pub no_verdict: Option<NoAnswer>,
    /// How the verdict was found.
    pub method: Method,
    /// Whether the text that is judged had to lose its beginning to fit.
    pub truncated: bool,
    /// The labeler's reasons, in the order in which they were written.
    pub rationales: Vec<String>,
    /// What it cost.
    pub usage: Usage,
}

impl Judgement {
    /// A verdict of both orders, without rationale or cost.
    pub fn of_both(p_a_first: f32, p_a_second: f32, method: Method) -> Self {
        Self {
            p_a_first: Some(p_a_first),
            p_a_second: Some(p_a_second),
            no_verdict: None,
            method,
            truncated: false,
            rationales: Vec::new(),
            usage: Usage::default(),
        }
    }

    /// Probability that `a` is better, averaged over the orders that were asked (section 2.1.1 of
    /// the paper); `None` when one of them has no answer, for half of it would hold the position
    /// bias that asking twice is to remove.
    pub fn p_a(&self) -> Option<f32> {
        if self.no_verdict.is_some() {
            return None;
        }
        match (self.p_a_first, self.p_a_second) {
            (Some(first), Some(second)) => Some(0.5 * (first + second)),
            (first, second) => first.or(second),
        }
    }
}

/// What a labeler says of one completion.
#[derive(Debug, Clone, PartialEq)]
pub struct Scored {
    /// How good it is, in `[-1, 1]`, or why that is unknown.
    pub score: Result<f32, NoAnswer>,
    /// How the score was found.
    pub method: Method,
    /// Whether the text that is judged had to lose its beginning to fit.
    pub truncated: bool,
    /// The labeler's reasons.
    pub rationales: Vec<String>,
    /// What it cost.
    pub usage: Usage,
}

impl Scored {
    /// A score without rationale or cost.
    pub fn of(score: f32, method: Method) -> Self {
        Self {
            score: Ok(score),
            method,
            truncated: false,
            rationales: Vec::new(),
            usage: Usage::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_needs_every_order_that_was_asked() {
        let both = Judgement::of_both(0.9, 0.3, Method::LogProbs);
        assert_eq!(both.p_a(), Some(0.6));
        let single = Judgement {
            p_a_second: None,
            ..both.clone()
        };
        assert_eq!(single.p_a(), Some(0.9));
        let message = "refused".to_string();
        let half = Judgement {
            no_verdict: Some(NoAnswer::Failed { message }),
            ..single
        };
        assert_eq!(half.p_a(), None);
    }
}
