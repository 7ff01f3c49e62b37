//! The house rules that a search can check. What each rule is for stands in `src/lib.rs`.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rlaif::config::Config;
use rlaif::experiment::{BUILT_IN, Experiment};

/// Longest file of `src`, its tests included.
const MAX_LINES: usize = 400;

/// A source file: its path from the root of the repository, and its text.
struct Source {
    path: String,
    text: String,
}

impl Source {
    fn read(path: &str) -> Self {
        let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"));
        Self {
            path: path.replace('\\', "/"),
            text,
        }
    }

    /// Lines of library code with their numbers: neither comments nor what follows `#[cfg(test)]`,
    /// which ends a file; none of a file `tests.rs`.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let is_test = self.path.ends_with("/tests.rs");
        let lines = self.text.lines().map(str::trim).zip(1..);
        lines
            .take_while(move |(line, _)| !is_test && *line != "#[cfg(test)]")
            .filter(|(line, _)| !line.starts_with("//"))
            .map(|(line, number)| (number, line))
    }
}

fn files(dir: &str, extension: &str) -> Vec<PathBuf> {
    let mut found = files_below(dir, extension);
    found.sort();
    assert!(!found.is_empty(), "no .{extension} file in {dir}");
    found
}

fn files_below(dir: &str, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_below(&path.to_string_lossy(), extension));
        } else if path.extension().is_some_and(|found| found == extension) {
            found.push(path);
        }
    }
    found
}

fn sources(dir: &str) -> Vec<Source> {
    files(dir, "rs")
        .iter()
        .map(|path| Source::read(&path.to_string_lossy()))
        .collect()
}

/// Library code of `sources` holds none of `words`.
fn check_absent(sources: &[Source], words: &[&str], rule: &str) {
    let mut found = Vec::new();
    for source in sources {
        for (number, line) in source.code() {
            let hits = words.iter().filter(|word| line.contains(**word));
            found.extend(hits.map(|word| format!("{}:{number}: `{word}`", source.path)));
        }
    }
    assert!(found.is_empty(), "{rule}\n{}", found.join("\n"));
}

/// Rooms of the crate that the code names: `label` in `crate::label::Pair` and in `use
/// crate::{label, rl};`.
fn rooms(source: &Source) -> Vec<String> {
    let code: Vec<&str> = source.code().map(|(_, line)| line).collect();
    let code = code.join("\n").replace("super::super::", "crate::");
    let mut names = Vec::new();
    for rest in code.split("crate::").skip(1) {
        let end = if rest.starts_with('{') {
            rest.find(';')
        } else {
            rest.find(|c| !is_word(c))
        };
        let named = &rest[..end.unwrap_or(rest.len())];
        names.extend(named.split(|c| !is_word(c)).map(str::to_string));
    }
    names
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

#[test]
fn models_know_nothing_of_their_use() {
    for source in sources("src/model") {
        for room in rooms(&source) {
            let refused = ["label", "reward", "rl", "eval"].contains(&room.as_str());
            assert!(
                !refused,
                "invariant 1: {} names `crate::{room}`",
                source.path
            );
        }
    }
}

#[test]
fn mathematics_is_pure() {
    let files = [
        "src/rl/loss.rs",
        "src/rl/advantage.rs",
        "src/eval/stats.rs",
        "src/eval/agreement.rs",
        "src/eval/calibration.rs",
        "src/eval/reliability.rs",
    ];
    let files = files.map(Source::read);
    let mut pure = sources("src/rl/loss");
    pure.extend(files);
    let impure = [
        "config", "Config", "Device::", "rand::", "StdRng", "std::fs", "std::io", "File", "tracing",
    ];
    check_absent(
        &pure,
        &impure,
        "invariant 2: no config, device creation, randomness, IO, logging",
    );
}

#[test]
fn the_library_does_not_print() {
    let rule = "invariant 4: log through `tracing`, return data; cli/ prints by `cli::print`";
    check_absent(&sources("src"), &["print!(", "println!(", "dbg!("], rule);
}

#[test]
fn the_library_does_not_panic_or_seed_a_device() {
    let words = [
        ".unwrap()",
        ".expect(",
        "panic!(",
        "todo!(",
        "unimplemented!(",
        "Device::seed",
        ".seed(",
    ];
    check_absent(
        &sources("src"),
        &words,
        "invariant 6: return an `Error`, pass an `&mut StdRng`",
    );
}

#[test]
fn files_are_short() {
    for source in sources("src") {
        let n = source.text.lines().count();
        assert!(
            n <= MAX_LINES,
            "{} has {n} lines, {MAX_LINES} are allowed: split it",
            source.path
        );
    }
}

#[test]
fn every_file_says_what_it_is_for() {
    for source in sources("src") {
        assert!(
            source.text.starts_with("//! "),
            "{} starts without a module doc",
            source.path
        );
    }
}

#[test]
fn every_run_file_is_valid() {
    let is_run_file = |path: &PathBuf| !path.starts_with("configs/experiments");
    for path in files("configs", "toml").into_iter().filter(is_run_file) {
        let read = Config::read(&path, &[]);
        assert!(read.is_ok(), "{}: {}", path.display(), read.unwrap_err());
    }
}

#[test]
fn every_experiment_comes_with_the_crate_and_varies_its_run_file() {
    let known: Vec<&str> = BUILT_IN.iter().map(|(name, _)| *name).collect();
    for path in files("configs/experiments", "toml") {
        let experiment = Experiment::load(path.to_str().unwrap());
        let experiment = experiment.unwrap_or_else(|error| panic!("{error}"));
        let name = path.file_stem().unwrap().to_str().unwrap();
        assert!(known.contains(&name), "{name} is not built in");
        for arm in experiment.all_arms() {
            let set = [experiment.set.clone(), arm.set.clone()].concat();
            let read = Config::read(&experiment.config, &set);
            assert!(read.is_ok(), "{name}, {}: {}", arm.name, read.unwrap_err());
        }
    }
}

#[test]
fn no_file_names_a_place_on_someones_machine() {
    // In a source archive there is no list of files, and nobody about to commit one.
    let Ok(listed) = Command::new("git").arg("ls-files").output() else {
        return;
    };
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let roots = ["home", "root", "work", "tmp", "Users"].map(|root| format!("/{root}/"));
    for path in listed.lines().map(Path::new) {
        // Weights are no text, and a file that is deleted but not yet committed is no file.
        let Ok(text) = fs::read_to_string(path) else {
            continue;
        };
        for (line, number) in text.lines().zip(1..) {
            let absolute = roots.iter().find(|root| starts_a_path(line, root));
            assert!(
                absolute.is_none(),
                "{}:{number} names {absolute:?}",
                path.display()
            );
        }
    }
}

/// Whether `root` occurs in `line` where a path begins, rather than inside an address or a relative
/// path.
fn starts_a_path(line: &str, root: &str) -> bool {
    let inside = |c: char| is_word(c) || "./-_~}".contains(c);
    line.match_indices(root)
        .any(|(at, _)| !line[..at].ends_with(inside))
}
