//! Token sequences on the host become the padded tensors that a model reads.
//!
//! The unit is a [`Tree`]: one prompt with one or more completions. All completions of a tree share
//! one encoding of the prompt; each sees the prompt and itself, never a sibling, and its positions
//! go on where the prompt ends. So a tree gives exactly what its completions would give as rows of
//! their own, for less work: the two sides of a preference, the samples of a group, the candidate
//! answers of a labeler.

mod documents;

use burn::prelude::*;

pub use self::documents::Document;

use crate::error::{Error, Result};
use crate::model::Input;

/// A prompt and its completions, as token ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    /// The shared beginning; never empty.
    pub prompt: Vec<u32>,
    /// What may follow it.
    pub completions: Vec<Vec<u32>>,
}

impl Tree {
    /// A prompt with one completion.
    pub fn single(prompt: Vec<u32>, completion: Vec<u32>) -> Self {
        Self {
            prompt,
            completions: vec![completion],
        }
    }

    /// Number of tokens in its row.
    pub fn len(&self) -> usize {
        self.prompt.len() + self.completions.iter().map(Vec::len).sum::<usize>()
    }

    /// Whether it holds no token at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Padded tensors of several trees. Rows of the completion tensors are the completions in tree
/// order.
#[derive(Debug, Clone)]
pub struct Batch {
    /// What the model reads, one row per tree, padded on the right.
    pub input: Input,
    /// Tokens to predict, `[completions, len]`, 0 where the mask is 0.
    pub targets: Tensor<2, Int>,
    /// 1.0 where a completion has a token, `[completions, len]`.
    pub mask: Tensor<2>,
    /// For each target, the row of `hidden.reshape([batch * seq, hidden])` that predicts it,
    /// `[completions * len]`.
    pub predictors: Tensor<1, Int>,
    /// Where the completion tokens are in the flattened `[completions * len]`, `[n_targets]`.
    pub places: Tensor<1, Int>,
    /// For each completion, the row of its last token (of the prompt's last when it is empty),
    /// `[completions]`.
    pub last: Tensor<1, Int>,
    /// Number of completion tokens.
    pub n_targets: usize,
}

impl Batch {
    /// Builds the tensors on `device`.
    ///
    /// # Errors
    /// A token id outside `vocab`, a text longer than `max_len` tokens, or an empty prompt.
    pub fn new(trees: &[Tree], vocab: usize, max_len: usize, device: &Device) -> Result<Self> {
        for tree in trees {
            check(tree, vocab, max_len)?;
        }
        let seq = trees.iter().map(Tree::len).max().unwrap_or(0);
        let completions = trees.iter().flat_map(|tree| &tree.completions);
        let len = completions.clone().map(Vec::len).max().unwrap_or(0);
        let n = completions.clone().count();

        let mut rows = Rows::new(trees.len() * seq, n * len);
        for (i, tree) in trees.iter().enumerate() {
            rows.push(tree, i * seq, len);
        }
        let mut batch = rows.into_batch([trees.len(), seq], [n, len], device);
        batch.input.hidden_keys = hidden_keys(trees, seq, device);
        Ok(batch)
    }
}

/// Whether a model of `vocab` tokens and `max_len` positions can read a tree.
///
/// # Errors
/// As [`Batch::new`].
pub(crate) fn check(tree: &Tree, vocab: usize, max_len: usize) -> Result<()> {
    if tree.prompt.is_empty() {
        return Err(Error::Usage("a prompt has no tokens".into()));
    }
    let mut tokens = tree.prompt.iter().chain(tree.completions.iter().flatten());
    if let Some(&id) = tokens.find(|&&id| id as usize >= vocab) {
        return Err(Error::TokenId { id, vocab });
    }
    let longest = tree.completions.iter().map(Vec::len).max().unwrap_or(0);
    let found = tree.prompt.len() + longest;
    if found > max_len {
        return Err(Error::TooLong {
            what: "prompt and completion".into(),
            found,
            limit: max_len,
        });
    }
    Ok(())
}

/// Host buffers under construction.
struct Rows {
    tokens: Vec<i32>,
    positions: Vec<i32>,
    targets: Vec<i32>,
    mask: Vec<f32>,
    predictors: Vec<i32>,
    last: Vec<i32>,
    completion: usize,
}

impl Rows {
    fn new(inputs: usize, outputs: usize) -> Self {
        Self {
            tokens: vec![0; inputs],
            positions: vec![0; inputs],
            targets: vec![0; outputs],
            mask: vec![0.0; outputs],
            predictors: vec![0; outputs],
            last: Vec::new(),
            completion: 0,
        }
    }

    /// The tensors, with no hidden keys; `inputs` and `outputs` are the shapes of what is read and
    /// of what is predicted.
    fn into_batch(self, inputs: [usize; 2], outputs: [usize; 2], device: &Device) -> Batch {
        let int = |values: Vec<i32>, shape: [usize; 2]| {
            Tensor::<2, Int>::from_data(TensorData::new(values, shape), device)
        };
        let flat = |values: &[i32]| Tensor::<1, Int>::from_data(values, device);
        let counted = (0..).zip(&self.mask).filter(|(_, counts)| **counts > 0.0);
        let places: Vec<i32> = counted.map(|(place, _)| place).collect();
        Batch {
            input: Input {
                tokens: int(self.tokens, inputs),
                positions: int(self.positions, inputs),
                hidden_keys: None,
            },
            targets: int(self.targets, outputs),
            mask: Tensor::from_data(TensorData::new(self.mask, outputs), device),
            predictors: flat(&self.predictors),
            places: flat(&places),
            last: flat(&self.last),
            n_targets: places.len(),
        }
    }

    /// Adds a tree whose row starts at `start`, its completions padded to `len`.
    fn push(&mut self, tree: &Tree, start: usize, len: usize) {
        let n_prompt = tree.prompt.len();
        for (i, &token) in tree.prompt.iter().enumerate() {
            self.tokens[start + i] = token as i32;
            self.positions[start + i] = i as i32;
        }
        let prompt_end = start + n_prompt - 1;
        let mut at = start + n_prompt;
        for completion in &tree.completions {
            let out = self.completion * len;
            let mut predictor = prompt_end;
            for (i, &token) in completion.iter().enumerate() {
                self.tokens[at] = token as i32;
                self.positions[at] = (n_prompt + i) as i32;
                self.targets[out + i] = token as i32;
                self.mask[out + i] = 1.0;
                self.predictors[out + i] = predictor as i32;
                predictor = at;
                at += 1;
            }
            self.last.push(predictor as i32);
            self.completion += 1;
        }
    }
}

/// Hides siblings from each other; `None` when there are none, for then causality says it all.
fn hidden_keys(trees: &[Tree], seq: usize, device: &Device) -> Option<Tensor<4, Bool>> {
    if trees.iter().all(|tree| tree.completions.len() <= 1) {
        return None;
    }
    let mut hidden = vec![false; trees.len() * seq * seq];
    for (i, tree) in trees.iter().enumerate() {
        let mut start = tree.prompt.len();
        for completion in &tree.completions {
            for query in start..start + completion.len() {
                let row = (i * seq + query) * seq;
                hidden[row + tree.prompt.len()..row + start].fill(true);
            }
            start += completion.len();
        }
    }
    Some(Tensor::from_data(
        TensorData::new(hidden, [trees.len(), 1, seq, seq]),
        device,
    ))
}
