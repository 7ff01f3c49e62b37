//! What a run's models wrote: completions side by side with what the judges say, and labelled pairs.
//!
//! All of it is foreign text. It leaves here as plain values, which the page escapes.

use std::fs;
use std::path::{Path, PathBuf};

use minijinja::{Value, context};

use super::table;
use crate::error::{Error, Result};
use crate::record::{Comparison, Completion, JsonlReader, Preference, read_jsonl};
use crate::run::RunDir;

const N_PROMPTS: usize = 8;
const N_PREFERENCES: usize = 5;

/// The first prompts with every policy's completion, from `eval/<policy>.jsonl`, and the verdict of
/// each judge, from `comparisons.jsonl`.
pub(super) fn completions(run: &RunDir) -> Result<Option<Value>> {
    let policies = policies(run.root())?;
    let mut rows: Vec<Vec<Completion>> = Vec::new();
    for policy in &policies {
        rows.push(read_jsonl(run.path(format!("eval/{policy}.jsonl")))?);
    }
    let mut prompts: Vec<&Completion> = Vec::new();
    for row in rows.iter().flatten() {
        let known = prompts
            .iter()
            .any(|prompt| prompt.prompt_id == row.prompt_id);
        if !known && prompts.len() < N_PROMPTS {
            prompts.push(row);
        }
    }
    let verdicts = verdicts(run, &prompts)?;
    let judged = verdicts.iter().any(|found| !found.is_empty());
    let cells = |(prompt, verdicts): (&Completion, Vec<[String; 2]>)| {
        let same = |row: &&Completion| row.prompt_id == prompt.prompt_id;
        let answers = rows.iter().zip(&policies).map(|(rows, policy)| {
            let row = rows.iter().filter(same).min_by_key(|row| row.index);
            context! { policy, text => row.map(|row| row.completion.clone()) }
        });
        let answers: Vec<_> = answers.collect();
        context! { prompt => prompt.prompt.transcript(), answers, verdicts }
    };
    let prompts: Vec<_> = prompts.into_iter().zip(verdicts).map(cells).collect();
    Ok((!prompts.is_empty()).then(|| context! { policies, prompts, judged }))
}

/// What the judges say of each of these prompts.
fn verdicts(run: &RunDir, prompts: &[&Completion]) -> Result<Vec<Vec<[String; 2]>>> {
    let mut found = vec![Vec::new(); prompts.len()];
    let path = run.path("comparisons.jsonl");
    if path.is_file() {
        for row in JsonlReader::<Comparison>::open(path)? {
            let row = row?;
            let of = |prompt: &&Completion| prompt.prompt_id == row.prompt_id;
            if let Some(i) = prompts.iter().position(of) {
                found[i].push(verdict(&row));
            }
        }
    }
    Ok(found)
}

/// A judge, and what it says of a pair of completions.
pub(crate) fn verdict(row: &Comparison) -> [String; 2] {
    let Comparison { a, b, p_win, .. } = row;
    let said = match p_win {
        0.5 => format!("{a} and {b} are equal"),
        p if *p > 0.5 => format!("{a} over {b}, {p:.3}"),
        p => format!("{b} over {a}, {:.3}", 1.0 - p),
    };
    [row.judge.clone(), said]
}

/// The first labelled pairs of `preferences.jsonl`.
pub(super) fn preferences(run: &RunDir) -> Result<Vec<Value>> {
    let path = run.path("preferences.jsonl");
    if !path.is_file() {
        return Ok(Vec::new());
    }
    let rows = JsonlReader::<Preference>::open(path)?.take(N_PREFERENCES);
    let probability = |p: f32| format!("{p:.3}");
    let pair = |row: Preference| {
        context! {
            prompt => row.prompt.transcript(),
            chosen => row.chosen.text,
            rejected => row.rejected.text,
            p_chosen => probability(row.p_chosen),
            p_first => row.p_first.map(probability),
            p_second => row.p_second.map(probability),
            labeler => row.labeler,
            rationales => row.rationales,
        }
    };
    rows.map(|row| row.map(pair)).collect()
}

/// Names of the policies that have a file in `eval/` of a run folder.
pub(crate) fn policies(root: &Path) -> Result<Vec<String>> {
    let folder = root.join("eval");
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder).map_err(Error::io("read", &folder))? {
        let path: PathBuf = entry.map_err(Error::io("read", &folder))?.path();
        let is_rows = path.extension().is_some_and(|end| end == "jsonl");
        if let Some(name) = path
            .file_stem()
            .and_then(|name| name.to_str())
            .filter(|_| is_rows)
        {
            names.push(name.to_string());
        }
    }
    table::sort_names(&mut names);
    Ok(names)
}
