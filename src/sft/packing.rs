//! Several documents in one row, so that little of a batch is padding.

use std::collections::{BTreeMap, VecDeque};

use crate::batch::Document;

/// Puts documents into rows of at most `seq` tokens by best fit, the longest first: each goes where
/// it leaves the least room. No document may be longer than `seq`. TRL, `trl/data_utils.py`,
/// `pack_dataset` with strategy `bfd`; ties are broken as there.
pub(super) fn best_fit_decreasing(documents: Vec<Document>, seq: usize) -> Vec<Vec<Document>> {
    let mut order: Vec<Document> = documents
        .into_iter()
        .filter(|document| !document.tokens.is_empty())
        .collect();
    order.sort_by_key(|document| std::cmp::Reverse(document.tokens.len()));
    let mut rows: Vec<Vec<Document>> = Vec::new();
    // Rows by the room that they have left; of equal ones, the one that has waited longest is next.
    let mut room: BTreeMap<usize, VecDeque<usize>> = BTreeMap::new();
    for document in order {
        let len = document.tokens.len();
        let found = room.range_mut(len..).find_map(|(&left, rows)| {
            let row = rows.pop_front()?;
            Some((left, row))
        });
        let (left, row) = found.unwrap_or_else(|| {
            rows.push(Vec::new());
            (seq, rows.len() - 1)
        });
        rows[row].push(document);
        room.entry(left.saturating_sub(len))
            .or_default()
            .push_back(row);
    }
    rows
}

/// Cuts a document into pieces of at most `seq` tokens, each a document of its own.
pub(super) fn split(document: Document, seq: usize) -> Vec<Document> {
    let tokens = document.tokens.chunks(seq);
    let pieces = tokens.zip(document.counts.chunks(seq));
    pieces
        .map(|(tokens, counts)| Document {
            tokens: tokens.to_vec(),
            counts: counts.to_vec(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(tokens: &[u32]) -> Document {
        Document {
            tokens: tokens.to_vec(),
            counts: vec![true; tokens.len()],
        }
    }

    fn tokens(rows: &[Vec<Document>]) -> Vec<Vec<u32>> {
        let row = |row: &Vec<Document>| row.iter().flat_map(|d| d.tokens.clone()).collect();
        rows.iter().map(row).collect()
    }

    // TRL, tests/test_data_utils.py, TestPackDatasetBfd.
    #[test]
    fn rows_are_those_of_trl() {
        let documents = [&[1, 2, 3][..], &[4, 5, 6, 7], &[8]].map(document);
        let rows = best_fit_decreasing(documents.to_vec(), 4);
        assert_eq!(tokens(&rows), [[4, 5, 6, 7], [1, 2, 3, 8]]);
        let documents = [&[1, 2, 3, 4, 5][..], &[6, 7], &[8, 9, 10, 11], &[12]].map(document);
        let pieces = documents.into_iter().flat_map(|d| split(d, 4)).collect();
        let rows = best_fit_decreasing(pieces, 4);
        assert_eq!(
            tokens(&rows),
            [vec![1, 2, 3, 4], vec![8, 9, 10, 11], vec![6, 7, 5, 12]]
        );
    }
}
