//! `rlaif chat`, `score` and `inspect` from outside: against what `transformers` computes with
//! `models/base-s` (`fixtures/make_inference.py`), and (`refusals.rs`) what they say of bad input.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod refusals;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use burn::tensor::Device;
use rlaif::model::{self, LlamaConfig, ScalarHead};
use serde_json::{Value, json};

const MODEL: &str = "models/base-s";

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rlaif"));
    command.args(args).current_dir(env!("CARGO_MANIFEST_DIR"));
    command
}

/// What a command prints.
fn printed(args: &[&str]) -> String {
    told(&command(args).output().unwrap())
}

fn told(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn rows(args: &[&str]) -> Vec<Value> {
    let text = printed(args);
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Expects exit code 1 and every one of `words` in the one line of what it says.
#[track_caller]
fn refused(args: &[&str], words: &[&str]) {
    let output = command(args).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    for word in words {
        assert!(said.contains(word), "`{word}` is not in: {said}");
    }
    assert_eq!(said.matches("error: ").count(), 1, "{said}");
    assert!(!said.contains("panicked"), "{said}");
}

fn file(folder: &Path, rows: &[Value]) -> String {
    let path = folder.join("rows.jsonl");
    let lines: Vec<String> = rows.iter().map(|row| format!("{row}\n")).collect();
    fs::write(&path, lines.concat()).unwrap();
    path.to_str().unwrap().to_string()
}

fn fixture() -> Value {
    serde_json::from_str(&fs::read_to_string("tests/fixtures/inference.json").unwrap()).unwrap()
}

#[test]
fn greedy_answers_are_those_of_transformers() {
    let folder = tempfile::tempdir().unwrap();
    let expected = fixture()["answered"].as_array().unwrap().clone();
    let prompts: Vec<Value> = expected
        .iter()
        .map(|row| json!({"prompt": row["prompt"]}))
        .collect();
    let path = file(folder.path(), &prompts);
    for batch_size in ["1", "3"] {
        let args = [
            "chat",
            MODEL,
            "--file",
            &path,
            "--raw",
            "--greedy",
            "--max-new-tokens",
            "16",
        ];
        let found = rows(&[args.as_slice(), &["--batch-size", batch_size]].concat());
        assert_eq!(found.len(), expected.len());
        for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
            assert_eq!(found["id"], (i + 1).to_string());
            for name in ["prompt_ids", "completion_ids", "completion"] {
                assert_eq!(found[name], expected[name]);
            }
        }
    }
}

#[test]
fn log_probabilities_are_those_of_transformers() {
    let folder = tempfile::tempdir().unwrap();
    let expected = fixture()["scored"].as_array().unwrap().clone();
    let path = file(folder.path(), &expected);
    let found = rows(&["score", MODEL, "--file", &path]);
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!(found["token_ids"], expected["token_ids"]);
        let numbers = |row: &Value| -> Vec<f64> {
            let row = row["token_log_probs"].as_array().unwrap();
            row.iter().map(|p| p.as_f64().unwrap()).collect()
        };
        let (log_probs, expected) = (numbers(found), numbers(expected));
        let close = |(a, b): (&f64, &f64)| (a - b).abs() < 1e-4;
        assert!(
            log_probs.iter().zip(&expected).all(close),
            "{log_probs:?} {expected:?}"
        );
        let sum: f64 = expected.iter().sum();
        assert!((found["log_prob"].as_f64().unwrap() - sum).abs() < 1e-3);
    }
}

#[test]
fn sampling_repeats_by_its_seed_whatever_the_batch() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(
        folder.path(),
        &["my boss", "i am"].map(|prompt| json!({"prompt": prompt})),
    );
    let sample = |more: &[&str]| {
        let args = [
            "chat",
            MODEL,
            "--file",
            &path,
            "--raw",
            "--max-new-tokens",
            "12",
        ];
        printed(&[args.as_slice(), more].concat())
    };
    let first = sample(&["--seed", "3"]);
    assert_eq!(first, sample(&["--seed", "3", "--batch-size", "1"]));
    assert_ne!(first, sample(&["--seed", "4"]));
}

/// The folder of `models/base-s` with a chat template.
fn with_template(folder: &Path) -> String {
    for name in [
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
    ] {
        fs::copy(Path::new(MODEL).join(name), folder.join(name)).unwrap();
    }
    let template = "{% for m in messages %}{{ m.role }} : {{ m.content }} ;{% endfor %}\
        {% if add_generation_prompt %}assistant :{% endif %}{% if calm %} calm{% endif %}";
    fs::write(folder.join("chat_template.jinja"), template).unwrap();
    folder.to_str().unwrap().to_string()
}

#[test]
fn conversations_go_through_the_chat_template() {
    let folder = tempfile::tempdir().unwrap();
    let model = with_template(folder.path());
    let turns = json!([{"role": "my", "content": "boss"}]);
    let path = file(
        folder.path(),
        &[
            json!({"id": "a", "messages": turns}),
            json!({"id": "b", "prompt": "boss"}),
        ],
    );
    let args = [
        "chat",
        &model,
        "--file",
        &path,
        "--greedy",
        "--max-new-tokens",
        "1",
    ];
    let found = rows(
        &[
            args.as_slice(),
            &["--system", "be", "--template-kwargs", "{\"calm\": 1}"],
        ]
        .concat(),
    );
    // <unk> stands for "system" and "user", which this vocabulary does not know.
    let ids = |text: &str| {
        let tokenizer = rlaif::tokenizer::Tokenizer::load(folder.path()).unwrap();
        json!(tokenizer.encode_continuation(text).unwrap())
    };
    assert_eq!(
        found[0]["prompt_ids"],
        ids("system : be ;my : boss ;assistant : calm")
    );
    assert_eq!(
        found[1]["prompt_ids"],
        ids("system : be ;user : boss ;assistant : calm")
    );

    let scored =
        json!({"prompt": turns, "completion": [{"role": "assistant", "content": "my aunt"}]});
    let path = file(folder.path(), &[scored]);
    let kwargs = ["--template-kwargs", "{\"calm\": 0}"];
    let found = rows(&[["score", &model, "--file", &path].as_slice(), &kwargs].concat());
    assert_eq!(
        found[0]["token_ids"],
        ids("my aunt"),
        "nothing but the completion"
    );
}

