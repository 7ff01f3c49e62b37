//! A run that is killed, interrupted or finds a damaged checkpoint ends with the same bytes as one
//! that was left alone.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rlaif::record::read_jsonl;
use rlaif::run::Metric;

/// A checkpoint after every step; an adaptive weight of the KL penalty has a state of its own.
const OVERRIDES: [&str; 3] = [
    "checkpoint.save_steps=1",
    "rl.adaptive_kl={target=2.0,horizon=100}",
    "rl.optim.lr_scheduler_type=linear",
];

/// The run file beside the folder `run` where there is one, otherwise the smoke test's.
fn start(run: &Path, overrides: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rlaif"));
    let own = run.with_extension("toml");
    let (config, common) = if own.exists() {
        (own.as_path(), &OVERRIDES[..1])
    } else {
        (Path::new("configs/smoke.toml"), &OVERRIDES[..])
    };
    command.arg("run").arg("--config").arg(config);
    command.arg("--run").arg(run);
    for assignment in common.iter().chain(overrides) {
        command.args(["--set", assignment]);
    }
    let command = command
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("RUST_LOG", "debug")
        .stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// Runs to the end; what was said.
fn finish(run: &Path, overrides: &[&str]) -> String {
    let output = start(run, overrides).wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    said
}

/// Runs until `line` is said, then kills the process.
fn kill_at(run: &Path, overrides: &[&str], line: &str) {
    let mut child = start(run, overrides);
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut lines = lines.map(|said| said.unwrap());
    assert!(lines.any(|said| said.contains(line)), "`{line}` never came");
    child.kill().unwrap();
    child.wait().unwrap();
}

/// All that a run wrote, by its path, but for times.
fn outcome(run: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![run.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(run).unwrap().to_str().unwrap().to_owned();
            match name.as_str() {
                // Seconds, and tokens per second.
                "stages.json" | "sft.json" | "rl.json" | "report.html" | ".lock" => {}
                "tensorboard" => {}
                "metrics.jsonl" => {
                    found.insert(name, metrics(&path));
                }
                _ if path.is_dir() => folders.push(path),
                _ => {
                    found.insert(name, fs::read(path).unwrap());
                }
            }
        }
    }
    found
}

fn metrics(path: &Path) -> Vec<u8> {
    let mut rows: Vec<Metric> = read_jsonl(path).unwrap();
    for row in &mut rows {
        row.time = 0.0;
        row.values.retain(|name, _| !name.starts_with("time/"));
    }
    format!("{rows:#?}").into_bytes()
}

#[track_caller]
fn same(left: &Path, right: &Path) {
    let (left, right) = (outcome(left), outcome(right));
    let names = |files: &BTreeMap<String, _>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&left), names(&right));
    assert!(left.contains_key("policy/model/model.safetensors"));
    for (name, bytes) in left {
        assert!(right[&name] == bytes, "{name} differs");
    }
}

#[test]
fn a_run_killed_in_every_loop_ends_with_the_same_bytes() {
    let root = tempfile::tempdir().unwrap();
    let (whole, killed) = (root.path().join("whole"), root.path().join("killed"));
    finish(&whole, &[]);
    let places = [
        "sft: saved at step 1",
        "reward: saved at step 1",
        "rl: saved at step 1",
        "rl: saved at step 2",
    ];
    for place in places {
        kill_at(&killed, &[], place);
    }
    let said = finish(&killed, &[]);
    assert!(said.contains("rl: goes on after step 2"), "{said}");
    same(&whole, &killed);
}

#[test]
fn reinforce_goes_on_as_exactly() {
    let root = tempfile::tempdir().unwrap();
    let (whole, killed) = (root.path().join("whole"), root.path().join("killed"));
    let overrides = ["rl.algorithm={kind=\"reinforce\"}", "rl.reward=direct"];
    finish(&whole, &overrides);
    kill_at(&killed, &overrides, "rl: saved at step 2");
    let said = finish(&killed, &overrides);
    assert!(said.contains("rl: goes on after step 2"), "{said}");
    same(&whole, &killed);
}

/// Under adapters the base is frozen: a checkpoint has no copy of it, and it stays shared.
#[test]
fn adapters_go_on_as_exactly() {
    let root = tempfile::tempdir().unwrap();
    let (whole, killed) = (root.path().join("whole"), root.path().join("killed"));
    let overrides = ["policy.lora={lora_r=4,lora_alpha=8.0,lora_target_modules=\"all-linear\"}"];
    finish(&whole, &overrides);
    for place in ["sft: saved at step 1", "rl: saved at step 2"] {
        kill_at(&killed, &overrides, place);
    }
    let size = |path: &str| fs::metadata(killed.join(path)).unwrap().len();
    // labeler-xs has 0.37 M weights of 4 bytes.
    assert!(size("policy/step-2/policy/model.bpk") < 400_000);
    assert!(size("policy/step-2/algorithm/model.bpk") < 400_000);
    finish(&killed, &overrides);
    let (left, right) = (outcome(&whole), outcome(&killed));
    assert!(left.contains_key("policy/model/adapter_model.safetensors"));
    for (name, bytes) in &left {
        assert!(right[name] == *bytes, "{name} differs");
    }
}

