//! One set of checks, run on every backend that is compiled in: what a backend computes is what the
//! default one does.
//!
//! `cargo test --release --features ndarray --test backends`
#![cfg(feature = "flex")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use burn::prelude::*;
use burn::tensor::activation::log_softmax;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rlaif::batch::{Batch, Tree};
use rlaif::generate::{Sample, SamplingConfig, generate};
use rlaif::log_prob::{gradients, log_probs_of, token_log_probs};
use rlaif::model::{self, Activations, CausalLm, LlamaConfig, Loader, Transformer, randomize};
use rlaif::optim::{Learner, OptimConfig};
use rlaif::precision::Precision;
use rlaif::rl::loss::{
    Clip, KlEstimator, clipped_surrogate, kl, masked_mean, nll, soft_bradley_terry, token_log_ratio,
};

const VOCAB: usize = 64;
const MAX_LEN: usize = 48;
const EOS: u32 = 2;

/// A model of random weights with grouped key/value heads: the same on every device.
fn model(device: &Device) -> Transformer {
    let mut config = LlamaConfig::small(VOCAB, 32, 2, 4, MAX_LEN);
    config.num_key_value_heads = Some(2);
    randomize(config.init(device), &mut StdRng::seed_from_u64(3))
}

/// Rows of unequal length, one of them with siblings that may not see each other.
fn trees() -> Vec<Tree> {
    let siblings = Tree {
        prompt: vec![1, 9, 8, 7],
        completions: vec![vec![20, 21, 2], vec![30, 2], vec![40]],
    };
    vec![
        siblings,
        Tree::single(vec![1, 5], vec![11, 12, 13, 14, 2]),
        Tree::single(vec![1], vec![2]),
    ]
}

fn batch(device: &Device) -> Batch {
    Batch::new(&trees(), VOCAB, MAX_LEN, device).unwrap()
}

fn check_close(found: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(found.len(), expected.len());
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!(
            (found - expected).abs() <= tolerance,
            "{i}: {found} is not {expected}"
        );
    }
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.try_into_vec_as::<f32>().unwrap()
}

/// All checks on one device.
fn check_backend(device: &Device) {
    check_forward(device);
    check_siblings(device);
    check_losses(device);
    check_training(device);
    check_greedy(device);
    check_samples_of_a_prompt(device);
}

/// Logits at every completion token equal those of the default backend.
fn check_forward(device: &Device) {
    let logits = |device: &Device| {
        let (model, batch) = (model(device), batch(device));
        let hidden = model.hidden(batch.input, None);
        let [rows, seq, width] = hidden.dims();
        let hidden = hidden
            .reshape([rows * seq, width])
            .select(0, batch.predictors);
        values(model.logits(hidden) * batch.mask.reshape([-1, 1]))
    };
    check_close(&logits(device), &logits(&Device::flex()), 1e-4);
}

/// A tree gives its completions the log-probabilities that they have as rows of their own.
fn check_siblings(device: &Device) {
    let model = model(device);
    let alone = |tree: Tree| {
        let single = move |completion| Tree::single(tree.prompt.clone(), completion);
        tree.completions.clone().into_iter().map(single)
    };
    let alone: Vec<Tree> = trees().into_iter().flat_map(alone).collect();
    let together = log_probs_of(&model, &trees(), 0.7, 1_000).unwrap();
    let alone = log_probs_of(&model, &alone, 0.7, 1).unwrap();
    check_close(&together.concat(), &alone.concat(), 1e-4);
}

