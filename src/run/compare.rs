//! Two run folders file by file: which are the same to the byte, and where the others part.
//!
//! Times are left out: they differ on any machine and say nothing of a result.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::error::{Error, Result};
use crate::record::rows::{Line, MAX_ROW_BYTES, read_line};

/// Files and folders that are no results: what a run is kept by, what repeats other files, and what
/// endpoints answered in the order in which they happened to.
const NO_RESULTS: [&str; 7] = [
    ".lock",
    "answers.jsonl",
    "config.toml",
    "manifest.json",
    "report.html",
    "stages.json",
    "tensorboard",
];

/// Bytes compared at once.
const BUFFER: u64 = 1 << 20;
/// Longest value that is shown.
const MAX_SHOWN: usize = 60;

/// How a file of one run is like that of another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compared {
    /// Path inside the folders.
    pub path: PathBuf,
    /// Where they part first; `None` when they are the same.
    pub difference: Option<String>,
}

/// Compares all results of two run folders, in the order of their names. Runs inside a run are
/// runs of their own and are left out.
///
/// # Errors
/// A file cannot be read.
pub fn compare(old: &Path, new: &Path) -> Result<Vec<Compared>> {
    let mut paths = BTreeSet::new();
    for root in [old, new] {
        collect(root, Path::new(""), &mut paths)?;
    }
    let compared = |path: PathBuf| {
        let (a, b) = (old.join(&path), new.join(&path));
        let difference = match (a.is_file(), b.is_file()) {
            (true, true) => difference(&a, &b)?,
            (true, false) => Some("only in the old run".into()),
            _ => Some("only in the new run".into()),
        };
        Ok(Compared { path, difference })
    };
    paths.into_iter().map(compared).collect()
}

fn collect(root: &Path, below: &Path, found: &mut BTreeSet<PathBuf>) -> Result<()> {
    let folder = root.join(below);
    for entry in fs::read_dir(&folder).map_err(Error::io("read", &folder))? {
        let name = entry.map_err(Error::io("read", &folder))?.file_name();
        let path = below.join(&name);
        let is_result = below.as_os_str().is_empty() && NO_RESULTS.iter().any(|no| name == *no);
        if is_result || is_checkpoint(&path) {
            continue;
        }
        let whole = root.join(&path);
        if whole.is_file() {
            found.insert(path);
        } else if whole.is_dir() && !whole.join("config.toml").is_file() {
            collect(root, &path, found)?;
        }
    }
    Ok(())
}

/// `sft/step-20`: of a training that is not finished.
fn is_checkpoint(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    let step = name.and_then(|name| name.strip_prefix("step-"));
    step.is_some_and(|step| step.bytes().all(|byte| byte.is_ascii_digit()))
}

fn difference(a: &Path, b: &Path) -> Result<Option<String>> {
    let Some(offset) = first_byte(a, b)? else {
        return Ok(None);
    };
    match a.extension().and_then(|end| end.to_str()) {
        Some("jsonl") => first_row(a, b),
        Some("json") => {
            let (a, b) = (json(a)?, json(b)?);
            Ok(first_value(&a, &b, String::new()))
        }
        _ => {
            let sizes = [a, b].map(|path| path.metadata().map_or(0, |found| found.len()));
            let sizes = match sizes {
                [a, b] if a == b => format!("of {a}"),
                [a, b] => format!("of {a} and {b}"),
            };
            Ok(Some(format!("byte {offset} {sizes}")))
        }
    }
}

/// The number of bytes before the first that differs; `None` for files that are equal.
fn first_byte(a: &Path, b: &Path) -> Result<Option<u64>> {
    let open = |path: &Path| File::open(path).map_err(Error::io("read", path));
    let (file_a, file_b) = (open(a)?, open(b)?);
    let read = |file: &File, path: &Path| {
        let mut bytes = Vec::new();
        let read = file.take(BUFFER).read_to_end(&mut bytes);
        read.map_err(Error::io("read", path)).map(|_| bytes)
    };
    let mut offset = 0;
    loop {
        let (left, right) = (read(&file_a, a)?, read(&file_b, b)?);
        if left != right {
            let same = left.iter().zip(&right).take_while(|(a, b)| a == b).count();
            return Ok(Some(offset + same as u64));
        }
        if left.is_empty() {
            return Ok(None);
        }
        offset += left.len() as u64;
    }
}

fn json(path: &Path) -> Result<Value> {
    let text = fs::read_to_string(path).map_err(Error::io("read", path))?;
    serde_json::from_str(&text).map_err(|source| Error::file(path, source.to_string()))
}

