//! The house rules that a search can check (the invariants of `src/lib.rs`).

use std::fs;
use std::path::{Path, PathBuf};

use rlaif::config::Config;

/// Every source file with its text up to its tests.
fn sources(under: &str) -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders = vec![root.join(under)];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap_or_default();
                let code = text.split("#[cfg(test)]").next().unwrap_or_default();
                files.push((path, code.to_string()));
            }
        }
    }
    assert!(!files.is_empty(), "no sources under {under}");
    files
}

/// Lines of code (comments left out) that hold one of `words`.
fn offences(files: &[(PathBuf, String)], words: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for (path, text) in files {
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            if words.iter().any(|word| code.contains(word)) {
                found.push(format!(
                    "{}:{}: {}",
                    path.display(),
                    number + 1,
                    line.trim()
                ));
            }
        }
    }
    found
}

fn assert_none(found: Vec<String>, rule: &str) {
    assert!(found.is_empty(), "{rule}\n{}", found.join("\n"));
}

#[test]
fn models_know_nothing_of_rl() {
    let words = ["crate::label", "crate::rl", "crate::reward", "crate::eval"];
    assert_none(
        offences(&sources("src/model"), &words),
        "model/ is below label, reward, rl, eval",
    );
}

#[test]
fn mathematics_is_pure() {
    let pure = ["rl/loss.rs", "rl/advantage.rs", "eval/stats.rs"];
    let mut files = sources("src");
    files.retain(|(path, _)| pure.iter().any(|name| path.ends_with(name)));
    assert_eq!(files.len(), pure.len());
    let words = [
        "crate::config",
        "Device::",
        "rand::",
        "std::fs",
        "std::io",
        "tracing::",
    ];
    assert_none(
        offences(&files, &words),
        "pure files take numbers and return numbers",
    );
}

#[test]
fn only_the_command_line_prints() {
    let mut files = sources("src");
    files.retain(|(path, _)| !path.ends_with("main.rs") && !path.ends_with("cli.rs"));
    let words = ["println!", "print!(", "eprint!(", "dbg!"];
    assert_none(
        offences(&files, &words),
        "the library logs through tracing and returns data",
    );
}

#[test]
fn the_library_does_not_panic_or_seed_devices() {
    let words = [
        ".unwrap()",
        ".expect(",
        "panic!(",
        "todo!(",
        "unimplemented!(",
        ".seed(",
    ];
    assert_none(
        offences(&sources("src"), &words),
        "errors are values, randomness is an argument",
    );
}

#[test]
fn files_say_what_they_are_for_and_stay_short() {
    for (path, _) in sources("src") {
        let text = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            text.starts_with("//!"),
            "{}: the first line says what it is for",
            path.display()
        );
        let lines = text.lines().count();
        assert!(
            lines <= 450,
            "{}: {lines} lines, one concept fits in 400",
            path.display()
        );
    }
}

#[test]
fn run_files_are_valid() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs");
    let mut n = 0;
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if let Err(error) = Config::read(&path, &[]) {
            panic!("{}: {error}", path.display());
        }
        n += 1;
    }
    assert!(n >= 4, "{n} run files");
}
