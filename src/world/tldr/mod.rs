//! Tiny TL;DR: a miniature of the Reddit TL;DR summarization task.
//!
//! A post is the writer's account of seven facts among distracting sentences; a summary should
//! tell exactly those facts, briefly and in good order. Candidate summaries fail in the ways that
//! the RLAIF paper describes for real ones (Lee et al. 2023, arXiv:2309.00267, qualitative analysis
//! and tables 23 and 24): invented facts, missing facts, needless length and broken language.

mod grammar;
mod post;
mod summary;
mod values;

use std::collections::BTreeSet;

use rand::rngs::StdRng;

use super::assessment::{Assessment, DISFLUENCY_COST};
use super::case::{Said, Truth};
use super::language::Language;
use super::text::tokens;
pub(super) use post::write;
pub use post::{Distractor, Post};
pub use summary::{Flaw, summary};
pub(super) use values::PERSONS;
pub use values::{Facts, Mention, Slot};

/// Quality lost for each false value mentioned, beyond the true one that it may stand for. More
/// than a fact is worth (1/7), so that guessing a fact pays only when it is right more often than
/// not.
const FALSE_MENTION_COST: f32 = 0.15;
/// Tokens that cost nothing: the longest reference has 25.
const FREE_TOKENS: usize = 26;
/// Quality lost for each token beyond [`FREE_TOKENS`]; a needless sentence has about ten.
const TOKEN_COST: f32 = 0.02;

impl Truth for Post {
    fn id(&self) -> &str {
        &self.id
    }

    fn text(&self) -> &str {
        &self.text
    }

    fn mixed(&self, rng: &mut StdRng) -> String {
        summary::mixed(self, rng)
    }

    /// A value is a fact of the post, or false.
    fn verdict(&self, phrase: &str) -> Option<bool> {
        let mut facts = Slot::ALL.into_iter().map(|slot| self.facts.get(slot));
        Some(facts.any(|fact| fact.text() == phrase))
    }

    /// `coverage - 0.15 false_mentions - (1 - fluency) - 0.02 max(0, n_tokens - 26)`, where the
    /// coverage is of the seven facts.
    fn weigh(&self, said: &Said) -> Assessment {
        let [n_true, n_false] = said.count(self);
        let coverage = n_true as f32 / Slot::ALL.len() as f32;
        let excess = said.n_tokens.saturating_sub(FREE_TOKENS) as f32;
        Assessment {
            coverage: Some(coverage),
            hallucination_rate: Some(n_false as f32 / said.phrases.len().max(1) as f32),
            harmless: None,
            n_tokens: said.n_tokens,
            fluency: said.fluency,
            quality: coverage
                - FALSE_MENTION_COST * n_false as f32
                - DISFLUENCY_COST * (1.0 - said.fluency)
                - TOKEN_COST * excess,
        }
    }
}

/// What summaries are made of.
pub(super) fn language() -> Language {
    let values = Slot::ALL.into_iter().flat_map(Slot::values).copied();
    Language::new(grammar::legal_bigrams(), values)
}

/// Every word and punctuation mark that a post or a summary of any kind may contain.
pub(super) fn lexicon() -> BTreeSet<String> {
    let values = Slot::ALL.into_iter().flat_map(Slot::values).copied();
    let example = Facts([0; 7]);
    post::templates()
        .map(|template| example.fill(template))
        .chain(
            grammar::words()
                .chain(grammar::PLAIN)
                .chain(values)
                .map(str::to_owned),
        )
        .flat_map(|text| {
            tokens(&text)
                .into_iter()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        })
        .collect()
}

#[cfg(test)]
mod tests;
