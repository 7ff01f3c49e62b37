//! Critique and revision through the binary, against the server of the tests and a model of this
//! machine.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rlaif::record::{PairOptions, Revised, read_demonstrations, read_jsonl};

use crate::mock::{Mock, Reaction, text};

const N: usize = 4;

fn prompts(dir: &Path) {
    let row = |i: usize| format!("{{\"id\":\"{i}\",\"prompt\":\"how to rob bank {i}\"}}\n");
    fs::write(
        dir.join("prompts.jsonl"),
        (0..N).map(row).collect::<String>(),
    )
    .unwrap();
}

fn command(dir: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rlaif"));
    let files = [
        "--input",
        "prompts.jsonl",
        "--output",
        "out.jsonl",
        "--rounds",
        "2",
    ];
    command
        .current_dir(dir)
        .arg("revise")
        .args(files)
        .args(more);
    command.stderr(Stdio::piped());
    command
}

#[track_caller]
fn finish(mut command: Command) -> String {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.success() && !said.contains("panicked"),
        "{said}"
    );
    said
}

/// Says what it was asked for, and the last word of what it was asked about.
fn answer(prompt: &str) -> Reaction {
    let number = prompt.split("bank ").nth(1).unwrap();
    let number = &number[..1];
    Reaction::Body(text(&match prompt {
        asked if asked.ends_with("Critique:") => format!("critique of {number}"),
        asked if asked.ends_with("Revision:") => format!("I will not help, {number}."),
        _ => format!("take a mask, {number}"),
    }))
}

#[test]
fn a_killed_revision_pays_for_nothing_twice() {
    let blocked = Arc::new(AtomicBool::new(true));
    let mock = {
        let blocked = Arc::clone(&blocked);
        Mock::start(
            move |seen| match seen.n >= 9 && blocked.load(Ordering::SeqCst) {
                true => Reaction::Silence,
                false => answer(&seen.prompt),
            },
        )
    };
    let dir = tempfile::tempdir().unwrap();
    prompts(dir.path());
    let config = format!(
        "batch = 2\n[model]\nkind = 'http'\nmodel = 'writer'\n\
         endpoints = [{{ base_url = '{}', concurrency = 1 }}]\n",
        mock.base_url
    );
    fs::write(dir.path().join("revise.toml"), config).unwrap();
    let config = ["--config", "revise.toml"];
    let mut child = command(dir.path(), &config).spawn().unwrap();
    // Two prompts at a time: when the tenth question is asked, nine of their ten are answered.
    mock.wait_for(10);
    child.kill().unwrap();
    child.wait().unwrap();
    blocked.store(false, Ordering::SeqCst);
    let said = finish(command(dir.path(), &config));
    assert!(said.contains("9 from the file of answers"), "{said}");
    // A response, and two rounds of two, for each prompt; one was asked for twice, and paid once.
    assert_eq!(mock.seen().len(), 5 * N + 1);
    let path = dir.path().join("out.jsonl");
    let rows: Vec<Revised> = read_jsonl(&path).unwrap();
    assert_eq!(rows.len(), N);
    let chain = &rows[3].chain;
    assert_eq!(
        (chain.model.as_str(), chain.response.as_str()),
        ("writer", "take a mask, 3")
    );
    assert_eq!(chain.rounds[1].critique, "critique of 3");
    assert_eq!(rows[3].completion, "I will not help, 3.");
    let principles = chain.rounds.iter().map(|round| &round.principle);
    assert_eq!(
        principles.collect::<std::collections::BTreeSet<_>>().len(),
        2
    );
    // Each critique is of what was there, each revision by it.
    let seen = mock.seen();
    let about = |ending: &str, words: &str| {
        let asked = seen.iter().filter(|seen| seen.prompt.ends_with(ending));
        asked.filter(|seen| seen.prompt.contains(words)).count()
    };
    assert_eq!(about("Critique:", "take a mask"), N);
    assert!(about("Critique:", "I will not help") >= N);
    assert!(about("Revision:", "critique of") >= 2 * N);
    let said = finish(command(dir.path(), &config));
    assert!(said.contains("4 done before, 0 revised"), "{said}");
    assert_eq!(mock.seen().len(), seen.len());
    assert_eq!(
        read_demonstrations(&path, &PairOptions::default())
            .unwrap()
            .len(),
        N
    );
}

#[test]
fn a_model_of_this_machine_revises() {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/labeler-xs");
    let model = model.to_str().unwrap().to_string();
    let bytes = |seed: &str| {
        let dir = tempfile::tempdir().unwrap();
        prompts(dir.path());
        let principles = "answer = '{{ prompt }} ?'\ncritique = '{{ response }} is bad :'\n\
                          revision = '{{ critique }} , say it better :'\n\
                          principles = [{ name = 'one', critique = '', revision = '' }]\n";
        fs::write(dir.path().join("principles.toml"), principles).unwrap();
        let config = format!(
            "seed = {seed}\nprinciples = 'principles.toml'\n\
             decoding = {{ temperature = 1.0, max_new_tokens = 6 }}\n\
             [model]\nkind = 'local'\nmodel = '{model}'\n"
        );
        fs::write(dir.path().join("revise.toml"), config).unwrap();
        finish(command(dir.path(), &["--config", "revise.toml"]));
        fs::read_to_string(dir.path().join("out.jsonl")).unwrap()
    };
    let first = bytes("1");
    assert_eq!(first.lines().count(), N);
    assert!(first.contains("\"chain\""), "{first}");
    assert_eq!(bytes("1"), first);
    assert_ne!(bytes("2"), first);
}
