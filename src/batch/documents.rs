//! Rows of several documents: packed sequences, any of whose tokens may count.

use burn::prelude::*;

use super::{Batch, Rows};
use crate::error::{Error, Result};

/// A text of its own, as tokens, with those that a model is to predict.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Document {
    /// Its tokens.
    pub tokens: Vec<u32>,
    /// Whether each of them counts in a loss; the first one never does, for nothing predicts it.
    pub counts: Vec<bool>,
}

impl Document {
    /// Number of tokens that count.
    pub fn n_targets(&self) -> usize {
        self.targets().count()
    }

    /// Its first `len` tokens.
    pub fn truncate(&mut self, len: usize) {
        self.tokens.truncate(len);
        self.counts.truncate(len);
    }

    /// Places of the tokens that count.
    fn targets(&self) -> impl Iterator<Item = usize> {
        let counted = self.counts.iter().enumerate().skip(1);
        counted.filter(|(_, counts)| **counts).map(|(i, _)| i)
    }
}

impl Batch {
    /// Builds the tensors of rows that hold several documents each. Positions start anew in each
    /// document, and none sees another.
    ///
    /// A row of the completion tensors is a row of documents, its tokens those that count; `last`
    /// is the last token of a row.
    ///
    /// # Errors
    /// A token id outside `vocab`, or a document longer than `max_len` tokens.
    pub fn packed(
        rows: &[Vec<Document>],
        vocab: usize,
        max_len: usize,
        device: &Device,
    ) -> Result<Self> {
        for document in rows.iter().flatten() {
            check(document, vocab, max_len)?;
        }
        let sum = |row: &Vec<Document>, of: fn(&Document) -> usize| row.iter().map(of).sum();
        let lens = rows
            .iter()
            .map(|row| sum(row, |document| document.tokens.len()));
        let n_targets = rows.iter().map(|row| sum(row, Document::n_targets));
        let seq: usize = lens.max().unwrap_or(0);
        let len: usize = n_targets.clone().max().unwrap_or(0);
        let mut buffers = Rows::new(rows.len() * seq, rows.len() * len);
        for (i, row) in rows.iter().enumerate() {
            buffers.push_documents(row, i * seq, len);
        }
        let mut batch = buffers.into_batch([rows.len(), seq], [rows.len(), len], device);
        batch.input.hidden_keys = other_documents(rows, seq, device);
        Ok(batch)
    }
}

fn check(document: &Document, vocab: usize, max_len: usize) -> Result<()> {
    let mut tokens = document.tokens.iter();
    if let Some(&id) = tokens.find(|&&id| id as usize >= vocab) {
        return Err(Error::TokenId { id, vocab });
    }
    if document.tokens.len() > max_len {
        return Err(Error::TooLong {
            what: "a text".into(),
            found: document.tokens.len(),
            limit: max_len,
        });
    }
    Ok(())
}

impl Rows {
    /// Adds a row of documents that starts at `start`, its targets padded to `len`.
    fn push_documents(&mut self, documents: &[Document], start: usize, len: usize) {
        let (mut at, mut out) = (start, self.completion * len);
        for document in documents {
            for (i, &token) in document.tokens.iter().enumerate() {
                self.tokens[at + i] = token as i32;
                self.positions[at + i] = i as i32;
            }
            for i in document.targets() {
                self.targets[out] = document.tokens[i] as i32;
                self.mask[out] = 1.0;
                self.predictors[out] = (at + i - 1) as i32;
                out += 1;
            }
            at += document.tokens.len();
        }
        self.last.push(at.saturating_sub(1) as i32);
        self.completion += 1;
    }
}

/// Hides the documents of a row from each other; `None` when each is alone.
fn other_documents(rows: &[Vec<Document>], seq: usize, device: &Device) -> Option<Tensor<4, Bool>> {
    if rows.iter().all(|row| row.len() <= 1) {
        return None;
    }
    let mut hidden = vec![false; rows.len() * seq * seq];
    for (i, row) in rows.iter().enumerate() {
        let mut start = 0;
        for document in row {
            for query in start..start + document.tokens.len() {
                let first = (i * seq + query) * seq;
                hidden[first..first + start].fill(true);
            }
            start += document.tokens.len();
        }
    }
    let shape = [rows.len(), 1, seq, seq];
    Some(Tensor::from_data(TensorData::new(hidden, shape), device))
}

#[cfg(test)]
mod tests {
    use burn::tensor::Tolerance;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;
    use crate::log_prob::scores;
    use crate::model::{LlamaConfig, randomize};

    fn document(tokens: &[u32], counts: &[u8]) -> Document {
        Document {
            tokens: tokens.to_vec(),
            counts: counts.iter().map(|&counts| counts > 0).collect(),
        }
    }

    #[test]
    fn positions_restart_and_targets_follow_each_other() {
        let rows = [
            vec![document(&[5, 6, 7], &[1, 1, 0]), document(&[8, 9], &[0, 1])],
            vec![document(&[3, 4], &[1, 1])],
        ];
        let batch = Batch::packed(&rows, 10, 4, &Device::flex()).unwrap();
        let int = |tensor: TensorData| tensor.iter::<i32>().collect::<Vec<_>>();
        let positions = int(batch.input.positions.into_data());
        assert_eq!(positions, [0, 1, 2, 0, 1, 0, 1, 0, 0, 0]);
        assert_eq!(int(batch.targets.into_data()), [6, 9, 4, 0]);
        assert_eq!(int(batch.predictors.into_data()), [0, 3, 5, 0]);
        assert_eq!(int(batch.places.into_data()), [0, 1, 2]);
        assert_eq!(int(batch.last.into_data()), [4, 6]);
        assert_eq!(batch.n_targets, 3);
        assert!(Batch::packed(&rows, 9, 4, &Device::flex()).is_err());
        assert!(Batch::packed(&rows, 10, 2, &Device::flex()).is_err());
    }

    /// A document has the log-probabilities in a row with others that it has alone.
    #[test]
    fn documents_do_not_see_each_other() {
        let (device, shape) = (Device::flex(), LlamaConfig::small(20, 16, 2, 2, 16));
        let model = randomize(shape.init(&device), &mut StdRng::seed_from_u64(1));
        let documents = [
            document(&[1, 7, 8, 9], &[1; 4]),
            document(&[2, 3], &[1; 2]),
            document(&[4, 5, 6, 11, 12], &[1; 5]),
        ];
        let log_probs = |rows: &[Vec<Document>]| {
            let batch = Batch::packed(rows, 20, 16, &device).unwrap();
            let mask = batch.mask.clone().into_data();
            let found = scores(&model, &batch, 1.0).log_probs.into_data();
            let counted = found.iter::<f32>().zip(mask.iter::<f32>());
            let counted = counted.filter(|(_, mask)| *mask > 0.0).map(|(x, _)| x);
            TensorData::from(counted.collect::<Vec<f32>>().as_slice())
        };
        let apart: Vec<Vec<Document>> = documents.iter().map(|d| vec![d.clone()]).collect();
        let packed = log_probs(&[documents.to_vec()]);
        packed.assert_approx_eq::<f32>(&log_probs(&apart), Tolerance::absolute(1e-5));
    }
}
