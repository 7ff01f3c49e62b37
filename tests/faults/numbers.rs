//! Models whose weights are no numbers, batches with nothing to learn from, completions without a
//! token: every loop ends with an error that says so, or goes on with nothing.

use std::path::Path;

use burn::module::{Module, ModuleMapper, Param};
use burn::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rlaif::config::PolicyConfig;
use rlaif::eval::Contender;
use rlaif::label::{Candidate, Labeler, LocalLabeler, NoAnswer, Pair};
use rlaif::model::{LlamaConfig, Transformer, randomize};
use rlaif::record::{Completion, Demonstration, Preference, Prompt};
use rlaif::reward::Reward;
use rlaif::rl::{RlConfig, RlRun, Rollout};
use rlaif::run::{Journal, RunDir};
use rlaif::tokenizer::Tokenizer;
use rlaif::{dpo, eval, reward, rl, sft};
use serde_json::json;

const TOKENIZER: &str = "models/labeler-xs";
const LOSSES: [&str; 5] = ["dpo", "kto", "orpo", "simpo", "cpo"];
const ALGORITHMS: [&str; 7] = [
    "kind = \"ppo\"",
    "kind = \"ppo\", value_model = \"shared\"",
    "kind = \"reinforce\"",
    "kind = \"reinforce_batch\"",
    "kind = \"grpo\", mask_truncated_completions = true",
    "kind = \"rloo\"",
    "kind = \"online_dpo\"",
];

/// Every weight is this.
struct Fill(f32);

impl ModuleMapper for Fill {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (id, tensor, mapper) = param.consume();
        let filled = Tensor::full(tensor.shape(), self.0, &tensor.device());
        Param::from_mapped_value(id, filled, mapper)
    }
}

fn tokenizer() -> Tokenizer {
    Tokenizer::load(Path::new(TOKENIZER)).unwrap()
}

/// A tiny model, of random weights or of weights that all are one number.
fn model(weight: Option<f32>) -> Transformer {
    model_of_length(64, weight)
}

fn model_of_length(max_len: usize, weight: Option<f32>) -> Transformer {
    let shape = LlamaConfig::small(tokenizer().vocab_size(), 16, 1, 2, max_len);
    let model = randomize(shape.init(&Device::flex()), &mut StdRng::seed_from_u64(5));
    match weight {
        Some(weight) => model.map(&mut Fill(weight)),
        None => model,
    }
}

fn policy() -> PolicyConfig {
    toml::from_str(&format!(
        "model = \"{TOKENIZER}\"\nprompt_template = \"{{prompt}}\""
    ))
    .unwrap()
}

fn with_journal<T>(work: impl FnOnce(&mut Journal) -> T) -> T {
    let folder = tempfile::tempdir().unwrap();
    let run = RunDir::create(folder.path()).unwrap();
    work(&mut run.journal("stage", "stage").unwrap())
}

fn demonstrations(completion: &str) -> Vec<Demonstration> {
    let row = json!({"prompt": "my dog", "completion": completion});
    vec![serde_json::from_value(row).unwrap(); 8]
}

fn preferences(chosen: &str, rejected: &str) -> Vec<Preference> {
    let row = |prompt: &str| {
        let row = json!({"prompt": prompt, "chosen": chosen, "rejected": rejected});
        serde_json::from_value(row).unwrap()
    };
    ["my dog", "my boss"]
        .repeat(4)
        .into_iter()
        .map(row)
        .collect()
}

fn fine_tune(model: Transformer, rows: &[Demonstration]) -> rlaif::Result<()> {
    let config = toml::from_str("batch_size = 4").unwrap();
    with_journal(|journal| {
        let start = (model, &tokenizer());
        sft::train(&config, &policy(), start, rows, journal, 1).map(drop)
    })
}

fn train_reward(model: Transformer, rows: &[Preference]) -> rlaif::Result<()> {
    let config = toml::from_str("batch_size = 4\nholdout = 0.25").unwrap();
    with_journal(|journal| {
        let start = (model, &tokenizer());
        reward::train(&config, &policy(), start, rows, journal, 1).map(drop)
    })
}

fn prefer(loss: &str, model: Transformer, rows: &[Preference]) -> rlaif::Result<()> {
    let text = format!("batch_size = 4\nloss = {{ kind = \"{loss}\" }}");
    let config = toml::from_str(&text).unwrap();
    with_journal(|journal| {
        let start = (model, &tokenizer());
        dpo::train(&config, &policy(), start, rows, journal, 1).map(drop)
    })
}

