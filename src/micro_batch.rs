//! What goes through a network at once: a batch in pieces whose gradients are added up.
//!
//! The loss of a piece is weighed by its part of the whole batch (by its tokens, its pairs, its
//! completions), so that a step over pieces is the step over the batch, for less memory.

use std::ops::Range;

use crate::batch::Tree;
use crate::config::at_least;
use crate::error::Result;

/// Bounds of a piece; without any, a batch goes through in one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MicroBatches {
    /// Rows: texts, pairs or completions.
    pub size: Option<usize>,
    /// Tokens, padding included.
    pub tokens: Option<usize>,
}

impl MicroBatches {
    /// Checks the bounds; `field` is the path of their table in the run file.
    ///
    /// # Errors
    /// Names the bound that is 0.
    pub fn validate(&self, field: &str) -> Result<()> {
        let bounds = [("size", self.size), ("tokens", self.tokens)];
        for (name, bound) in bounds {
            if let Some(bound) = bound {
                at_least(&format!("{field}.micro_batch_{name}"), bound, 1)?;
            }
        }
        Ok(())
    }

    /// Cuts trees into runs within the bounds, one tree at least.
    pub fn split_trees(&self, trees: &[Tree]) -> Vec<Range<usize>> {
        self.split(trees.len(), |rows| {
            rows.len() * trees[rows].iter().map(Tree::len).max().unwrap_or(0)
        })
    }

    /// Cuts `n` rows into runs within the bounds, one row at least; `tokens` says how many tokens,
    /// padding included, a run has.
    pub fn split(&self, n: usize, tokens: impl Fn(Range<usize>) -> usize) -> Vec<Range<usize>> {
        let mut pieces: Vec<Range<usize>> = Vec::new();
        for row in 0..n {
            let fits = |piece: &Range<usize>| {
                let longer = piece.start..row + 1;
                self.size.is_none_or(|size| longer.len() <= size)
                    && self.tokens.is_none_or(|bound| tokens(longer) <= bound)
            };
            match pieces.last_mut() {
                Some(piece) if fits(piece) => piece.end = row + 1,
                _ => pieces.push(row..row + 1),
            }
        }
        pieces
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_keep_both_bounds() {
        let lens = [3usize, 4, 1, 9, 2, 2];
        let check = |size, tokens, expected: &[[usize; 2]]| {
            let bounds = MicroBatches { size, tokens };
            let padded = |rows: Range<usize>| {
                rows.len() * rows.map(|row| lens[row]).max().unwrap_or_default()
            };
            let found = bounds.split(6, padded);
            let found: Vec<[usize; 2]> = found.iter().map(|rows| [rows.start, rows.end]).collect();
            assert_eq!(found, expected);
        };
        check(None, None, &[[0, 6]]);
        check(Some(4), None, &[[0, 4], [4, 6]]);
        // 2 x 4 fits, 3 x 4 does not; 9 is alone although it is too long.
        check(None, Some(8), &[[0, 2], [2, 3], [3, 4], [4, 6]]);
        let alone = [[0, 1], [1, 2], [2, 3], [3, 4], [4, 5], [5, 6]];
        check(Some(1), Some(8), &alone);
    }
}
