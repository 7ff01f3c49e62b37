//! What this machine does in a second, found by a few calls of what the stages of a run call, with
//! the run's own models and texts.

mod labeler;

use std::time::Instant;

use burn::prelude::*;
use rand::rngs::StdRng;

use super::config::{DecodeRates, LengthsConfig, ModelRates, PlanConfig};
use super::lengths::Lengths;
use crate::batch::{Batch, Tree};
use crate::config::Config;
use crate::error::Result;
use crate::generate::{SamplingConfig, generate, generate_seeded};
use crate::log_prob::{Scores, gradients, log_probs_of};
use crate::micro_batch::MicroBatches;
use crate::model::{Activations, CausalLm, Transformer, device_of};
use crate::optim::{Learner, OptimConfig};
use crate::pipeline::Models;
use crate::record::{Demonstration, Form, Prompt};
use crate::rl::MAX_TOKENS;
use crate::seed::rng_for;
use crate::tokenizer::Tokenizer;

/// Texts that lengths and rates are found with, at most.
const N_TEXTS: usize = 256;
/// Completions drawn where there is no demonstration to take their lengths from.
const N_DRAWN: usize = 32;
/// Seconds that each call is repeated for, once at least.
const MIN_SECS: f64 = 2.0;

/// The rates of the run's models on this machine. Endpoints are not asked: their rates are to be
/// added.
///
/// # Errors
/// A model or the data cannot be read, or the device fails.
pub fn measure(config: &Config) -> Result<PlanConfig> {
    let device = config.backend.device()?;
    let name = &config.policy.model;
    let (model, tokenizer) = Models::new(&device, config)?.load_policy(name)?;
    let texts = Texts::new(config, (&model, &tokenizer))?;
    let mut rates = ModelRates {
        score_tokens_per_second: texts.score(&model)?,
        decode: Some(texts.decode(&model, config)?),
        ..ModelRates::default()
    };
    let (train, update_secs) = texts.train(model, config)?;
    rates.train_tokens_per_second = Some(train);
    rates.update_secs = update_secs;
    let mut found = PlanConfig {
        rows: None,
        lengths: texts.lengths,
        device: Default::default(),
        models: [(name.display().to_string(), rates)].into(),
    };
    for asked in labeler::labelers(config) {
        let questions = (texts.prompts.as_slice(), texts.answers.as_slice());
        labeler::add(&asked, config, &device, questions, &mut found)?;
    }
    Ok(found)
}

/// What the models are given.
struct Texts {
    prompts: Vec<Prompt>,
    /// Texts of completions.
    answers: Vec<String>,
    lengths: LengthsConfig,
    /// Tokens of prompts and of completions.
    trees: Vec<Tree>,
}

impl Texts {
    fn new(config: &Config, (model, tokenizer): (&Transformer, &Tokenizer)) -> Result<Self> {
        let policy = &config.policy;
        let mut prompts = config.data.read_rl_prompts()?;
        prompts.truncate(N_TEXTS);
        let encode = |prompt: &Prompt| policy.encode_prompt(tokenizer, &prompt.prompt);
        let encoded: Vec<Vec<u32>> = prompts.iter().map(encode).collect::<Result<_>>()?;
        let shown = match config.sft {
            Some(_) => demonstrated(config, tokenizer)?,
            None => Vec::new(),
        };
        // What the policy imitates is what it will write, unless it imitates nothing.
        let completions = if shown.is_empty() {
            let rng = &mut rng_for(config.seed, "plan", 0);
            drawn(config, (model, tokenizer), &encoded, rng)?
        } else {
            shown
        };
        let of_prompts: Vec<usize> = encoded.iter().map(Vec::len).collect();
        let lengths: Vec<usize> = completions
            .iter()
            .map(|tokens| tokens.len().max(1))
            .collect();
        let answers = completions.iter().map(|tokens| tokenizer.decode(tokens));
        let answers = answers.collect::<Result<_>>()?;
        let tree = |(prompt, tokens): (Vec<u32>, &Vec<u32>)| Tree::single(prompt, tokens.clone());
        let trees = encoded
            .into_iter()
            .zip(completions.iter().cycle())
            .map(tree);
        Ok(Self {
            prompts,
            answers,
            trees: trees.collect(),
            lengths: LengthsConfig {
                prompt: mean(&of_prompts),
                longest_prompt: of_prompts.into_iter().max().unwrap_or(0),
                demonstration: config.sft.as_ref().map(|_| mean(&lengths)),
                completion: Lengths::Sample(lengths),
            },
        })
    }

