//! A run that is killed, interrupted or finds a damaged checkpoint ends with the same bytes as one
//! that was left alone.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod kills;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Child;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use kills::{KINDS, Kind, Tally, finish, outcome, start};

/// Kills the run once in each of its trainings, behind a checkpoint.
fn kill_once_a_training(run: &Path, overrides: &[&str]) {
    for place in [
        "sft: saved at step 1",
        "reward: saved at step 1",
        "rl: saved at step 2",
    ] {
        kill_at(run, overrides, place);
    }
}

/// Runs until `line` is said, then kills the process.
fn kill_at(run: &Path, more: &[&str], line: &str) {
    let mut child = start(KINDS[0], more, run);
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut lines = lines.map(|said| said.unwrap());
    assert!(lines.any(|said| said.contains(line)), "`{line}` never came");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[track_caller]
fn same(left: &Path, right: &Path) {
    let (left, right) = (outcome(left), outcome(right));
    let names: Vec<_> = left.keys().collect();
    assert_eq!(names, right.keys().collect::<Vec<_>>());
    for (name, bytes) in &left {
        assert!(right[name] == *bytes, "{name} differs");
    }
}

#[test]
fn loops_with_values_killed_at_random_end_with_the_same_bytes() {
    check_kills(KINDS.into_iter().filter(has_values));
}

#[test]
fn other_loops_killed_at_random_end_with_the_same_bytes() {
    check_kills(KINDS.into_iter().filter(|kind| !has_values(kind)));
}

fn has_values(kind: &Kind) -> bool {
    kind.name.contains("ppo") || kind.name == "reinforce"
}

/// Ten kills of each loop, after one to eight lines of the log: within a step, between two, while a
/// checkpoint or a model is written. A run that ends before is followed by another.
fn check_kills(kinds: impl Iterator<Item = Kind>) {
    const KILLS: usize = 10;
    for (i, kind) in (0..).zip(kinds) {
        let root = tempfile::tempdir().unwrap();
        let whole = root.path().join("whole");
        finish(kind, &[], &whole);
        let whole = outcome(&whole);
        assert!(whole.contains_key("policy/model/model.safetensors"));
        let mut rng = StdRng::seed_from_u64(i);
        let mut moment = |child: &mut Child| {
            let lines = BufReader::new(child.stderr.as_mut().unwrap()).lines();
            let n = rng.random_range(1..=8);
            assert!(lines.take(n).all(|said| said.is_ok()));
        };
        let mut tally = Tally::default();
        while tally.cycles < KILLS {
            let run = root.path().join(tally.runs.to_string());
            tally.add(kind, (&run, &whole), KILLS, &mut moment);
        }
        assert_eq!(tally.n_faults(), 0, "{}: {tally:?}", kind.name);
    }
}

/// Under adapters the base is frozen: a checkpoint has no copy of it, and it stays shared.
#[test]
fn adapters_go_on_as_exactly() {
    let root = tempfile::tempdir().unwrap();
    let (whole, killed) = (root.path().join("whole"), root.path().join("killed"));
    let overrides = [
        "policy.lora={lora_r=4,lora_alpha=8.0,lora_target_modules=\"all-linear\"}",
        "rl.validation={num_prompts=8,eval_steps=1,load_best_model_at_end=true}",
    ];
    finish(KINDS[0], &overrides, &whole);
    for place in ["sft: saved at step 1", "rl: saved at step 2"] {
        kill_at(&killed, &overrides, place);
    }
    let size = |path: &str| fs::metadata(killed.join(path)).unwrap().len();
    // labeler-xs has 0.37 M weights of 4 bytes.
    assert!(size("policy/step-2/policy/model.bpk") < 400_000);
    assert!(size("policy/step-2/algorithm/model.bpk") < 400_000);
    assert!(size("policy/step-2/best.bpk") < 400_000);
    finish(KINDS[0], &overrides, &killed);
    assert!(
        whole
            .join("policy/model/adapter_model.safetensors")
            .exists()
    );
    same(&whole, &killed);
}

/// A checkpoint has the weights as the optimizer moves them: rounded to 16 bits, they would end
/// elsewhere.
#[test]
fn sixteen_bits_go_on_as_exactly() {
    let root = tempfile::tempdir().unwrap();
    let (whole, killed) = (root.path().join("whole"), root.path().join("killed"));
    let overrides = [
        "policy.dtype=bf16",
        "labeler.dtype=bf16",
        "sft.holdout=0.25",
        "sft.validation={eval_steps=1,load_best_model_at_end=true}",
    ];
    finish(KINDS[0], &overrides, &whole);
    kill_once_a_training(&killed, &overrides);
    let size = |path: &str| fs::metadata(killed.join(path)).unwrap().len();
    // labeler-xs has 0.37 M weights of 4 bytes; what is written at the end has 2.
    assert!(size("policy/step-2/policy/model.bpk") > 1_400_000);
    assert!(size("sft/model/model.safetensors") < 800_000);
    finish(KINDS[0], &overrides, &killed);
    same(&whole, &killed);
}

/// A checkpoint has the scale of the losses and how long it has been that.
#[test]
fn scaled_losses_go_on_as_exactly() {
    let root = tempfile::tempdir().unwrap();
    let (whole, killed) = (root.path().join("whole"), root.path().join("killed"));
    let overrides = ["policy.dtype=f16"];
    finish(KINDS[0], &overrides, &whole);
    kill_once_a_training(&killed, &overrides);
    for model in ["policy", "algorithm"] {
        let path = killed.join("policy/step-2").join(model);
        let text = fs::read_to_string(path.join("loss_scale.json")).unwrap();
        let state: serde_json::Value = serde_json::from_str(&text).unwrap();
        let skipped = state["skipped_steps"].as_i64().unwrap();
        let expected = 65_536.0 / 2f64.powi(i32::try_from(skipped).unwrap());
        assert_eq!(state["scale"].as_f64(), Some(expected), "{text}");
        assert!(state["growth_tracker"].as_u64().unwrap() > 0, "{text}");
    }
    finish(KINDS[0], &overrides, &killed);
    same(&whole, &killed);
}

#[test]
fn a_damaged_checkpoint_is_reported_and_the_one_before_is_used() {
    let root = tempfile::tempdir().unwrap();
    let (whole, killed) = (root.path().join("whole"), root.path().join("killed"));
    let overrides = ["rl.value_optim.kind=muon"];
    finish(KINDS[0], &overrides, &whole);
    kill_at(&killed, &overrides, "rl: saved at step 2");
    let weights = killed.join("policy/step-2/algorithm/model.bpk");
    let mut bytes = fs::read(&weights).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&weights, bytes).unwrap();
    let said = finish(KINDS[0], &overrides, &killed);
    let expected = "model.bpk: is not what was written (checksum); the checkpoint is left out";
    assert!(said.contains(expected), "{said}");
    assert!(said.contains("rl: goes on after step 1"), "{said}");
    same(&whole, &killed);
}

