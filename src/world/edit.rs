//! What spoils a text: words dropped, doubled or swapped.

use std::ops::RangeInclusive;

use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::index;

use super::text::{join, tokens};

/// Words that a hasty writer drops.
const FUNCTION_WORDS: [&str; 26] = [
    "a", "about", "after", "an", "at", "because", "before", "can", "could", "do", "for", "i", "in",
    "is", "it", "may", "my", "near", "of", "on", "our", "should", "the", "this", "to", "we",
];

/// Makes so many edits at different words, from right to left so that none undoes another.
pub(super) fn garble(text: &str, n_edits: RangeInclusive<usize>, rng: &mut StdRng) -> String {
    let mut words = tokens(text);
    let is_word = |word: &str| word.starts_with(char::is_alphanumeric);
    let spots: Vec<usize> = (0..words.len())
        .filter(|&spot| is_word(words[spot]))
        .collect();
    let mut spots = choose(&spots, rng.random_range(n_edits), rng);
    spots.sort_unstable();
    for spot in spots.into_iter().rev() {
        let next_is_word = words.get(spot + 1).is_some_and(|next| is_word(next));
        match rng.random_range(0..3) {
            0 if FUNCTION_WORDS.contains(&words[spot]) => drop(words.remove(spot)),
            1 if next_is_word => words.swap(spot, spot + 1),
            _ => words.insert(spot, words[spot]),
        }
    }
    join(&words)
}

/// Draws `amount` different items, or all there are.
pub(super) fn choose<T: Copy>(items: &[T], amount: usize, rng: &mut StdRng) -> Vec<T> {
    let chosen = index::sample(rng, items.len(), amount.min(items.len()));
    chosen.into_iter().map(|item| items[item]).collect()
}
