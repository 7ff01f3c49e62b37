//! The oracle: how good a text is as a summary of a post, by the truth.
//!
//! It knows what no labeler knows, so it judges labelers, reward models and policies alike. Never
//! train on it where a result is meant to be about AI feedback.

use std::collections::{HashMap, HashSet};

use serde::Serialize;

use super::World;
use super::grammar::{EDGE, legal_bigrams};
use super::post::Post;
use super::text::tokens;
use super::values::{Mention, Slot};
use crate::error::{Error, Result};

/// Quality lost for each false value mentioned, beyond the true one that it may stand for. More
/// than a fact is worth (1/7), so that guessing a fact pays only when it is right more often than
/// not.
const FALSE_MENTION_COST: f32 = 0.15;
/// Quality lost by a text without a single legal word pair; in proportion otherwise.
const DISFLUENCY_COST: f32 = 1.0;
/// Tokens that cost nothing: the longest reference has 25.
const FREE_TOKENS: usize = 26;
/// Quality lost for each token beyond [`FREE_TOKENS`]; a needless sentence has about ten.
const TOKEN_COST: f32 = 0.02;
/// Qualities closer than this are equal but for rounding.
const TIE: f32 = 1e-5;

/// What the oracle thinks of a text.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Assessment {
    /// Share of the post's seven facts that the text mentions.
    pub coverage: f32,
    /// Share of the values mentioned, each counted once, that are not the post's facts; 0 if none
    /// is mentioned.
    pub hallucination_rate: f32,
    /// Words and punctuation marks.
    pub n_tokens: usize,
    /// Share of neighbouring tokens, start and end of text included, that the summary grammar
    /// allows and that have not occurred before in the text.
    pub fluency: f32,
    /// `coverage - 0.15 false_mentions - (1 - fluency) - 0.02 max(0, n_tokens - 26)`; 1 for a
    /// reference, below 0 for nonsense.
    pub quality: f32,
}

/// What a token adds to the worth of a text, or takes from it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Mark {
    /// A value ends here that the text has not mentioned before: whether it is a fact of the post.
    pub mention: Option<bool>,
    /// The grammar does not allow this token after the one before it, or the two have stood
    /// together before.
    pub disfluent: bool,
}

/// Judges texts by the truth.
#[derive(Debug, Clone)]
pub struct Oracle {
    world: World,
    legal: HashSet<(&'static str, &'static str)>,
    /// Values by their first word.
    values: HashMap<&'static str, Vec<(Vec<&'static str>, Mention)>>,
}

impl Oracle {
    /// An oracle for the posts of that world.
    pub fn new(world: World) -> Self {
        let mut values: HashMap<_, Vec<_>> = HashMap::new();
        for slot in Slot::ALL {
            for (value, phrase) in slot.values().iter().enumerate() {
                let words = tokens(phrase);
                values
                    .entry(words[0])
                    .or_default()
                    .push((words, Mention { slot, value }));
            }
        }
        Self {
            world,
            legal: legal_bigrams(),
            values,
        }
    }

    /// Assesses a text as a summary of the post of that id.
    ///
    /// # Errors
    /// [`Error::Usage`] if the world has no such post.
    pub fn assess_id(&self, id: &str, text: &str) -> Result<Assessment> {
        let post = self.world.post_by_id(id).ok_or_else(|| {
            Error::Usage(format!(
                "`{id}` is not the id of a tiny TL;DR post, such as `test-17`"
            ))
        })?;
        Ok(self.assess(&post, text))
    }

    /// Assesses a text as a summary of the post. Upper case counts as lower case.
    pub fn assess(&self, post: &Post, text: &str) -> Assessment {
        let text = text.to_lowercase();
        let words = tokens(&text);
        let mentions: HashSet<Mention> = self.mentions(&words).map(|(_, m)| m).collect();
        let n_true = mentions
            .iter()
            .filter(|mention| post.facts.contains(**mention))
            .count();
        let n_false = mentions.len() - n_true;
        let coverage = n_true as f32 / Slot::ALL.len() as f32;
        let fluency = self.fluency(&words);
        let excess = words.len().saturating_sub(FREE_TOKENS) as f32;
        Assessment {
            coverage,
            hallucination_rate: n_false as f32 / mentions.len().max(1) as f32,
            n_tokens: words.len(),
            fluency,
            quality: coverage
                - FALSE_MENTION_COST * n_false as f32
                - DISFLUENCY_COST * (1.0 - fluency)
                - TOKEN_COST * excess,
        }
    }