fn check_losses(device: &Device) {
    let row = |x: [f32; 3]| Tensor::<2>::from_data([x], device);
    let mask = row([1.0, 1.0, 0.0]);
    let check = |found: Tensor<1>, expected: f32| check_close(&values(found), &[expected], 1e-5);
    // (1 + 2) / 2; the third token does not count.
    check(masked_mean(row([1.0, 2.0, 50.0]), mask.clone()), 1.5);
    check(masked_mean(row([1.0, 2.0, 50.0]), row([0.0; 3])), 0.0);
    check(nll(row([-1.0, -2.0, -9.0]), mask.clone()), 1.5);
    // Ratios 1.5 and 0.5 with advantages 1 and -1: min(1.5, 1.2) = 1.2 and min(-0.5, -0.8) = -0.8;
    // -(1.2 - 0.8) / 2.
    let log_probs = row([1.5f32.ln(), 0.5f32.ln(), 3.0]);
    let advantages = row([1.0, -1.0, 7.0]);
    let log_ratio = token_log_ratio(log_probs, row([0.0; 3]));
    let surrogate = clipped_surrogate(log_ratio, advantages, &Clip::symmetric(0.2));
    check(masked_mean(surrogate, mask), -0.2);
    // exp(-ln 2) - 1 + ln 2 = 0.193147; exp(0) - 1 + 0 = 0; exp(1) - 1 - 1 = 0.718282.
    let estimates = kl(row([2f32.ln(), 0.0, -1.0]), row([0.0; 3]), KlEstimator::K3);
    check_close(&values(estimates), &[0.193_147, 0.0, 0.718_282], 1e-5);
    // ln(1 + exp(-1)) = 0.313262 for a hard label; half of it and half of ln(1 + exp(1)) = 1.313262
    // for an even one.
    let bradley_terry = |p: f32| {
        let one = |x: f32| Tensor::<1>::from_data([x], device);
        soft_bradley_terry(one(1.0), one(0.0), one(p))
    };
    check(bradley_terry(1.0), 0.313_262);
    check(bradley_terry(0.5), 0.813_262);
}

/// The gradient is that of the default backend, and finite; a step along it lowers the loss.
fn check_training(device: &Device) {
    let (before, norm, learner) = train_once(device);
    let (_, norm_of_flex, _) = train_once(&Device::flex());
    assert!(norm > 0.0, "the gradient is {norm}");
    check_close(&[norm], &[norm_of_flex], 1e-3 * norm_of_flex);
    let batch = batch(device);
    let after = nll(
        token_log_probs(&learner.model.valid(), &batch, 1.0),
        batch.mask,
    );
    let after = values(after)[0];
    assert!(
        after < before - 0.01,
        "the loss went from {before} to {after}"
    );
}

/// One step of fine-tuning: the loss before it, the norm of the gradient, and the model after it. A
/// gradient that is not finite would be an error.
fn train_once(device: &Device) -> (f32, f32, Learner<Transformer>) {
    let config = OptimConfig {
        learning_rate: 1e-2,
        ..OptimConfig::default()
    };
    let learner = config.init(model(device), 10);
    let batch = batch(&device.clone().autodiff());
    let (grads, loss) = gradients(&learner.model, &batch, 1.0, Activations::Kept, |scores| {
        let loss = nll(scores.log_probs, batch.mask.clone());
        (loss.clone(), loss.detach())
    });
    let before = values(loss)[0];
    let (learner, norm) = learner.apply(grads).unwrap();
    (before, norm, learner)
}

/// Decoding with the cache writes what full forwards write, whatever else is in the batch.
fn check_greedy(device: &Device) {
    let model = model(device);
    let prompts = [vec![1, 9, 8, 7, 6], vec![1, 33], vec![1, 50, 51]];
    let config = SamplingConfig {
        temperature: 0.0,
        max_new_tokens: 8,
        ..Default::default()
    };
    let mut rng = StdRng::seed_from_u64(0);
    let samples = generate(&model, &prompts, 1, &[EOS], &config, &mut rng).unwrap();
    assert_eq!(samples.len(), prompts.len());
    for (sample, prompt) in samples.iter().zip(prompts) {
        let expected = greedy(&model, prompt, config.max_new_tokens, device);
        assert_eq!(sample.tokens, expected.tokens);
        assert_eq!(sample.finished, expected.finished);
        check_close(&sample.log_probs, &expected.log_probs, 1e-4);
    }
}