fn first_row(a: &Path, b: &Path) -> Result<Option<String>> {
    let open = |path: &Path| {
        File::open(path)
            .map(BufReader::new)
            .map_err(Error::io("read", path))
    };
    let (mut rows_a, mut rows_b) = (open(a)?, open(b)?);
    let (mut left, mut right) = (Vec::new(), Vec::new());
    for number in 1.. {
        let found = [
            read_line(&mut rows_a, &mut left, MAX_ROW_BYTES).map_err(Error::io("read", a))?,
            read_line(&mut rows_b, &mut right, MAX_ROW_BYTES).map_err(Error::io("read", b))?,
        ];
        match found {
            [Line::End, Line::End] => break,
            [Line::End, _] => return Ok(Some(format!("line {number}: only in the new run"))),
            [_, Line::End] => return Ok(Some(format!("line {number}: only in the old run"))),
            _ if left == right => {}
            _ => {
                let parsed = [&left, &right].map(|line| serde_json::from_slice::<Value>(line));
                let [Ok(a), Ok(b)] = parsed else {
                    return Ok(Some(format!("line {number}")));
                };
                if let Some(found) = first_value(&a, &b, String::new()) {
                    return Ok(Some(format!("{}: {found}", place(number, &a))));
                }
            }
        }
    }
    Ok(None)
}

/// A row of metrics goes by its stage and step.
fn place(number: usize, row: &Value) -> String {
    match (row["stage"].as_str(), row["step"].as_u64()) {
        (Some(stage), Some(step)) => format!("stage {stage}, step {step}"),
        _ => format!("line {number}"),
    }
}

/// Path and values of the first difference that is no time; objects in the order of their names.
fn first_value(a: &Value, b: &Value, path: String) -> Option<String> {
    let inside = |part: &str| match path.as_str() {
        "" => part.to_string(),
        path => format!("{path}.{part}"),
    };
    match (a, b) {
        _ if a == b => None,
        (Value::Object(left), Value::Object(right)) => {
            let names: BTreeSet<&String> = left.keys().chain(right.keys()).collect();
            let mut names = names.into_iter().filter(|name| !is_time(name));
            names.find_map(|name| first_value(&a[name], &b[name], inside(name)))
        }
        (Value::Array(left), Value::Array(right)) if left.len() == right.len() => {
            let mut pairs = left.iter().zip(right).enumerate();
            pairs.find_map(|(i, (a, b))| first_value(a, b, inside(&i.to_string())))
        }
        _ => Some(format!("`{path}` was {}, is {}", shown(a), shown(b))),
    }
}

fn is_time(name: &str) -> bool {
    ["time", "seconds"].contains(&name)
        || name.starts_with("time/")
        || name.ends_with("_per_second")
}

fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folders(old: &[(&str, &str)], new: &[(&str, &str)]) -> Vec<String> {
        let root = tempfile::tempdir().unwrap();
        for (name, files) in [("old", old), ("new", new)] {
            for (path, text) in files {
                let path = root.path().join(name).join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
        }
        let found = compare(&root.path().join("old"), &root.path().join("new")).unwrap();
        let line = |one: Compared| {
            let found = one.difference.unwrap_or_else(|| "same".into());
            format!("{}: {found}", one.path.display())
        };
        found.into_iter().map(line).collect()
    }

    fn check(name: &str, old: &str, new: &str, expected: &str) {
        assert_eq!(
            folders(&[(name, old)], &[(name, new)]),
            [format!("{name}: {expected}")]
        );
    }

    #[test]
    fn what_differs_is_named() {
        check("policy/model/a.bin", "abcd", "abcd", "same");
        check("a.bin", "abcd", "abxx", "byte 2 of 4");
        check("a.bin", "abcd", "ab", "byte 2 of 4 and 2");
        let rows = |loss: f64, time: f64| {
            format!(
                "{{\"stage\":\"rl\",\"step\":1,\"time\":{time},\"kl\":null,\"loss\":{loss},\"time/step\":{time}}}\n"
            )
        };
        check("metrics.jsonl", &rows(0.5, 1.0), &rows(0.5, 2.0), "same");
        let expected = "stage rl, step 1: `loss` was 0.5, is 0.25";
        check("metrics.jsonl", &rows(0.5, 1.0), &rows(0.25, 2.0), expected);
        let two = rows(0.5, 1.0) + &rows(1.0, 1.0);
        check(
            "metrics.jsonl",
            &two,
            &rows(0.5, 1.0),
            "line 2: only in the old run",
        );
        check(
            "p.jsonl",
            "{\"a\":[1,2]}\n",
            "{\"a\":[1,3]}\n",
            "line 1: `a.1` was 2, is 3",
        );
        check("p.jsonl", "{\"a\"\n", "{}\n", "line 1");
        let speed = |rate: f64| format!("{{\"tokens_per_second\": {rate}}}");
        check("sft.json", &speed(1.0), &speed(2.0), "same");
        let judge =
            |rate: f64| format!("{{\"win_rate\": {{\"x\": [{rate}]}}, \"seconds\": {rate}}}");
        check(
            "eval.json",
            &judge(1.0),
            &judge(0.5),
            "`win_rate.x.0` was 1, is 0.5",
        );
    }

    #[test]
    fn only_results_are_compared() {
        let old = [
            ("stages.json", "1"),
            ("tensorboard/rl/a", "1"),
            ("sft/step-20/state.json", "1"),
            ("rlhf/config.toml", ""),
            ("rlhf/eval.json", "1"),
            ("a.json", "1"),
        ];
        let new = [("stages.json", "2"), ("sft/model/config.json", "1")];
        let expected = [
            "a.json: only in the old run",
            "sft/model/config.json: only in the new run",
        ];
        assert_eq!(folders(&old, &new), expected);
    }
}
