//! One small run from start to end: the same again to the byte, and what a dry run says of it.

use std::fs;
use std::path::Path;

use super::{rlaif, stderr};

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
    let models =
        ["sft", "reward", "policy"].map(|stage| format!("{stage}/model/model.safetensors"));
    let (second, _) = run("second");
    for model in &models {
        let same = fs::read(first.join(model)).unwrap() == fs::read(second.join(model)).unwrap();
        assert!(same, "{model}: same seed, same bytes");
    }

    let times = || {
        models
            .each_ref()
            .map(|model| first.join(model).metadata().unwrap().modified().unwrap())
    };
    let written = times();
    let (_, said) = run("first");
    assert_eq!(said.matches("skipped").count(), 6, "{said}");
    assert_eq!(times(), written);
    check_plans(&first);
}

/// What `--dry-run` says of a finished run, unchanged and changed.
fn check_plans(run: &Path) {
    let plan = |more: &[&str]| {
        let path = run.to_str().unwrap();
        let mut args = vec!["run", "--config", "configs/smoke.toml", "--run", path];
        args.push("--dry-run");
        args.extend(more);
        String::from_utf8(rlaif(&args).stdout).unwrap()
    };
    assert_eq!(plan(&[]).matches("would be skipped").count(), 6);
    let expected = "\
sft      would be skipped: unchanged
sample   would be skipped: unchanged
label    would be skipped: unchanged
reward   would run: `reward.batch_size` was 16, is 8
rl       would run: comes after reward
eval     would run: comes after reward
";
    assert_eq!(plan(&["--set", "reward.batch_size=8"]), expected);
    // What a stage reads is known by its content.
    let labels = run.join("preferences.jsonl");
    let altered = fs::read_to_string(&labels)
        .unwrap()
        .replacen("0.", "0.0", 1);
    fs::write(&labels, altered).unwrap();
    let expected = "reward   would run: `preferences.jsonl` has changed";
    assert!(plan(&[]).contains(expected), "{}", plan(&[]));
}
