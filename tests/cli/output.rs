//! A standard output that nobody reads on is no error, one that is full is; neither is a panic.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::stderr;

/// What prints: a few lines, a table, JSON, rows.
fn verbs(folder: &Path) -> Vec<Vec<String>> {
    let rows = folder.join("rows.jsonl");
    fs::write(&rows, ROW.repeat(40)).unwrap();
    let run = folder.join("run");
    let [rows, run] = [rows, run].map(|path| path.to_str().unwrap().to_string());
    let model = "models/labeler-xs";
    [
        vec!["devices"],
        vec!["inspect", model],
        vec!["inspect", model, "--json"],
        vec![
            "run",
            "--dry-run",
            "--config",
            "configs/smoke.toml",
            "--run",
            &run,
        ],
        vec!["score", model, "--file", &rows],
        vec![
            "chat",
            model,
            "--file",
            &rows,
            "--raw",
            "--max-new-tokens",
            "2",
        ],
    ]
    .map(|args| args.into_iter().map(str::to_string).collect())
    .to_vec()
}

const ROW: &str = "{\"prompt\": \"my dog\", \"completion\": \" ate\"}\n";

fn spawn(args: &[String], stdout: impl Into<Stdio>) -> Child {
    Command::new(env!("CARGO_BIN_EXE_rlaif"))
        .args(args)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdout(stdout)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_device_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    for args in verbs(folder.path()) {
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let output = spawn(&args, full).wait_with_output().unwrap();
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {said}");
        assert!(
            said.contains("error: standard output: cannot write"),
            "{said}"
        );
        assert!(!said.contains("panicked"), "{args:?}: {said}");
    }
}

#[test]
fn that_nobody_reads_on_is_no_error() {
    let folder = tempfile::tempdir().unwrap();
    for args in verbs(folder.path()) {
        let mut child = spawn(&args, Stdio::piped());
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        let said = stderr(&output);
        assert!(output.status.success(), "{args:?}: {said}");
        assert!(
            !said.contains("error") && !said.contains("panicked"),
            "{args:?}: {said}"
        );
    }
}

/// As `rlaif score ... | head -1` does: far more rows than a pipe holds, and the work ends.
#[test]
fn the_rest_is_not_computed_for_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let rows = folder.path().join("rows.jsonl");
    fs::write(&rows, ROW.repeat(100_000)).unwrap();
    let args = [
        "score",
        "models/labeler-xs",
        "--file",
        rows.to_str().unwrap(),
    ];
    let mut child = spawn(&args.map(str::to_string), Stdio::piped());
    let mut first = String::new();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    stdout.read_line(&mut first).unwrap();
    assert!(first.contains("log_prob"), "{first}");
    drop(stdout);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
}

/// A log that cannot be written is no reason to stop.
#[cfg(target_os = "linux")]
#[test]
fn errors_that_cannot_be_told_are_an_exit_code() {
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let status = Command::new(env!("CARGO_BIN_EXE_rlaif"))
        .args(["inspect", "no/such/model"])
        .stderr(full)
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(1));
}