#[test]
fn a_conversation_is_read_from_the_standard_input() {
    let folder = tempfile::tempdir().unwrap();
    let model = with_template(folder.path());
    let talk = |model: &str, more: &[&str], lines: &str| {
        let args = ["chat", model, "--greedy", "--max-new-tokens", "5"];
        let mut command = command(&[args.as_slice(), more].concat());
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(lines.as_bytes())
            .unwrap();
        child.wait_with_output().unwrap()
    };
    let both = told(&talk(&model, &[], "my boss\n\nmy aunt\n"));
    let forgotten = told(&talk(
        &model,
        &[],
        "my boss\n/reset\nmy aunt\n/exit\nmy boss\n",
    ));
    assert_eq!((both.lines().count(), forgotten.lines().count()), (2, 2));
    assert_eq!(both.lines().next(), forgotten.lines().next());
    let raw = told(&talk(MODEL, &["--raw"], "i am at the beach\n"));
    assert_eq!(raw, "beach beach beach beach beach\n");
    let none = talk(MODEL, &[], "hello\n");
    let said = String::from_utf8_lossy(&none.stderr).into_owned();
    assert!(said.contains("there is no chat template"), "{said}");
    assert_eq!(none.status.code(), Some(1));
}

#[test]
fn a_reward_model_gives_rewards() {
    let folder = tempfile::tempdir().unwrap();
    let config = LlamaConfig::small(600, 16, 1, 2, 64);
    let mut reward = ScalarHead::new(config.init(&Device::flex()));
    (reward.mean, reward.std) = (1.0, 2.0);
    model::save_head(&reward, folder.path()).unwrap();
    for name in ["tokenizer.json", "generation_config.json"] {
        fs::copy(Path::new(MODEL).join(name), folder.path().join(name)).unwrap();
    }
    let path = file(
        folder.path(),
        &[json!({"id": 7, "prompt": "my", "completion": "boss"})],
    );
    let found = rows(&["score", folder.path().to_str().unwrap(), "--file", &path]);
    // A fresh head says 0; normalised (0 - 1) / 2.
    assert_eq!(
        found,
        [json!({"id": "7", "reward": 0.0, "normalized_reward": -0.5})]
    );
}

#[test]
fn a_model_is_inspected_without_its_weights() {
    let text = printed(&[
        "inspect", MODEL, "--dtype", "bf16", "--batch", "2", "--seq", "100",
    ]);
    for word in [
        "llama",
        "chat template          no",
        "bos_token <s>",
        "bf16, batch 2, 100 tokens",
    ] {
        assert!(text.contains(word), "`{word}` is not in: {text}");
    }
    // Only what `config.json` says: no such weights exist, nor would they fit.
    let folder = tempfile::tempdir().unwrap();
    let config = json!({"model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 8192,
        "intermediate_size": 28672, "num_hidden_layers": 80, "num_attention_heads": 64, "num_key_value_heads": 8,
        "vocab_size": 128256, "max_position_embeddings": 8192, "rms_norm_eps": 1e-5});
    fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    let text = printed(&[
        "inspect",
        folder.path().to_str().unwrap(),
        "--json",
        "--dtype",
        "bf16",
    ]);
    let found: Value = serde_json::from_str(&text).unwrap();
    // Llama 3 70B, as its model card counts: 70.6 billion.
    assert_eq!(found["parameters"], 70_553_706_496_u64);
    assert_eq!(found["embedding_parameters"], 2 * 128_256 * 8_192_u64);
}

/// Golden values of a pretrained model that is no part of the repository.
#[test]
fn stories_go_on_as_they_should() {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/stories260k");
    if !model.exists() {
        println!("skipped: {} is absent", model.display());
        return;
    }
    let model = model.to_str().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path(), &[json!({"prompt": "Once upon a time"})]);
    let found = rows(&[
        "chat",
        model,
        "--file",
        &path,
        "--raw",
        "--greedy",
        "--max-new-tokens",
        "24",
    ]);
    assert_eq!(found[0]["prompt_ids"], json!([1, 403, 407, 261, 378]));
    assert_eq!(found[0]["completion_ids"][0], 432);
    let text = found[0]["completion"].as_str().unwrap();
    assert!(
        text.starts_with(", there was a little girl named Lily."),
        "{text}"
    );

    // The first token after the prompt: its logit less the log-sum-exp, both as in the notes beside
    // the model.
    let path = file(
        folder.path(),
        &[json!({"prompt": "Once upon a time", "completion": ", there was"})],
    );
    let found = rows(&["score", model, "--file", &path]);
    assert_eq!(found[0]["token_ids"][0], 432);
    assert_eq!(
        found[0]["token_log_probs"].as_array().unwrap().len(),
        found[0]["token_ids"].as_array().unwrap().len()
    );
}
