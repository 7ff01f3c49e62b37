//! TOML that pages show is read and checked as the program does, JSON lines are JSON.
//!
//! A block ` ```toml ` is part of a run file and is laid over `configs/smoke.toml`; one ` ```toml,NAME ` over
//! `configs/NAME.toml`. ` ```toml,suite `, ` ```toml,labeling ` and ` ```toml,prompt ` are whole files of their kinds.

use std::fs;
use std::path::Path;

use rlaif::config::Config;
use rlaif::eval::suite::SuiteConfig;
use rlaif::label::{AskConfig, Asking, LabelingConfig};
use toml::{Table, Value};

use crate::pages::{self, Block};

/// Lays `part` over `whole`: tables into tables, all else in place of what was there. Tables of another
/// `kind` are another thing.
fn lay(part: Table, whole: &mut Table) {
    for (key, value) in part {
        match (value, whole.get_mut(&key)) {
            (Value::Table(part), Some(Value::Table(whole))) if same_kind(&part, whole) => {
                lay(part, whole);
            }
            (value, _) => {
                whole.insert(key, value);
            }
        }
    }
}

fn same_kind(part: &Table, whole: &Table) -> bool {
    part.get("kind")
        .is_none_or(|kind| whole.get("kind") == Some(kind))
}

/// What is wrong with a block of TOML, if anything is.
fn fault(block: &Block, folder: &Path) -> Option<String> {
    let path = folder.join("shown.toml");
    fs::write(&path, &block.text).unwrap();
    let what = block.tags.get(1).map_or("smoke", String::as_str);
    match what {
        "suite" => SuiteConfig::read(&path, &[]).err(),
        "labeling" => LabelingConfig::read(&path, &[]).err(),
        "prompt" => {
            let prompt = path.to_string_lossy().into_owned();
            let ask = AskConfig {
                prompt,
                ..AskConfig::default()
            };
            Asking::new(&ask, 17).err()
        }
        name => {
            let base = fs::read_to_string(format!("configs/{name}.toml"));
            let Ok(base) = base else {
                return Some(format!("no run file and no kind of file is called {name}"));
            };
            let mut whole: Table = base.parse().unwrap();
            match block.text.parse() {
                Ok(part) => lay(part, &mut whole),
                Err(error) => return Some(error.to_string()),
            }
            fs::write(&path, whole.to_string()).unwrap();
            Config::read(&path, &[]).err()
        }
    }
    .map(|error| error.to_string())
}

#[test]
fn files_that_pages_show_are_valid() {
    let folder = tempfile::tempdir().unwrap();
    let mut faults = Vec::new();
    for page in pages::all() {
        for block in &page.blocks {
            let found = match block.kind() {
                "toml" => fault(block, folder.path()),
                "jsonl" => block.text.lines().find_map(|line| {
                    let read = serde_json::from_str::<serde_json::Value>(line);
                    read.err().map(|error| format!("{line}: {error}"))
                }),
                _ => None,
            };
            let place = format!("{}:{}", page.path.display(), block.line);
            faults.extend(found.map(|what| format!("{place}: {what}")));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn every_block_says_what_it_is() {
    for page in pages::all() {
        for block in &page.blocks {
            let known = ["toml", "jsonl", "sh", "rust", "text"].contains(&block.kind());
            let place = format!("{}:{}", page.path.display(), block.line);
            assert!(known, "{place}: a block of the kind {:?}", block.kind());
        }
    }
}

#[test]
fn faults_of_files_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let check = |tags: &[&str], text: &str, expected: &str| {
        let block = Block {
            tags: tags.iter().map(|tag| tag.to_string()).collect(),
            text: text.into(),
            ..Block::default()
        };
        let found = fault(&block, folder.path()).unwrap_or_default();
        assert!(found.contains(expected), "{text}: {found}");
    };
    check(&["toml"], "[rl]\nstepps = 3\n", "stepps");
    check(
        &["toml", "grpo"],
        "[rl]\nkl_coef = 3\n",
        "rl.algorithm.beta",
    );
    check(&["toml", "suite"], "seed = 3\n", "contenders");
    check(&["toml", "nothing"], "", "is called nothing");
    // The labeler of the base is a model; this one is none, and its other keys are gone.
    assert_eq!(
        fault(
            &Block {
                tags: vec!["toml".into()],
                text: "[labeler]\nkind = \"oracle\"\n".into(),
                ..Block::default()
            },
            folder.path()
        ),
        None
    );
}
