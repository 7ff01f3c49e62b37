//! Which keys each query sees, as spans.

use std::ops::Range;

use super::kernel::Sizes;

/// Which keys each query sees: for every query of every batch row, spans in ascending order.
pub(super) struct Visible {
    /// Spans of query `i` are `spans[starts[i]..starts[i + 1]]`.
    starts: Vec<usize>,
    spans: Vec<Range<usize>>,
    queries: usize,
}

impl Visible {
    /// Causal, less the keys that `hidden` (`[batch, queries, keys]`, nonzero hides) takes away.
    /// The last query is at the last key.
    pub(super) fn new(sizes: &Sizes, hidden: Option<&[u8]>) -> Self {
        let Sizes {
            batch,
            queries,
            keys,
            ..
        } = *sizes;
        let mut visible = Self {
            starts: vec![0],
            spans: Vec::new(),
            queries,
        };
        for row in 0..batch * queries {
            let end = keys - queries + row % queries + 1;
            match hidden {
                Some(hidden) => visible.push_shown(&hidden[row * keys..row * keys + end]),
                None => visible.spans.push(0..end),
            }
            visible.starts.push(visible.spans.len());
        }
        visible
    }

    fn push_shown(&mut self, hidden: &[u8]) {
        let mut at = 0;
        while let Some(start) = hidden[at..].iter().position(|&byte| byte == 0) {
            let start = at + start;
            let shown = hidden[start..].iter().position(|&byte| byte != 0);
            at = shown.map_or(hidden.len(), |n| start + n);
            self.spans.push(start..at);
        }
    }

    pub(super) fn of(&self, batch: usize, query: usize) -> &[Range<usize>] {
        let row = batch * self.queries + query;
        &self.spans[self.starts[row]..self.starts[row + 1]]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_what_is_not_hidden() {
        let sizes = Sizes {
            batch: 1,
            heads: 1,
            kv_heads: 1,
            queries: 3,
            keys: 4,
            head_dim: 2,
        };
        let causal = Visible::new(&sizes, None);
        assert_eq!(causal.of(0, 0), std::slice::from_ref(&(0..2)));
        assert_eq!(causal.of(0, 2), std::slice::from_ref(&(0..4)));
        let hidden = [1, 1, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0];
        let visible = Visible::new(&sizes, Some(&hidden));
        assert!(visible.of(0, 0).is_empty());
        assert_eq!(visible.of(0, 1), [0..1, 2..3]);
        assert_eq!(visible.of(0, 2), [0..2, 3..4]);
    }
}
