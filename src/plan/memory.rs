//! What lies on a device at the same time, stage by stage, by the formulas of
//! [`inspect`](crate::inspect).

use std::path::Path;

use burn::module::Module;
use burn::prelude::*;

use super::config::PlanConfig;
use crate::config::{Config, LabelerConfig};
use crate::error::Result;
use crate::hub::{self, Wanted};
use crate::inspect::{Load, Parts, parts};
use crate::micro_batch::MicroBatches;
use crate::model::{Architecture, ModelConfig};
use crate::precision::Precision;
use crate::reward::RewardKind;
use crate::rl::{AlgorithmConfig, ReferenceConfig, RlConfig, ValueKind};

/// Padded tokens in one forward pass without gradients.
const SCORED_AT_ONCE: u64 = crate::rl::MAX_TOKENS as u64;

/// A model by its description.
struct Shape {
    architecture: Architecture,
    parameters: u64,
    dtype: Precision,
    lora_rank: u64,
}

impl Shape {
    /// From the file that the plan names, or from the model's folder.
    fn new(given: &PlanConfig, model: &Path, dtype: Precision) -> Result<Self> {
        let rates = given.rates(&model.display().to_string())?;
        let config = match &rates.config {
            Some(path) => ModelConfig::read(path)?,
            None => {
                let folder = hub::resolve(model, Wanted::Description)?;
                ModelConfig::read(&folder.join("config.json"))?
            }
        };
        Ok(Self {
            // Nothing is drawn: a parameter is made when it is first read.
            parameters: config.init(&Device::default()).num_params() as u64,
            architecture: config.architecture,
            dtype,
            lora_rank: 0,
        })
    }

    /// What it is made of for texts of `seq` tokens, `batch` at a time.
    fn parts(&self, batch: u64, seq: u64) -> Parts {
        let load = Load {
            dtype: self.dtype,
            batch,
            seq: Some(seq),
            lora_rank: self.lora_rank,
        };
        parts(&self.architecture, self.parameters, load)
    }

    fn weights(&self) -> u64 {
        self.parts(1, 1).weights
    }

    /// What is in memory of one that is trained, without activations, beside the weights of the base.
    fn trained(&self) -> u64 {
        let parts = self.parts(1, 1);
        match self.lora_rank {
            0 => parts.optimizer,
            _ => parts.adapters,
        }
    }

    /// One more copy of it, to be read alone; adapters share their base.
    fn copy(&self) -> u64 {
        match self.lora_rank {
            0 => self.weights(),
            _ => 0,
        }
    }

    /// Keys, values and logits while texts of at most `seq` tokens are written, `batch` at a time.
    fn writing(&self, batch: usize, seq: usize) -> u64 {
        let parts = self.parts(batch as u64, seq as u64);
        parts.cache.saturating_add(parts.next_logits)
    }
}

/// The models of a run.
pub(super) struct Memories<'a> {
    config: &'a Config,
    /// Tokens of the longest prompt.
    prompt: usize,
    policy: Shape,
    labeler: u64,
    judges: u64,
}

impl<'a> Memories<'a> {
    pub(super) fn new(config: &'a Config, given: &PlanConfig) -> Result<Self> {
        let mut policy = Shape::new(given, &config.policy.model, config.policy.dtype)?;
        policy.lora_rank = config
            .policy
            .lora
            .as_ref()
            .map_or(0, |lora| lora.lora_r as u64);
        let judges = config.eval.judges.iter();
        Ok(Self {
            config,
            prompt: given.lengths.longest_prompt,
            policy,
            labeler: labeler(given, &config.labeler)?,
            judges: (judges.map(|judge| labeler(given, judge))).sum::<Result<u64>>()?,
        })
    }

