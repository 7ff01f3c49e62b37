//! The oracle: how good a text is as an answer to a prompt, by the truth.
//!
//! It knows what no labeler knows, so it judges labelers, reward models and policies alike. Never
//! train on it where a result is meant to be about AI feedback.

use std::collections::HashSet;

use super::assessment::{Assessment, Mark};
use super::case::{Case, Said};
use super::language::Language;
use super::text::tokens;
use super::{Task, World, harmless, helpful, tldr};
use crate::error::{Error, Result};

/// Judges texts by the truth.
#[derive(Debug, Clone)]
pub struct Oracle {
    world: World,
    language: Language,
}

impl Oracle {
    /// An oracle for the prompts of that world.
    pub fn new(world: World) -> Self {
        let language = match world.task {
            Task::Tldr => tldr::language(),
            Task::Helpful => helpful::language(),
            Task::Harmless => harmless::language(),
        };
        Self { world, language }
    }

    /// Assesses a text as an answer to the prompt of that id.
    ///
    /// # Errors
    /// [`Error::Usage`] if the world has no such prompt.
    pub fn assess_id(&self, id: &str, text: &str) -> Result<Assessment> {
        let case = self.world.case_by_id(id).ok_or_else(|| {
            let (name, prefix) = (self.world.task.name(), self.world.task.prefix());
            Error::Usage(format!(
                "`{id}` is not the id of a prompt of {name}, such as `{prefix}test-17`"
            ))
        })?;
        Ok(self.assess(&case, text))
    }

    /// Assesses a text as an answer to the prompt. Upper case counts as lower case.
    pub fn assess(&self, case: &Case, text: &str) -> Assessment {
        let text = text.to_lowercase();
        let words = tokens(&text);
        case.truth().weigh(&Said {
            phrases: self.language.mentions(&words).map(|(_, m)| m).collect(),
            fluency: self.language.fluency(&words),
            n_tokens: words.len(),
        })
    }

    /// Says where a text, as [`tokens`](super::tokens) splits it, is right and where it is wrong.
    pub fn marks(&self, case: &Case, text: &str) -> Vec<Mark> {
        let text = text.to_lowercase();
        let words = tokens(&text);
        let fluent = self.language.fluent_words(&words).into_iter();
        let mark = |fluent: bool| Mark {
            mention: None,
            disfluent: !fluent,
        };
        let mut marks: Vec<Mark> = fluent.map(mark).collect();
        let mut mentioned = HashSet::new();
        for (end, phrase) in self.language.mentions(&words) {
            if mentioned.insert(phrase) {
                marks[end].mention = case.truth().verdict(phrase);
            }
        }
        marks
    }
}

#[cfg(test)]
mod tests {
    use super::super::assessment::{preference, score};
    use super::super::{Split, World};
    use super::*;

    #[test]
    fn every_world_has_good_answers_bad_ones_and_few_ties() {
        const N: usize = 2_000;
        for world in World::ALL {
            let oracle = Oracle::new(world);
            let (mut ties, mut perfect, mut bad) = (0, 0, 0);
            for index in 0..N {
                let case = world.case(Split::Preference, index);
                let mut rng = world.rng(Split::Preference, index, 2);
                let [a, b] = [(); 2].map(|()| oracle.assess(&case, &case.mixed(&mut rng)));
                ties += usize::from(preference(&a, &b) == 0.5);
                perfect += usize::from(score(&a) == 10);
                bad += usize::from(score(&a) <= 5);
            }
            let share = |n: usize| n as f32 / N as f32;
            let shares = [ties, perfect, bad].map(share);
            println!("{:?}: ties, perfect, bad {shares:?}", world.task);
            assert!(shares[0] < 0.25, "{shares:?}");
            assert!((0.1..0.6).contains(&shares[1]), "{shares:?}");
            assert!((0.1..0.7).contains(&shares[2]), "{shares:?}");
        }
    }

    #[test]
    fn unknown_prompts_are_refused_by_name() {
        let refused = |world, id| Oracle::new(world).assess_id(id, "anna").unwrap_err();
        let error = refused(World::tiny_tldr(), "p17").to_string();
        assert!(
            error.contains("`p17`") && error.contains("tiny TL;DR"),
            "{error}"
        );
        let error = refused(World::tiny_helpful(), "test-17").to_string();
        assert!(error.contains("such as `helpful-test-17`"), "{error}");
    }
}
