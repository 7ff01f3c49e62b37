//! The pages of `docs/src/reference` say what the code says. Those of run files and of the command line are made
//! from it:
//!
//! `RLAIF_WRITE_REFERENCE=1 cargo test --release --test docs reference`

mod cli;
mod config;
mod defaults;
mod metrics;
mod source;

use std::fs;

/// Set, pages are written instead of held against what they should be.
const WRITE: &str = "RLAIF_WRITE_REFERENCE";

/// Holds a page against `expected`, or writes it.
fn check(page: &str, expected: &str) {
    let path = format!("docs/src/reference/{page}");
    if std::env::var_os(WRITE).is_some() {
        fs::write(&path, expected).unwrap();
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    let lines = found.lines().zip(expected.lines());
    let parted = lines
        .enumerate()
        .find(|(_, (found, expected))| found != expected);
    let at = parted.map_or(String::new(), |(i, (found, expected))| {
        format!("line {}: {found}\nshould be: {expected}\n", i + 1)
    });
    assert!(
        found == expected,
        "{path} is not of this code.\n{at}To make it so: {WRITE}=1 cargo test --release --test docs reference"
    );
}