    /// Bytes at their most in a stage.
    pub(super) fn of(&self, stage: &str) -> u64 {
        let config = self.config;
        let sampled = &config.sample.sampling;
        let text = self.prompt + sampled.max_new_tokens;
        let pair = self.prompt + 2 * sampled.max_new_tokens;
        match (stage, &config.sft, &config.reward, &config.rl, &config.dpo) {
            ("sft", Some(sft), ..) => self.training(Passed {
                rows: sft.batch_size,
                pieces: MicroBatches {
                    size: sft.micro_batch_size,
                    tokens: sft.micro_batch_tokens,
                },
                seq: sft.max_length.unwrap_or(text),
                recomputed: sft.gradient_checkpointing,
            }),
            ("sample", ..) => self.policy.weights() + self.policy.writing(sampled.batch_size, text),
            ("label", ..) => self.labeler,
            ("reward", _, Some(reward), ..) => self.training(Passed {
                rows: reward.batch_size,
                pieces: MicroBatches {
                    size: reward.micro_batch_size,
                    tokens: reward.micro_batch_tokens,
                },
                seq: pair,
                recomputed: reward.gradient_checkpointing,
            }),
            ("dpo", _, _, _, Some(dpo)) => self.training(Passed {
                rows: dpo.batch_size,
                pieces: MicroBatches {
                    size: dpo.micro_batch_size,
                    tokens: dpo.micro_batch_tokens,
                },
                seq: pair,
                recomputed: dpo.gradient_checkpointing,
            }),
            ("rl", _, _, Some(rl), _) => self.rl(rl),
            _ => {
                let sampling = &config.eval.sampling;
                let seq = self.prompt + sampling.max_new_tokens;
                let writing = self.policy.writing(sampling.batch_size, seq);
                (self.policy.weights() + writing).max(self.judges)
            }
        }
    }

    fn training(&self, passed: Passed) -> u64 {
        let policy = &self.policy;
        policy.weights() + policy.trained() + passed.activations(policy)
    }

    fn rl(&self, config: &RlConfig) -> u64 {
        let policy = &self.policy;
        let has_values = match &config.algorithm {
            AlgorithmConfig::Ppo(ppo) => ppo.value_model == ValueKind::Separate,
            AlgorithmConfig::Reinforce(_) => true,
            _ => false,
        };
        let mut held = policy.weights() + policy.trained();
        if has_values {
            held += policy.copy() + policy.trained();
        }
        if config.reference != ReferenceConfig::None {
            held += policy.copy();
        }
        for term in &config.reward.0 {
            held += match term.kind {
                RewardKind::Model {} => policy.copy(),
                RewardKind::Direct {} | RewardKind::WinRate {}
                    if config.self_rewarding.is_some() =>
                {
                    policy.copy()
                }
                RewardKind::Direct {} | RewardKind::WinRate {} => self.labeler,
                _ => 0,
            };
        }
        let sampling = &config.sampling;
        let seq = self.prompt + sampling.max_new_tokens;
        let updated = Passed {
            rows: config.batch_size.div_ceil(config.algorithm.mini_batches()),
            pieces: MicroBatches {
                size: config.micro_batch_size,
                tokens: config.micro_batch_tokens,
            },
            seq,
            recomputed: config.gradient_checkpointing,
        };
        let written = policy.writing(sampling.batch_size.min(config.batch_size), seq);
        held + updated.activations(policy).max(written)
    }
}

/// What goes forward and backward at once.
struct Passed {
    rows: usize,
    pieces: MicroBatches,
    /// Tokens of a row.
    seq: usize,
    recomputed: bool,
}

impl Passed {
    fn activations(&self, model: &Shape) -> u64 {
        let rows = self.pieces.size.unwrap_or(self.rows).min(self.rows);
        let tokens = rows * self.seq;
        // One row at least.
        let bound = self.pieces.tokens.unwrap_or(tokens).max(self.seq);
        let parts = model.parts(1, tokens.min(bound) as u64);
        match self.recomputed {
            true => parts.recomputed_activations(),
            false => parts.activations(),
        }
    }
}

/// Bytes of a labeler on this machine: its weights, and one block's states of what it reads at once.
fn labeler(given: &PlanConfig, config: &LabelerConfig) -> Result<u64> {
    match config {
        LabelerConfig::Local { model, dtype, .. } => {
            let shape = Shape::new(given, model, *dtype)?;
            let parts = shape.parts(1, SCORED_AT_ONCE);
            Ok(parts.weights + parts.block)
        }
        LabelerConfig::Ensemble { members, .. } => {
            let member =
                |member: &crate::label::config::MemberConfig| labeler(given, &member.labeler);
            members.iter().map(member).sum()
        }
        LabelerConfig::Http(_) | LabelerConfig::Oracle {} => Ok(0),
    }
}
