//! Rust that pages show stands so in an example, which the compiler has seen.

use std::fs;
use std::path::Path;

use crate::pages;

/// Lines without what they are indented by.
fn lines(text: &str) -> Vec<&str> {
    text.trim().lines().map(str::trim).collect()
}

fn holds(source: &str, shown: &str) -> bool {
    let (source, shown) = (lines(source), lines(shown));
    source.windows(shown.len()).any(|part| part == shown)
}

/// The texts of all examples.
fn examples(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(examples(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(fs::read_to_string(path).unwrap());
        }
    }
    found
}

#[test]
fn rust_that_pages_show_is_of_an_example() {
    let examples = examples(Path::new("examples"));
    for page in pages::all() {
        for block in page.blocks.iter().filter(|block| block.kind() == "rust") {
            let held = examples.iter().any(|source| holds(source, &block.text));
            let place = format!("{}:{}", page.path.display(), block.line);
            assert!(held, "{place}: no example holds these lines");
        }
    }
}

#[test]
fn indentation_alone_may_differ() {
    let source = "fn main() {\n    let a = 1;\n    let b = 2;\n}\n";
    assert!(holds(source, "let a = 1;\nlet b = 2;\n"));
    assert!(!holds(source, "let a = 1;\nlet c = 2;\n"));
}