#[test]
fn two_processes_do_not_share_a_run_folder() {
    let root = tempfile::tempdir().unwrap();
    let run = root.path().join("run");
    let mut first = start(KINDS[0], &[], &run);
    let mut lines = BufReader::new(first.stderr.take().unwrap()).lines();
    assert!(lines.any(|said| said.unwrap().contains("sft")));
    let second = start(KINDS[0], &[], &run).wait_with_output().unwrap();
    first.kill().unwrap();
    first.wait().unwrap();
    assert_eq!(second.status.code(), Some(1));
    let said = String::from_utf8(second.stderr).unwrap();
    assert!(
        said.contains("another process is at work in this run folder"),
        "{said}"
    );
}

#[cfg(unix)]
#[test]
fn ctrl_c_saves_and_exits() {
    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;

    let root = tempfile::tempdir().unwrap();
    let (whole, interrupted) = (root.path().join("whole"), root.path().join("interrupted"));
    let overrides = ["checkpoint.save_steps=100"];
    finish(KINDS[0], &overrides, &whole);
    let mut child = start(KINDS[0], &overrides, &interrupted);
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(lines.any(|said| said.unwrap().ends_with("sft")));
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
    kill(pid, Signal::SIGINT).unwrap();
    let said: Vec<String> = lines.map(|said| said.unwrap()).collect();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{said:?}");
    let last = said.last().unwrap();
    let expected =
        "error: interrupted: sft is saved at step 1; the same command goes on from there";
    assert_eq!(last, expected);
    finish(KINDS[0], &overrides, &interrupted);
    same(&whole, &interrupted);
}
