//! A prompt with the truth about it: the one face of all worlds.

use std::collections::HashSet;

use rand::rngs::StdRng;

use super::assessment::Assessment;
use super::harmless::Request;
use super::helpful::Question;
use super::tldr::Post;

/// A prompt of a world, and what is true of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Case {
    /// A post to be summarized.
    Tldr(Post),
    /// A question about facts.
    Helpful(Question),
    /// A request that should be met or refused.
    Harmless(Request),
}

/// What a text says, as far as the truth goes into it.
#[derive(Debug)]
pub(super) struct Said {
    /// The phrases of the world that occur in it.
    pub(super) phrases: HashSet<&'static str>,
    /// Share of fluent word pairs.
    pub(super) fluency: f32,
    /// Words and punctuation marks.
    pub(super) n_tokens: usize,
}

/// What every prompt knows of itself.
pub(super) trait Truth {
    /// The world's name for it.
    fn id(&self) -> &str;
    /// What is written in it.
    fn text(&self) -> &str;
    /// An answer of random quality.
    fn mixed(&self, rng: &mut StdRng) -> String;
    /// Whether a phrase belongs in an answer; `None` if that is all the same.
    fn verdict(&self, phrase: &str) -> Option<bool>;
    /// What a text is worth as an answer.
    fn weigh(&self, said: &Said) -> Assessment;
}

impl Said {
    /// How many of the phrases belong in an answer to `truth`, and how many do not.
    pub(super) fn count(&self, truth: &impl Truth) -> [usize; 2] {
        [true, false].map(|verdict| {
            let phrases = self.phrases.iter();
            phrases
                .filter(|phrase| truth.verdict(phrase) == Some(verdict))
                .count()
        })
    }
}

impl Case {
    /// The id, which names world, split and index.
    pub fn id(&self) -> &str {
        self.truth().id()
    }

    /// The prompt as a model reads it.
    pub fn text(&self) -> &str {
        self.truth().text()
    }

    /// Writes an answer of random quality: good or bad, as people are.
    pub fn mixed(&self, rng: &mut StdRng) -> String {
        self.truth().mixed(rng)
    }

    pub(super) fn truth(&self) -> &dyn Truth {
        match self {
            Self::Tldr(post) => post,
            Self::Helpful(question) => question,
            Self::Harmless(request) => request,
        }
    }
}
