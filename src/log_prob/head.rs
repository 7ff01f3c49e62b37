//! Through the head of a model in chunks, forward and backward.

use std::ops::Range;

use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::prelude::*;
use burn::tensor::{DType, IndexingUpdateOp};

use super::Scores;
use super::leaves::{ByScores, Leaves};
use super::softmax::{Readings, Softmax};
use crate::batch::Batch;
use crate::model::{CausalLm, Forward};
use crate::precision::{LossScale, gradients_in_f32};

/// Logits held at a time: 64 MiB in 32-bit numbers, and a few tensors of that size beside them.
const CHUNK_LOGITS: usize = 1 << 24;

/// Tokens whose logits are held at a time.
pub(super) fn chunk_rows<M: CausalLm>(model: &M) -> usize {
    rows_at_once(model.vocab_size())
}

/// The same for a vocabulary of this size.
pub(crate) fn rows_at_once(vocab: usize) -> usize {
    (CHUNK_LOGITS / vocab.max(1)).max(1)
}

/// The head of a model, and the temperature that its logits are divided by.
pub(super) struct Head<'a, M> {
    pub(super) model: &'a M,
    pub(super) temperature: f32,
}

/// What a loss has gradients by. What is recorded and then not used would stay in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Recording {
    /// Log-probabilities.
    LogProbs,
    /// Log-probabilities and entropies.
    WithEntropy,
}

/// Some of the completion tokens of a batch.
struct Chunk {
    /// Which of them.
    rows: Range<usize>,
    /// What they are predicted from, without gradients, `[rows, hidden]`.
    hidden: Tensor<2>,
    /// `[rows, 1]`.
    targets: Tensor<2, Int>,
}

impl<M: CausalLm> Head<'_, M> {
    /// What a model without gradients says of the tokens of `batch`, `rows` of them at a time.
    pub(super) fn scores(&self, batch: &Batch, rows: usize) -> Scores {
        let hidden = self.model.hidden(batch.input.clone(), None).inner();
        let chunks = chunks(hidden, batch, rows);
        let readings = chunks.iter().map(|chunk| self.read(chunk)).collect();
        placed(columns(readings, batch), batch)
    }

    /// See [`super::gradients`]; `pass` has read `batch`, and the head goes through `rows` tokens
    /// at a time.
    pub(super) fn gradients<T>(
        &self,
        pass: Forward,
        batch: &Batch,
        how: ((usize, Recording), LossScale),
        loss: impl FnOnce(Scores) -> (Tensor<1>, T),
    ) -> (GradientsParams, T) {
        self.gradients_beside(pass, batch, how, loss, |_| None)
    }

    /// See [`super::gradients_beside`].
    pub(super) fn gradients_beside<T>(
        &self,
        pass: Forward,
        batch: &Batch,
        ((rows, recording), scale): ((usize, Recording), LossScale),
        loss: impl FnOnce(Scores) -> (Tensor<1>, T),
        beside: impl FnOnce(Tensor<3>) -> Option<Tensor<3>>,
    ) -> (GradientsParams, T) {
        let hidden = pass.hidden();
        let chunks = chunks(hidden.clone(), batch, rows);
        let mut once = None;
        let readings = if let [chunk] = &chunks[..] {
            let recorded = once.insert(Recorded::new(self, chunk));
            vec![recorded.softmax.read(chunk.targets.clone())]
        } else {
            let plain = self.model.valid();
            let head = Head {
                model: &plain,
                temperature: self.temperature,
            };
            chunks.iter().map(|chunk| head.read(chunk)).collect()
        };
        let leaves = Leaves::new(columns(readings, batch), recording);
        let (loss, told) = loss(leaves.scores(batch));
        let by_scores = leaves.gradient(&scale.scale(loss));

        let mut grads = GradientsAccumulator::new();
        let mut by_hidden = Vec::new();
        for chunk in &chunks {
            let recorded = once.take().unwrap_or_else(|| Recorded::new(self, chunk));
            by_hidden.push(recorded.backward(self.model, chunk, &by_scores, &mut grads));
        }
        if !by_hidden.is_empty() {
            let mut by_hidden = scattered(Tensor::cat(by_hidden, 0), batch, hidden.dims());
            if let Some(more) = beside(hidden) {
                by_hidden = by_hidden + more;
            }
            grads.accumulate(self.model, pass.backward(self.model, by_hidden));
        }
        (scale.unscale(self.model, grads.grads()), told)
    }

    fn logits(&self, hidden: Tensor<2>) -> Tensor<2> {
        // Softmax and losses are in 32-bit numbers, whatever the model computes in.
        let logits = self.model.logits(hidden).cast(DType::F32);
        if self.temperature == 1.0 {
            return logits;
        }
        logits / self.temperature
    }

    fn read(&self, chunk: &Chunk) -> Readings {
        let softmax = Softmax::new(self.logits(chunk.hidden.clone()));
        softmax.read(chunk.targets.clone())
    }
}

