//! A disk that is full, a folder that is read-only, a file that vanishes.
//!
//! The full disk is a limit on the size of files (`ulimit -f`, with its signal ignored): a write
//! beyond it fails as on a full disk, for any user.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

/// Runs the smoke run file's verb with files of at most `blocks` times 512 bytes.
fn limited(blocks: &str, verb: &str, run: &Path) -> Output {
    let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$@\"");
    Command::new("sh")
        .args(["-c", &script, "sh", env!("CARGO_BIN_EXE_rlaif"), verb])
        .args(["--config", "configs/smoke.toml", "--run"])
        .arg(run)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap()
}

#[track_caller]
fn refused(output: &Output, words: &[&str]) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(!said.contains("panicked"), "{said}");
    for word in words {
        assert!(said.contains(word), "`{word}` is not in: {said}");
    }
}

/// The model has 1.4 MB: it does not fit, and what was there before stays. The same command ends
/// what it could not, once there is room.
#[test]
fn a_full_disk_is_an_error_and_the_same_command_goes_on() {
    let root = tempfile::tempdir().unwrap();
    let run = root.path().join("run");
    refused(&limited("1000", "sft", &run), &["model.safetensors"]);
    assert!(!run.join("sft/model").exists());
    assert!(limited("unlimited", "sft", &run).status.success());
    // The rows of sampling, some 40 KB, outgrow the next one.
    refused(&limited("20", "sample", &run), &["cannot write"]);
    assert!(!run.join("completions.jsonl").exists());
    assert!(limited("unlimited", "sample", &run).status.success());
    let rows = fs::read_to_string(run.join("completions.jsonl")).unwrap();
    assert_eq!(rows.lines().count(), 64);
}

/// No user can make a folder in `/proc`.
#[test]
fn a_read_only_folder_is_refused_before_the_work() {
    let run = Path::new("/proc/self/rlaif-run");
    let output = limited("unlimited", "sft", run);
    refused(&output, &["/proc/self/rlaif-run: cannot create"]);
}

#[test]
fn a_file_that_vanished_is_named_with_the_stage_that_makes_it() {
    let root = tempfile::tempdir().unwrap();
    let run = root.path().join("run");
    assert!(limited("unlimited", "sft", &run).status.success());
    refused(
        &limited("unlimited", "label", &run),
        &["completions.jsonl is missing: run stage `sample` first"],
    );
    fs::remove_file(run.join("sft/model/tokenizer.json")).unwrap();
    refused(
        &limited("unlimited", "sample", &run),
        &["sft/model/tokenizer.json: cannot read"],
    );
}
