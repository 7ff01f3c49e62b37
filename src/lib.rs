//! Aligns language models with AI feedback, after Lee et al. 2023, arXiv:2309.00267 (RLAIF).
pub mod backend;
pub mod batch;
pub mod cli;
pub mod config;
mod data;
pub mod error;
pub mod eval;
pub mod generate;
pub mod label;
pub mod log_prob;
pub mod model;
pub mod optim;
pub mod pipeline;
pub mod progress;
pub mod record;
pub mod report;
pub mod reward;
pub mod rl;
pub mod run;
pub mod sample;
mod seed;
pub mod sft;
pub mod tokenizer;
pub mod world;

pub use error::{Error, Result};