/// Rows of the flattened hidden states that predict the completion tokens, `[tokens]`.
fn predictors(batch: &Batch) -> Tensor<1, Int> {
    let predictors = batch.predictors.clone().select(0, batch.places.clone());
    predictors.inner()
}

/// Adds `[tokens, hidden]` up at the tokens that they are predicted from, `[batch, seq, hidden]`.
fn scattered(by_tokens: Tensor<2>, batch: &Batch, dims: [usize; 3]) -> Tensor<3> {
    let [rows, seq, width] = dims;
    let zeros = Tensor::<2>::zeros(
        [rows * seq, width],
        (&by_tokens.device(), by_tokens.dtype()),
    );
    let add = IndexingUpdateOp::Add;
    let sums = zeros.select_assign(0, predictors(batch), by_tokens, add);
    sums.reshape(dims)
}

/// The completion tokens of `batch`, given all final hidden states, `rows` tokens at a time.
fn chunks(hidden: Tensor<3>, batch: &Batch, rows: usize) -> Vec<Chunk> {
    let ([n, len], n_tokens) = (batch.targets.dims(), batch.n_targets);
    let [texts, seq, width] = hidden.dims();
    let hidden = hidden.reshape([texts * seq, width]);
    let hidden = hidden.select(0, predictors(batch));
    let targets = batch.targets.clone().reshape([n * len, 1]);
    let targets = targets.select(0, batch.places.clone()).inner();
    let chunk = |start: usize| {
        let rows = start..(start + rows).min(n_tokens);
        Chunk {
            hidden: hidden.clone().slice(s![rows.clone(), ..]),
            targets: targets.clone().slice(s![rows.clone(), ..]),
            rows,
        }
    };
    (0..n_tokens).step_by(rows).map(chunk).collect()
}

/// Log-probabilities, entropies, `top` and mean logits of all chunks, each `[tokens]`.
fn columns(readings: Vec<Readings>, batch: &Batch) -> [Tensor<1>; 4] {
    let mut columns: [Vec<Tensor<2>>; 4] = Default::default();
    for reading in readings {
        let parts = [
            reading.log_prob,
            reading.entropy,
            reading.top,
            reading.mean_logit,
        ];
        for (column, part) in columns.iter_mut().zip(parts) {
            column.push(part);
        }
    }
    columns.map(|parts| {
        if parts.is_empty() {
            return Tensor::zeros([0], &batch.mask.device().inner());
        }
        Tensor::cat(parts, 0).squeeze_dim(1)
    })
}

/// [`columns`] where the batch has them.
pub(super) fn placed(columns: [Tensor<1>; 4], batch: &Batch) -> Scores {
    let [log_probs, entropy, top, mean_logits] = columns.map(|values| in_place(values, batch));
    Scores {
        log_probs,
        entropy,
        top,
        mean_logits,
    }
}

/// Puts one number per completion token, `[tokens]`, where the batch has it, `[completions, len]`.
fn in_place(values: Tensor<1>, batch: &Batch) -> Tensor<2> {
    let [n, len] = batch.targets.dims();
    let empty = Tensor::<1>::zeros([n * len], &values.device());
    if batch.n_targets == 0 {
        return empty.reshape([n, len]);
    }
    let places = batch.places.clone();
    let placed = empty.select_assign(0, places, values, IndexingUpdateOp::Add);
    placed.reshape([n, len])
}

/// A chunk whose way through the head is on the tape.
struct Recorded {
    /// `[rows, hidden]`, where the tape begins.
    hidden: Tensor<2>,
    logits: Tensor<2>,
    softmax: Softmax,
}

impl Recorded {
    fn new<M: CausalLm>(head: &Head<M>, chunk: &Chunk) -> Self {
        let hidden = chunk.hidden.clone().autodiff().require_grad();
        let logits = head.logits(hidden.clone());
        Self {
            softmax: Softmax::new(logits.clone().inner()),
            hidden,
            logits,
        }
    }

    /// Adds the gradient by the weights of the head to `grads`; returns that by the hidden states,
    /// `[rows, hidden]`.
    fn backward<M: CausalLm>(
        self,
        model: &M,
        chunk: &Chunk,
        by_scores: &ByScores,
        grads: &mut GradientsAccumulator<M>,
    ) -> Tensor<2> {
        let part = |by: &Tensor<2>| by.clone().slice(s![chunk.rows.clone(), ..]);
        let by_logits = self.softmax.gradient(
            chunk.targets.clone(),
            part(&by_scores.log_prob),
            by_scores.entropy.as_ref().map(part),
        );
        let mut found = (self.logits * by_logits).sum().backward();
        let by_hidden = self.hidden.grad_remove(&mut found);
        let found = GradientsParams::from_grads(found, model);
        grads.accumulate(model, gradients_in_f32(model, found));
        by_hidden.unwrap_or_else(|| chunk.hidden.zeros_like())
    }
}

