//! Number formats of weights and activations, and whether a device computes in them.
//!
//! A model is in one format: its weights, the states between its layers, its cache. What adds up
//! many numbers or takes exponentials of them is in 32 bits whatever that format is: norms, the
//! softmax of attention, activation functions, rotary angles, logits and losses, scalar heads,
//! adapters and what an optimizer holds. On the way back the gradients of the states between the
//! layers are in the model's format again; those of f16 would vanish without a [`LossScale`].

mod loss_scale;

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::prelude::*;
use burn::tensor::DType;
use serde::{Deserialize, Serialize};

pub use self::loss_scale::LossScale;
use crate::error::{Error, Result};

/// A number format; names as in TRL's `dtype`, shortened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// 32 bits.
    #[default]
    F32,
    /// 16 bits with 8 of exponent: the range of 32 bits.
    Bf16,
    /// 16 bits with 5 of exponent: up to 65504.
    F16,
}

impl Precision {
    /// Its name in a run file.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
        }
    }

    /// Its name in a `config.json`.
    pub(crate) fn torch_name(self) -> &'static str {
        match self {
            Self::F32 => "float32",
            Self::Bf16 => "bfloat16",
            Self::F16 => "float16",
        }
    }

    /// Bytes of a number.
    pub(crate) fn bytes(self) -> u64 {
        match self {
            Self::F32 => 4,
            Self::Bf16 | Self::F16 => 2,
        }
    }

    /// The format of burn's tensors.
    pub fn dtype(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::Bf16 => DType::BF16,
            Self::F16 => DType::F16,
        }
    }

    /// The format of a tensor of floats.
    pub(crate) fn of(dtype: DType) -> Self {
        match dtype {
            DType::BF16 => Self::Bf16,
            DType::F16 => Self::F16,
            _ => Self::F32,
        }
    }

    /// Checks that `device` computes in this format: that it says so, and that a small product
    /// comes out right, for some devices store a format and compute garbage in it.
    ///
    /// # Errors
    /// [`Error::PrecisionMissing`] with the names of both.
    pub fn check(self, device: &Device) -> Result<()> {
        if self == Self::F32 || (device.supports_dtype(self.dtype()) && self.multiplies(device)?) {
            return Ok(());
        }
        Err(Error::PrecisionMissing {
            device: format!("{device:?}"),
            dtype: self.name(),
        })
    }

    /// Whether `[1.5, -2, 0.25] . [2, 0.5, 8]` is 4; every format holds these numbers exactly.
    fn multiplies(self, device: &Device) -> Result<bool> {
        let new = |numbers: [f32; 3], shape: [usize; 2]| {
            let data = TensorData::new(numbers.to_vec(), shape).convert_dtype(self.dtype());
            Tensor::<2>::from_data(data, (device, self.dtype()))
        };
        let product = new([1.5, -2.0, 0.25], [1, 3]).matmul(new([2.0, 0.5, 8.0], [3, 1]));
        Ok(product.cast(DType::F32).try_into_scalar::<f32>()? == 4.0)
    }
}

/// What `f` makes of `x` in 32 bits, in the format of `x`.
pub(crate) fn in_f32<const D: usize>(
    x: Tensor<D>,
    f: impl FnOnce(Tensor<D>) -> Tensor<D>,
) -> Tensor<D> {
    let dtype = x.dtype();
    f(x.cast(DType::F32)).cast(dtype)
}

/// The same gradients of `model` in 32 bits: they are added up and squared.
pub(crate) fn gradients_in_f32<M: Module>(
    model: &M,
    mut grads: GradientsParams,
) -> GradientsParams {
    model.visit(&mut Raise(&mut grads));
    grads
}

struct Raise<'a>(&'a mut GradientsParams);

impl ModuleVisitor for Raise<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(grad) = self.0.remove::<D>(param.id) {
            self.0.register(param.id, grad.cast(DType::F32));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flex_computes_in_all_formats() {
        for precision in [Precision::F32, Precision::Bf16, Precision::F16] {
            precision.check(&Device::flex()).unwrap();
        }
    }

    /// `1 + 2^-8` has no bf16, `1 + 2^-8 - 1` in 32 bits has.
    #[test]
    fn inner_steps_are_not_rounded() {
        let x = Tensor::<1>::ones([1], (&Device::flex(), DType::BF16));
        let small = 1.0 / 256.0;
        let found = in_f32(x.clone(), |x| x + small - 1.0);
        assert_eq!(found.dtype(), DType::BF16);
        assert_eq!(found.into_scalar::<f32>(), small);
        assert_eq!((x + small - 1.0).into_scalar::<f32>(), 0.0);
    }
}
