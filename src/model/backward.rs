//! The way back through a model, from the gradient of its final hidden states to that of its
//! weights.
//!
//! What stands on top of the hidden states has a graph of its own, so that it can be gone through
//! in chunks; and the model itself can be gone through part by part, with nothing kept of a part
//! but what it read. burn's own checkpointing recomputes cheap operations only, never a block.

use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::prelude::*;

use super::{CausalLm, Input};
use crate::precision::{LossScale, gradients_in_f32};

/// What a forward pass keeps for the backward pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Activations {
    /// Everything: fastest.
    #[default]
    Kept,
    /// The input of each block; what is inside is computed again when it is needed. A third more
    /// work, and memory for one block instead of all.
    Recomputed,
}

impl Activations {
    /// What `gradient_checkpointing` of a run file means.
    pub(crate) fn of(gradient_checkpointing: bool) -> Self {
        match gradient_checkpointing {
            true => Self::Recomputed,
            false => Self::Kept,
        }
    }
}

/// How a pass goes back: what the forward pass kept for it, and what the loss is scaled by.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Backward {
    /// What is kept.
    pub activations: Activations,
    /// That of the [`Learner`](crate::optim::Learner) whose model it is; none where the model is
    /// not in f16.
    pub loss_scale: LossScale,
}

impl From<Activations> for Backward {
    fn from(activations: Activations) -> Self {
        Self {
            activations,
            loss_scale: LossScale::default(),
        }
    }
}

/// A forward pass without a cache, and the way back.
pub struct Forward {
    input: Input,
    tape: Tape,
}

enum Tape {
    /// Final hidden states, recorded.
    Whole(Tensor<3>),
    /// What each part but the first read, and the final hidden states; not recorded.
    Parts(Vec<Tensor<3>>, Tensor<3>),
}

impl Forward {
    /// Goes through `model`.
    pub fn new<M: CausalLm>(model: &M, input: Input, activations: Activations) -> Self {
        let tape = match activations {
            Activations::Kept => Tape::Whole(model.hidden(input.clone(), None)),
            Activations::Recomputed => {
                let plain = model.valid();
                let mut states = plain.part(0, &input, None).inner();
                let mut read = Vec::new();
                for part in 1..model.n_parts() {
                    read.push(states.clone());
                    states = plain.part(part, &input, Some(states)).inner();
                }
                Tape::Parts(read, states)
            }
        };
        Self { input, tape }
    }

    /// Final hidden states without gradients, `[batch, seq, hidden]`.
    pub fn hidden(&self) -> Tensor<3> {
        match &self.tape {
            Tape::Whole(hidden) => hidden.clone().inner(),
            Tape::Parts(_, hidden) => hidden.clone(),
        }
    }

    /// Gradient by the weights of `model` in 32 bits, given that by [`Forward::hidden`].
    pub fn backward<M: CausalLm>(self, model: &M, by_hidden: Tensor<3>) -> GradientsParams {
        match self.tape {
            Tape::Whole(hidden) if hidden.is_tracked() => {
                let found = (hidden * by_hidden).sum().backward();
                gradients_in_f32(model, GradientsParams::from_grads(found, model))
            }
            // Every weight is frozen.
            Tape::Whole(_) => GradientsParams::new(),
            Tape::Parts(read, _) => back_through_parts(model, &self.input, read, by_hidden),
        }
    }
}

fn back_through_parts<M: CausalLm>(
    model: &M,
    input: &Input,
    mut read: Vec<Tensor<3>>,
    by_hidden: Tensor<3>,
) -> GradientsParams {
    let mut grads = GradientsAccumulator::new();
    let mut by_states = by_hidden;
    loop {
        let part = read.len();
        let states = read.pop().map(|states| states.autodiff().require_grad());
        let written = model.part(part, input, states.clone());
        if !written.is_tracked() {
            return grads.grads();
        }
        let mut found = (written * by_states).sum().backward();
        let by_read = states.map(|states| {
            let by_read = states.grad_remove(&mut found);
            by_read.unwrap_or_else(|| states.inner().zeros_like())
        });
        let found = GradientsParams::from_grads(found, model);
        grads.accumulate(model, gradients_in_f32(model, found));
        match by_read {
            Some(by_read) => by_states = by_read,
            None => return grads.grads(),
        }
    }
}
