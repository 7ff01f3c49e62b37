//! The binary from outside: what it says of bad input, and (`smoke.rs`) one small run from start to
//! end; `output.rs` has what comes of a standard output that cannot be written, `plan.rs` what a run
//! will take.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod output;
mod plan;
mod smoke;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use burn::tensor::Device;
use rlaif::config::Config;
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

/// Runs a verb on a run file in a fresh folder; expects exit code 1 and every one of `words` in
/// what it says.
#[track_caller]
fn refused(verb: &str, config: &Path, more: &[&str], words: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let mut args = vec![verb, "--config", config.to_str().unwrap()];
    args.extend(["--run", run.to_str().unwrap()]);
    args.extend(more);
    let output = rlaif(&args);
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    for word in words {
        assert!(said.contains(word), "`{word}` is not in: {said}");
    }
    let errors = said.lines().filter(|line| line.starts_with("error: "));
    assert_eq!(errors.count(), 1, "one line says what is wrong: {said}");
    assert!(!said.contains("panicked"), "{said}");
}

fn smoke() -> &'static Path {
    Path::new("configs/smoke.toml")
}

/// The smoke run file with `from` replaced by `to`, in `folder`.
fn changed(folder: &Path, from: &str, to: &str) -> PathBuf {
    let text = fs::read_to_string(smoke()).unwrap();
    assert!(text.contains(from), "`{from}` is not in the run file");
    let path = folder.join("changed.toml");
    fs::write(&path, text.replacen(from, to, 1)).unwrap();
    path
}

/// The smoke run file without fine-tuning, in `folder`: its policy starts as it is, so that every
/// stage can be the first.
fn without_sft(folder: &Path) -> PathBuf {
    let mut config = Config::read(smoke(), &[]).unwrap();
    config.sft = None;
    let path = folder.join("without_sft.toml");
    fs::write(&path, config.to_toml().unwrap()).unwrap();
    path
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

#[cfg(not(feature = "http"))]
#[test]
fn endpoints_name_their_feature_before_anything_starts() {
    refused(
        "run",
        Path::new("configs/endpoints.toml"),
        &[],
        &["labeler `http` is not compiled in", "`--features http`"],
    );
}

#[test]
fn bad_run_files_are_refused_by_name() {
    refused(
        "sft",
        Path::new("no-such.toml"),
        &[],
        &["no-such.toml", "cannot read"],
    );
    refused("sft", smoke(), &["--set", "rl.stepz=3"], &["stepz"]);
    refused(
        "sft",
        smoke(),
        &["--set", "rl.steps=0"],
        &["`rl.steps` is 0, expected at least 1"],
    );
    refused("sft", smoke(), &["--set", "nonsense"], &["key=value"]);
    refused(
        "sft",
        smoke(),
        &["--set", "reward.holdout=1.5"],
        &["reward.holdout", "[0, 1)"],
    );
    refused(
        "sft",
        smoke(),
        &["--set", "rl.num_generations=3"],
        &["rl.batch_size", "multiple"],
    );
}

#[test]
fn faults_in_a_run_file_name_the_file_and_the_field() {
    let folder = tempfile::tempdir().unwrap();
    let check = |to: &str, words: &[&str]| {
        let path = changed(folder.path(), "\nsteps = 3\n", to);
        let words = [words, &["changed.toml"]].concat();
        refused("sft", &path, &[], &words);
    };
    let text = fs::read_to_string(smoke()).unwrap();
    let line = 1 + text.lines().position(|line| line == "steps = 3").unwrap();
    let at = |line: usize| format!("changed.toml:{line}:");
    check("\nsteps = 'many'\n", &["\"many\"", &at(line)]);
    check("\nsteps = = 3\n", &[&at(line)]);
    check(
        "\nsteps = 3\nstepz = 4\n",
        &["unknown field `stepz`", &at(line + 1)],
    );
    check("\n", &["missing field `steps`"]);
}

#[test]
#[cfg(not(feature = "cuda"))]
fn a_backend_that_is_not_compiled_in_names_its_feature() {
    refused(
        "sft",
        smoke(),
        &["--backend", "cuda"],
        &["`cuda`", "--features cuda"],
    );
}

#[test]
fn stages_name_what_must_come_first() {
    refused(
        "label",
        smoke(),
        &[],
        &["completions.jsonl", "run stage `sample` first"],
    );
    refused(
        "reward",
        smoke(),
        &[],
        &["preferences.jsonl", "run stage `label` first"],
    );
    refused(
        "eval",
        smoke(),
        &[],
        &["policy/model", "run stage `rl` first"],
    );
    let folder = tempfile::tempdir().unwrap();
    refused(
        "rl",
        &without_sft(folder.path()),
        &[],
        &["reward/model", "run stage `reward` first"],
    );
    refused("rl", smoke(), &[], &["sft/model", "run stage `sft` first"]);
    refused(
        "sample",
        smoke(),
        &[],
        &["sft/model", "run stage `sft` first"],
    );
}

#[test]
fn malformed_rows_are_named_by_line_and_field() {
    let folder = tempfile::tempdir().unwrap();
    let without_sft = without_sft(folder.path());
    let rows = folder.path().join("rows.jsonl");
    let path = rows.display();
    let set = format!(
        "data={{kind='files', demonstrations='{path}', preference_prompts='{path}', \
        rl_prompts='{path}', eval_prompts='{path}'}}"
    );
    let check = |verb: &str, text: &str, words: &[&str]| {
        fs::write(&rows, text).unwrap();
        let config = if verb == "sft" { smoke() } else { &without_sft };
        refused(verb, config, &["--set", &set], words);
    };
    check(
        "sft",
        "{\"prompt\": \"a\", \"completion\": \"b\"}\n{\"prompt\": \"a\"}\n",
        &["rows.jsonl:2", "`completion`"],
    );
    check(
        "sft",
        "\n{\"prompt\": \"a\", \"completion\": 3}\n",
        &[
            "rows.jsonl:2",
            "`completion` is 3, expected a string or a list of messages",
        ],
    );
    check(
        "sample",
        "{\"prompt\": \"a\"}\n{\"prompt\": ",
        &["rows.jsonl:2", "not valid JSON"],
    );
    check(
        "sample",
        "{\"id\": \"x\", \"prompt\": \"a\"}\n{\"id\": \"x\", \"prompt\": \"b\"}\n",
        &["rows.jsonl:2", "`id` \"x\" is already on line 1"],
    );
    fs::remove_file(&rows).unwrap();
    refused(
        "sample",
        &without_sft,
        &["--set", &set],
        &["rows.jsonl: cannot read"],
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
        &["missing tensor", "layers.2"],
    );
    layers(1);
    refused(
        "sft",
        smoke(),
        &["--set", &set],
        &["unknown tensor", "layers.1"],
    );
    let none = dir.join("none");
    let set = format!("policy.model='{}'", none.display());
    refused("sft", smoke(), &["--set", &set], &["none", "cannot read"]);
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
        &["token id", "vocabulary of 20"],
    );
}

