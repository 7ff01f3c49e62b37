//! Ten optimizer steps tell the losses and gradient norms of TRL's trainers, from the same weights,
//! the same rows and the same rollouts. `tests/fixtures/make_trajectories.py` recorded them.
//!
//! Every step learns from all rows, so that their order is none. Where this crate and TRL differ
//! knowingly, the recording is set up such that they agree:
//!
//! - GRPO: without the importance weight that TRL 1.11 puts on its KL term.
//! - PPO: completions that are cut, without padding, for TRL puts the score one token after the
//!   end-of-text token and lets padding take part in means; no bound on the gradient norm, for TRL
//!   has none; and `vf_coef = 1`, for the value model here has an optimizer of its own.
#![cfg(feature = "flex")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod policy;
mod supervised;

use std::fs;
use std::path::Path;

use rlaif::config::PolicyConfig;
use rlaif::tokenizer::Tokenizer;
use serde_json::Value;

const FOLDER: &str = "tests/fixtures/trajectories";

/// How TRL's trainers were set up, in this crate's words.
const OPTIM: &str = "learning_rate = 1e-3, lr_scheduler_type = \"constant\"";

fn model_folder() -> String {
    format!("{FOLDER}/model")
}

fn recorded(name: &str) -> Value {
    let text = fs::read_to_string(format!("{FOLDER}/{name}.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn model(device: &burn::prelude::Device) -> rlaif::model::Transformer {
    rlaif::model::load(Path::new(&model_folder()), device).unwrap()
}

fn tokenizer() -> Tokenizer {
    Tokenizer::load(Path::new(&model_folder())).unwrap()
}

fn policy_config() -> PolicyConfig {
    toml::from_str(&format!("model = \"{}\"", model_folder())).unwrap()
}

/// `found` is `expected` to a ten-thousandth of it, or of 0.01 where it is smaller.
#[track_caller]
fn check(what: &str, found: f64, expected: f64) {
    let near = (found - expected).abs() <= 1e-4 * expected.abs().max(0.01);
    assert!(near, "{what}: {found}, TRL {expected}");
}
