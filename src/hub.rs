//! Where a model is: a folder, or with cargo feature `hub` a repository of the Hugging Face Hub.
//!
//! A name `org/name`, optionally with `@revision`, that is no folder is looked up on the Hub; what
//! is needed of it is kept in the Hub's usual cache. Environment variables as in Python's
//! `huggingface_hub`: `HF_TOKEN`, `HF_HOME`, `HF_HUB_CACHE`, `HF_ENDPOINT`, `HF_HUB_OFFLINE`.

#[cfg(feature = "hub")]
mod fetch;

use std::path::{Path, PathBuf};

use crate::error::Result;

/// What is wanted of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// All that loading it takes.
    Everything,
    /// Configuration and tokenizer, without the weights.
    Description,
}

/// A repository of the Hub.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Name {
    repo: String,
    revision: String,
}

/// The folder of a model, which is fetched from the Hub when `model` is no folder but may be a name
/// there. What is neither is handed back as it is, for the reader of its files to complain about.
///
/// # Errors
/// The name is not on the Hub or cannot be fetched, or the binary was built without the feature.
pub fn resolve(model: &Path, wanted: Wanted) -> Result<PathBuf> {
    match Name::parse(model).filter(|_| !model.exists()) {
        Some(name) => fetched(&name, wanted),
        None => Ok(model.into()),
    }
}

#[cfg(feature = "hub")]
fn fetched(name: &Name, wanted: Wanted) -> Result<PathBuf> {
    fetch::fetch(name, wanted)
}

#[cfg(not(feature = "hub"))]
fn fetched(name: &Name, _wanted: Wanted) -> Result<PathBuf> {
    Err(crate::error::Error::Usage(format!(
        "there is no folder `{}`, and to look it up on the Hugging Face Hub takes a binary built \
        with `--features hub`",
        name.repo
    )))
}

impl Name {
    /// `org/name` or `org/name@revision`, of letters, digits and `-_.`; a revision may have parts.
    fn parse(model: &Path) -> Option<Self> {
        let (repo, revision) = match model.to_str()?.split_once('@') {
            Some((repo, revision)) => (repo, revision),
            None => (model.to_str()?, "main"),
        };
        let word = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        let part =
            |part: &str| !part.is_empty() && !part.starts_with('.') && part.chars().all(word);
        let parts: Vec<&str> = repo.split('/').collect();
        let named =
            parts.len() == 2 && parts.into_iter().all(part) && revision.split('/').all(part);
        named.then(|| Self {
            repo: repo.into(),
            revision: revision.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_from_paths() {
        let check = |text: &str, expected: Option<(&str, &str)>| {
            let name = Name::parse(Path::new(text)).map(|name| (name.repo, name.revision));
            let expected =
                expected.map(|(repo, revision)| (repo.to_string(), revision.to_string()));
            assert_eq!(name, expected, "{text}");
        };
        check("Qwen/Qwen2.5-0.5B", Some(("Qwen/Qwen2.5-0.5B", "main")));
        check("a/b@v1.0", Some(("a/b", "v1.0")));
        check("a/b@refs/pr/1", Some(("a/b", "refs/pr/1")));
        for path in [
            "a", "a/b/c", "./a", "../a", "/a/b", "a/../b", "a/b@../x", "a/b@", "a b/c", "",
        ] {
            check(path, None);
        }
    }

    #[test]
    fn a_folder_is_itself_and_a_missing_path_stays() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(
            resolve(folder.path(), Wanted::Everything).unwrap(),
            folder.path()
        );
        let missing = folder.path().join("none");
        assert_eq!(resolve(&missing, Wanted::Everything).unwrap(), missing);
    }
}
