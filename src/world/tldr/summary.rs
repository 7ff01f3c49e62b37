//! Summaries: the reference, and those that fail in one way or another.

use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use super::grammar::{Order, PLAIN, layout, render};
use super::post::Post;
use super::values::{Facts, Mention, Slot};
use crate::world::edit::{choose, garble};
use crate::world::pick;

/// What is wrong with a summary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Flaw {
    /// Nothing: a reference.
    None,
    /// 1 to 4 facts are left out.
    Omission,
    /// 1 to 3 facts are replaced by false ones.
    Hallucination,
    /// 1 to 3 needless sentences follow.
    TooLong,
    /// 2 to 5 words are dropped, doubled or swapped.
    Disfluent,
}

impl Flaw {
    /// Every flaw, [`Flaw::None`] first.
    pub const ALL: [Self; 5] = [
        Self::None,
        Self::Omission,
        Self::Hallucination,
        Self::TooLong,
        Self::Disfluent,
    ];
}

/// Writes a summary of the post with that flaw.
pub fn summary(post: &Post, flaw: Flaw, rng: &mut StdRng) -> String {
    write(post, &[flaw], rng)
}

/// Writes a summary of random quality.
///
/// It is flawless with probability 0.25, has one given flaw with 0.15 each, and two different
/// ones with 0.15.
pub(super) fn mixed(post: &Post, rng: &mut StdRng) -> String {
    let (flaw, other) = two_flaws(rng);
    match rng.random_range(0..20) {
        0..5 => write(post, &[], rng),
        5..17 => write(post, &[flaw], rng),
        _ => write(post, &[flaw, other], rng),
    }
}

/// Two different flaws, each pair equally likely.
fn two_flaws(rng: &mut StdRng) -> (Flaw, Flaw) {
    let mut flaws = Flaw::ALL;
    flaws[1..].shuffle(rng);
    (flaws[1], flaws[2])
}

/// Writes a summary with all of these flaws.
fn write(post: &Post, flaws: &[Flaw], rng: &mut StdRng) -> String {
    let omitted = match flaws.contains(&Flaw::Omission) {
        true => choose(&Slot::ALL, rng.random_range(1..=4), rng),
        false => vec![],
    };
    let facts = match flaws.contains(&Flaw::Hallucination) {
        true => hallucinate(post, &omitted, rng),
        false => post.facts,
    };
    let mut text = render(&layout(pick(&Order::ALL, rng), &omitted), facts);
    if flaws.contains(&Flaw::TooLong) {
        text = pad(text, post, rng);
    }
    if flaws.contains(&Flaw::Disfluent) {
        text = garble(&text, 2..=5, rng);
    }
    text
}

/// Replaces 1 to 3 of the facts that the summary will tell.
///
/// Half the time the false value is one that the post mentions of something else, where there is
/// one: confusing roles is as common a failure as inventing.
fn hallucinate(post: &Post, omitted: &[Slot], rng: &mut StdRng) -> Facts {
    let told: Vec<Slot> = Slot::ALL
        .into_iter()
        .filter(|slot| !omitted.contains(slot))
        .collect();
    let slots = choose(&told, rng.random_range(1..=3), rng);
    slots.into_iter().fold(post.facts, |facts, slot| {
        let confusable: Vec<Mention> = (post.distractors.iter())
            .flat_map(|distractor| &distractor.mentions)
            .filter(|mention| mention.slot == slot)
            .copied()
            .collect();
        let confused = !confusable.is_empty() && rng.random_bool(0.5);
        facts.with(match confused {
            true => pick(&confusable, rng),
            false => post.facts.another(slot, rng),
        })
    })
}

/// Appends 1 to 3 sentences that tell nothing, the post's own first.
fn pad(text: String, post: &Post, rng: &mut StdRng) -> String {
    let mut sentences = PLAIN;
    sentences.shuffle(rng);
    sentences.sort_by_key(|sentence| !post.text.contains(sentence));
    [&[text.as_str()], &sentences[..rng.random_range(1..=3)]]
        .concat()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::text::tokens;
    use crate::world::tldr::tests::post;
    use crate::world::{Split, World};

    #[test]
    fn references_are_short() {
        let world = World::tiny_tldr();
        for index in 0..2_000 {
            let post = post(world, Split::Test, index);
            let text = summary(&post, Flaw::None, &mut world.rng(Split::Test, index, 2));
            let n_tokens = tokens(&text).len();
            assert!((15..=26).contains(&n_tokens), "{n_tokens}: {text}");
        }
    }

    #[test]
    fn mixed_summaries_are_flawless_a_quarter_of_the_time() {
        let world = World::tiny_tldr();
        let flawless = (0..4_000)
            .filter(|&index| {
                let post = post(world, Split::Rl, index);
                let references = Order::ALL.map(|order| render(&layout(order, &[]), post.facts));
                references.contains(&world.demonstration(Split::Rl, index))
            })
            .count();
        // Binomial(4000, 0.25): mean 1000, four standard deviations are 110.
        assert!((890..=1110).contains(&flawless), "{flawless}");
    }
}
