//! Small worlds with a known truth: miniatures of the tasks of Lee et al. 2023, arXiv:2309.00267.
//!
//! | world | prompt | answers that are good | answers that are not |
//! |---|---|---|---|
//! | [`World::tiny_tldr`] | a forum post | tell its seven facts briefly | leave out, invent, ramble, stutter |
//! | [`World::tiny_helpful`] | facts and a question about them | tell the two things that were asked | are partial, wrong, evasive, too long, broken |
//! | [`World::tiny_harmless`] | a request | help politely, or refuse politely what does harm | help with harm, refuse needlessly, insult, evade |
//!
//! The generator knows the truth, so an [`Oracle`] can say how good any text is, which no real data
//! set offers. Everything follows from the world's seed: a prompt is computed from its split and
//! index alone, in constant time, and no file is needed. This module must not know about models,
//! labelers or training. Start with [`World::case`], and with [`Case`] for what a world has to say
//! of its prompts. The two worlds of dialogue share a lexicon, so that one tokenizer, one base model
//! and one labeler serve both.

mod assessment;
mod case;
mod edit;
pub mod harmless;
pub mod helpful;
mod language;
mod oracle;
mod split;
mod text;
pub mod tldr;
mod tokenizer;

use std::collections::BTreeSet;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

pub use assessment::{Assessment, Mark, preference, score};
pub use case::Case;
pub use oracle::Oracle;
pub use split::Split;
pub use text::{join, tokens};
pub use tokenizer::build_tokenizer;

/// Stream of [`World::rng`] that writes the prompt.
const PROMPT_STREAM: u64 = 0;
/// Stream of [`World::rng`] that writes the demonstration.
const DEMONSTRATION_STREAM: u64 = 1;

/// What a world is a miniature of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Task {
    /// Summaries of posts.
    Tldr,
    /// Helpful answers.
    Helpful,
    /// Harmless answers.
    Harmless,
}

impl Task {
    /// The world's name in tables and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tldr => "tiny TL;DR",
            Self::Helpful => "tiny helpful",
            Self::Harmless => "tiny harmless",
        }
    }

    /// What the ids of its prompts begin with.
    fn prefix(self) -> &'static str {
        match self {
            Self::Tldr => "",
            Self::Helpful => "helpful-",
            Self::Harmless => "harmless-",
        }
    }
}

/// All the prompts there are of a task, given a seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct World {
    /// What the prompts are about.
    pub task: Task,
    /// Decides every text.
    pub seed: u64,
}

impl World {
    /// Every world that checkpoints come with.
    pub const ALL: [Self; 3] = [
        Self::tiny_tldr(),
        Self::tiny_helpful(),
        Self::tiny_harmless(),
    ];

    /// The world of summaries that the shipped checkpoints were trained in.
    pub const fn tiny_tldr() -> Self {
        Self {
            task: Task::Tldr,
            seed: 2309,
        }
    }

    /// The world of helpful answers that the shipped checkpoints were trained in.
    pub const fn tiny_helpful() -> Self {
        Self {
            task: Task::Helpful,
            seed: 2310,
        }
    }

    /// The world of harmless answers that the shipped checkpoints were trained in.
    pub const fn tiny_harmless() -> Self {
        Self {
            task: Task::Harmless,
            seed: 2311,
        }
    }

    /// The prompt at `index`. Its id is the split's name, a dash and the index, in the worlds of
    /// dialogue behind the task's name: `helpful-test-17`.
    pub fn case(&self, split: Split, index: usize) -> Case {
        let id = format!("{}{}-{index}", self.task.prefix(), split.as_str());
        let mut rng = self.rng(split, index, PROMPT_STREAM);
        let mut write = || match self.task {
            Task::Tldr => Case::Tldr(tldr::write(id.clone(), &mut rng)),
            Task::Helpful => Case::Helpful(helpful::write(id.clone(), &mut rng)),
            Task::Harmless => Case::Harmless(harmless::write(id.clone(), &mut rng)),
        };
        let mut case = write();
        // Posts are so many that no two are alike. Of the shorter prompts each text belongs to one
        // split, so that no split can hold a prompt of another.
        while self.task != Task::Tldr && split_of(case.text()) != split {
            case = write();
        }
        case
    }

    /// The prompt of that id, if the id is one of this world.
    pub fn case_by_id(&self, id: &str) -> Option<Case> {
        let (split, index) = id.strip_prefix(self.task.prefix())?.rsplit_once('-')?;
        let case = self.case(Split::parse(split)?, index.parse().ok()?);
        // `test-017` parses, but is not how the prompt is called.
        (case.id() == id).then_some(case)
    }

    /// What a person answered to that prompt: good or bad, as people are.
    pub fn demonstration(&self, split: Split, index: usize) -> String {
        let mut rng = self.rng(split, index, DEMONSTRATION_STREAM);
        self.case(split, index).mixed(&mut rng)
    }