    fn n_tokens(trees: &[Tree]) -> f64 {
        trees.iter().map(Tree::len).sum::<usize>() as f64
    }

    /// So many of the texts, the same again where there are fewer.
    fn some(&self, n: usize) -> Vec<Tree> {
        self.trees.iter().cycle().take(n).cloned().collect()
    }

    /// Tokens read in a second.
    fn score<M: CausalLm>(&self, model: &M) -> Result<f64> {
        let trees = self.some(self.trees.len().min(64));
        let secs = seconds(|| log_probs_of(model, &trees, 1.0, MAX_TOKENS))?;
        Ok(Self::n_tokens(&trees) / secs)
    }

    /// Tokens written in a second, alone and in the run's batches.
    fn decode<M: CausalLm>(&self, model: &M, config: &Config) -> Result<DecodeRates> {
        let sampling = match &config.rl {
            Some(rl) => SamplingConfig {
                batch_size: rl.sampling.batch_size.min(rl.batch_size),
                ..rl.sampling.clone()
            },
            None => config.sample.sampling.clone(),
        };
        let (batch, longest) = (sampling.batch_size.max(2), sampling.max_new_tokens.max(2));
        let plain = model.valid();
        let steps = |rows: usize| -> Result<f64> {
            let prompts: Vec<Vec<u32>> = (self.some(rows).into_iter())
                .map(|tree| tree.prompt)
                .collect();
            let seeds: Vec<u64> = (0..rows as u64).collect();
            let until = |max_new_tokens: usize| {
                let sampling = SamplingConfig {
                    max_new_tokens,
                    batch_size: rows,
                    ..sampling.clone()
                };
                // Nothing ends a text but its length.
                seconds(|| generate_seeded(&plain, &prompts, &seeds, &[], &sampling))
            };
            // Without the prompt and the first token, which is drawn from it.
            let secs = until(longest)? - until(1)?;
            Ok((rows * (longest - 1)) as f64 / secs.max(f64::MIN_POSITIVE))
        };
        Ok(DecodeRates {
            one: steps(1)?,
            many: steps(batch)?,
            batch,
        })
    }

    /// Tokens trained on in a second, and the seconds of the optimizer's step.
    fn train(&self, model: Transformer, config: &Config) -> Result<(f64, f64)> {
        let training = Training::of(config);
        let trees = self.some(training.rows);
        let (mut learner, _) = training.step(training.optim.init(model, 1_000), &trees)?;
        let (started, mut passed, mut n) = (Instant::now(), 0.0, 0.0);
        loop {
            let (next, of_step) = training.step(learner, &trees)?;
            (learner, passed, n) = (next, passed + of_step, n + 1.0);
            let all = started.elapsed().as_secs_f64();
            if all >= MIN_SECS {
                let rate = Self::n_tokens(&trees) * n / passed;
                return Ok((rate, (all - passed) / n));
            }
        }
    }
}

/// How the run trains.
struct Training {
    rows: usize,
    pieces: MicroBatches,
    activations: Activations,
    optim: OptimConfig,
}

