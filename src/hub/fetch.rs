//! Fetches from the Hugging Face Hub what a model needs, into the Hub's cache.

use std::io::IsTerminal;
use std::path::PathBuf;

use hf_hub::api::sync::{Api, ApiBuilder};
use hf_hub::{Cache, Repo, RepoType};

use super::{Name, Wanted};
use crate::error::{Error, Result};

/// Files that say what a model is.
const DESCRIPTION: [&str; 8] = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "chat_template.json",
    "adapter_config.json",
];
/// Times that a broken download is taken up again.
const RETRIES: usize = 5;

/// The folder in the cache with the current files of a repository. When the Hub cannot be reached,
/// those fetched last.
pub(super) fn fetch(name: &Name, wanted: Wanted) -> Result<PathBuf> {
    let failed = |e: &dyn std::fmt::Display| {
        Error::Usage(format!(
            "`{}@{}` is no folder, and the Hugging Face Hub does not give it ({e}); for a gated or \
            private model set HF_TOKEN",
            name.repo, name.revision
        ))
    };
    let cache = cache();
    let repo =
        |revision: &str| Repo::with_revision(name.repo.clone(), RepoType::Model, revision.into());
    let kept = || {
        let config = cache.repo(repo(&name.revision)).get("config.json")?;
        config.parent().map(PathBuf::from)
    };
    if std::env::var_os("HF_HUB_OFFLINE").is_some_and(|value| value == "1") {
        return kept().ok_or_else(|| failed(&"HF_HUB_OFFLINE is set, and it is not in the cache"));
    }
    let api = api(&cache).map_err(|e| failed(&e))?;
    let info = match api.repo(repo(&name.revision)).info() {
        Ok(info) => info,
        Err(error) => {
            let kept = kept().ok_or_else(|| failed(&error))?;
            tracing::warn!(
                "{}: {error}; going on with what was fetched before",
                name.repo
            );
            return Ok(kept);
        }
    };
    if info.sha.is_empty() || !info.sha.chars().all(|c| c.is_ascii_alphanumeric()) {
        return Err(failed(&"its answer names no commit"));
    }
    let files: Vec<String> = info
        .siblings
        .into_iter()
        .map(|file| file.rfilename)
        .collect();
    // By its commit, so that all files are of one state of the repository.
    let at_commit = api.repo(repo(&info.sha));
    let mut folder = None;
    for file in needed(&files, wanted) {
        let path = at_commit
            .get(file)
            .map_err(|e| failed(&format!("{file}: {e}")))?;
        folder = path.parent().map(PathBuf::from);
    }
    let folder = folder.ok_or_else(|| failed(&"it holds no model"))?;
    let refs = cache.repo(repo(&name.revision));
    refs.create_ref(&info.sha)
        .map_err(Error::io("write", &folder))?;
    Ok(folder)
}

fn cache() -> Cache {
    match std::env::var_os("HF_HUB_CACHE") {
        Some(folder) => Cache::new(folder.into()),
        None => Cache::from_env(),
    }
}

fn api(cache: &Cache) -> Result<Api, hf_hub::api::sync::ApiError> {
    let mut builder = ApiBuilder::from_cache(cache.clone())
        .with_retries(RETRIES)
        .with_progress(std::io::stderr().is_terminal())
        .with_user_agent("rlaif", env!("CARGO_PKG_VERSION"));
    if let Ok(endpoint) = std::env::var("HF_ENDPOINT") {
        builder = builder.with_endpoint(endpoint);
    }
    if let Ok(token) = std::env::var("HF_TOKEN") {
        builder = builder.with_token(Some(token));
    }
    builder.build()
}

/// Of the files of a repository those that are wanted: of the weights `model.safetensors`, else its
/// shards with their index, else `pytorch_model.bin`, whole or in shards; of an adapter its own.
fn needed(files: &[String], wanted: Wanted) -> Vec<&str> {
    let files = || files.iter().map(String::as_str);
    let mut needed: Vec<&str> = files().filter(|file| DESCRIPTION.contains(file)).collect();
    if wanted == Wanted::Description {
        return needed;
    }
    needed.extend(files().filter(|file| file.starts_with("adapter_model.")));
    for (stem, end) in [("model", ".safetensors"), ("pytorch_model", ".bin")] {
        let whole = format!("{stem}{end}");
        if let Some(whole) = files().find(|file| **file == whole) {
            needed.push(whole);
            break;
        }
        let index = format!("{whole}.index.json");
        let shard = |file: &&str| {
            let number = file
                .strip_prefix(stem)
                .and_then(|rest| rest.strip_suffix(end));
            **file == index || number.is_some_and(|n| n.starts_with('-') && !n.contains('/'))
        };
        if files().any(|file| file == index) {
            needed.extend(files().filter(shard));
            break;
        }
    }
    needed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_needed_is_fetched() {
        let check = |files: &str, expected: &str| {
            let files: Vec<String> = files.split(' ').map(str::to_string).collect();
            assert_eq!(needed(&files, Wanted::Everything).join(" "), expected);
        };
        check(
            "README.md config.json onnx/model.onnx model.safetensors pytorch_model.bin tokenizer.json",
            "config.json tokenizer.json model.safetensors",
        );
        check(
            "config.json model-00001-of-00002.safetensors model-00002-of-00002.safetensors \
            model.safetensors.index.json sub/model-1.safetensors original/consolidated.00.pth",
            "config.json model-00001-of-00002.safetensors model-00002-of-00002.safetensors \
            model.safetensors.index.json",
        );
        check(
            "config.json pytorch_model.bin tf_model.h5",
            "config.json pytorch_model.bin",
        );
        check(
            "adapter_config.json adapter_model.safetensors",
            "adapter_config.json adapter_model.safetensors",
        );
        let files = ["config.json".to_string(), "model.safetensors".to_string()];
        assert_eq!(needed(&files, Wanted::Description), ["config.json"]);
    }
}
