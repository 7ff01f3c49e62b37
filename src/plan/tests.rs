//! Plans against numbers worked out by hand.

use super::*;
use crate::model::LlamaConfig;

/// Every stage once, of a model that is `m`.
const RUN: &str = r#"
[data]
kind = "tiny_tldr"
demonstrations = 6
preference_prompts = 4
rl_prompts = 4
eval_prompts = 3
[policy]
model = "m"
[sft]
batch_size = 4
num_train_epochs = 2
[sample]
sampling = { max_new_tokens = 4, batch_size = 4 }
[labeler]
kind = "local"
model = "m"
[reward]
batch_size = 2
holdout = 0.25
[rl]
steps = 2
batch_size = 4
num_generations = 2
sampling = { max_new_tokens = 4, batch_size = 4 }
algorithm = { kind = "ppo", num_ppo_epochs = 2, num_mini_batches = 1 }
[eval]
judges = [{ kind = "oracle" }, { kind = "local", model = "m" }]
sampling = { max_new_tokens = 4, batch_size = 2 }
"#;

/// Every completion is as long as it may be, and a step of decoding takes a second.
const RATES: &str = r#"
lengths = { prompt = 10, longest_prompt = 10, completion = 4, demonstration = 3 }
device = { count = 2, usd_per_hour = 36 }
[models.m]
config = "CONFIG"
score_tokens_per_second = 100
train_tokens_per_second = 10
update_secs = 0.5
decode = { one = 1, many = 2, batch = 2 }
comparison = { tokens = 30, tokens_per_second = 60 }
score = { tokens = 20 }
"#;

/// The plan of [`RUN`] after `change`.
fn planned(change: impl FnOnce(&mut Config)) -> Result<Plan> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.json");
    // Vocabulary 10, width 8, one layer of two heads, 32 inside.
    let json = LlamaConfig::small(10, 8, 1, 2, 64).config().json;
    std::fs::write(&path, json.to_string()).unwrap();
    let rates = RATES.replace("CONFIG", &path.to_string_lossy());
    let mut config: Config = toml::from_str(RUN).unwrap();
    change(&mut config);
    plan(&config, &toml::from_str(&rates).unwrap())
}

fn stage(plan: &Plan, name: &str) -> StagePlan {
    let mut stages = plan.stages.iter();
    stages.find(|stage| stage.stage == name).unwrap().clone()
}

/// Generated, scored, trained, asked, seconds.
#[track_caller]
fn check(plan: &Plan, name: &str, expected: [f64; 5]) {
    let found = stage(plan, name).work;
    let found = [
        found.generated,
        found.scored,
        found.trained,
        found.asked,
        found.seconds,
    ];
    for (x, y) in found.iter().zip(expected) {
        assert!((x - y).abs() < 1e-9, "{name}: {found:?}");
    }
}

#[test]
fn stages_worked_out_by_hand() {
    let plan = planned(|_| ()).unwrap();
    // 6 texts of 13 twice are 156 tokens, 15.6 s; 2 steps an epoch, 4 of .5 s.
    check(&plan, "sft", [0.0, 0.0, 156.0, 0.0, 17.6]);
    // 4 prompts of 10 read in .4 s; 8 completions in two batches of 4 steps.
    check(&plan, "sample", [32.0, 40.0, 0.0, 0.0, 8.4]);
    // 4 pairs in both orders.
    check(&plan, "label", [0.0, 0.0, 0.0, 240.0, 4.0]);
    // 3 pairs of 18 are trained on, 5.4 s, in 2 steps; all 4 are read at the end.
    check(&plan, "reward", [0.0, 72.0, 54.0, 0.0, 7.12]);
    // A step: 2 prompts read, .2 s; 4 s of decoding; 2 trees of 18 by policy and reference, .72 s,
    // by the reward model, .36 s, and by the value model, .36 s; both learn from 72 tokens in 2
    // steps, 8.2 s each. 22.04 s.
    check(&plan, "rl", [32.0, 328.0, 288.0, 0.0, 44.08]);
    // Both policies: 30 tokens read, .3 s, and batches of 2 and 1, 8 s; 3 comparisons in both
    // orders, 3 s. The oracle takes none.
    check(&plan, "eval", [24.0, 60.0, 0.0, 180.0, 19.6]);
    // $72 an hour is 2 cents a second.
    assert!((stage(&plan, "sft").work.usd - 0.352).abs() < 1e-9);
    let seconds = 17.6 + 8.4 + 4.0 + 7.12 + 44.08 + 19.6;
    assert!((plan.total().seconds - seconds).abs() < 1e-9);
}

