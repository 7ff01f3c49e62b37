//! The RL algorithms, on rollouts that no model wrote.

use burn::module::Module;
use burn::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rlaif::log_prob::log_probs_of;
use rlaif::record::Completion;
use rlaif::rl::{RlConfig, Rollout, UpdateStats, trees};

use super::*;

fn tokens(value: &Value) -> Vec<u32> {
    serde_json::from_value(value.clone()).unwrap()
}

fn rollout(index: usize, row: &Value) -> Rollout {
    let tokens = tokens(&row["tokens"]);
    let completion = serde_json::json!({
        "prompt_id": row["prompt"].to_string(), "prompt": "", "index": index, "completion": "",
        "n_tokens": tokens.len(), "log_prob": 0.0, "finished": tokens.last() == Some(&1),
    });
    let completion: Completion = serde_json::from_value(completion).unwrap();
    Rollout {
        completion,
        prompt_tokens: self::tokens(&row["prompt"]),
        log_probs: vec![0.0; tokens.len()],
        tokens,
        old_log_probs: Vec::new(),
        ref_log_probs: Vec::new(),
        reward: row["reward"].as_f64().unwrap() as f32,
    }
}

/// What each update of an algorithm tells, of two optimizer steps each.
fn updates(recorded: &Value, algorithm: &str, optim: &str) -> Vec<UpdateStats> {
    let text = format!(
        "reward = \"direct\"\nsteps = 5\nbatch_size = 8\nnum_generations = 4\n\
        sampling = {{ temperature = 1.0, max_new_tokens = 8 }}\noptim = {{ {optim} }}\n{algorithm}"
    );
    let config: RlConfig = toml::from_str(&text).unwrap();
    config.validate().unwrap();
    let reference = model(&Device::flex());
    let mut algorithm = config.init(reference.clone());
    let mut policy = config.optim.init(reference.clone(), 10);
    let mut told = Vec::new();
    for batch in recorded["batches"].as_array().unwrap() {
        let mut rollouts: Vec<Rollout> = (0..)
            .zip(batch.as_array().unwrap())
            .map(|(i, row)| rollout(i, row))
            .collect();
        let trees = trees(&rollouts);
        let old = log_probs_of(&policy.model.valid(), &trees, 1.0, 1 << 14).unwrap();
        let references = log_probs_of(&reference, &trees, 1.0, 1 << 14).unwrap();
        for (rollout, (old, reference)) in rollouts.iter_mut().zip(old.into_iter().zip(references))
        {
            (rollout.old_log_probs, rollout.ref_log_probs) = (old, reference);
        }
        let (coef, mut rng) = (config.initial_kl_coef(), StdRng::seed_from_u64(1));
        let (next, stats) = algorithm.update(policy, &rollouts, coef, &mut rng).unwrap();
        policy = next;
        told.push(stats);
    }
    told
}

/// Each update tells the means of TRL's log over its steps, under the same names.
#[track_caller]
fn check_updates(found: &[UpdateStats], recorded: &Value) {
    let steps = recorded["log"].as_array().unwrap();
    let per_update = steps.len() / found.len();
    assert_eq!(per_update * found.len(), steps.len());
    for (i, (found, expected)) in found.iter().zip(steps.chunks(per_update)).enumerate() {
        for name in expected[0].as_object().unwrap().keys() {
            let values = expected.iter().map(|step| step[name].as_f64().unwrap());
            let Some((_, value)) = found.iter().find(|(found, _)| found == name) else {
                assert_eq!(name, "objective/kl", "what the loop tells, not the update");
                continue;
            };
            let mean = values.sum::<f64>() / per_update as f64;
            check(&format!("update {i}, {name}"), *value, mean);
        }
    }
}

#[test]
fn rloo_is_that_of_trl() {
    let recorded = recorded("rloo");
    let algorithm = "algorithm = { kind = \"rloo\", beta = 0.05, num_iterations = 2 }";
    check_updates(&updates(&recorded, algorithm, OPTIM), &recorded);
}

#[test]
fn grpo_is_that_of_trl() {
    let recorded = recorded("grpo");
    let algorithm = "algorithm = { kind = \"grpo\", beta = 0.04, num_iterations = 2 }";
    check_updates(&updates(&recorded, algorithm, OPTIM), &recorded);
}

#[test]
fn ppo_is_that_of_trl() {
    let recorded = recorded("ppo");
    let algorithm = format!(
        "kl_coef = 0.05\nvalue_optim = {{ {OPTIM}, max_grad_norm = 0 }}\n\
        algorithm = {{ kind = \"ppo\", num_ppo_epochs = 2 }}"
    );
    let optim = format!("{OPTIM}, max_grad_norm = 0");
    check_updates(&updates(&recorded, &algorithm, &optim), &recorded);
}
