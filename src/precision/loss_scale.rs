//! What keeps the gradients of activations in f16 from vanishing.

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::prelude::*;

/// What a loss is multiplied by before its gradient is taken, and the gradient by the weights
/// divided by afterwards, so that what comes out is the gradient of the loss.
///
/// In between, the gradients of the states between the layers are in the model's format, and f16
/// has nothing below `2^-24`: of a mean over many tokens most would be 0. Micikevicius et al. 2018,
/// arXiv:1710.03740, section 3.2. Which scale is right, an optimizer finds out step by step:
/// [`LossScaling`](crate::optim::LossScaling).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LossScale(f32);

impl Default for LossScale {
    /// None: the numbers are what they would be without it.
    fn default() -> Self {
        Self(1.0)
    }
}

impl LossScale {
    /// A scale, a positive number; a power of two rounds nothing.
    pub(crate) fn new(scale: f32) -> Self {
        Self(scale)
    }

    /// The number.
    pub fn value(self) -> f32 {
        self.0
    }

    /// The loss whose gradient is to be taken, for the `loss` whose gradient is wanted.
    pub(crate) fn scale(self, loss: Tensor<1>) -> Tensor<1> {
        if self == Self::default() {
            return loss;
        }
        loss * self.0
    }

    /// The gradients of the loss by the weights of `model`, in 32 bits, from those of the scaled
    /// one.
    pub(crate) fn unscale<M: Module>(
        self,
        model: &M,
        mut grads: GradientsParams,
    ) -> GradientsParams {
        if self != Self::default() {
            model.visit(&mut Unscale {
                grads: &mut grads,
                factor: self.0.recip(),
            });
        }
        grads
    }
}

struct Unscale<'a> {
    grads: &'a mut GradientsParams,
    factor: f32,
}

impl ModuleVisitor for Unscale<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(grad) = self.grads.remove::<D>(param.id) {
            self.grads.register(param.id, grad * self.factor);
        }
    }
}