    /// Says where a text, as [`tokens`](super::tokens) splits it, is right and where it is wrong.
    pub fn marks(&self, post: &Post, text: &str) -> Vec<Mark> {
        let text = text.to_lowercase();
        let words = tokens(&text);
        let mut marks = vec![Mark::default(); words.len()];
        let mut mentioned = HashSet::new();
        for (end, mention) in self.mentions(&words) {
            if mentioned.insert(mention) {
                marks[end].mention = Some(post.facts.contains(mention));
            }
        }
        let mut seen = HashSet::new();
        let before = std::iter::once(EDGE).chain(words.iter().copied());
        for (mark, bigram) in marks.iter_mut().zip(before.zip(words.iter().copied())) {
            mark.disfluent = !seen.insert(bigram) || !self.legal.contains(&bigram);
        }
        marks
    }

    /// The values that occur as whole phrases, each with the index of its last word.
    fn mentions<'a>(&'a self, words: &'a [&str]) -> impl Iterator<Item = (usize, Mention)> + 'a {
        (0..words.len()).flat_map(|start| {
            let tail = &words[start..];
            let known = self.values.get(tail[0]).map_or(&[][..], Vec::as_slice);
            let said = known.iter().filter(|(phrase, _)| tail.starts_with(phrase));
            said.map(move |(phrase, mention)| (start + phrase.len() - 1, *mention))
        })
    }

    /// Share of bigrams that are legal and new. A text that repeats itself is not fluent, and no
    /// reference ever repeats a bigram.
    fn fluency(&self, words: &[&str]) -> f32 {
        let framed = [&[EDGE], words, &[EDGE]].concat();
        let mut seen = HashSet::new();
        let n_legal = framed
            .windows(2)
            .map(|pair| (pair[0], pair[1]))
            .filter(|bigram| seen.insert(*bigram) && self.legal.contains(bigram))
            .count();
        n_legal as f32 / (framed.len() - 1) as f32
    }
}

/// The quality on the scale of 1 to 10 that labelers score on.
pub fn score(assessment: &Assessment) -> u8 {
    (1.0 + 9.0 * assessment.quality.clamp(0.0, 1.0)).round() as u8
}