fn rl_config(algorithm: &str) -> RlConfig {
    let text = format!(
        "reward = \"direct\"\nsteps = 2\nbatch_size = 8\nnum_generations = 4\n\
         sampling = {{ max_new_tokens = 4 }}\nalgorithm = {{ {algorithm} }}"
    );
    let mut config: RlConfig = toml::from_str(&text).unwrap();
    if ["ppo", "reinforce\""]
        .iter()
        .any(|kind| algorithm.contains(kind))
    {
        config.value_optim = (!algorithm.contains("shared")).then(Default::default);
    }
    config.validate().unwrap();
    config
}

/// A reward that is the same for all completions.
struct Same(f32);

impl Reward for Same {
    fn reward(&mut self, completions: &[Completion]) -> rlaif::Result<Vec<f32>> {
        Ok(vec![self.0; completions.len()])
    }
}

fn optimise(algorithm: &str, model: Transformer, reward: f32) -> rlaif::Result<()> {
    optimise_on("my dog", algorithm, model, reward)
}

fn optimise_on(
    prompt: &str,
    algorithm: &str,
    model: Transformer,
    reward: f32,
) -> rlaif::Result<()> {
    let config = rl_config(algorithm);
    let prompt = |i: usize| Prompt {
        id: i.to_string(),
        prompt: prompt.into(),
    };
    let prompts: Vec<Prompt> = (0..4).map(prompt).collect();
    let mut algorithm = config.init(model.clone());
    with_journal(|journal| {
        let mut run = RlRun {
            config: &config,
            policy: &policy(),
            tokenizer: &tokenizer(),
            prompts: &prompts,
            reward: &mut Same(reward),
            journal,
        };
        rl::train(&mut run, model, algorithm.as_mut(), 17).map(drop)
    })
}

/// The error says which number is none.
#[track_caller]
fn no_number(result: rlaif::Result<()>, what: &str) {
    assert!(result.is_err(), "{what}");
    let said = result.unwrap_err().to_string();
    let known = ["NaN", "inf", "no number", "not a number"];
    assert!(
        known.iter().any(|word| said.contains(word)),
        "{what}: {said}"
    );
}

/// Weights that are NaN, and infinite ones.
#[test]
fn a_loss_that_is_no_number_ends_every_loop() {
    for weight in [f32::NAN, f32::INFINITY] {
        let broken = || model(Some(weight));
        no_number(fine_tune(broken(), &demonstrations(" ate")), "sft");
        no_number(
            train_reward(broken(), &preferences(" ate", " is")),
            "reward",
        );
        for loss in LOSSES {
            no_number(prefer(loss, broken(), &preferences(" ate", " is")), loss);
        }
        for algorithm in ALGORITHMS {
            no_number(optimise(algorithm, broken(), 1.0), algorithm);
        }
    }
}

#[test]
fn a_reward_that_is_no_number_ends_every_loop() {
    for reward in [f32::NAN, f32::INFINITY] {
        for algorithm in ALGORITHMS {
            no_number(optimise(algorithm, model(None), reward), algorithm);
        }
    }
}

/// A labeler of such weights has no verdict.
#[test]
fn a_labeler_that_knows_no_numbers_gives_no_verdict() {
    for weight in [f32::NAN, f32::INFINITY] {
        let mut labeler = labeler(Some(weight));
        let prompt = "my dog".into();
        let pair = Pair {
            prompt_id: "p",
            prompt: &prompt,
            a: " ate",
            b: " is",
        };
        let found = labeler.compare(&[pair]).unwrap();
        assert_eq!(found[0].no_verdict, Some(NoAnswer::NotFinite));
        let candidate = Candidate {
            prompt_id: "p",
            prompt: &prompt,
            completion: " ate",
        };
        let found = labeler.score(&[candidate]).unwrap();
        assert_eq!(found[0].score, Err(NoAnswer::NotFinite));
    }
}

fn labeler(weight: Option<f32>) -> LocalLabeler<Transformer> {
    LocalLabeler::of("tiny".into(), model_of_length(512, weight), tokenizer()).unwrap()
}