/// A judge that is an older policy, values on the policy's own states, a batch drawn ahead.
#[test]
fn judge_values_and_the_batch_ahead_go_on_as_exactly() {
    let stage = r#"
        [rl]
        reward = "direct"
        self_rewarding = { refresh_steps = 2 }
        overlap = true
        steps = 4
        batch_size = 16
        sampling = { temperature = 0.9, max_new_tokens = 48, batch_size = 16 }
        optim = { learning_rate = 2e-4 }
        algorithm = { kind = "ppo", num_ppo_epochs = 1, value_model = "shared" }
    "#;
    check_stage(stage, "rl");
}

/// Kills a run whose stage 4 is `stage` of the run file at its steps 1 and 2.
#[track_caller]
fn check_stage(stage: &str, name: &str) {
    let root = tempfile::tempdir().unwrap();
    let (whole, killed) = (root.path().join("whole"), root.path().join("killed"));
    let smoke = fs::read_to_string("configs/smoke.toml").unwrap();
    let (before, rest) = smoke.split_once("[rl]").unwrap();
    let (_, after) = rest.split_once("[eval]").unwrap();
    for run in [&whole, &killed] {
        let text = format!("{before}{stage}\n[eval]{after}");
        fs::write(run.with_extension("toml"), text).unwrap();
    }
    finish(&whole, &[]);
    for step in 1..=2 {
        kill_at(&killed, &[], &format!("{name}: saved at step {step}"));
    }
    let said = finish(&killed, &[]);
    let expected = format!("{name}: goes on after step 2");
    assert!(said.contains(&expected), "{said}");
    same(&whole, &killed);
}

/// A reference that moves, and the best policy so far, are part of a checkpoint.
#[test]
fn what_is_beside_the_policy_goes_on_as_exactly() {
    let online = r#"
        [rl]
        reward = "win_rate"
        steps = 4
        batch_size = 16
        num_generations = 2
        sampling = { temperature = 0.9, max_new_tokens = 48, batch_size = 16 }
        optim = { learning_rate = 2e-4 }
        algorithm = { kind = "online_dpo", labels = "soft" }
        reference = { kind = "synced", ref_model_sync_steps = 1 }

        [rl.validation]
        num_prompts = 8
        eval_steps = 1
        metric_for_best_model = "eval_win_rate"
        load_best_model_at_end = true
    "#;
    check_stage(online, "rl");
    let offline = r#"
        [dpo]
        batch_size = 8
        reference = { kind = "synced", ref_model_sync_steps = 1 }
        optim = { learning_rate = 2e-4 }
    "#;
    check_stage(offline, "dpo");
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
    finish(&whole, &overrides);
    for place in [
        "sft: saved at step 1",
        "reward: saved at step 1",
        "rl: saved at step 2",
    ] {
        kill_at(&killed, &overrides, place);
    }
    let size = |path: &str| fs::metadata(killed.join(path)).unwrap().len();
    // labeler-xs has 0.37 M weights of 4 bytes; what is written at the end has 2.
    assert!(size("policy/step-2/policy/model.bpk") > 1_400_000);
    assert!(size("sft/model/model.safetensors") < 800_000);
    finish(&killed, &overrides);
    same(&whole, &killed);
}

#[test]
fn a_damaged_checkpoint_is_reported_and_the_one_before_is_used() {
    let root = tempfile::tempdir().unwrap();
    let (whole, killed) = (root.path().join("whole"), root.path().join("killed"));
    let overrides = ["rl.reward=direct", "rl.value_optim.kind=muon"];
    finish(&whole, &overrides);
    kill_at(&killed, &overrides, "rl: saved at step 2");
    let weights = killed.join("policy/step-2/algorithm/model.bpk");
    let mut bytes = fs::read(&weights).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&weights, bytes).unwrap();
    let said = finish(&killed, &overrides);
    let expected = "model.bpk: is not what was written (checksum); the checkpoint is left out";
    assert!(said.contains(expected), "{said}");
    assert!(said.contains("rl: goes on after step 1"), "{said}");
    same(&whole, &killed);
}

#[test]
fn two_processes_do_not_share_a_run_folder() {
    let root = tempfile::tempdir().unwrap();
    let run = root.path().join("run");
    let mut first = start(&run, &[]);
    let mut lines = BufReader::new(first.stderr.take().unwrap()).lines();
    assert!(lines.any(|said| said.unwrap().contains("sft")));
    let second = start(&run, &[]).wait_with_output().unwrap();
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
    let overrides = ["checkpoint.save_steps=100", "rl.reward=direct"];
    finish(&whole, &overrides);
    let mut child = start(&interrupted, &overrides);
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
    finish(&interrupted, &overrides);
    same(&whole, &interrupted);
}
