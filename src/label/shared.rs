//! What many questions begin with, preamble and exemplars, is read once: its keys and values are
//! copied into the cache of every batch.

use burn::prelude::*;

use super::Sharing;
use crate::batch::{Batch, Tree};
use crate::error::Result;
use crate::log_prob::chunks_by_length;
use crate::model::{CausalLm, DecodeCache, Input, device_of};

/// A beginning that was read, or none.
pub(super) struct SharedPrefix<C> {
    len: usize,
    /// Of one row.
    cache: Option<C>,
}

impl<C: DecodeCache> SharedPrefix<C> {
    /// Takes the beginning that all prompts have in common from them and reads it. A prompt keeps
    /// one token at least.
    pub(super) fn take<M: CausalLm<Cache = C>>(
        model: &M,
        trees: &mut [Tree],
        sharing: &Sharing,
    ) -> Result<Self> {
        let len = common_len(trees);
        if trees.len() < 2 || len < sharing.min_shared {
            return Ok(Self {
                len: 0,
                cache: None,
            });
        }
        let device = device_of(model).inner();
        let whole = trees.iter().map(Tree::len).max().unwrap_or(0);
        let prefix = Tree {
            prompt: trees[0].prompt[..len].to_vec(),
            completions: Vec::new(),
        };
        for tree in trees {
            tree.prompt.drain(..len);
        }
        let batch = Batch::new(&[prefix], model.vocab_size(), model.max_len(), &device)?;
        let mut cache = model.cache(1, whole);
        model.hidden(batch.input, Some(&mut cache));
        Ok(Self {
            len,
            cache: Some(cache),
        })
    }

    /// Trees of similar length together, such that what a batch reads and what it holds is bounded.
    pub(super) fn chunks(&self, trees: &[Tree], max_tokens: usize) -> Vec<Vec<usize>> {
        /// Tokens held for each token read.
        const HELD: usize = 4;
        let mut chunks = Vec::new();
        for chunk in chunks_by_length(trees, max_tokens) {
            let longest = chunk.iter().map(|&i| trees[i].len()).max().unwrap_or(0);
            let rows = HELD * max_tokens / (self.len + longest).max(1);
            chunks.extend(chunk.chunks(rows.max(1)).map(<[usize]>::to_vec));
        }
        chunks
    }

    /// Hidden states of trees that follow the beginning, one row each, padded on the right.
    pub(super) fn hidden<M: CausalLm<Cache = C>>(
        &self,
        model: &M,
        trees: &[Tree],
    ) -> Result<Tensor<3>> {
        let device = device_of(model).inner();
        let room = model.max_len() - self.len;
        let input = Batch::new(trees, model.vocab_size(), room, &device)?.input;
        let Some(cache) = self.cache.clone() else {
            return Ok(model.hidden(input, None));
        };
        let [rows, seq] = input.tokens.dims();
        let mut cache = cache.select(Tensor::zeros([rows], &device));
        let seen = || {
            let seen = vec![false; rows * seq * self.len];
            Tensor::<4, Bool>::from_data(TensorData::new(seen, [rows, 1, seq, self.len]), &device)
        };
        let input = Input {
            tokens: input.tokens,
            positions: input.positions + self.len as i32,
            hidden_keys: (input.hidden_keys).map(|hidden| Tensor::cat(vec![seen(), hidden], 3)),
        };
        Ok(model.hidden(input, Some(&mut cache)))
    }
}

/// Tokens that all prompts begin with, one less than the shortest at most.
fn common_len(trees: &[Tree]) -> usize {
    let Some((first, rest)) = trees.split_first() else {
        return 0;
    };
    let mut len = first.prompt.len().saturating_sub(1);
    for tree in rest {
        let pairs = first.prompt.iter().zip(&tree.prompt);
        let equal = pairs.take_while(|(a, b)| a == b).count();
        len = len.min(equal).min(tree.prompt.len().saturating_sub(1));
    }
    len
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::label::{Candidates, answer_log_probs};
    use crate::log_prob::log_probs_of;
    use crate::model::{LlamaConfig, randomize};
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    fn tree(prompt: &[u32], completions: &[&[u32]]) -> Tree {
        Tree {
            prompt: prompt.to_vec(),
            completions: completions.iter().map(|row| row.to_vec()).collect(),
        }
    }

    #[test]
    fn the_common_beginning_leaves_every_prompt_a_token() {
        let check = |prompts: &[&[u32]], expected| {
            let trees: Vec<Tree> = prompts.iter().map(|prompt| tree(prompt, &[])).collect();
            assert_eq!(common_len(&trees), expected, "{prompts:?}");
        };
        check(&[&[1, 2, 3, 4], &[1, 2, 5]], 2);
        check(&[&[1, 2], &[1, 2, 3]], 1);
        check(&[&[4], &[1, 2]], 0);
        check(&[], 0);
    }

    /// The answers are "1" and "10" as tokens 3 and 3, 4, and "2" as token 5; the reference scores
    /// each as a completion: P("1") = p(3) (1 - p(4 | 3)), P("10") = p(3) p(4 | 3), P("2") = p(5).
    #[test]
    fn answers_do_not_depend_on_what_is_shared() {
        let mut rng = StdRng::seed_from_u64(1);
        let config = LlamaConfig::small(40, 32, 2, 2, 128);
        let model = randomize(config.init(&Device::flex()), &mut rng);
        let text = |seed: u32, n: u32| -> Vec<u32> {
            (0..n).map(|i| (seed * 7 + i * i + 3 * i) % 40).collect()
        };
        let begin = text(1, 30);
        let with = |end: Vec<u32>| [&begin[..], &end].concat();
        let trees = [
            tree(&with(text(2, 5)), &[&text(3, 4), &text(4, 6)]),
            tree(&with(text(5, 2)), &[&text(6, 3)]),
            tree(&with(text(7, 9)), &[&text(8, 1), &text(9, 2), &[]]),
        ];
        let candidates =
            Candidates::from_tokens(vec![vec![vec![3]], vec![vec![3, 4]], vec![vec![5]]]);
        let answers = |max_tokens, min_shared| {
            let sharing = Sharing {
                max_tokens,
                min_shared,
            };
            answer_log_probs(&model, &trees, &candidates, &sharing).unwrap()
        };
        let mut expected = Vec::new();
        for tree in &trees {
            for question in &tree.completions {
                let ends: [&[u32]; 2] = [&[3, 4], &[5]];
                let asked = ends
                    .map(|end| Tree::single(tree.prompt.clone(), [&question[..], end].concat()));
                let found = log_probs_of(&model, &asked, 1.0, 512).unwrap();
                let at = question.len();
                let [one, ten] = [found[0][at].exp(), found[0][at + 1].exp()];
                let p = [one * (1.0 - ten), one * ten, found[1][at].exp()];
                expected.push(p.map(|p1| (p1 / p.iter().sum::<f32>()).ln()));
            }
        }
        for found in [answers(512, usize::MAX), answers(512, 8), answers(64, 8)] {
            assert_eq!(found.len(), 6);
            for (found, expected) in found.iter().flatten().zip(expected.iter().flatten()) {
                assert!((found - expected).abs() < 1e-4, "{found} is not {expected}");
            }
        }
    }
}
