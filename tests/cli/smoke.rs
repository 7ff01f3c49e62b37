//! One small run from start to end: the same again to the byte, and what a dry run says of it.

use std::fs;
use std::path::Path;

use rlaif::record::{LoggedRollout, read_jsonl};

use super::{rlaif, stderr};

/// Also best-of-n, chosen by the reward model of the run.
const BEST_OF: [&str; 2] = ["--set", "eval.best_of={n=2}"];

#[test]
fn the_smoke_run_does_every_stage_once_and_repeats_to_the_byte() {
    let folder = tempfile::tempdir().unwrap();
    let run = |name: &str| {
        let dir = folder.path().join(name);
        let path = dir.to_str().unwrap().to_string();
        let args = ["run", "--config", "configs/smoke.toml", "--run", &path];
        let output = rlaif(&[&args[..], &BEST_OF].concat());
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
        "eval/best_of_2.jsonl",
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
    // Four rollouts of each of the three steps.
    let rollouts: Vec<LoggedRollout> = read_jsonl(first.join("rollouts.jsonl")).unwrap();
    let steps: Vec<_> = rollouts.iter().map(|row| row.step).collect();
    assert_eq!(steps, [1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3]);
    assert!(rollouts.iter().any(|row| row.reward != 0.0), "{rollouts:?}");
    // ln 2 - 1/2.
    let eval = fs::read_to_string(first.join("eval.json")).unwrap();
    assert!(eval.contains("\"kl_bound\": 0.1931471805599453"), "{eval}");
    assert!(eval.contains("\"best_of_2_vs_sft\""), "{eval}");
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
        args.extend(BEST_OF);
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

#[test]
fn a_run_is_reproduced_and_held_against_itself() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    let (old, config) = (path("old"), "configs/smoke.toml");
    let run = rlaif(&[
        "run",
        "--config",
        config,
        "--run",
        &old,
        "--set",
        "rl.steps=2",
    ]);
    assert!(run.status.success(), "{}", stderr(&run));
    let manifest = fs::read_to_string(folder.path().join("old/manifest.json")).unwrap();
    for part in [
        "\"version\": \"",
        "\"rustc\": \"rustc ",
        "\"burn\": \"0.",
        "\"seed\": 17",
    ] {
        assert!(manifest.contains(part), "{part}: {manifest}");
    }

    let again = rlaif(&["run", "--reproduce", &old]);
    let said = String::from_utf8_lossy(&again.stdout).into_owned();
    assert!(again.status.success(), "{said}{}", stderr(&again));
    for file in [
        "metrics.jsonl",
        "policy/model/model.safetensors",
        "eval.json",
    ] {
        assert!(said.contains(&format!("same     {file}\n")), "{said}");
    }
    assert!(!said.contains("differs"), "{said}");
    check_changes(folder.path(), &old);
}

/// What a reproduction says of a run folder that was altered.
fn check_changes(folder: &Path, old: &str) {
    // Results of another day, by another program, from a labeler that has changed since.
    let edit = |file: &str, from: &str, to: &str| {
        let path = folder.join(file);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{from} is not in {file}: {text}");
        fs::write(path, text.replacen(from, to, 1)).unwrap();
    };
    edit("old/metrics.jsonl", "\"entropy\":", "\"entropy\":1");
    edit(
        "old/manifest.json",
        "\"rustc\": \"rustc ",
        "\"rustc\": \"rustc 0 ",
    );
    let stages = fs::read_to_string(folder.join("old/stages.json")).unwrap();
    let model = stages.find("\"models/labeler-xs\": \"").unwrap();
    let digest = &stages[model + 22..model + 86];
    edit("old/stages.json", digest, "0");
    let new = folder.join("new");
    let again = rlaif(&["run", "--reproduce", old, "--run", new.to_str().unwrap()]);
    let (said, log) = (
        String::from_utf8_lossy(&again.stdout).into_owned(),
        stderr(&again),
    );
    assert_eq!(again.status.code(), Some(1), "{said}{log}");
    assert!(
        said.contains("differs  metrics.jsonl: stage sft, step 1: `entropy` was 1"),
        "{said}"
    );
    assert!(
        log.contains("rustc was rustc 0 ") && log.contains("`models/labeler-xs` has changed"),
        "{log}"
    );
    assert!(log.contains("error: 1 of "), "{log}");
    let onto_itself = rlaif(&["run", "--reproduce", old, "--run", old]);
    assert!(
        stderr(&onto_itself).contains("expected another folder"),
        "{}",
        stderr(&onto_itself)
    );
}
