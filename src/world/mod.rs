//! Tiny TL;DR: a miniature of the Reddit TL;DR summarization task with a known truth.
//!
//! A post is the writer's account of seven facts among distracting sentences; a summary should
//! tell exactly those facts, briefly and in good order. The generator knows the facts, so an
//! [`Oracle`] can say how good any text is, which no real data set offers. Candidate summaries
//! fail in the ways that the RLAIF paper describes for real ones (Lee et al. 2023,
//! arXiv:2309.00267, qualitative analysis and tables 23 and 24): invented facts, missing facts,
//! needless length and broken language.
//!
//! Everything follows from the world's seed: a post is computed from its split and index alone, in
//! constant time, and no file is needed. This module must not know about models, labelers or
//! training. Start with [`World::tiny_tldr`] and [`World::post`].

mod grammar;
mod oracle;
mod post;
mod summary;
mod text;
mod tokenizer;
mod values;

use std::collections::BTreeSet;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};

pub use oracle::{Assessment, Mark, Oracle, preference, score};
pub use post::{Distractor, Post};
pub use summary::{Flaw, mixed, summary};
pub use text::{join, tokens};
pub use tokenizer::build_tokenizer;
pub use values::{Facts, Mention, Slot};

/// Stream of [`World::rng`] that writes the post.
const POST_STREAM: u64 = 0;
/// Stream of [`World::rng`] that writes the demonstration.
const DEMONSTRATION_STREAM: u64 = 1;

/// Disjoint families of posts, one for each use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Split {
    /// Language modelling from scratch.
    Pretrain,
    /// Teaching the labeler to judge.
    LabelerTrain,
    /// Measuring the labeler.
    LabelerTest,
    /// Demonstrations for supervised fine-tuning.
    Demonstration,
    /// Pairs to be labeled for the reward model.
    Preference,
    /// Prompts of the policy optimisation.
    Rl,
    /// Choosing between runs.
    Validation,
    /// Reported results.
    Test,
}

impl Split {
    /// Every split.
    pub const ALL: [Self; 8] = [
        Self::Pretrain,
        Self::LabelerTrain,
        Self::LabelerTest,
        Self::Demonstration,
        Self::Preference,
        Self::Rl,
        Self::Validation,
        Self::Test,
    ];

    /// The name, as in post ids and run files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pretrain => "pretrain",
            Self::LabelerTrain => "labeler_train",
            Self::LabelerTest => "labeler_test",
            Self::Demonstration => "demonstration",
            Self::Preference => "preference",
            Self::Rl => "rl",
            Self::Validation => "validation",
            Self::Test => "test",
        }
    }

    /// The split of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|split| split.as_str() == name)
    }
}

/// All the posts there are, given a seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct World {
    /// Decides every text.
    pub seed: u64,
}

impl World {
    /// The world that the shipped checkpoints were trained in.
    pub fn tiny_tldr() -> Self {
        Self { seed: 2309 }
    }

    /// The post at `index`; its id is the split's name, a dash and the index.
    pub fn post(&self, split: Split, index: usize) -> Post {
        let id = format!("{}-{index}", split.as_str());
        post::write(id, &mut self.rng(split, index, POST_STREAM))
    }

    /// The post of that id, if the id is one of this world.
    pub fn post_by_id(&self, id: &str) -> Option<Post> {
        let (split, index) = id.rsplit_once('-')?;
        let post = self.post(Split::parse(split)?, index.parse().ok()?);
        // `test-017` parses, but is not how the post is called.
        (post.id == id).then_some(post)
    }

    /// What a person wrote as the summary of that post: good or bad, as people are.
    pub fn demonstration(&self, split: Split, index: usize) -> String {
        let mut rng = self.rng(split, index, DEMONSTRATION_STREAM);
        mixed(&self.post(split, index), &mut rng)
    }

    /// A generator of its own for every post and `stream`.
    ///
    /// Streams 0 and 1 are the post's and the demonstration's; others are the caller's. The seed
    /// is a chain of SplitMix64 steps (Steele et al. 2014, "Fast splittable pseudorandom number
    /// generators", figure 17), `h = mix(h ^ part)` over split, index and stream, so that
    /// neighbours share nothing.
    pub fn rng(&self, split: Split, index: usize, stream: u64) -> StdRng {
        let parts = [split as u64, index as u64, stream];
        StdRng::seed_from_u64(
            parts
                .iter()
                .fold(mix(self.seed), |hash, part| mix(hash ^ part)),
        )
    }

    /// Every word and punctuation mark that a post or a summary of any kind may contain.
    pub fn lexicon() -> BTreeSet<String> {
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
}

/// One step of SplitMix64.
fn mix(value: u64) -> u64 {
    let z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Draws one item.
fn pick<T: Copy>(items: &[T], rng: &mut StdRng) -> T {
    items[rng.random_range(0..items.len())]
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_lead_back_to_posts() {
        let world = World::tiny_tldr();
        for split in Split::ALL {
            let post = world.post(split, 17);
            assert_eq!(world.post_by_id(&post.id), Some(post));
        }
        for id in ["test-017", "test-", "test", "nowhere-3", "test--1", ""] {
            assert_eq!(world.post_by_id(id), None, "{id}");
        }
    }

    #[test]
    fn splits_share_no_post() {
        let world = World::tiny_tldr();
        let texts: HashSet<String> = Split::ALL
            .into_iter()
            .flat_map(|split| (0..500).map(move |index| world.post(split, index).text))
            .collect();
        assert_eq!(texts.len(), 8 * 500);
    }

    #[test]
    fn the_shipped_world_stays_as_it_is() {
        let world = World::tiny_tldr();
        assert_eq!(
            world.post(Split::Test, 0).text,
            "here is my question who can i trust? on friday my roommate peter ignored every message \
             behind the barn. such moments remind one how quickly moods may change. i think it \
             was because of a wrong address. in another story someone burned the dinner and got \
             away with it. tina once had trouble with some mother too."
        );
        let post = world.post(Split::Test, 2);
        assert_eq!(
            summary(&post, Flaw::Disfluent, &mut world.rng(Split::Test, 2, 6)),
            "at dawn my landlord landlord martin to refused pay rent at because the museum of too \
             much wine. can ask for compensation?"
        );
    }

    #[test]
    fn another_seed_is_another_world() {
        let (a, b) = (World { seed: 1 }, World { seed: 2 });
        assert_ne!(a.post(Split::Test, 0), b.post(Split::Test, 0));
        assert_eq!(
            a.demonstration(Split::Test, 0),
            a.demonstration(Split::Test, 0)
        );
    }

    #[test]
    fn the_lexicon_holds_every_word() {
        let (world, lexicon) = (World::tiny_tldr(), World::lexicon());
        assert!((300..=600).contains(&lexicon.len()), "{}", lexicon.len());
        let mut seen = HashSet::new();
        for index in 0..2_000 {
            for text in [
                world.post(Split::Rl, index).text,
                world.demonstration(Split::Rl, index),
            ] {
                for token in tokens(&text) {
                    assert!(lexicon.contains(token), "`{token}` in `{text}`");
                    seen.insert(token.to_owned());
                }
            }
        }
        assert_eq!(
            seen.len(),
            lexicon.len(),
            "every word of the lexicon is used"
        );
    }
}
