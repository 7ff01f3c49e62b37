//! Whether a policy says the same again: within a text and over all of them.
//!
//! Pure counting over words, as ROUGE cuts them.

use std::collections::HashSet;

use super::rouge::words;

/// Gathered over the completions of one policy.
#[derive(Debug, Clone, Default)]
pub struct Diversity {
    /// Different n-grams of 1 and of 2 words.
    seen: [HashSet<Vec<String>>; 2],
    n_grams: [usize; 2],
    repeated: f64,
    n_texts: usize,
}

/// Words of an n-gram whose second appearance in a text is a repetition.
const REPEATED: usize = 4;

impl Diversity {
    /// Adds a text.
    pub fn add(&mut self, text: &str) {
        let words = words(text);
        for (n, (seen, total)) in (1..).zip(self.seen.iter_mut().zip(&mut self.n_grams)) {
            for gram in words.windows(n) {
                *total += 1;
                if !seen.contains(gram) {
                    seen.insert(gram.to_vec());
                }
            }
        }
        let grams = words.windows(REPEATED);
        let n = grams.len();
        let different = grams.collect::<HashSet<_>>().len();
        self.repeated += (n - different) as f64 / n.max(1) as f64;
        self.n_texts += 1;
    }

    /// distinct-1 and distinct-2: the share of the n-grams of all texts that are different. It falls
    /// with the amount of text, so only equally many prompts compare. Li et al. 2016,
    /// arXiv:1510.03055. `None` without n-grams.
    pub fn distinct(&self) -> [Option<f64>; 2] {
        let share = |n: usize| {
            let total = self.n_grams[n];
            (total > 0).then(|| self.seen[n].len() as f64 / total as f64)
        };
        [share(0), share(1)]
    }

    /// Share of a text's 4-grams that it had before, mean over texts; shorter texts count as 0.
    /// `None` without texts.
    pub fn repetition(&self) -> Option<f64> {
        (self.n_texts > 0).then(|| self.repeated / self.n_texts as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Words: a b a b a b a | a c: 9, different 3; pairs: 6 + 1 = 7: ab, ba, ac: 3. 4-grams of the
    // first: abab baba abab baba: 4, different 2: half is repeated; the second has none.
    #[test]
    fn the_same_again_is_counted() {
        let mut found = Diversity::default();
        assert_eq!((found.distinct(), found.repetition()), ([None, None], None));
        found.add("A b a b, a b a");
        found.add("a c");
        assert_eq!(found.distinct(), [Some(3.0 / 9.0), Some(3.0 / 7.0)]);
        assert_eq!(found.repetition(), Some(0.25));
    }
}
