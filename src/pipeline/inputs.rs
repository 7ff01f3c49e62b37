//! What a stage depends on: its part of the run file, and the content of every file that it reads.
//!
//! A stage is skipped as long as none of that has changed. What is read is known by content
//! (SHA-256), not by name or date: a model that was trained again in place is another model.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::config::Config;
use crate::error::Result;
use crate::run::{digest_file, digest_folder};

/// Parts of the run file that every stage depends on.
const COMMON: [&str; 2] = ["backend", "seed"];

/// One stage, by what it depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stage {
    /// Name: module, verb and table of the run file.
    pub(super) name: &'static str,
    /// Keys of the run file, by their dotted paths.
    keys: &'static [&'static str],
    /// Files and folders of the run that it reads where they are there: `sft/model` is not without
    /// a table `sft`, nor `reward/model` with the labeler's own score.
    reads: &'static [&'static str],
}

pub(super) const SFT: Stage = Stage {
    name: "sft",
    keys: &[
        "data.kind",
        "data.demonstrations",
        "data.rows",
        "policy",
        "sft",
    ],
    reads: &[],
};
pub(super) const SAMPLE: Stage = Stage {
    name: "sample",
    keys: &[
        "data.kind",
        "data.preference_prompts",
        "data.rows",
        "policy",
        "sample",
    ],
    reads: &["sft/model"],
};
pub(super) const LABEL: Stage = Stage {
    name: "label",
    keys: &["data.kind", "labeler"],
    reads: &["completions.jsonl"],
};
pub(super) const REWARD: Stage = Stage {
    name: "reward",
    keys: &[
        "data.kind",
        "data.preferences",
        "data.rows",
        "policy",
        "reward",
    ],
    reads: &["preferences.jsonl", "sft/model"],
};
pub(super) const RL: Stage = Stage {
    name: "rl",
    keys: &[
        "data.kind",
        "data.rl_prompts",
        "data.rows",
        "policy",
        "labeler",
        "rl",
    ],
    reads: &["reward/model", "sft/model"],
};
pub(super) const DPO: Stage = Stage {
    name: "dpo",
    keys: &[
        "data.kind",
        "data.preferences",
        "data.rows",
        "policy",
        "dpo",
    ],
    reads: &["preferences.jsonl", "sft/model"],
};
pub(super) const EVAL: Stage = Stage {
    name: "eval",
    keys: &[
        "data.kind",
        "data.eval_prompts",
        "data.rows",
        "policy",
        "eval",
    ],
    reads: &["policy/model", "sft/model"],
};
/// The evaluation where a reward chooses among completions.
const EVAL_BEST_OF: Stage = Stage {
    name: EVAL.name,
    keys: &[
        "data.kind",
        "data.eval_prompts",
        "data.rows",
        "policy",
        "labeler",
        "eval",
    ],
    reads: &["policy/model", "sft/model", "reward/model"],
};

/// What the evaluation of a run file depends on.
pub(super) fn eval_stage(config: &Config) -> Stage {
    match config.eval.best_of {
        Some(_) => EVAL_BEST_OF,
        None => EVAL,
    }
}

impl Stage {
    /// All that the stage depends on, as it is now. `find` gives the place of a file of the run.
    ///
    /// # Errors
    /// A file cannot be read.
    pub(super) fn inputs(self, config: &Config, find: impl Fn(&str) -> PathBuf) -> Result<Value> {
        inputs_of(config, (self.keys, self.reads), find)
    }
}

/// These keys of the run file and files of the run, as they are now.
pub(super) fn inputs_of(
    config: &Config,
    (keys, reads): (&[&str], &[&str]),
    find: impl Fn(&str) -> PathBuf,
) -> Result<Value> {
    let whole = json!(config);
    let mut found = Map::new();
    for key in COMMON.iter().chain(keys) {
        let value = key
            .split('.')
            .try_fold(&whole, |value, part| value.get(part));
        found.insert((*key).into(), value.cloned().unwrap_or_default());
    }
    let mut files = Map::new();
    for value in found.values() {
        digest_named(value, &mut files)?;
    }
    for rel in reads {
        digest_path(rel, &find(rel), &mut files)?;
    }
    Ok(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "config": found,
        "files": files,
    }))
}