/// 1128 parameters: 80 of the embedding, 256 of attention, 768 inside, 24 of norms. A token keeps
/// `(6 8 + 3 8 + 3 8 + 4 32) 4 = 896` bytes of the layer and `3 10 4 = 120` of logits.
#[test]
fn memory_worked_out_by_hand() {
    let plan = planned(|_| ()).unwrap();
    let (parameters, token) = (1128, 896 + 120);
    // Weights, gradients and two moments; 4 texts of 14.
    let activations = 4 * 14 * token;
    assert_eq!(stage(&plan, "sft").memory, 16 * parameters + activations);
    // Weights; keys and values of 4 texts, 2 times 8 numbers a token; 4 rows of logits.
    let writing = 4 * 14 * 64 + 4 * 40;
    assert_eq!(stage(&plan, "sample").memory, 4 * parameters + writing);
    // Policy and value model are trained, reference and reward model are read.
    assert_eq!(stage(&plan, "rl").memory, 40 * parameters + activations);
    let plan = planned(|config| {
        let rl = config.rl.as_mut().unwrap();
        rl.micro_batch_size = Some(1);
        rl.gradient_checkpointing = true;
        config.policy.lora = Some(toml::from_str("lora_r = 2").unwrap());
    })
    .unwrap();
    // The base once; two adapters of rank 2: four maps of 8 to 8 and three of 8 and 32, 16 bytes a
    // number. The cache of 4 texts is more than what the layer of one keeps with its input.
    let adapters = 16 * 2 * (4 * 16 + 3 * 40);
    let recomputed = 14 * (32 + token);
    assert!(recomputed > writing);
    let expected = 4 * parameters + 2 * adapters + recomputed;
    assert_eq!(stage(&plan, "rl").memory, expected);
}

#[test]
fn rewards_are_asked_for_as_the_run_file_says() {
    let reward = |terms: &str, overlap: bool| {
        let plan = planned(|config| {
            let rl = config.rl.as_mut().unwrap();
            rl.reward = serde_json::from_str(terms).unwrap();
            rl.overlap = overlap;
        })
        .unwrap();
        stage(&plan, "rl").work
    };
    // A score of 20 tokens for each of 4 completions, twice: 160 tokens at 100 a second, in place of
    // .72 s of the reward model.
    let direct = reward("\"direct\"", false);
    assert!((direct.asked - 160.0).abs() < 1e-9);
    assert!((direct.seconds - (44.08 - 0.72 + 1.6)).abs() < 1e-9);
    // One comparison for each of two prompts, in both orders.
    assert!((reward("\"win_rate\"", false).asked - 240.0).abs() < 1e-9);
    // A step draws in 4.92 s and scores in .8 s; the second is drawn while the first is scored.
    let overlapped = reward("\"direct\"", true);
    assert!((direct.seconds - overlapped.seconds - 0.8).abs() < 1e-9);
}

#[test]
fn what_is_missing_is_named() {
    let said = |change: fn(&mut Config)| planned(change).unwrap_err().to_string();
    let found = said(|config| config.policy.model = "n".into());
    assert!(
        found.starts_with("`plan.models.\"n\"` is absent"),
        "{found}"
    );
    let config: Config = toml::from_str(RUN).unwrap();
    let found = rates(&config, None).unwrap_err().to_string();
    assert!(found.starts_with("`plan` is absent"), "{found}");
}

/// 100,000 demonstrations of 450 tokens are 45 M; 1 M pairs in both orders of 750 tokens are 1500 M,
/// at 8000 a second 52.1 hours, for each of which servers take $12 and the device $3.
#[test]
fn the_worked_example_of_a_million_prompts() {
    let config = Config::read(Path::new("configs/real/plan_8b.toml"), &[]).unwrap();
    let plan = plan(&config, &rates(&config, None).unwrap()).unwrap();
    let sft = stage(&plan, "sft");
    assert_eq!(sft.work.trained, 45e6);
    // 7500 s of training and 1563 steps of half a second.
    assert!((sft.work.seconds - 8281.5).abs() < 1e-6);
    let label = stage(&plan, "label");
    assert_eq!(label.work.asked, 1.5e9);
    assert!((label.work.seconds - 187_500.0).abs() < 1e-6);
    assert!((label.work.usd - 187_500.0 / 3600.0 * 15.0).abs() < 1e-6);
    assert!((stage(&plan, "sample").work.generated - 3e8).abs() < 1.0);
    // 8,030,261,248 parameters of 2 bytes; for 128 texts a cache of 2304 tokens of 131,072 bytes each
    // and a row of logits.
    let sample = stage(&plan, "sample").memory;
    assert_eq!(
        sample,
        16_060_522_496 + 128 * (2304 * 131_072 + 4 * 128_256)
    );
    assert!(plan.stages.iter().all(|stage| stage.devices <= Some(1)));
}
