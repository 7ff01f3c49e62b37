//! Rewards that need no model: the length, the form and the repetitions of a completion. Names,
//! formulas and defaults as in TRL's `trl.rewards`.

use std::collections::HashSet;
use std::f32::consts::PI;

use fancy_regex::Regex;

use super::Reward;
use crate::error::{Error, Result};
use crate::record::Completion;
use crate::tokenizer::Tokenizer;

/// Where a completion thinks between `<think>` and `</think>` before it answers; TRL's
/// `think_format_reward`.
pub(super) const THINK_FORMAT: &str = r"(?s)\A<think>(?!.*<think>).*?</think>";

/// Punishes a completion of `length` tokens that comes near the limit: 0 up to
/// `max_completion_len - soft_punish_cache`, -1 above `max_completion_len`, linear in between. Yu et
/// al. 2025 (DAPO), arXiv:2503.14476, eq. 13.
pub fn soft_overlong_punishment(
    length: usize,
    max_completion_len: usize,
    soft_punish_cache: usize,
) -> f32 {
    let free = max_completion_len.saturating_sub(soft_punish_cache);
    if length <= free {
        0.0
    } else if length <= max_completion_len {
        (free as f32 - length as f32) / soft_punish_cache as f32
    } else {
        -1.0
    }
}

/// `(1 - unique / all) max_penalty` over the `ngram_size`-grams of `tokens`, 0 where there is none.
/// Yeo et al. 2025, arXiv:2502.03373, appendix C.2.
pub fn repetition_penalty(tokens: &[u32], ngram_size: usize, max_penalty: f32) -> f32 {
    let ngrams = tokens.windows(ngram_size.max(1));
    let all = ngrams.len();
    if all == 0 {
        return 0.0;
    }
    let unique = ngrams.collect::<HashSet<_>>().len();
    (1.0 - unique as f32 / all as f32) * max_penalty
}

/// Half a cosine from `at_shortest` for an empty completion to `at_longest` for one of `max_len`
/// tokens or more. Yeo et al. 2025, arXiv:2502.03373, appendix C.1.
pub fn cosine_scaled(length: usize, max_len: usize, at_shortest: f32, at_longest: f32) -> f32 {
    let progress = (length as f32 / max_len.max(1) as f32).min(1.0);
    at_longest + 0.5 * (at_shortest - at_longest) * (1.0 + (progress * PI).cos())
}

/// A rule as a reward.
pub enum Rule {
    /// [`soft_overlong_punishment`] of the number of tokens.
    SoftOverlongPunishment {
        /// Length from which the punishment is full.
        max_completion_len: usize,
        /// Tokens before it over which the punishment grows.
        soft_punish_cache: usize,
    },
    /// [`repetition_penalty`] of the text's tokens.
    RepetitionPenalty {
        /// What cuts the text into tokens.
        tokenizer: Box<Tokenizer>,
        /// Tokens of an n-gram.
        ngram_size: usize,
        /// The penalty of a text that is one n-gram over and over.
        max_penalty: f32,
    },
    /// [`cosine_scaled`] of the number of tokens.
    CosineScaled {
        /// Length at which the reward is `at_longest`.
        max_len: usize,
        /// Reward of a completion without tokens.
        at_shortest: f32,
        /// Reward of a completion of `max_len` tokens or more.
        at_longest: f32,
    },
    /// 1 where the expression is found in the text, else 0.
    Pattern(Box<Regex>),
}

impl Rule {
    /// [`Rule::Pattern`] of an expression in the syntax of the crate `fancy-regex`.
    ///
    /// # Errors
    /// The expression is malformed; `field` is where it stands in the run file.
    pub fn pattern(regex: &str, field: &str) -> Result<Self> {
        let compiled = Regex::new(regex);
        let malformed = |e| Error::field(field, regex, format!("a regular expression: {e}"));
        Ok(Self::Pattern(Box::new(compiled.map_err(malformed)?)))
    }

