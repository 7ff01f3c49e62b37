//! What a policy does with gradients: a step of supervised fine-tuning and a step of reinforcement
//! learning.
//!
//! `cargo bench --bench train_step` measures `tiny`, and the 135M shape too with `--
//! --include-ignored`. Each learner takes one step before the clock starts, for the first one also
//! allocates the optimizer's moments. Rates count all tokens of the texts for `sft`, and the new
//! tokens for `rl`.
//!
//! The RL step is that of PPO without a value model, as with GRPO: 2 prompts with 8 samples each, a
//! KL penalty against a reference inside the reward, advantages whitened over the batch, one update
//! with the clipped surrogate. The reward is computed on the host, so that the step measures the
//! policy alone.
#![expect(clippy::unwrap_used, reason = "a bench that fails stops")]

mod shape;

use burn::module::Module;
use burn::prelude::*;
use divan::Bencher;
use divan::counter::ItemsCount;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rlaif::batch::{Batch, Tree};
use rlaif::error::Result;
use rlaif::generate::{Sample, SamplingConfig, generate};
use rlaif::log_prob::{gradients, log_probs_of};
use rlaif::model::{Activations, CausalLm, LlamaConfig, Transformer};
use rlaif::optim::{Learner, OptimConfig};
use rlaif::rl::advantage::{gae, whiten};
use rlaif::rl::loss::{Clip, clipped_surrogate, masked_mean, nll, token_log_ratio};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const N_PROMPTS: usize = 2;
const N_SAMPLES: usize = 8;
/// Tokens of a prompt, and of its completion.
const LEN: usize = 64;
/// Padded tokens in one forward pass of the reference.
const MAX_TOKENS: usize = 8_192;
const KL_COEF: f32 = 0.05;
const GAE_LAMBDA: f32 = 0.95;
const CLIP_EPS: f32 = 0.2;

fn main() {
    divan::main();
}

/// Steps `learner` once untimed, then under the clock.
fn bench_steps(
    bencher: Bencher,
    learner: Learner<Transformer>,
    mut step: impl FnMut(Learner<Transformer>) -> Result<Learner<Transformer>>,
) {
    let mut learner = Some(step(learner).unwrap());
    bencher.bench_local(|| learner = learner.take().map(|learner| step(learner).unwrap()));
}

fn learner(model: Transformer) -> Learner<Transformer> {
    OptimConfig::default().init(model, 1_000)
}

/// One step on 4 texts of 256 tokens.
fn sft(bencher: Bencher, config: &LlamaConfig) {
    let device = Device::flex().autodiff();
    let split = |text: Vec<u32>| Tree::single(text[..1].to_vec(), text[1..].to_vec());
    let texts = shape::texts(4, 256, config.vocab_size);
    let trees: Vec<Tree> = texts.into_iter().map(split).collect();
    let learner = learner(shape::model(config, &device));
    let bencher = bencher.counter(ItemsCount::new(4 * 256_usize));
    bench_steps(bencher, learner, |learner| {
        let batch = Batch::new(&trees, config.vocab_size, 256, &device)?;
        let loss = |log_probs| nll(log_probs, batch.mask.clone());
        let (grads, ()) = gradients(&learner.model, &batch, 1.0, Activations::Kept, |x| {
            (loss(x.log_probs), ())
        });
        Ok(learner.apply(grads)?.0)
    });
}

/// One step on 16 completions drawn within it.
fn rl(bencher: Bencher, config: &LlamaConfig) {
    let policy = shape::model(config, &Device::flex().autodiff());
    let reference = policy.valid();
    let prompts = shape::texts(N_PROMPTS, LEN, config.vocab_size);
    let mut rng = StdRng::seed_from_u64(2);
    let bencher = bencher.counter(ItemsCount::new(N_PROMPTS * N_SAMPLES * LEN));
    bench_steps(bencher, learner(policy), |learner| {
        rl_step(learner, &reference, &prompts, &mut rng)
    });
}

fn rl_step(
    learner: Learner<Transformer>,
    reference: &Transformer,
    prompts: &[Vec<u32>],
    rng: &mut StdRng,
) -> Result<Learner<Transformer>> {
    let sampling = SamplingConfig {
        max_new_tokens: LEN,
        ..Default::default()
    };
    let samples = generate(
        &learner.model.valid(),
        prompts,
        N_SAMPLES,
        &[],
        &sampling,
        rng,
    )?;
    let tree = |(prompt, samples): (&Vec<u32>, &[Sample])| Tree {
        prompt: prompt.clone(),
        completions: samples.iter().map(|sample| sample.tokens.clone()).collect(),
    };
    let trees: Vec<Tree> = prompts
        .iter()
        .zip(samples.chunks(N_SAMPLES))
        .map(tree)
        .collect();
    let ref_log_probs = log_probs_of(reference, &trees, 1.0, MAX_TOKENS)?;

    let advantage = |(sample, reference): (&Sample, &Vec<f32>)| {
        let log_ratios = sample.log_probs.iter().zip(reference);
        let mut rewards: Vec<f32> = log_ratios.map(|(p, q)| -KL_COEF * (p - q)).collect();
        rewards[LEN - 1] += even_tokens(sample);
        gae(&rewards, &[0.0; LEN], 1.0, GAE_LAMBDA).0
    };
    let mut advantages: Vec<Vec<f32>> = samples.iter().zip(&ref_log_probs).map(advantage).collect();
    whiten(&mut advantages);

    let device = Device::flex().autodiff();
    let rows = |values: Vec<f32>| {
        Tensor::<2>::from_data(
            TensorData::new(values, [N_PROMPTS * N_SAMPLES, LEN]),
            &device,
        )
    };
    let old_log_probs = rows(
        samples
            .into_iter()
            .flat_map(|sample| sample.log_probs)
            .collect(),
    );
    let advantages = rows(advantages.concat());
    let limit = LEN + LEN;
    let batch = Batch::new(&trees, learner.model.vocab_size(), limit, &device)?;
    let (grads, ()) = gradients(&learner.model, &batch, 1.0, Activations::Kept, |scores| {
        let log_ratio = token_log_ratio(scores.log_probs, old_log_probs);
        let surrogate = clipped_surrogate(log_ratio, advantages, &Clip::symmetric(CLIP_EPS));
        (masked_mean(surrogate, batch.mask.clone()), ())
    });
    Ok(learner.apply(grads)?.0)
}

/// A reward that costs nothing: the share of even token ids.
fn even_tokens(sample: &Sample) -> f32 {
    let n_even = sample
        .tokens
        .iter()
        .filter(|token| token.is_multiple_of(2))
        .count();
    n_even as f32 / LEN as f32
}

#[divan::bench_group(sample_count = 20, sample_size = 1)]
mod tiny {
    use super::shape::tiny;
    use divan::Bencher;

    #[divan::bench]
    fn sft(bencher: Bencher) {
        super::sft(bencher, &tiny());
    }

    #[divan::bench]
    fn rl(bencher: Bencher) {
        super::rl(bencher, &tiny());
    }
}

#[divan::bench_group(sample_count = 3, sample_size = 1, ignore)]
mod smollm2_135m {
    use super::shape::smollm2_135m;
    use divan::Bencher;

    #[divan::bench]
    fn sft(bencher: Bencher) {
        super::sft(bencher, &smollm2_135m());
    }

    #[divan::bench]
    fn rl(bencher: Bencher) {
        super::rl(bencher, &smollm2_135m());
    }
}
