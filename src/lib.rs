//! rlaif
pub mod batch;
pub mod error;
pub mod eval;
pub mod generate;
pub mod label;
pub mod log_prob;
pub mod model;
pub mod optim;
pub mod progress;
pub mod record;
pub mod rl;
pub mod run;
pub mod tokenizer;
pub mod world;
pub use error::{Error, Result};