    fn of(&self, completion: &Completion) -> Result<f32> {
        let (text, n_tokens) = (&completion.completion, completion.n_tokens);
        Ok(match self {
            Self::SoftOverlongPunishment {
                max_completion_len,
                soft_punish_cache,
            } => soft_overlong_punishment(n_tokens, *max_completion_len, *soft_punish_cache),
            Self::RepetitionPenalty {
                tokenizer,
                ngram_size,
                max_penalty,
            } => {
                let tokens = tokenizer.encode_continuation(text)?;
                repetition_penalty(&tokens, *ngram_size, *max_penalty)
            }
            Self::CosineScaled {
                max_len,
                at_shortest,
                at_longest,
            } => cosine_scaled(n_tokens, *max_len, *at_shortest, *at_longest),
            Self::Pattern(regex) => {
                let found = regex.is_match(text);
                let gave_up = |e| Error::Usage(format!("the expression `{regex}`: {e}"));
                f32::from(u8::from(found.map_err(gave_up)?))
            }
        })
    }
}

impl Reward for Rule {
    fn reward(&mut self, completions: &[Completion]) -> Result<Vec<f32>> {
        completions.iter().map(|row| self.of(row)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: f32, expected: f32) {
        assert!((found - expected).abs() < 1e-6, "{found}");
    }

    // TRL, tests/test_rewards.py: 90 tokens of (100, 20).
    #[test]
    fn overlong_completions_are_punished_softly() {
        for (length, expected) in [(80, 0.0), (90, -0.5), (100, -1.0), (101, -1.0)] {
            close(soft_overlong_punishment(length, 100, 20), expected);
        }
        close(soft_overlong_punishment(100, 100, 0), 0.0);
        close(soft_overlong_punishment(101, 100, 0), -1.0);
    }

    // TRL, tests/test_rewards.py: one bigram of four.
    #[test]
    fn repetitions_are_punished() {
        close(repetition_penalty(&[5; 5], 2, -1.0), -0.75);
        close(repetition_penalty(&[1, 2, 3, 4], 2, -1.0), 0.0);
        close(repetition_penalty(&[1, 2], 3, -1.0), 0.0);
        // ab, ba, ab: two of three.
        close(repetition_penalty(&[1, 2, 1, 2], 2, -0.6), -0.2);
    }

    // TRL's example: half of the length, right and wrong.
    #[test]
    fn the_cosine_falls_with_the_length() {
        close(cosine_scaled(50, 100, 1.0, 0.5), 0.75);
        close(cosine_scaled(50, 100, -1.0, -0.5), -0.75);
        close(cosine_scaled(0, 100, 1.0, 0.5), 1.0);
        close(cosine_scaled(300, 100, 1.0, 0.5), 0.5);
    }

    fn completion(text: &str) -> Completion {
        Completion {
            prompt_id: "1".into(),
            prompt: "p".into(),
            index: 0,
            completion: text.into(),
            n_tokens: 90,
            log_prob: 0.0,
            finished: true,
        }
    }

    // TRL, tests/test_rewards.py, think format.
    #[test]
    fn thinking_comes_once_and_first() {
        let mut rule = Rule::pattern(THINK_FORMAT, "x").unwrap();
        let texts = [
            "<think>\nThis is my reasoning.\n</think>\nThis is my answer.",
            "<think>\nThis is my reasoning.\nThis is my answer.",
            "<think>a<think>b</think>c",
            "An answer. <think>a</think>",
            "<think></think>",
        ];
        let rows = texts.map(completion);
        assert_eq!(rule.reward(&rows).unwrap(), [1.0, 0.0, 0.0, 0.0, 1.0]);
        let error = Rule::pattern("(", "rl.reward").err().unwrap().to_string();
        assert!(error.contains("`rl.reward` is ("), "{error}");
    }

    #[test]
    fn lengths_are_those_of_the_completion() {
        let mut rule = Rule::SoftOverlongPunishment {
            max_completion_len: 100,
            soft_punish_cache: 20,
        };
        assert_eq!(rule.reward(&[completion("a")]).unwrap(), [-0.5]);
    }
}