/// A write that fails halfway, as on a full disk, leaves no half-written file.
#[test]
#[cfg(unix)]
fn a_full_disk_leaves_nothing_half_written() {
    let folder = tempfile::tempdir().unwrap();
    let without_sft = without_sft(folder.path());
    // No file may be longer than 16 blocks, of 512 or of 1,024 bytes: enough for the run file, not
    // for a model or the rows.
    let check = |verb: &str, config: &Path, written: &str, left: &[&str]| {
        let run = folder.path().join(verb);
        let script = "trap '' XFSZ; ulimit -f 16; exec \"$0\" \"$@\"";
        let binary = env!("CARGO_BIN_EXE_rlaif");
        let output = Command::new("sh")
            .args(["-c", script, binary, verb, "--config"])
            .args([config, Path::new("--run"), &run])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .unwrap();
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(written), "{said}");
        assert!(!said.contains("panicked"), "{said}");
        assert_eq!(names(&run), left);
    };
    check(
        "sft",
        smoke(),
        "model.safetensors",
        &[
            ".lock",
            "config.toml",
            "manifest.json",
            "metrics.jsonl",
            "sft",
            "tensorboard",
        ],
    );
    assert_eq!(names(&folder.path().join("sft/sft")), [""; 0]);
    // The rows that fitted are kept aside, for the run to go on from.
    check(
        "sample",
        &without_sft,
        ".jsonl: cannot write",
        &[".lock", ".parts", "config.toml", "manifest.json"],
    );
}

/// What a folder holds, hidden files included.
fn names(folder: &Path) -> Vec<String> {
    let name = |entry: fs::DirEntry| entry.file_name().into_string().unwrap();
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| name(entry.unwrap()))
        .collect();
    names.sort();
    names
}
