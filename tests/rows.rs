//! Sampling, labeling and evaluation keep their rows as they come: killed or interrupted among
//! them, they go on behind the last whole group and end with the same bytes.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rlaif::record::{Completion, read_jsonl};

/// Few rows at once, so that every stage makes its rows in several groups; training is short.
const OVERRIDES: [&str; 4] = [
    "sample.sampling.batch_size=2",
    "data.preference_prompts=72",
    "eval.sampling.batch_size=1",
    "rl.steps=1",
];
const FILES: [&str; 8] = [
    "completions.jsonl",
    "preferences.jsonl",
    "unlabeled.jsonl",
    "label.json",
    "eval/policy.jsonl",
    "eval/sft.jsonl",
    "comparisons.jsonl",
    "eval.json",
];

fn start(verb: &str, run: &Path) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rlaif"));
    command.args([verb, "--config", "configs/smoke.toml", "--run"]);
    command.arg(run);
    for assignment in OVERRIDES {
        command.args(["--set", assignment]);
    }
    let command = command
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("RUST_LOG", "debug")
        .stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// Runs to the end; what was said.
fn finish(verb: &str, run: &Path) -> String {
    let output = start(verb, run).wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    said
}

/// Sends a signal when `line` is said; the exit code and what was said afterwards.
fn stopped(verb: &str, run: &Path, line: &str, signal: Signal) -> (Option<i32>, Vec<String>) {
    let mut child = start(verb, run);
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(lines.any(|said| said.unwrap().contains(line)), "{line}");
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).unwrap();
    let said = lines.map_while(Result::ok).collect();
    (child.wait().unwrap().code(), said)
}

#[test]
fn a_run_killed_among_its_rows_ends_with_the_same_bytes() {
    let root = tempfile::tempdir().unwrap();
    let (whole, killed) = (root.path().join("whole"), root.path().join("killed"));
    finish("run", &whole);
    let places = [
        // 16 completions at once.
        "sample: kept 32 rows",
        "sample: kept 64 rows",
        // 72 pairs at most, 64 at once.
        "label: kept 64 rows",
        // 24 prompts, the answers to 8 at once.
        "eval: kept 16 rows",
        "eval: kept 24 rows",
    ];
    for place in places {
        stopped("run", &killed, place, Signal::SIGKILL);
    }
    // A last row that was not finished is made again, with its group.
    let part = fs::read_dir(killed.join(".parts")).unwrap().next();
    let part = part.unwrap().unwrap().path();
    let bytes = fs::read(&part).unwrap();
    fs::write(&part, &bytes[..bytes.len() - 9]).unwrap();
    finish("run", &killed);
    for name in FILES {
        let read = |run: &Path| fs::read(run.join(name)).unwrap();
        assert!(read(&whole) == read(&killed), "{name} differs");
    }
    assert!(!killed.join(".parts").exists());
}

#[test]
fn ctrl_c_keeps_the_rows_that_are_there() {
    let root = tempfile::tempdir().unwrap();
    let run = root.path().join("run");
    finish("sft", &run);
    let line = "sample: kept 16 rows";
    let (code, said) = stopped("sample", &run, line, Signal::SIGINT);
    assert_eq!(code, Some(130), "{said:?}");
    let row = said.last().and_then(|last| {
        let rest = last.strip_prefix("error: interrupted: sample is saved at row ")?;
        rest.strip_suffix("; the same command goes on from there")
    });
    let row: usize = row.unwrap().parse().unwrap();
    assert!(row >= 16 && row.is_multiple_of(16), "{row}");
    let said = finish("sample", &run);
    let expected = format!("sample: goes on after row {row} of completions");
    assert!(said.contains(&expected), "{said}");
    let rows: Vec<Completion> = read_jsonl(run.join("completions.jsonl")).unwrap();
    assert_eq!(rows.len(), 144);
}
