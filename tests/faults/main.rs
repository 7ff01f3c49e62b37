//! What goes wrong outside the program: each fault is a clear error or a counted skip, never a
//! panic, a hang or a lost result. `docs/src/faults.md` has the whole list.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod data;
#[cfg(target_os = "linux")]
mod disk;
mod models;
mod numbers;
mod round_trips;

use std::path::Path;

/// `error` names the file and says every one of `words`.
#[track_caller]
fn says(error: &rlaif::Error, path: &Path, words: &[&str]) {
    let said = error.to_string();
    let name = path.file_name().unwrap().to_str().unwrap();
    for word in words.iter().chain([&name]) {
        assert!(said.contains(word), "`{word}` is not in: {said}");
    }
}
