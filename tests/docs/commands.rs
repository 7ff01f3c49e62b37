//! Commands that pages show: `rlaif` is parsed by its own parser, `cargo` names targets and features that are
//! there, and what a page marks with ` ```sh,run ` is run, in a folder of the page's own.

use std::fs;
use std::path::Path;
use std::process::Command;

use clap::Parser;
use rlaif::cli::Cli;
use toml::Table;

use crate::pages::{self, Block, Page};

/// The commands of a text, as words: one a line, without comments and without what is set before them in the
/// environment.
fn commands(text: &str) -> Vec<Vec<String>> {
    let joined = text.replace("\\\n", " ");
    let words = joined.lines().map(|line| {
        let words = shlex::split(line).unwrap_or_else(|| panic!("{line}: unbalanced quotes"));
        let is_setting =
            |word: &String| word.split_once('=').is_some_and(|(name, _)| is_name(name));
        words.into_iter().skip_while(is_setting).collect::<Vec<_>>()
    });
    words.filter(|words| !words.is_empty()).collect()
}

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text
            .chars()
            .all(|c| c.is_ascii_uppercase() || c == '_' || c.is_ascii_digit())
}

/// What is wrong with a command, if anything is.
fn fault(words: &[String]) -> Option<String> {
    match words[0].as_str() {
        "rlaif" => {
            let error = Cli::try_parse_from(words).err()?;
            Some(error.to_string())
        }
        "cargo" => cargo_fault(&words[1..]),
        // The fuzzer's own script.
        path => (!Path::new(path).is_file()).then(|| format!("{path} is no command of ours")),
    }
}

fn cargo_fault(words: &[String]) -> Option<String> {
    let ours = words.split(|word| word == "--").next().unwrap_or_default();
    let manifest: Table = fs::read_to_string("Cargo.toml").unwrap().parse().unwrap();
    let verbs = ["run", "test", "bench", "build", "check", "doc", "install"];
    if !verbs.contains(&ours[0].as_str()) {
        return Some(format!("`cargo {}` is not checked", ours[0]));
    }
    ours.windows(2).find_map(|pair| {
        let (option, value) = (pair[0].as_str(), pair[1].as_str());
        let folder = match option {
            "--example" => "examples",
            "--test" => "tests",
            "--bench" => "benches",
            "--features" => {
                let features = manifest["features"].as_table().unwrap();
                let mut named = value.split(',');
                let unknown = named.find(|name| !features.contains_key(*name))?;
                return Some(format!("no feature is called {unknown}"));
            }
            _ => return None,
        };
        let [file, main] = [
            format!("{folder}/{value}.rs"),
            format!("{folder}/{value}/main.rs"),
        ];
        let there = [file, main].iter().any(|path| Path::new(path).is_file());
        (!there).then(|| format!("no target is called {value}"))
    })
}

/// The commands of a page with the lines where they stand.
fn shown(page: &Page) -> Vec<(usize, String)> {
    let blocks = page.blocks.iter().filter(|block| block.kind() == "sh");
    let blocks = blocks.map(|block| (block.line, block.text.clone()));
    // Of words within a text those that are whole commands, not `rlaif report` as a name.
    let words = page.words.iter().filter(|(_, word)| {
        let names = word.split(' ').count() < 4 || word.contains("...");
        !names
            && (word.starts_with("rlaif ")
                || word.starts_with("cargo ")
                || word.contains(" cargo "))
    });
    blocks.chain(words.cloned()).collect()
}

#[test]
fn commands_that_pages_show_are_understood() {
    let mut faults = Vec::new();
    for page in pages::all() {
        for (line, text) in shown(&page) {
            for words in commands(&text) {
                let found = fault(&words);
                let place = format!("{}:{line}: {}", page.path.display(), words.join(" "));
                faults.extend(found.map(|what| format!("{place}: {what}")));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn faults_of_commands_are_found() {
    for (text, sound) in [
        ("rlaif run --config a.toml --run runs/a", true),
        ("rlaif run --config a.toml", false),
        ("rlaif fly", false),
        ("A=b cargo test --release --test docs", true),
        ("cargo test --release --test nothing", false),
        (
            "cargo run --release --example custom_reward -- --anything",
            true,
        ),
        ("cargo build --features http,tui", true),
        ("cargo build --features htp", false),
        ("make", false),
    ] {
        let found = fault(&commands(text)[0]);
        assert_eq!(found.is_none(), sound, "{text}: {found:?}");
    }
}

/// Does what a page shows, in order, in `folder`.
fn perform(page: &Page, folder: &Path) {
    for block in &page.blocks {
        if let Some(file) = block.file() {
            fs::write(folder.join(file), &block.text).unwrap();
        }
        if is_run(block) {
            for words in commands(&block.text) {
                run(page, &words, folder);
            }
        }
    }
}

fn is_run(block: &Block) -> bool {
    block.tags.iter().any(|tag| tag == "run")
}

fn run(page: &Page, words: &[String], folder: &Path) {
    let place = format!("{}: {}", page.path.display(), words.join(" "));
    assert_eq!(words[0], "rlaif", "{place}: only rlaif is run");
    let mut command = Command::new(env!("CARGO_BIN_EXE_rlaif"));
    let output = command
        .args(&words[1..])
        .current_dir(folder)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{place}: {said}");
}

/// What the commands of pages find beside them.
#[cfg(unix)]
fn begin(folder: &Path) {
    for shared in ["configs", "models"] {
        let there = fs::canonicalize(shared).unwrap();
        std::os::unix::fs::symlink(there, folder.join(shared)).unwrap();
    }
}

#[cfg(unix)]
#[test]
fn what_pages_run_ends_well() {
    let pages = pages::all();
    let runs = |page: &&Page| page.blocks.iter().any(is_run);
    let mut n_pages = 0;
    for page in pages.iter().filter(runs) {
        let folder = tempfile::tempdir().unwrap();
        begin(folder.path());
        perform(page, folder.path());
        n_pages += 1;
    }
    assert!(
        n_pages >= 3,
        "first run, labeling alone, a suite: {n_pages} pages run something"
    );
}
