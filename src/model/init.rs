//! Initial weights from the host's random numbers, so that a seed means the same model on every
//! device.

use burn::module::{Module, ModuleMapper, Param};
use burn::prelude::*;
use rand::rngs::StdRng;
use rand_distr::{Distribution, StandardNormal};

/// Draws every matrix of `model` from a normal distribution, sets every bias to zero and every
/// other vector (the norms) to one.
///
/// The deviation is `max(0.02, sqrt(0.4 / d))` with `d` the smaller side: 0.02 is the
/// `initializer_range` of the published Llama configurations, which is too small for widths of a
/// few hundred.
#[must_use]
pub fn randomize<M: Module>(model: M, rng: &mut StdRng) -> M {
    let name = String::new();
    model.map(&mut Draw { rng, name })
}

struct Draw<'a> {
    rng: &'a mut StdRng,
    /// Name of the parameter at hand.
    name: String,
}

impl ModuleMapper for Draw<'_> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        name.clone_into(&mut self.name);
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (id, tensor, mapper) = param.consume();
        let (shape, device) = (tensor.shape(), tensor.device());
        let fresh = if self.name == "bias" {
            Tensor::zeros(shape, &device)
        } else if D == 1 {
            Tensor::ones(shape, &device)
        } else {
            let side = shape[D - 2].min(shape[D - 1]) as f32;
            let std = (0.4 / side).sqrt().max(0.02);
            let normal = |_| std * Distribution::<f32>::sample(&StandardNormal, self.rng);
            let values: Vec<f32> = (0..shape.num_elements()).map(normal).collect();
            Tensor::from_data(TensorData::new(values, shape), &device)
        };
        Param::from_mapped_value(id, fresh, mapper)
    }
}
