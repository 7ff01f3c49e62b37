//! One set of checks, run on every backend that is compiled in.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use burn::module::Module;
use burn::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rlaif::batch::{Batch, Tree};
use rlaif::generate::{SamplingConfig, generate};
use rlaif::log_prob::{log_probs_of, token_log_probs};
use rlaif::model::{self, CausalLm, Llama, LlamaConfig};
use rlaif::optim::{OptimConfig, Schedule};
use rlaif::rl::loss::{clipped_surrogate, nll, soft_bradley_terry};

const VOCAB: usize = 23;

/// The same weights on every device; grouped key/value heads, so that their repetition is tried too.
fn tiny(device: &Device) -> Llama {
    let config = LlamaConfig {
        num_key_value_heads: Some(2),
        ..LlamaConfig::small(VOCAB, 16, 2, 4, 64)
    };
    model::randomize(config.init(device), &mut StdRng::seed_from_u64(3))
}

fn trees() -> Vec<Tree> {
    vec![
        Tree {
            prompt: vec![1, 5, 6],
            completions: vec![vec![7, 8, 9, 2], vec![10, 11, 2]],
        },
        Tree {
            prompt: vec![1, 12, 13, 14, 15],
            completions: vec![vec![16, 2], vec![17, 18, 2]],
        },
    ]
}

fn close(found: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!(
            (found - expected).abs() <= tolerance,
            "{found} is not {expected}"
        );
    }
}

/// The reference is the plainest path on flex: every completion a row of its own.
fn log_probs_agree_with_flex(device: &Device) {
    let found = log_probs_of(&tiny(device), &trees(), 0.7, 10_000).unwrap();
    let alone = trees().into_iter().flat_map(|tree| {
        let prompt = tree.prompt;
        tree.completions
            .into_iter()
            .map(move |text| Tree::single(prompt.clone(), text))
    });
    let alone: Vec<Tree> = alone.collect();
    let expected = log_probs_of(&tiny(&Device::flex()), &alone, 0.7, 1).unwrap();
    for (found, expected) in found.iter().zip(&expected) {
        close(found, expected, 1e-4);
    }
    assert_eq!(found.len(), 4);
}

/// A few steps on one batch lower its loss, and the same way as on flex.
fn training_lowers_the_loss(device: &Device) {
    let losses = |device: &Device| {
        let device = device.clone().autodiff();
        let optim = OptimConfig {
            learning_rate: 1e-2,
            lr_scheduler_type: Schedule::Constant,
            ..Default::default()
        };
        let mut learner = optim.init(tiny(&device), 5);
        let batch = Batch::new(&trees(), VOCAB, 64, &device).unwrap();
        let mut losses = Vec::new();
        for _ in 0..5 {
            let loss = nll(
                token_log_probs(&learner.model, &batch, 1.0),
                batch.mask.clone(),
            );
            losses.push(loss.clone().try_into_scalar::<f32>().unwrap());
            learner = learner.step(loss).unwrap().0;
        }
        losses
    };
    let found = losses(device);
    assert!(found[4] < 0.8 * found[0], "{found:?}");
    close(&found, &losses(&Device::flex()), 1e-3);
}

/// Greedy decoding with a cache against an arg max over whole texts; prompts of unequal length, several samples each.
fn sampling_agrees_with_whole_forwards(device: &Device) {
    let model = tiny(device).valid();
    let prompts = vec![vec![1, 5, 6, 7, 8], vec![1, 9]];
    let config = SamplingConfig {
        temperature: 0.0,
        max_new_tokens: 6,
        ..Default::default()
    };
    let mut rng = StdRng::seed_from_u64(1);
    let samples = generate(&model, &prompts, 2, &[2], &config, &mut rng).unwrap();
    assert_eq!(samples.len(), 4);
    for (i, sample) in samples.iter().enumerate() {
        let prompt = &prompts[i / 2];
        let tree = [Tree::single(prompt.clone(), sample.tokens.clone())];
        let scored = log_probs_of(&model, &tree, 1.0, 10_000).unwrap();
        close(&sample.log_probs, &scored[0], 1e-4);
        for t in 0..sample.tokens.len() {
            let all: Vec<Tree> = (0..VOCAB as u32)
                .map(|token| {
                    let context = [&prompt[..], &sample.tokens[..t]].concat();
                    Tree::single(context, vec![token])
                })
                .collect();
            let scores = log_probs_of(&model, &all, 1.0, 10_000).unwrap();
            let best = scores
                .iter()
                .map(|row| row[0])
                .fold(f32::NEG_INFINITY, f32::max);
            assert!(scores[sample.tokens[t] as usize][0] >= best - 1e-4);
        }
    }
}

/// The hand-checked numbers of the losses.
fn losses_are_right(device: &Device) {
    let row = |values: [f32; 3]| Tensor::<2>::from_data([values], device);
    let ratios = [0.5f32, 1.0, 1.5].map(|ratio| ratio.ln() - 1.0);
    let advantages = row([1.0, -1.0, 2.0]);
    let old = row([-1.0, -1.0, -1.0]);
    let loss = clipped_surrogate(row(ratios), old, advantages, row([1.0; 3]), 0.2);
    close(
        &[loss.try_into_scalar::<f32>().unwrap()],
        &[-0.633_333],
        1e-5,
    );
    let one = |value: f32| Tensor::<1>::from_data([value], device);
    let loss = soft_bradley_terry(one(1.0), one(0.0), one(1.0));
    close(
        &[loss.try_into_scalar::<f32>().unwrap()],
        &[0.313_262],
        1e-5,
    );
}

fn check(device: &Device) {
    losses_are_right(device);
    log_probs_agree_with_flex(device);
    sampling_agrees_with_whole_forwards(device);
    training_lowers_the_loss(device);
    assert_eq!(tiny(device).vocab_size(), VOCAB);
}

#[test]
#[cfg(feature = "flex")]
fn flex() {
    check(&Device::flex());
}

#[test]
#[cfg(all(feature = "flex", feature = "ndarray"))]
fn ndarray() {
    check(&Device::ndarray());
}

/// Needs a driver: `RLAIF_TEST_WGPU=1` says that there is one, a software driver will do.
#[test]
#[cfg(all(feature = "flex", feature = "wgpu"))]
fn wgpu() {
    if std::env::var_os("RLAIF_TEST_WGPU").is_none() {
        eprintln!("skipped: RLAIF_TEST_WGPU is not set");
        return;
    }
    check(&Device::wgpu(Default::default()));
}
