//! `rlaif label` on files of pairs, from outside: killed and started again, in every format, and on
//! data that people made.
//!
//! That data (HH, LLMBar, a small Llama) is not part of the repository: the tests look for it in
//! `RLAIF_DATA` or else in `../shared/data`, and say when it is not there.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use rlaif::label::{held_out_pairs, report_labels};
use rlaif::record::rows::read_records;
use rlaif::record::{Label, write_jsonl};
use rlaif::world::World;

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rlaif"));
    command
        .arg("label")
        .args(args)
        .current_dir(env!("CARGO_MANIFEST_DIR"));
    command
}

#[track_caller]
fn label(args: &[&str]) -> Output {
    let output = command(args).output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// Pairs of the embedded world in `folder`, as completions of the same prompts.
fn pairs(folder: &Path, n: usize) -> PathBuf {
    let path = folder.join("pairs.jsonl");
    write_jsonl(&path, &held_out_pairs(World::tiny_tldr(), n)).unwrap();
    path
}

const MODEL: [&str; 2] = ["--labeler", "models/labeler-xs"];

#[test]
fn a_killed_labeling_goes_on_to_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let input = pairs(folder.path(), 96);
    let path = |name: &str| folder.path().join(name);
    let (whole, killed) = (path("whole.jsonl"), path("killed.jsonl"));
    let args = |output: &Path| -> Vec<String> {
        let files = [
            "--input",
            input.to_str().unwrap(),
            "--output",
            output.to_str().unwrap(),
        ];
        let args = [&MODEL[..], &files, &["--batch", "8"]].concat();
        args.into_iter().map(String::from).collect()
    };
    let run = |output: &Path| label(&args(output).iter().map(String::as_str).collect::<Vec<_>>());
    run(&whole);
    let expected = fs::read(&whole).unwrap();
    assert_eq!(expected.iter().filter(|&&byte| byte == b'\n').count(), 96);
    for part in [0, 1, 3] {
        let _ = fs::remove_file(&killed);
        let arguments = args(&killed);
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        let mut child = command(&arguments).stderr(Stdio::null()).spawn().unwrap();
        let started = Instant::now();
        let length = || fs::metadata(&killed).map_or(0, |found| found.len() as usize);
        while length() < part * expected.len() / 4 {
            assert!(
                started.elapsed() < Duration::from_secs(120),
                "nothing is written"
            );
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        run(&killed);
        assert_eq!(
            fs::read(&killed).unwrap(),
            expected,
            "killed after {part} quarters"
        );
    }
}

#[test]
fn formats_and_parts_hold_the_same_labels_and_the_report_tells() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let input = pairs(folder.path(), 24).to_string_lossy().into_owned();
    let run = |output: &str, more: &[&str]| {
        label(
            &[
                &MODEL[..],
                &["--input", &input, "--output", output, "--batch", "8"],
                more,
            ]
            .concat(),
        )
    };
    let jsonl = path("all.jsonl");
    let report = path("report");
    let told = run(&jsonl, &["--report", &report, "--prices", "1,2"]);
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    for words in [
        "labeler-xs",
        "same position wins",
        "longer answer wins",
        "pairs a second",
    ] {
        assert!(told.contains(words), "`{words}` is not in: {told}");
    }
    let page = fs::read_to_string(Path::new(&report).join("label_report.html")).unwrap();
    assert!(page.contains("<svg") && page.contains("labeler-xs"));
    let json = fs::read_to_string(Path::new(&report).join("label_report.json")).unwrap();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["run"]["n_labels"], 24);
    assert_eq!(json["report"]["labelers"][0]["n"], 24);
    let expected: Vec<Label> = read_records(&jsonl).unwrap();
    for name in ["all.csv.gz", "all.parquet"] {
        run(&path(name), &[]);
        assert_eq!(
            read_records::<Label>(path(name)).unwrap(),
            expected,
            "{name}"
        );
    }
    let joined: Vec<u8> = ["1/2", "2/2"]
        .iter()
        .flat_map(|part| {
            let output = path(&part.replace('/', "-of-"));
            run(&output, &["--shard", part]);
            fs::read(output).unwrap()
        })
        .collect();
    assert_eq!(joined, fs::read(&jsonl).unwrap());
}

#[test]
fn what_is_to_be_labeled_has_to_be_said() {
    let refused = |args: &[&str], words: &str| {
        let output = command(args).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(words), "`{words}` is not in: {said}");
    };
    refused(&[], "--input");
    refused(&["--input", "x.jsonl", "--labeler", "m"], "--output");
    refused(&["--input", "x.jsonl", "--output", "y.jsonl"], "--labeler");
    refused(&["--run", "r"], "--config");
    refused(
        &[
            "--input",
            "x",
            "--output",
            "y",
            "--labeler",
            "m",
            "--shard",
            "4/3",
        ],
        "3/16",
    );
}

fn data(name: &str) -> Option<PathBuf> {
    let data = std::env::var("RLAIF_DATA").unwrap_or_else(|_| "../shared/data".into());
    let path = Path::new(&data).join(name);
    if path.exists() {
        return Some(path);
    }
    eprintln!("SKIPPED: {} is not there", path.display());
    None
}

/// What the small Llama says means nothing; that every pair is read, asked or refused by name, and
/// counted, does.
#[test]
fn data_made_by_people_is_labeled() {
    let (Some(model), Some(hh), Some(llmbar)) = (
        data("stories260k"),
        data("hh-rlhf/harmless-base-test.jsonl.gz"),
        data("llmbar/llmbar_Natural.json"),
    ) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let check = |input: &Path, part: &str, n: usize| {
        let output = folder.path().join(format!("{n}.jsonl"));
        let [model, input, output] = [&model, input, &output].map(|path| path.to_str().unwrap());
        label(&[
            "--labeler",
            model,
            "--input",
            input,
            "--output",
            output,
            "--shard",
            part,
        ]);
        let report = report_labels(&[output.into()], None).unwrap();
        let found = &report.labelers[0];
        let n_failed: usize = found.no_verdict.values().sum();
        assert_eq!(found.n + n_failed, n, "{found:?}");
        let gold = found.gold.as_ref().unwrap();
        assert_eq!(gold.alignment.n + gold.n_ties, found.n);
    };
    // 2,312 pairs are 37 groups of 64; the first 36th of them is one group.
    check(&hh, "1/36", 64);
    check(&llmbar, "1/1", 100);
}
