//! What was asked, what it has cost, and whether there is money for more.

use super::config::Price;
use crate::error::{Error, Result};
use crate::run::{AnswerLog, TokenUsage};

/// Tokens per byte of a prompt before the first answer has been counted: on the high side for
/// English, so that a limit is not passed.
const TOKENS_PER_BYTE: f64 = 0.35;
/// Tokens that a server puts around a prompt: roles, beginnings and ends of messages.
const TOKENS_AROUND: f64 = 10.0;

/// What a client has done since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Account {
    /// Questions put to the client.
    pub questions: u64,
    /// Of those, the ones that needed no request: the answer was in the file, or the same question
    /// was on its way.
    pub cached: u64,
    /// HTTP requests, repeated ones included.
    pub requests: u64,
    /// Requests that failed and were sent again.
    pub retries: u64,
    /// Tokens read, as the endpoints count them.
    pub prompt_tokens: u64,
    /// Tokens written.
    pub completion_tokens: u64,
    /// US dollars for these tokens.
    pub cost_usd: f64,
}

/// Money spent, set aside and allowed.
#[derive(Debug)]
pub(crate) struct Budget {
    price: Price,
    limit: Option<f64>,
    /// By all answers of the file.
    spent: f64,
    /// For requests under way.
    reserved: f64,
    /// Prompts counted so far, to estimate those to come.
    bytes: f64,
    tokens: f64,
}

impl Budget {
    pub(crate) fn new(price: Option<Price>, limit: Option<f64>, before: TokenUsage) -> Self {
        let free = Price {
            input: 0.0,
            output: 0.0,
        };
        let price = price.unwrap_or(free);
        Self {
            price,
            limit,
            spent: price.cost(before.prompt_tokens as f64, before.completion_tokens as f64),
            reserved: 0.0,
            bytes: 0.0,
            tokens: 0.0,
        }
    }

    /// About how many tokens a prompt of so many bytes has.
    pub(crate) fn prompt_tokens(&self, bytes: usize) -> f64 {
        let rate = match self.tokens > 0.0 {
            true => self.tokens / self.bytes,
            false => TOKENS_PER_BYTE,
        };
        TOKENS_AROUND + bytes as f64 * rate
    }

    /// Sets money aside for a request, or says that there is not enough.
    pub(crate) fn reserve(&mut self, cost: f64) -> bool {
        let enough = self
            .limit
            .is_none_or(|limit| self.spent + self.reserved + cost <= limit);
        if enough {
            self.reserved += cost;
        }
        enough
    }

    /// What about so many tokens will cost.
    pub(crate) fn cost(&self, prompt_tokens: f64, completion_tokens: f64) -> f64 {
        self.price.cost(prompt_tokens, completion_tokens)
    }

    /// A request is over: what was set aside is free again.
    pub(crate) fn release(&mut self, reserved: f64) {
        self.reserved -= reserved;
    }

    /// An answer has come; gives its cost.
    pub(crate) fn spend(&mut self, bytes: usize, usage: TokenUsage) -> f64 {
        self.bytes += bytes as f64;
        self.tokens += (usage.prompt_tokens as f64 - TOKENS_AROUND).max(0.0);
        let cost = self
            .price
            .cost(usage.prompt_tokens as f64, usage.completion_tokens as f64);
        self.spent += cost;
        cost
    }

    /// Why no further question is asked, and how to go on.
    ///
    /// # Errors
    /// Always: that is what it is for.
    pub(crate) fn exhausted(&self, log: &AnswerLog) -> Result<()> {
        Err(Error::SpendingLimit {
            spent_usd: self.spent,
            limit_usd: self.limit.unwrap_or(f64::INFINITY),
            answers: log.path().to_path_buf(),
            n: log.len(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRICE: Price = Price {
        input: 2.0,
        output: 8.0,
    };

    /// 1,000 tokens at $2 and 500 at $8 a million: $0.002 + $0.004.
    #[test]
    fn tokens_have_a_price() {
        assert!((PRICE.cost(1_000.0, 500.0) - 0.006).abs() < 1e-12);
    }

    /// $0.006 spent before, $0.01 allowed: a request of $0.003 fits, a second one beside it does
    /// not. It cost $0.002 (1,000 tokens, 10 of them around 4,000 bytes), so that the next fits,
    /// too.
    #[test]
    fn money_is_set_aside_until_the_answer_comes() {
        let before = TokenUsage {
            prompt_tokens: 1_000,
            completion_tokens: 500,
        };
        let mut budget = Budget::new(Some(PRICE), Some(0.01), before);
        assert!(budget.reserve(0.003));
        assert!(!budget.reserve(0.003));
        budget.release(0.003);
        let usage = TokenUsage {
            prompt_tokens: 1_000,
            completion_tokens: 0,
        };
        assert!((budget.spend(4_000, usage) - 0.002).abs() < 1e-12);
        assert!(budget.reserve(0.0019));
        assert!(!budget.reserve(0.0002));
        assert_eq!(budget.prompt_tokens(400), 10.0 + 99.0);
    }
}