/// No text is judged, and compared in an evaluation, as any other.
#[test]
fn an_empty_completion_is_judged() {
    let pair = Pair {
        prompt_id: "p",
        prompt: &"my dog".into(),
        a: "",
        b: " is",
    };
    let found = labeler(None).compare(&[pair]).unwrap();
    assert!(found[0].p_a().is_some(), "{found:?}");
    let contender = |name: &str, text: &str| Contender {
        name: name.into(),
        completions: vec![completion(0, text, 1)],
    };
    let contenders = [contender("silent", ""), contender("other", " is")];
    let mut judges: Vec<Box<dyn Labeler>> = vec![Box::new(labeler(None))];
    let (rows, report) = eval::run(&contenders, &[(0, 1)], &mut judges, None).unwrap();
    assert_eq!(rows.len(), 1);
    let rate = &report.win_rate["tiny"]["silent_vs_other"];
    assert!(rate.n == 1 && rate.rate.is_finite(), "{rate:?}");
}

/// Answers of no text are one token, the end; all learn from them as from any other.
#[test]
fn an_empty_completion_is_one_token() {
    fine_tune(model(None), &demonstrations("")).unwrap();
    train_reward(model(None), &preferences(" ate", "")).unwrap();
    train_reward(model(None), &preferences("", "")).unwrap();
    for loss in LOSSES {
        prefer(loss, model(None), &preferences("", " is")).unwrap();
        prefer(loss, model(None), &preferences("", "")).unwrap();
    }
}

/// A prompt of more tokens than the model reads, in every loop.
#[test]
fn a_prompt_beyond_the_context_is_refused_with_its_length() {
    let long = "my dog ".repeat(60);
    let refused = |outcome: rlaif::Result<()>| {
        let said = outcome.unwrap_err().to_string();
        let words = ["has 1", "the model takes at most 64"];
        assert!(words.iter().all(|word| said.contains(word)), "{said}");
    };
    let row = json!({"prompt": long, "completion": " ate", "chosen": " ate", "rejected": " is"});
    refused(fine_tune(
        model(None),
        &vec![serde_json::from_value(row.clone()).unwrap(); 4],
    ));
    let rows: Vec<Preference> = vec![serde_json::from_value(row).unwrap(); 4];
    refused(train_reward(model(None), &rows));
    refused(prefer("dpo", model(None), &rows));
    refused(optimise_on(&long, ALGORITHMS[0], model(None), 1.0));
}

/// Where no token of a conversation counts, there is nothing to fine-tune on.
#[test]
fn demonstrations_without_a_token_that_counts_are_refused() {
    let config: sft::SftConfig = toml::from_str("batch_size = 4\nmax_length = 2").unwrap();
    let row = json!({"prompt": "my dog ate my boss", "completion": " is"});
    let rows: Vec<Demonstration> = vec![serde_json::from_value(row).unwrap(); 4];
    let outcome = with_journal(|journal| {
        let start = (model(None), &tokenizer());
        sft::train(&config, &policy(), start, &rows, journal, 1).map(drop)
    });
    let said = outcome.unwrap_err().to_string();
    assert!(said.contains("none has a token that counts"), "{said}");
}

/// Completions that are all cut off, for one algorithm that masks such, and of equal worth: every
/// number that the step tells is one.
#[test]
fn a_batch_with_nothing_to_learn_from_changes_nothing() {
    for algorithm in ALGORITHMS {
        for n_tokens in [1, 4] {
            let config = rl_config(algorithm);
            let rollouts: Vec<Rollout> = (0..8).map(|i| cut_off(i, n_tokens)).collect();
            let mut algorithm_state = config.init(model(None));
            let learner = config.optim.init(model(None), 10);
            let coef = config.initial_kl_coef();
            let mut rng = StdRng::seed_from_u64(1);
            let (_, stats) = algorithm_state
                .update(learner, &rollouts, coef, &mut rng)
                .unwrap();
            assert!(!stats.is_empty(), "{algorithm}");
            for (name, value) in stats {
                assert!(
                    value.is_finite(),
                    "{algorithm}, {n_tokens} tokens: {name} {value}"
                );
            }
        }
    }
}

/// A completion that the limit has cut off, of equal worth with all others.
fn cut_off(i: usize, n_tokens: usize) -> Rollout {
    Rollout {
        completion: completion(i, "", n_tokens),
        prompt_tokens: vec![5, 6],
        tokens: vec![7; n_tokens],
        log_probs: vec![-1.0; n_tokens],
        old_log_probs: vec![-1.0; n_tokens],
        ref_log_probs: vec![-1.0; n_tokens],
        reward: 0.5,
    }
}

fn completion(i: usize, text: &str, n_tokens: usize) -> Completion {
    let row = json!({
        "prompt_id": (i / 4).to_string(), "prompt": "my dog", "index": i % 4, "completion": text,
        "n_tokens": n_tokens, "log_prob": 0.0, "finished": false,
    });
    serde_json::from_value(row).unwrap()
}