    /// A generator of its own for every prompt and `stream`.
    ///
    /// Streams 0 and 1 are the prompt's and the demonstration's; others are the caller's. The seed
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

    /// Every word and punctuation mark that a prompt or an answer of any kind may contain; the
    /// worlds of dialogue have theirs in common.
    pub fn lexicon(&self) -> BTreeSet<String> {
        match self.task {
            Task::Tldr => tldr::lexicon(),
            Task::Helpful | Task::Harmless => helpful::words()
                .chain(harmless::words())
                .map(str::to_owned)
                .collect(),
        }
    }
}

/// The split that a text belongs to.
fn split_of(text: &str) -> Split {
    let hash = text
        .bytes()
        .fold(0, |hash, byte| mix(hash ^ u64::from(byte)));
    Split::ALL[hash as usize % Split::ALL.len()]
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
    fn ids_lead_back_to_prompts() {
        for world in World::ALL {
            for split in Split::ALL {
                let case = world.case(split, 17);
                assert_eq!(world.case_by_id(case.id()), Some(case));
            }
            for id in ["test-017", "test-", "test", "nowhere-3", "test--1", ""] {
                let id = format!("{}{id}", world.task.prefix());
                assert_eq!(world.case_by_id(&id), None, "{id}");
            }
        }
        let [a, b] = [World::tiny_helpful(), World::tiny_harmless()];
        assert_eq!(b.case_by_id(a.case(Split::Test, 1).id()), None);
    }

    #[test]
    fn splits_share_no_prompt() {
        for world in World::ALL {
            let texts = |split| -> HashSet<String> {
                let cases = (0..1_000).map(|index| world.case(split, index));
                cases.map(|case| case.text().to_owned()).collect()
            };
            let splits = Split::ALL.map(texts);
            let all: HashSet<&String> = splits.iter().flatten().collect();
            let total: usize = splits.iter().map(HashSet::len).sum();
            assert_eq!(all.len(), total, "{:?}", world.task);
            // Within a split too, few prompts come twice.
            assert!(total > 7_900, "{:?}: {total}", world.task);
        }
    }

    #[test]
    fn the_shipped_worlds_stay_as_they_are() {
        let world = World::tiny_tldr();
        assert_eq!(
            world.case(Split::Test, 0).text(),
            "here is my question who can i trust? on friday my roommate peter ignored every message \
             behind the barn. such moments remind one how quickly moods may change. i think it \
             was because of a wrong address. in another story someone burned the dinner and got \
             away with it. tina once had trouble with some mother too."
        );
        let Case::Tldr(post) = world.case(Split::Test, 2) else {
            panic!("a post")
        };
        assert_eq!(
            tldr::summary(
                &post,
                tldr::Flaw::Disfluent,
                &mut world.rng(Split::Test, 2, 6)
            ),
            "at dawn my landlord landlord martin to refused pay rent at because the museum of too \
             much wine. can ask for compensation?"
        );
        for world in [World::tiny_helpful(), World::tiny_harmless()] {
            println!("{}", world.case(Split::Test, 0).text());
            println!("{}", world.demonstration(Split::Test, 0));
        }
    }

    #[test]
    fn another_seed_is_another_world() {
        for world in World::ALL {
            let other = World { seed: 1, ..world };
            assert_ne!(world.case(Split::Test, 0), other.case(Split::Test, 0));
            assert_eq!(
                world.demonstration(Split::Test, 0),
                world.demonstration(Split::Test, 0)
            );
        }
    }

    /// Every word of the worlds is in `lexicon`, and no other.
    fn check_lexicon(worlds: &[World]) {
        let lexicon = worlds[0].lexicon();
        assert!((200..=600).contains(&lexicon.len()), "{}", lexicon.len());
        let mut seen = HashSet::new();
        for (world, index) in (worlds.iter()).flat_map(|world| (0..2_000).map(move |i| (world, i)))
        {
            let case = world.case(Split::Rl, index);
            for text in [case.text(), &world.demonstration(Split::Rl, index)] {
                for token in tokens(text) {
                    assert!(lexicon.contains(token), "`{token}` in `{text}`");
                    seen.insert(token.to_owned());
                }
            }
        }
        let unused: Vec<_> = lexicon
            .iter()
            .filter(|word| !seen.contains(*word))
            .collect();
        assert!(unused.is_empty(), "{unused:?}");
    }

    #[test]
    fn the_lexicon_holds_every_word() {
        check_lexicon(&[World::tiny_tldr()]);
        check_lexicon(&[World::tiny_helpful(), World::tiny_harmless()]);
        let [a, b] = [World::tiny_helpful(), World::tiny_harmless()];
        assert_eq!(a.lexicon(), b.lexicon(), "one tokenizer serves both");
    }
}