/// Greedy decoding the slow way: a full forward for each token.
fn greedy(model: &Transformer, prompt: Vec<u32>, max_new_tokens: usize, device: &Device) -> Sample {
    let mut text = prompt;
    let mut sample = Sample {
        tokens: Vec::new(),
        log_probs: Vec::new(),
        finished: false,
    };
    while sample.tokens.len() < max_new_tokens && !sample.finished {
        let tree = Tree::single(text.clone(), Vec::new());
        let batch = Batch::new(&[tree], VOCAB, MAX_LEN, device).unwrap();
        let hidden = model
            .hidden(batch.input, None)
            .squeeze_dim::<2>(0)
            .select(0, batch.last);
        let log_probs = values(log_softmax(model.logits(hidden), 1));
        let best = (0..VOCAB)
            .max_by(|&a, &b| log_probs[a].total_cmp(&log_probs[b]))
            .unwrap();
        text.push(best as u32);
        sample.tokens.push(best as u32);
        sample.log_probs.push(log_probs[best]);
        sample.finished = best as u32 == EOS;
    }
    sample
}

/// Several samples of a prompt, which share its encoding, are the samples of as many copies of it;
/// and what is recorded while sampling is what the training forward says.
fn check_samples_of_a_prompt(device: &Device) {
    let model = model(device);
    let prompt = vec![1, 9, 8, 7];
    let config = SamplingConfig {
        temperature: 0.8,
        max_new_tokens: 10,
        ..Default::default()
    };
    let draw = |prompts: &[Vec<u32>], n| {
        generate(
            &model,
            prompts,
            n,
            &[EOS],
            &config,
            &mut StdRng::seed_from_u64(5),
        )
        .unwrap()
    };
    let shared = draw(std::slice::from_ref(&prompt), 3);
    let alone = draw(&vec![prompt.clone(); 3], 1);
    for (shared, alone) in shared.iter().zip(&alone) {
        assert_eq!(shared.tokens, alone.tokens);
        check_close(&shared.log_probs, &alone.log_probs, 1e-4);
    }
    assert_ne!(shared[0].tokens, shared[1].tokens);
    let completions = shared.iter().map(|sample| sample.tokens.clone()).collect();
    let forward = log_probs_of(
        &model,
        &[Tree {
            prompt,
            completions,
        }],
        0.8,
        1_000,
    )
    .unwrap();
    let sampled: Vec<f32> = shared
        .into_iter()
        .flat_map(|sample| sample.log_probs)
        .collect();
    check_close(&forward.concat(), &sampled, 1e-4);
}

/// In 16 bits the logits are near those of 32, or the format is refused by name. (A tenth is a few
/// times 2^-8 of their size, which is about 2.)
fn check_sixteen_bits(device: &Device) {
    let dir = tempfile::tempdir().unwrap();
    let plain = model(&Device::flex());
    model::save(&plain, dir.path()).unwrap();
    let logits = |model: &Transformer, device: &Device| {
        let hidden = model.hidden(batch(device).input, None);
        let [rows, seq, width] = hidden.dims();
        values(model.logits(hidden.reshape([rows * seq, width])))
    };
    let expected = logits(&plain, &Device::flex());
    for precision in [Precision::Bf16, Precision::F16] {
        match Loader::new(device).in_precision(precision) {
            Ok(mut loader) => {
                let model = loader.load(dir.path()).unwrap();
                assert_eq!(model.precision(), precision);
                check_close(&logits(&model, device), &expected, 0.1);
            }
            Err(refused) => {
                assert!(!device.supports_dtype(precision.dtype()));
                let end = format!("does not compute in {}", precision.name());
                assert!(refused.to_string().ends_with(&end), "{refused}");
            }
        }
    }
}

#[test]
fn flex() {
    check_backend(&Device::flex());
    check_sixteen_bits(&Device::flex());
}

#[cfg(feature = "ndarray")]
#[expect(deprecated, reason = "burn 0.23 drops it")]
#[test]
fn ndarray() {
    check_backend(&Device::ndarray());
    check_sixteen_bits(&Device::ndarray());
}

#[cfg(feature = "wgpu")]
#[test]
fn wgpu() {
    // Asked for first, because a device without an adapter panics when it is used.
    let found = Device::enumerate(burn::tensor::DeviceType::Wgpu);
    if found.is_empty() {
        eprintln!("skipped: wgpu finds no adapter");
        return;
    }
    check_backend(&Device::wgpu(Default::default()));
}
