//! Links lead somewhere: to pages, headings and pictures that are there. Addresses elsewhere are
//! looked at, not visited.

use std::fs;
use std::path::{Component, Path, PathBuf};

use crate::pages::{self, BOOK, Page};

/// What is wrong with a link, if anything is.
fn fault(page: &Page, link: &str) -> Option<String> {
    if let Some((scheme, rest)) = link.split_once("://") {
        let sound = ["http", "https"].contains(&scheme) && !rest.is_empty() && !rest.contains(' ');
        return (!sound).then(|| "no address".into());
    }
    let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
    let target = match file {
        "" => page.path.clone(),
        file => normal(&page.path.with_file_name("").join(file)),
    };
    if !target.is_file() {
        return Some(format!("there is no {}", target.display()));
    }
    // What is beside the book is not in it once it is built.
    if page.path.starts_with(BOOK) && !target.starts_with(BOOK) {
        return Some("leads out of the book: name the file as code instead".into());
    }
    let known = anchor.is_empty() || pages::read(&target).anchors.contains(anchor);
    (!known).then(|| format!("no heading of {} is #{anchor}", target.display()))
}

/// The path without `..`.
fn normal(path: &Path) -> PathBuf {
    let mut parts: Vec<Component> = Vec::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.iter().collect()
}

#[test]
fn links_lead_somewhere() {
    let mut faults = Vec::new();
    for page in pages::all() {
        for (line, link) in &page.links {
            let found = fault(&page, link);
            faults.extend(
                found.map(|what| format!("{}:{line}: {link}: {what}", page.path.display())),
            );
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn every_page_of_the_book_is_in_its_contents() {
    let summary = pages::read(&Path::new(BOOK).join("SUMMARY.md"));
    let listed = |page: &Page| {
        let path = page.path.strip_prefix(BOOK).unwrap().to_string_lossy();
        path == "SUMMARY.md" || summary.links.iter().any(|(_, link)| *link == path)
    };
    for page in pages::all() {
        let of_book = page.path.starts_with(BOOK);
        assert!(
            !of_book || listed(&page),
            "{} is in no contents",
            page.path.display()
        );
    }
}

/// Roots of paths that pages name as code.
const ROOTS: [&str; 8] = [
    "src/",
    "tests/",
    "examples/",
    "benches/",
    "configs/",
    "models/",
    "docs/",
    "fuzz/",
];

#[test]
fn files_of_the_repository_that_are_named_are_there() {
    for page in pages::all() {
        let named = page.words.iter().filter(|(_, word)| {
            ROOTS.iter().any(|root| word.starts_with(root)) && !word.contains([' ', '*', '{', '<'])
        });
        for (line, word) in named {
            assert!(
                fs::exists(word).unwrap(),
                "{}:{line}: there is no `{word}`",
                page.path.display()
            );
        }
    }
}

#[test]
fn faults_of_links_are_found() {
    let page = pages::read(&Path::new(BOOK).join("SUMMARY.md"));
    for (link, sound) in [
        ("faults.md", true),
        ("faults.md#fuzzing", true),
        ("faults.md#nowhere", false),
        ("nothing.md", false),
        ("../../README.md", false),
        ("https://arxiv.org/abs/2309.00267", true),
        ("https://", false),
        ("ftp://there", false),
    ] {
        let found = fault(&page, link);
        assert_eq!(found.is_none(), sound, "{link}: {found:?}");
    }
}
