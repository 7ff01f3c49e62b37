//! What a model computes: logits, greedy texts, shared prompts, gradients.

use std::slice;

use burn::module::{ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::prelude::*;
use burn::tensor::Tolerance;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rlaif::batch::{Batch, Tree};
use rlaif::generate::{SamplingConfig, generate};
use rlaif::log_prob::{gradients, token_log_probs};
use rlaif::model::{self, Activations, CausalLm};

use super::*;

#[test]
fn logits_are_those_of_transformers() {
    for family in FAMILIES {
        check_logits(family, &load(family));
    }
}

/// With a cache: alone, in a batch where the shorter prompt is padded on the left, and with two
/// samples of each prompt of which some leave the batch early.
#[test]
fn greedy_tokens_are_those_of_transformers() {
    for family in FAMILIES {
        let (
            model,
            Expected {
                prompts, greedy, ..
            },
        ) = (load(family), expected(family));
        let check = |prompts: &[Vec<u32>], n_samples: usize, eos: &[u32], golden: &[Vec<u32>]| {
            let config = SamplingConfig {
                temperature: 0.0,
                max_new_tokens: golden[0].len(),
                ..Default::default()
            };
            let mut rng = StdRng::seed_from_u64(0);
            let samples = generate(&model, prompts, n_samples, eos, &config, &mut rng).unwrap();
            for (i, sample) in samples.iter().enumerate() {
                let golden = &golden[i / n_samples];
                let end = golden.iter().position(|id| eos.contains(id));
                let end = end.map_or(golden.len(), |last| last + 1);
                assert_eq!(sample.tokens, golden[..end], "{family}");
            }
        };
        for (prompt, golden) in prompts.iter().zip(&greedy) {
            check(slice::from_ref(prompt), 1, &[], slice::from_ref(golden));
        }
        check(&prompts, 1, &[], &greedy);
        for golden in &greedy {
            check(&prompts, 2, &[golden[3]], &greedy);
        }
    }
}

/// Completions that share an encoding of their prompt, as in training, must not see each other nor
/// count each other's tokens in a window.
#[test]
fn shared_prompts_change_no_log_probs() {
    for family in FAMILIES {
        let (model, expected) = (load(family), expected(family));
        let prompt = &expected.prompts[0];
        let completions: Vec<Vec<u32>> = expected.greedy.iter().map(|g| g[..9].to_vec()).collect();
        let log_probs = |trees: &[Tree]| {
            let device = Device::flex();
            let batch = Batch::new(trees, model.vocab_size(), model.max_len(), &device).unwrap();
            token_log_probs(&model, &batch, 1.0).into_data()
        };
        let shared = log_probs(&[Tree {
            prompt: prompt.clone(),
            completions: completions.clone(),
        }]);
        let single = |completion: &Vec<u32>| Tree::single(prompt.clone(), completion.clone());
        let apart = log_probs(&completions.iter().map(single).collect::<Vec<_>>());
        shared.assert_approx_eq::<f32>(&apart, Tolerance::absolute(1e-4));
    }
}

/// Counts parameters whose gradient is there, finite and not all zero.
struct Gradients<'a> {
    grads: &'a GradientsParams,
    good: usize,
    all: usize,
}

impl ModuleVisitor for Gradients<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.all += 1;
        let Some(grad) = self.grads.get::<D>(param.id) else {
            return;
        };
        let size: f32 = grad.abs().sum().into_scalar();
        self.good += usize::from(size.is_finite() && size > 0.0);
    }
}

#[test]
fn every_parameter_learns() {
    for family in FAMILIES {
        let device = Device::flex().autodiff();
        let model = model::load(&folder(family), &device).unwrap();
        let expected = expected(family);
        let tree = Tree {
            prompt: expected.prompts[0].clone(),
            completions: expected.greedy.clone(),
        };
        let batch = Batch::new(&[tree], model.vocab_size(), model.max_len(), &device).unwrap();
        let loss = |log_probs: Tensor<2>| log_probs.sum().neg();
        let (grads, ()) = gradients(&model, &batch, 1.0, Activations::Kept, |x| {
            (loss(x.log_probs), ())
        });
        let (good, all) = (0, 0);
        let mut gradients = Gradients {
            grads: &grads,
            good,
            all,
        };
        model.visit(&mut gradients);
        assert_eq!(gradients.good, gradients.all, "{family}");
    }
}
