//! The gradient of the supervised loss against `transformers`; `tests/fixtures/make_gradients.py`
//! writes it.

use burn::module::{Module, ModuleMapper, Param};
use burn::optim::GradientsParams;
use rlaif::batch::{Batch, Tree};
use rlaif::log_prob::gradients;
use rlaif::model::Activations;
use rlaif::rl::loss::nll;
use safetensors::SafeTensors;

use super::files::tensors;
use super::*;

/// Puts its gradient in the place of each weight, so that it can be saved under the weight's name.
struct Swap(GradientsParams);

impl ModuleMapper for Swap {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let grad: Tensor<D> = self.0.remove(param.id).unwrap();
        Param::initialized(param.id, grad)
    }
}

/// Loss and gradient of 9 and 6 tokens of the greedy continuations, by name in the file.
fn check(family: &str, activations: Activations) {
    let device = Device::flex().autodiff();
    let model = model::load(&folder(family), &device).unwrap();
    let Expected {
        prompts, greedy, ..
    } = expected(family);
    let tree = |(i, n): (usize, usize)| Tree::single(prompts[i].clone(), greedy[i][..n].to_vec());
    let trees = [(0, 9), (1, 6)].map(tree);
    let batch = Batch::new(&trees, model.vocab_size(), model.max_len(), &device).unwrap();
    let loss = |log_probs: Tensor<2>| nll(log_probs, batch.mask.clone());
    let (grads, found) = gradients(&model, &batch, 1.0, activations, |scores| {
        let loss = loss(scores.log_probs);
        (loss.clone(), loss)
    });

    let path = format!("tests/fixtures/gradients/{family}.safetensors");
    let bytes = fs::read(&path).unwrap();
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let golden: f32 = header.metadata().as_ref().unwrap()["loss"].parse().unwrap();
    let found: f32 = found.into_scalar();
    assert!((found - golden).abs() < 1e-4 * golden, "{family}: {found}");

    let dir = tempfile::tempdir().unwrap();
    model::save(&model.valid().map(&mut Swap(grads)), dir.path()).unwrap();
    let found = tensors(dir.path());
    let golden = SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(found.len(), golden.len());
    for (name, (shape, found)) in found {
        let view = golden.tensor(&name).unwrap();
        assert_eq!(view.shape(), shape);
        let numbers = view.data().as_chunks::<4>().0.iter();
        let golden = numbers.map(|bytes| f32::from_le_bytes(*bytes));
        let (mut apart, mut size) = (0.0, 0.0);
        for (found, golden) in found.iter().zip(golden) {
            apart += f64::from(found - golden).powi(2);
            size += f64::from(golden).powi(2);
        }
        let relative = (apart / size).sqrt();
        assert!(relative < 1e-3, "{family}: {name} is {relative} away");
    }
}

#[test]
fn gradients_are_those_of_transformers() {
    for family in ["llama", "qwen3", "gpt2"] {
        check(family, Activations::Kept);
        check(family, Activations::Recomputed);
    }
}
