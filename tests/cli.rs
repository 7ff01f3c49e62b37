//! The binary from outside: what it says of bad input, and one small run from start to end.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use burn::tensor::Device;
use rlaif::model::{self, LlamaConfig};

fn rlaif(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_rlaif"))
        .args(args)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Runs a verb on a run file in a fresh folder; expects `code` and every one of `words` in what it says.
#[track_caller]
fn refused(verb: &str, config: &Path, more: &[&str], code: i32, words: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let mut args = vec![verb, "--config", config.to_str().unwrap()];
    args.extend(["--run", run.to_str().unwrap()]);
    args.extend(more);
    let output = rlaif(&args);
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(code), "{said}");
    for word in words {
        assert!(said.contains(word), "`{word}` is not in: {said}");
    }
    assert!(!said.contains("panicked"), "{said}");
}

fn smoke() -> &'static Path {
    Path::new("configs/smoke.toml")
}

#[test]
fn help_and_devices_answer() {
    for args in [["--help"], ["--version"], ["devices"]] {
        assert!(rlaif(&args).status.success(), "{args:?}");
    }
}

#[test]
fn usage_errors_exit_with_2() {
    assert_eq!(rlaif(&["fly"]).status.code(), Some(2));
    assert_eq!(rlaif(&["run"]).status.code(), Some(2));
    assert_eq!(
        rlaif(&["rl", "--config", "x", "--run", "y", "--backend", "abacus"])
            .status
            .code(),
        Some(2)
    );
}

#[test]
fn bad_run_files_are_refused_by_name() {
    refused(
        "sft",
        Path::new("no-such.toml"),
        &[],
        1,
        &["no-such.toml", "cannot read"],
    );
    refused("sft", smoke(), &["--set", "rl.stepz=3"], 1, &["stepz"]);
    refused(
        "sft",
        smoke(),
        &["--set", "rl.steps=0"],
        1,
        &["`rl.steps` is 0, expected at least 1"],
    );
    refused("sft", smoke(), &["--set", "nonsense"], 1, &["key=value"]);
    refused(
        "sft",
        smoke(),
        &["--set", "reward.holdout=1.5"],
        1,
        &["reward.holdout", "[0, 1)"],
    );
    refused(
        "sft",
        smoke(),
        &["--set", "rl.num_generations=3"],
        1,
        &["rl.batch_size", "multiple"],
    );
}

#[test]
#[cfg(not(feature = "cuda"))]
fn a_backend_that_is_not_compiled_in_names_its_feature() {
    refused(
        "sft",
        smoke(),
        &["--backend", "cuda"],
        1,
        &["`cuda`", "--features cuda"],
    );
}

#[test]
fn stages_name_what_must_come_first() {
    refused(
        "label",
        smoke(),
        &[],
        1,
        &["completions.jsonl", "run stage `sample` first"],
    );
    refused(
        "rl",
        smoke(),
        &["--set", "policy.model=models/labeler-xs"],
        1,
        &["cannot read"],
    );
}

#[test]
fn malformed_rows_are_named_by_line_and_field() {
    let folder = tempfile::tempdir().unwrap();
    let rows = folder.path().join("rows.jsonl");
    let data = |text: &str| {
        fs::write(&rows, text).unwrap();
        let path = rows.display();
        format!(
            "data={{kind='files', demonstrations='{path}', preference_prompts='{path}', \
            rl_prompts='{path}', eval_prompts='{path}'}}"
        )
    };
    let broken = data("{\"prompt\": \"a\", \"completion\": \"b\"}\n{\"prompt\": \"a\"}\n");
    refused(
        "sft",
        smoke(),
        &["--set", &broken],
        1,
        &["rows.jsonl:2", "completion"],
    );
}

