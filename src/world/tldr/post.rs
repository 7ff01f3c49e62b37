//! Posts: the writer's account of the facts, among sentences about other people and other days.
//!
//! Which facts are the post's own can be read off the wording alone: true facts stand only in
//! [`OPENINGS`], [`REASONS`] and [`QUESTIONS`], other values only in [`MISLEADING`].

use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use super::grammar::PLAIN;
use super::values::{Facts, Mention, Slot};
use crate::world::pick;
use crate::world::text::tokens;

/// Shortest post in tokens.
const MIN_TOKENS: usize = 50;
/// Share of distracting sentences that mention other values than the true ones.
const MISLEADING_SHARE: f64 = 0.6;

/// Who did what, where and when.
const OPENINGS: [&str; 6] = [
    "my {relation} {person} {event} {place} {time}.",
    "{time} my {relation} {person} {event} {place}.",
    "{place} my {relation} {person} {event} {time}.",
    "my {relation} {person} {event}. this happened {place} {time}.",
    "my {relation} {person} {event} {time}. it took place {place}.",
    "this story is about my {relation} {person}. this person {event} {place} {time}.",
];

/// Why.
const REASONS: [&str; 3] = [
    "i think it was because {cause}.",
    "it all happened because {cause}.",
    "my guess is that it was because {cause}.",
];

/// What the writer wants to know.
const QUESTIONS: [&str; 3] = [
    "{request}?",
    "here is my question {request}?",
    "so tell me {request}?",
];

/// Sentences about anything but the truth.
const MISLEADING: [&str; 8] = [
    "my {relation} {person} was {place} and saw nothing.",
    "my {relation} {person} says that i worry too much.",
    "{time} i talked to {person} about it.",
    "a stranger told me about a similar case {place}.",
    "in another story someone {event} and got away with it.",
    "some say it was because {cause} but that is wrong.",
    "{person} once had trouble with some {relation} too.",
    "i was still happy {place} {time}.",
];

/// A forum post and the truth about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Post {
    /// Split and index, such as `test-17`.
    pub id: String,
    /// What the writer wrote.
    pub text: String,
    /// What a summary should tell.
    pub facts: Facts,
    /// The sentences that a summary should leave out.
    pub distractors: Vec<Distractor>,
}

/// A sentence that has nothing to do with the facts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Distractor {
    /// The sentence.
    pub text: String,
    /// The values it mentions, none of them true of the post.
    pub mentions: Vec<Mention>,
}

/// Every template that posts are made of, placeholders unfilled.
pub(super) fn templates() -> impl Iterator<Item = &'static str> {
    OPENINGS
        .into_iter()
        .chain(REASONS)
        .chain(QUESTIONS)
        .chain(MISLEADING)
}

/// Draws facts and writes them up.
pub(in crate::world) fn write(id: String, rng: &mut StdRng) -> Post {
    let facts = Facts(Slot::ALL.map(|slot| rng.random_range(0..slot.values().len())));
    let opening = facts.fill(pick(&OPENINGS, rng));
    let reason = facts.fill(pick(&REASONS, rng));
    let question = facts.fill(pick(&QUESTIONS, rng));
    let mut sentences = match rng.random_range(0..3) {
        0 => vec![opening, reason, question],
        1 => vec![question, opening, reason],
        _ => vec![opening, question, reason],
    };
    let distractors = distract(facts, count(&sentences), rng);
    for distractor in &distractors {
        sentences.insert(
            rng.random_range(0..=sentences.len()),
            distractor.text.clone(),
        );
    }
    Post {
        id,
        text: sentences.join(" "),
        facts,
        distractors,
    }
}

/// Draws 2 to 6 distracting sentences, more only where the post would be too short.
fn distract(facts: Facts, mut n_tokens: usize, rng: &mut StdRng) -> Vec<Distractor> {
    let mut misleading = MISLEADING;
    misleading.shuffle(rng);
    let mut plain = PLAIN;
    plain.shuffle(rng);
    let n_sentences = rng.random_range(2..=6);
    let mut distractors = Vec::new();
    for (misleading, plain) in misleading.into_iter().zip(plain) {
        if distractors.len() >= n_sentences && n_tokens >= MIN_TOKENS {
            break;
        }
        // The first one misleads, so that no post can be summarized by copying every value.
        let misleads = distractors.is_empty() || rng.random_bool(MISLEADING_SHARE);
        let distractor = if misleads {
            mislead(misleading, facts, rng)
        } else {
            Distractor {
                text: plain.to_owned(),
                mentions: Vec::new(),
            }
        };
        n_tokens += tokens(&distractor.text).len();
        distractors.push(distractor);
    }
    distractors
}

/// Fills a template with values that are not the post's.
fn mislead(template: &str, facts: Facts, rng: &mut StdRng) -> Distractor {
    let others = Facts(Slot::ALL.map(|slot| facts.another(slot, rng).value));
    let mentions = Slot::ALL
        .into_iter()
        .filter(|slot| template.contains(slot.placeholder()))
        .map(|slot| others.get(slot))
        .collect();
    Distractor {
        text: others.fill(template),
        mentions,
    }
}

/// Tokens of all sentences together.
fn count(sentences: &[String]) -> usize {
    sentences
        .iter()
        .map(|sentence| tokens(sentence).len())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::tldr::tests::post;
    use crate::world::{Split, World};

    #[test]
    fn posts_have_50_to_120_tokens() {
        let world = World::tiny_tldr();
        let lengths: Vec<usize> = (0..2_000)
            .map(|index| tokens(world.case(Split::Preference, index).text()).len())
            .collect();
        let (min, max) = (lengths.iter().min().unwrap(), lengths.iter().max().unwrap());
        let mean = lengths.iter().sum::<usize>() as f32 / 2_000.0;
        println!("post tokens: min {min}, mean {mean:.1}, max {max}");
        assert!(*min >= 50 && *max <= 120);
        assert!((70.0..90.0).contains(&mean));
    }

    #[test]
    fn each_true_fact_is_told_once_and_no_distractor_is_true() {
        let world = World::tiny_tldr();
        for index in 0..2_000 {
            let post = post(world, Split::Test, index);
            let text = format!(" {} ", tokens(&post.text).join(" "));
            for slot in Slot::ALL {
                let phrase = format!(" {} ", post.facts.get(slot).text());
                assert_eq!(text.matches(&phrase).count(), 1, "`{phrase}` in `{text}`");
            }
            for mention in post.distractors.iter().flat_map(|d| &d.mentions) {
                assert!(!post.facts.contains(*mention));
                assert!(text.contains(&format!(" {} ", mention.text())));
            }
        }
    }
}
