//! Aligns language models with AI feedback, after Lee et al. 2023, arXiv:2309.00267 (RLAIF).
//!
//! The pipeline, one module per stage ([`pipeline`] runs them in a folder):
//!
//! ```text
//! sft -> sample -> label -> reward -> rl -> eval -> report
//!          two       p(1),   scalar   PPO,     win rates
//!          each      p(2)    head     GRPO, ...
//!                    | \___ d-RLAIF: the labeler's score is the reward ___/
//!                    \_____ dpo: the policy learns from the labels _______/
//! ```
//!
//! Three traits are the places to extend it: [`label::Labeler`], [`reward::Reward`] and
//! [`rl::Algorithm`]; the loops are generic over [`model::CausalLm`], which a burn module of
//! another project can implement.
//!
//! # Invariants
//!
//! 1. `model/` imports nothing from `label`, `reward`, `rl`, `eval`.
//! 2. `rl/loss.rs` with `rl/loss/`, `rl/advantage.rs`, `eval/stats.rs`, `eval/agreement.rs`,
//!    `eval/calibration.rs` and `eval/reliability.rs` are pure: no config, device creation,
//!    randomness, IO or logging.
//! 3. Only `record.rs` defines wire formats (the run folder's own files are `run/`'s); only
//!    `run.rs` writes inside a run directory.
//! 4. Only `main.rs`, `cli.rs` with `cli/`, and `examples/` print. The library logs through
//!    `tracing` and returns data; the one exception is `progress.rs`, which draws on a terminal.
//! 5. One `forward` serves training and sampling; the reference policy is a `.valid()` value and is
//!    never updated.
//! 6. Library code does not call `Device::seed`, `unwrap`, `expect`, `panic!`, `println!`.
//! 7. Outside `model/`, a mask is `f32` and `1.0` counts.
//! 8. The CLI can do nothing that a few lines of library code cannot.

pub mod backend;
pub mod batch;
pub mod chat;
pub mod cli;
pub mod config;
mod contained;
#[cfg(feature = "tui")]
pub mod dashboard;
mod data;
pub mod dpo;
mod epochs;
pub mod error;
pub mod eval;
pub mod experiment;
pub mod generate;
pub mod hub;
pub mod inspect;
pub mod label;
pub mod log_prob;
pub mod merge;
pub mod micro_batch;
pub mod model;
pub mod optim;
pub mod pipeline;
pub mod plan;
pub mod precision;
pub mod progress;
pub mod prompt;
pub mod record;
pub mod report;
pub mod revise;
pub mod reward;
pub mod rl;
pub mod run;
pub mod sample;
pub mod score;
mod seed;
pub mod sft;
pub mod tokenizer;
mod training;
pub mod validation;
pub mod watch;
pub mod world;

pub use error::{Error, Result};
