//! The order in which a training goes through its data: epoch after epoch, each shuffled anew.

use rand::seq::SliceRandom;

use crate::seed::rng_for;

/// Batches of row numbers. What a step gets depends on the seed and its number alone, so that a
/// training goes on from a checkpoint as if it had never stopped.
#[derive(Debug)]
pub(crate) struct Epochs<'a> {
    purpose: &'a str,
    seed: u64,
    batch_size: usize,
    /// Row numbers in the order of epoch `shuffled - 1`.
    order: Vec<usize>,
    shuffled: usize,
}

impl<'a> Epochs<'a> {
    /// Over `n_rows` rows, at least one; `purpose` names the random numbers.
    pub(crate) fn new(n_rows: usize, batch_size: usize, purpose: &'a str, seed: u64) -> Self {
        Self {
            purpose,
            seed,
            batch_size,
            order: (0..n_rows).collect(),
            shuffled: 0,
        }
    }

    /// Steps in one epoch; the last batch may be smaller.
    pub(crate) fn steps(&self) -> usize {
        self.order.len().div_ceil(self.batch_size)
    }

    /// Rows of a step, counted from 0; steps are asked for in ascending order.
    pub(crate) fn batch(&mut self, step: usize) -> &[usize] {
        let (epoch, at) = (step / self.steps(), step % self.steps());
        // The order of an epoch is a shuffle of the one before.
        for next in self.shuffled..=epoch {
            (self.order).shuffle(&mut rng_for(self.seed, self.purpose, next as u64));
            self.shuffled = next + 1;
        }
        let start = at * self.batch_size;
        &self.order[start..(start + self.batch_size).min(self.order.len())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resumed_training_sees_the_same_batches() {
        let mut whole = Epochs::new(7, 3, "sft", 1);
        assert_eq!(whole.steps(), 3);
        let all: Vec<Vec<usize>> = (0..9).map(|step| whole.batch(step).to_vec()).collect();
        for from in 0..9 {
            let mut rest = Epochs::new(7, 3, "sft", 1);
            for (step, expected) in all.iter().enumerate().skip(from) {
                assert_eq!(rest.batch(step), expected);
            }
        }
        for epoch in all.chunks(3) {
            let mut rows = epoch.concat();
            rows.sort_unstable();
            assert_eq!(rows, [0, 1, 2, 3, 4, 5, 6]);
        }
        assert_ne!(all[..3], all[3..6]);
    }
}