impl Training {
    /// A step on the mean loss of texts; the seconds of its passes forward and backward.
    fn step(
        &self,
        learner: Learner<Transformer>,
        trees: &[Tree],
    ) -> Result<(Learner<Transformer>, f64)> {
        let way = learner.backward(self.activations);
        let mut passed = 0.0;
        let (learner, ..) = learner.step_over(self.pieces.split_trees(trees), |model, rows| {
            let started = Instant::now();
            let (vocab, max_len) = (model.vocab_size(), model.max_len());
            let batch = Batch::new(&trees[rows], vocab, max_len, &device_of(model))?;
            let loss = |scores: Scores| (scores.log_probs.neg().sum() / trees.len() as f32, ());
            let found = gradients(model, &batch, 1.0, way, loss);
            passed += started.elapsed().as_secs_f64();
            Ok(found)
        })?;
        Ok((learner, passed))
    }

    /// As the fine-tuning does, or as the policy optimisation.
    fn of(config: &Config) -> Self {
        match (&config.sft, &config.rl, &config.dpo) {
            (Some(sft), ..) => Self {
                rows: sft.batch_size,
                pieces: MicroBatches {
                    size: sft.micro_batch_size,
                    tokens: sft.micro_batch_tokens,
                },
                activations: Activations::of(sft.gradient_checkpointing),
                optim: sft.optim.clone(),
            },
            (None, Some(rl), _) => Self {
                rows: rl.batch_size.div_ceil(rl.algorithm.mini_batches()),
                pieces: MicroBatches {
                    size: rl.micro_batch_size,
                    tokens: rl.micro_batch_tokens,
                },
                activations: Activations::of(rl.gradient_checkpointing),
                optim: rl.optim.clone(),
            },
            (None, None, dpo) => {
                let dpo = dpo.as_ref();
                Self {
                    rows: 2 * dpo.map_or(1, |dpo| dpo.batch_size),
                    pieces: MicroBatches {
                        size: dpo.and_then(|dpo| dpo.micro_batch_size),
                        tokens: dpo.and_then(|dpo| dpo.micro_batch_tokens),
                    },
                    activations: Activations::of(dpo.is_some_and(|dpo| dpo.gradient_checkpointing)),
                    optim: dpo.map(|dpo| dpo.optim.clone()).unwrap_or_default(),
                }
            }
        }
    }
}

/// Tokens of the completions that are demonstrated.
fn demonstrated(config: &Config, tokenizer: &Tokenizer) -> Result<Vec<Vec<u32>>> {
    let rows = config.data.read_demonstrations()?;
    let encode = |row: &Demonstration| match &row.form {
        Form::PromptCompletion { prompt, completion } => {
            Some((config.policy).encode_completion(tokenizer, prompt, completion))
        }
        Form::Messages(_) | Form::Text(_) => None,
    };
    rows.iter().filter_map(encode).take(N_TEXTS).collect()
}

/// Tokens of completions that the policy writes as it is.
fn drawn(
    config: &Config,
    (model, tokenizer): (&Transformer, &Tokenizer),
    prompts: &[Vec<u32>],
    rng: &mut StdRng,
) -> Result<Vec<Vec<u32>>> {
    let prompts = &prompts[..prompts.len().min(N_DRAWN)];
    let sampling = (config.rl.as_ref()).map_or(&config.sample.sampling, |rl| &rl.sampling);
    let samples = generate(&model.valid(), prompts, 1, tokenizer.eos(), sampling, rng)?;
    Ok(samples.into_iter().map(|sample| sample.tokens).collect())
}

/// The mean time of a call, after one that does not count.
fn seconds<T>(mut call: impl FnMut() -> Result<T>) -> Result<f64> {
    call()?;
    let (started, mut n) = (Instant::now(), 0.0);
    loop {
        call()?;
        n += 1.0;
        let passed = started.elapsed().as_secs_f64();
        if passed >= MIN_SECS {
            return Ok(passed / n);
        }
    }
}

fn mean(lengths: &[usize]) -> f64 {
    lengths.iter().sum::<usize>() as f64 / lengths.len().max(1) as f64
}