#[test]
fn a_run_folder_that_is_a_file_is_refused() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    let output = rlaif(&["sft", "--config", "configs/smoke.toml", "--run", path]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("is a file, expected a folder"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn checkpoints_that_do_not_fit_are_refused_with_a_list() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let config = LlamaConfig::small(600, 16, 2, 2, 256);
    model::save(&config.init(&Device::flex()), dir).unwrap();
    for name in ["tokenizer.json", "generation_config.json"] {
        fs::copy(Path::new("models/labeler-xs").join(name), dir.join(name)).unwrap();
    }
    let set = format!("policy.model='{}'", dir.display());
    let layers = |n: usize| {
        let path = dir.join("config.json");
        let mut json: serde_json::Value =
            serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        json["num_hidden_layers"] = n.into();
        fs::write(&path, json.to_string()).unwrap();
    };
    layers(3);
    refused(
        "sft",
        smoke(),
        &["--set", &set],
        1,
        &["missing tensor", "layers.2"],
    );
    layers(1);
    refused(
        "sft",
        smoke(),
        &["--set", &set],
        1,
        &["unknown tensor", "layers.1"],
    );
    let none = dir.join("none");
    let set = format!("policy.model='{}'", none.display());
    refused(
        "sft",
        smoke(),
        &["--set", &set],
        1,
        &["none", "cannot read"],
    );
}

#[test]
fn a_token_outside_the_vocabulary_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    model::save(
        &LlamaConfig::small(20, 16, 1, 2, 256).init(&Device::flex()),
        dir,
    )
    .unwrap();
    for name in ["tokenizer.json", "generation_config.json"] {
        fs::copy(Path::new("models/labeler-xs").join(name), dir.join(name)).unwrap();
    }
    let set = format!("policy.model='{}'", dir.display());
    refused(
        "sft",
        smoke(),
        &["--set", &set],
        1,
        &["token id", "vocabulary of 20"],
    );
}

/// A write that fails halfway, as on a full disk, leaves no half-written file.
#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_leaves_nothing_half_written() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    // Files may have 64 blocks of 512 bytes: enough for the run file, not for a model.
    let script = format!(
        "trap '' XFSZ; ulimit -f 64; exec {} sft --config configs/smoke.toml --run {}",
        env!("CARGO_BIN_EXE_rlaif"),
        run.display()
    );
    let output = Command::new("sh")
        .args(["-c", &script])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(!run.join("sft/model").exists());
    let left: Vec<_> = fs::read_dir(run.join("sft"))
        .into_iter()
        .flatten()
        .flatten()
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn the_smoke_run_does_every_stage_once_and_repeats_to_the_byte() {
    let folder = tempfile::tempdir().unwrap();
    let run = |name: &str| {
        let dir = folder.path().join(name);
        let path = dir.to_str().unwrap().to_string();
        let output = rlaif(&["run", "--config", "configs/smoke.toml", "--run", &path]);
        assert!(output.status.success(), "{}", stderr(&output));
        (dir, stderr(&output))
    };
    let (first, _) = run("first");
    let files = [
        "config.toml",
        "sft/model/model.safetensors",
        "completions.jsonl",
        "preferences.jsonl",
        "reward/model/model.safetensors",
        "policy/model/model.safetensors",
        "policy/model/tokenizer.json",
        "rollouts.jsonl",
        "comparisons.jsonl",
        "eval.json",
        "metrics.jsonl",
        "stages.json",
        "report.html",
    ];
    for file in files {
        assert!(
            first.join(file).metadata().is_ok_and(|file| file.len() > 0),
            "{file}"
        );
    }
    let weights = |dir: &Path| fs::read(dir.join("policy/model/model.safetensors")).unwrap();
    let (second, _) = run("second");
    assert!(weights(&first) == weights(&second), "same seed, same bytes");

    let written = first.join(files[5]).metadata().unwrap().modified().unwrap();
    let (_, said) = run("first");
    assert_eq!(said.matches("skipped").count(), 6, "{said}");
    assert_eq!(
        first.join(files[5]).metadata().unwrap().modified().unwrap(),
        written
    );
}
