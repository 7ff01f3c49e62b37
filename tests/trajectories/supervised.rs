//! Fine-tuning, the reward model and DPO: trainings on a fixed set of rows.

use burn::prelude::*;
use rlaif::record::{Demonstration, Preference, read_jsonl};
use rlaif::run::{Metric, RunDir};
use rlaif::{dpo, reward, sft};
use serde::de::DeserializeOwned;

use super::*;

fn rows<T: DeserializeOwned>(recorded: &Value) -> Vec<T> {
    serde_json::from_value(recorded["rows"].clone()).unwrap()
}

/// The rows of the log tell what TRL's log tells, under the same names.
#[track_caller]
fn check_log(found: &[Metric], recorded: &Value) {
    let steps = recorded["log"].as_array().unwrap();
    assert_eq!(found.len(), steps.len());
    for (found, expected) in found.iter().zip(steps) {
        for (name, expected) in expected.as_object().unwrap() {
            let what = format!("step {}, {name}", found.step);
            check(
                &what,
                found.values[name].unwrap(),
                expected.as_f64().unwrap(),
            );
        }
    }
}

#[test]
fn fine_tuning_is_that_of_trl() {
    let (recorded, tokenizer) = (recorded("sft"), tokenizer());
    let demonstrations: Vec<Demonstration> = rows(&recorded);
    let text = format!("batch_size = 8\nnum_train_epochs = 10\noptim = {{ {OPTIM} }}");
    let folder = tempfile::tempdir().unwrap();
    let run = RunDir::create(folder.path()).unwrap();
    let mut journal = run.journal("sft", "sft").unwrap();
    let start = (model(&Device::flex()), &tokenizer);
    let config = toml::from_str(&text).unwrap();
    sft::train(
        &config,
        &policy_config(),
        start,
        &demonstrations,
        &mut journal,
        1,
    )
    .unwrap();
    check_log(&read_jsonl(run.path("metrics.jsonl")).unwrap(), &recorded);
}

#[test]
fn the_reward_model_is_that_of_trl() {
    let (recorded, tokenizer) = (recorded("reward"), tokenizer());
    let preferences: Vec<Preference> = rows(&recorded);
    let text = format!(
        "batch_size = 8\nnum_train_epochs = 10\nholdout = 0.0\ncenter_rewards_coefficient = 0.01\n\
        optim = {{ {OPTIM} }}"
    );
    let folder = tempfile::tempdir().unwrap();
    let run = RunDir::create(folder.path()).unwrap();
    let mut journal = run.journal("reward", "reward").unwrap();
    let start = (model(&Device::flex()), &tokenizer);
    let config = toml::from_str(&text).unwrap();
    reward::train(
        &config,
        &policy_config(),
        start,
        &preferences,
        &mut journal,
        1,
    )
    .unwrap();
    check_log(&read_jsonl(run.path("metrics.jsonl")).unwrap(), &recorded);
}

#[test]
fn dpo_is_that_of_trl() {
    let (recorded, tokenizer) = (recorded("dpo"), tokenizer());
    let preferences: Vec<Preference> = rows(&recorded);
    let text = format!("batch_size = 8\nnum_train_epochs = 10\noptim = {{ {OPTIM} }}");
    let folder = tempfile::tempdir().unwrap();
    let run = RunDir::create(folder.path()).unwrap();
    let mut journal = run.journal("dpo", "policy").unwrap();
    let start = (model(&Device::flex()), &tokenizer);
    let config = toml::from_str(&text).unwrap();
    dpo::train(
        &config,
        &policy_config(),
        start,
        &preferences,
        &mut journal,
        1,
    )
    .unwrap();
    check_log(&read_jsonl(run.path("metrics.jsonl")).unwrap(), &recorded);
}