/// 1 if `a` is the better summary, 0 if `b` is, 0.5 if they are equally good.
pub fn preference(a: &Assessment, b: &Assessment) -> f32 {
    let difference = a.quality - b.quality;
    if difference.abs() < TIE {
        0.5
    } else if difference > 0.0 {
        1.0
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Flaw, Split, mixed, summary};
    use super::*;

    const N: usize = 2_000;

    fn assess_all(flaw: Flaw) -> Vec<Assessment> {
        let world = World::tiny_tldr();
        let oracle = Oracle::new(world);
        (0..N)
            .map(|index| {
                let post = world.post(Split::Validation, index);
                let mut rng = world.rng(Split::Validation, index, 2 + flaw as u64);
                oracle.assess(&post, &summary(&post, flaw, &mut rng))
            })
            .collect()
    }

    fn mean(assessments: &[Assessment], of: impl Fn(&Assessment) -> f32) -> f32 {
        assessments.iter().map(of).sum::<f32>() / assessments.len() as f32
    }

    #[test]
    fn references_are_perfect() {
        for assessment in assess_all(Flaw::None) {
            assert_eq!(
                (assessment.coverage, assessment.hallucination_rate),
                (1.0, 0.0)
            );
            assert_eq!((assessment.fluency, assessment.quality), (1.0, 1.0));
            assert_eq!(score(&assessment), 10);
        }
    }

    #[test]
    fn every_flaw_costs_quality() {
        for flaw in Flaw::ALL.into_iter().skip(1) {
            let assessments = assess_all(flaw);
            let quality = mean(&assessments, |a| a.quality);
            println!(
                "{flaw:?}: quality {quality:.3}, score {:.2}, coverage {:.3}, hallucination {:.3}, \
                 fluency {:.3}, tokens {:.1}",
                mean(&assessments, |a| score(a).into()),
                mean(&assessments, |a| a.coverage),
                mean(&assessments, |a| a.hallucination_rate),
                mean(&assessments, |a| a.fluency),
                mean(&assessments, |a| a.n_tokens as f32),
            );
            assert!((0.3..=0.9).contains(&quality), "{flaw:?}: {quality}");
            assert!(
                assessments.iter().all(|a| a.quality < 1.0 - TIE),
                "{flaw:?} that costs nothing"
            );
        }
    }

    #[test]
    fn each_flaw_shows_in_its_own_measure() {
        assert!(
            assess_all(Flaw::Omission)
                .iter()
                .all(|a| a.coverage < 1.0 && a.fluency == 1.0)
        );
        assert!(
            assess_all(Flaw::Hallucination)
                .iter()
                .all(|a| a.hallucination_rate > 0.0)
        );
        assert!(
            assess_all(Flaw::TooLong)
                .iter()
                .all(|a| a.n_tokens > 26 && a.fluency == 1.0)
        );
        assert!(assess_all(Flaw::Disfluent).iter().all(|a| a.fluency < 1.0));
    }

    #[test]
    fn a_tenth_of_mixed_pairs_are_ties() {
        let world = World::tiny_tldr();
        let oracle = Oracle::new(world);
        let ties = (0..N)
            .filter(|&index| {
                let post = world.post(Split::Preference, index);
                let mut rng = world.rng(Split::Preference, index, 2);
                let [a, b] = [(); 2].map(|()| oracle.assess(&post, &mixed(&post, &mut rng)));
                preference(&a, &b) == 0.5
            })
            .count();
        println!("ties: {:.3}", ties as f32 / N as f32);
        assert!(ties * 5 < N);
    }

    #[test]
    fn a_hand_made_text() {
        let world = World::tiny_tldr();
        let mut post = world.post(Split::Test, 0);
        post.facts = super::super::Facts([0; 7]);
        // True are sister, anna and should i move out, false is stole my wallet: 3/7 and 1/4.
        let a =
            Oracle::new(world).assess(&post, "My sister anna stole my wallet. should i move out?");
        assert_eq!(
            (a.coverage, a.hallucination_rate, a.fluency),
            (3.0 / 7.0, 0.25, 1.0)
        );
        assert_eq!(a.n_tokens, 12);
        assert!((a.quality - (3.0 / 7.0 - 0.15)).abs() < 1e-6);
        // 1 + 9 * 0.2786 = 3.5.
        assert_eq!(score(&a), 4);
        let loops = Oracle::new(world).assess(&post, "my sister my sister my sister");
        // Seven bigrams: edge-my and my-sister are legal the first time, the rest is not.
        assert!((loops.fluency - 2.0 / 7.0).abs() < 1e-6);
        let empty = Oracle::new(world).assess(&post, "");
        assert_eq!(
            (empty.coverage, empty.fluency, score(&empty)),
            (0.0, 0.0, 1)
        );
        assert_eq!(preference(&a, &empty), 1.0);
        assert_eq!(preference(&empty, &a), 0.0);
        assert_eq!(preference(&a, &a), 0.5);
    }

    #[test]
    fn marks_say_where() {
        let world = World::tiny_tldr();
        let mut post = world.post(Split::Test, 0);
        post.facts = super::super::Facts([0; 7]);
        let marks = Oracle::new(world).marks(&post, "my my sister anna stole my wallet.");
        let mention = |i: usize| marks[i].mention;
        assert_eq!(
            (mention(2), mention(3), mention(6)),
            (Some(true), Some(true), Some(false))
        );
        let disfluent: Vec<usize> = (0..marks.len()).filter(|&i| marks[i].disfluent).collect();
        assert_eq!(disfluent, [1], "`my my` is no pair of the grammar");
        assert!([0, 1, 4, 5, 7].iter().all(|&i| mention(i).is_none()));
    }

    #[test]
    fn unknown_posts_are_refused_by_name() {
        let error = Oracle::new(World::tiny_tldr())
            .assess_id("p17", "anna")
            .unwrap_err();
        assert!(error.to_string().contains("`p17`"));
    }
}