/// Digests of the files and folders that a part of the run file names: any text that is the path of
/// one.
fn digest_named(value: &Value, found: &mut Map<String, Value>) -> Result<()> {
    match value {
        Value::String(name) => digest_path(name, Path::new(name), found),
        Value::Array(values) => values
            .iter()
            .try_for_each(|value| digest_named(value, found)),
        Value::Object(values) => (values.values()).try_for_each(|value| digest_named(value, found)),
        _ => Ok(()),
    }
}

fn digest_path(name: &str, path: &Path, found: &mut Map<String, Value>) -> Result<()> {
    if path.is_file() {
        found.insert(name.into(), digest_file(path)?.into());
    } else if path.is_dir() {
        found.insert(name.into(), digest_folder(path)?.into());
    }
    Ok(())
}

/// The first thing in which two inputs of a stage differ, for the user; `None` when they are equal.
pub(super) fn difference(before: &Value, now: &Value) -> Option<String> {
    if before == now {
        return None;
    }
    let version = |inputs: &Value| inputs["version"].clone();
    if version(before) != version(now) {
        let (before, now) = (version(before), version(now));
        return Some(format!("the program was {before}, is {now}"));
    }
    let setting = changed(&before["config"], &now["config"], String::new())
        .map(|(key, before, now)| format!("`{key}` was {before}, is {now}"));
    let file = || {
        let changed = changed(&before["files"], &now["files"], String::new());
        changed.map(|(name, ..)| format!("`{name}` has changed"))
    };
    setting.or_else(file)
}

/// Path and values of the first difference, `null` for what is absent.
fn changed<'a>(
    before: &'a Value,
    now: &'a Value,
    path: String,
) -> Option<(String, &'a Value, &'a Value)> {
    if before == now {
        return None;
    }
    let (Value::Object(old), Value::Object(new)) = (before, now) else {
        return Some((path, before, now));
    };
    old.keys().chain(new.keys()).find_map(|key| {
        let dot = if path.is_empty() { "" } else { "." };
        changed(&before[key], &now[key], format!("{path}{dot}{key}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs(seed: u64, weights: &str) -> Value {
        json!({
            "version": "1",
            "config": { "seed": seed, "sft": { "batch_size": 2 } },
            "files": { "models/a": weights },
        })
    }

    #[test]
    fn a_difference_is_named() {
        let check = |now: Value, expected: Option<&str>| {
            let found = difference(&inputs(1, "x"), &now);
            assert_eq!(found.as_deref(), expected);
        };
        check(inputs(1, "x"), None);
        check(inputs(2, "y"), Some("`seed` was 1, is 2"));
        check(inputs(1, "y"), Some("`models/a` has changed"));
        let mut now = inputs(1, "x");
        now["config"]["sft"] = Value::Null;
        check(now.clone(), Some("`sft` was {\"batch_size\":2}, is null"));
        now = inputs(1, "x");
        now["config"]["sft"]["batch_size"] = json!(4);
        check(now.clone(), Some("`sft.batch_size` was 2, is 4"));
        now["version"] = json!("2");
        check(now, Some("the program was \"1\", is \"2\""));
    }

    #[test]
    fn files_are_known_by_their_content() {
        let folder = tempfile::tempdir().unwrap();
        let weights = folder.path().join("model.safetensors");
        std::fs::write(&weights, "one").unwrap();
        let part = json!({ "labeler": [{ "model": folder.path() }], "name": "no file" });
        let digests = || {
            let mut found = Map::new();
            digest_named(&part, &mut found).unwrap();
            found
        };
        let before = digests();
        assert_eq!(before.len(), 1);
        assert_eq!(digests(), before);
        std::fs::write(&weights, "two").unwrap();
        assert_ne!(digests(), before);
    }
}