#[cfg(test)]
mod tests {
    use burn::module::{ModuleVisitor, Param};
    use burn::tensor::Tolerance;
    use burn::tensor::activation::log_softmax;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;
    use crate::batch::Tree;
    use crate::model::{
        Activations, Architecture, Head as HeadKind, LlamaConfig, Transformer, randomize,
    };

    /// What [`Head::gradients`] must amount to: everything on one tape.
    fn recorded_whole(
        head: &Head<Transformer>,
        batch: &Batch,
        loss: impl FnOnce(Scores) -> Tensor<1>,
    ) -> GradientsParams {
        let hidden = head.model.hidden(batch.input.clone(), None);
        let [rows, seq, width] = hidden.dims();
        let hidden = hidden.reshape([rows * seq, width]);
        let log_probs = log_softmax(head.logits(hidden.select(0, predictors(batch))), 1);
        let targets = batch.targets.clone().reshape([-1, 1]);
        let targets = targets.select(0, batch.places.clone());
        let entropy = (log_probs.clone().exp() * log_probs.clone()).sum_dim(1);
        let log_probs = log_probs.gather(1, targets).squeeze_dim(1);
        let scores = Scores {
            log_probs: in_place(log_probs, batch),
            entropy: in_place(entropy.neg().squeeze_dim(1), batch),
            top: batch.mask.zeros_like(),
            mean_logits: batch.mask.zeros_like(),
        };
        GradientsParams::from_grads(loss(scores).backward(), head.model)
    }

    struct Flat<'a>(&'a GradientsParams, Vec<TensorData>);

    impl ModuleVisitor for Flat<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let grad = self.0.get::<D>(param.id).expect("a gradient");
            self.1.push(grad.into_data());
        }
    }

    fn flat(model: &Transformer, grads: &GradientsParams) -> Vec<TensorData> {
        let mut flat = Flat(grads, Vec::new());
        model.visit(&mut flat);
        flat.1
    }

    /// Gradients and values are the same for every size of a chunk, 7 tokens in all, and whether
    /// activations are kept.
    fn check(change: impl FnOnce(&mut Architecture), temperature: f32, weight_of_entropy: f32) {
        let device = Device::flex().autodiff();
        let mut config = LlamaConfig::small(11, 8, 2, 2, 16).config();
        change(&mut config.architecture);
        let model = randomize(config.init(&device), &mut StdRng::seed_from_u64(3)).train();
        let trees = [
            Tree {
                prompt: vec![1, 2],
                completions: vec![vec![3, 4, 10], vec![5]],
            },
            Tree::single(vec![6], vec![7, 8, 9]),
        ];
        let batch = Batch::new(&trees, 11, 16, &device).unwrap();
        let head = Head {
            model: &model,
            temperature,
        };
        // Neither linear nor the same for all tokens.
        let loss = |scores: Scores| {
            let loss = scores.log_probs.square().sum();
            loss + (scores.entropy.square() * weight_of_entropy).sum()
        };
        let expected = flat(&model, &recorded_whole(&head, &batch, loss));
        let ways = [Activations::Kept, Activations::Recomputed];
        for (rows, way) in [1, 2, 3, 7, 100].into_iter().zip(ways.into_iter().cycle()) {
            let pass = Forward::new(&model, batch.input.clone(), way);
            let chunks = (rows, Recording::WithEntropy);
            // Of no account for the gradients in 32 bits that come out.
            let scale = LossScale::new(1024.0);
            let (grads, told) = head.gradients(pass, &batch, (chunks, scale), |scores| {
                (loss(scores.clone()), scores.log_probs)
            });
            for (found, expected) in flat(&model, &grads).iter().zip(&expected) {
                found.assert_approx_eq::<f32>(expected, Tolerance::absolute(1e-5));
            }
            let plain = model.valid();
            let head = Head {
                model: &plain,
                temperature,
            };
            let scores = head.scores(&batch, rows).log_probs.into_data();
            let told = told.into_data();
            told.assert_approx_eq::<f32>(&scores, Tolerance::absolute(1e-6));
        }
    }

    #[test]
    fn chunks_change_nothing() {
        check(|_| (), 1.0, 0.0);
        check(|_| (), 0.7, 0.3);
        check(|arch| arch.head = HeadKind::Own, 1.0, 0.3);
        check(|arch| arch.logit_soft_cap = Some(0.5), 0.7, 0.3);
    }
}
