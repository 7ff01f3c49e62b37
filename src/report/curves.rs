//! The curves of a run: `metrics.jsonl` of its folder and of the runs inside it, laid over each
//! other, one plot per stage and quantity. Nothing is smoothed.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use minijinja::{Value, context};

use super::plot::{self, Line, MAX_POINTS};
use crate::error::{Error, Result};
use crate::record::JsonlReader;
use crate::run::{Metric, RunDir};

/// Quantities whose names hold one of these words are shown first, in this order; the others wait
/// behind a click.
pub(crate) const FIRST: [&str; 6] = ["scores", "objective/kl", "reward", "kl", "loss", "accuracy"];
/// But not these: flags of the health check, and shares.
pub(crate) const NOT_FIRST: [&str; 2] = ["health/", "frac_"];

struct Run {
    name: String,
    rows: Vec<Metric>,
}

/// The stages with their plots, in the order in which they were logged.
pub(super) fn stages(run: &RunDir) -> Result<Vec<Value>> {
    let runs = runs(run)?;
    let mut names: Vec<&str> = Vec::new();
    for row in runs.iter().flat_map(|run| &run.rows) {
        if !names.contains(&row.stage.as_str()) {
            names.push(&row.stage);
        }
    }
    names.iter().map(|name| stage(&runs, name)).collect()
}

/// The run itself and the runs inside it that have logged something.
fn runs(run: &RunDir) -> Result<Vec<Run>> {
    let mut inner = Vec::new();
    let entries = fs::read_dir(run.root()).map_err(Error::io("read", run.root()))?;
    for entry in entries {
        let path = entry.map_err(Error::io("read", run.root()))?.path();
        let rows = rows(&path.join("metrics.jsonl"))?;
        if !rows.is_empty() {
            let name = super::folder_name(&path);
            inner.push(Run { name, rows });
        }
    }
    inner.sort_by(|a, b| a.name.cmp(&b.name));
    let rows = rows(&run.path("metrics.jsonl"))?;
    // Beside runs with names of their own, the main one goes by the method's name.
    let taken = inner.is_empty() || inner.iter().any(|run| run.name == "rlaif");
    let name = if taken {
        super::folder_name(run.root())
    } else {
        "rlaif".into()
    };
    let main = (!rows.is_empty()).then_some(Run { name, rows });
    Ok(main.into_iter().chain(inner).collect())
}

/// All rows but a torn last one, which a killed run leaves behind; no rows when there is no file.
pub(super) fn rows(path: &Path) -> Result<Vec<Metric>> {
    if !path.is_file() {
        return Ok(Vec::new());
    }
    let mut reader = JsonlReader::<Metric>::open(path)?.peekable();
    let mut rows = Vec::new();
    while let Some(row) = reader.next() {
        match row {
            Ok(row) => rows.push(row),
            Err(_) if reader.peek().is_none() => break,
            Err(error) => return Err(error),
        }
    }
    Ok(rows)
}

fn stage(runs: &[Run], stage: &str) -> Result<Value> {
    let rows_of = |run: &Run| -> Vec<Metric> {
        run.rows
            .iter()
            .filter(|row| row.stage == stage)
            .cloned()
            .collect()
    };
    let runs: Vec<_> = runs
        .iter()
        .map(|run| (run.name.clone(), rows_of(run)))
        .collect();
    let names: BTreeSet<_> = runs
        .iter()
        .flat_map(|(_, rows)| rows.iter().flat_map(|row| row.values.keys()))
        .collect();
    let mut names: Vec<_> = names.into_iter().map(|name| (rank(name), name)).collect();
    names.sort();
    let (first, rest): (Vec<_>, Vec<_>) =
        names.into_iter().partition(|(rank, _)| *rank < FIRST.len());
    let plots = |names: Vec<(usize, &String)>| -> Result<Vec<Value>> {
        names
            .into_iter()
            .map(|(_, name)| plot(&runs, name))
            .collect()
    };
    let legend: Vec<_> = runs
        .iter()
        .enumerate()
        .filter(|(_, (_, rows))| !rows.is_empty())
        .map(|(run_idx, (name, _))| context! { name, color => plot::color(run_idx) })
        .collect();
    Ok(context! { name => stage, legend, first => plots(first)?, rest => plots(rest)? })
}

fn plot(runs: &[(String, Vec<Metric>)], name: &str) -> Result<Value> {
    let mut lines = Vec::new();
    let (mut longest, mut n_lost) = (0, 0);
    for (run_idx, (_, rows)) in runs.iter().enumerate() {
        let logged = rows
            .iter()
            .filter_map(|row| Some((row.step, *row.values.get(name)?)));
        let logged: Vec<_> = logged.collect();
        let points: Vec<_> = logged
            .iter()
            .filter_map(|&(step, value)| Some((step as f64, value?)))
            .collect();
        n_lost += logged.len() - points.len();
        longest = longest.max(points.len());
        lines.push(Line {
            run_idx,
            points: plot::downsample(points),
        });
    }
    let mut notes = Vec::new();
    if longest > MAX_POINTS {
        notes.push(format!(
            "at most {MAX_POINTS} of {longest} points: lowest and highest of each stretch"
        ));
    }
    if n_lost > 0 {
        notes.push(format!("{n_lost} not finite, left out"));
    }
    // The drawing holds numbers only, so it needs no escaping.
    let svg = Value::from_safe_string(plot::svg(&lines)?);
    Ok(context! { name, svg, note => notes.join("; ") })
}

fn rank(name: &str) -> usize {
    let name = name.to_lowercase();
    if NOT_FIRST.iter().any(|start| name.starts_with(start)) {
        return FIRST.len();
    }
    let word = FIRST.iter().position(|word| name.contains(word));
    word.unwrap_or(FIRST.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &Value) -> Vec<String> {
        let plots = list.try_iter().unwrap();
        plots
            .map(|plot| plot.get_attr("name").unwrap().to_string())
            .collect()
    }

    #[test]
    fn runs_are_laid_over_each_other() {
        let root = tempfile::tempdir().unwrap();
        let run = RunDir::create(root.path().join("tiny")).unwrap();
        assert!(stages(&run).unwrap().is_empty());
        let values = [
            ("lr", 0.1),
            ("loss", 2.0),
            ("kl", f64::NAN),
            ("reward", 0.5),
        ];
        run.metrics().unwrap().write("sft", 1, &values).unwrap();
        let alone = stages(&run).unwrap();
        assert_eq!(names(&alone[0].get_attr("legend").unwrap()), ["tiny"]);
        let inner = run.child("rlhf").unwrap();
        inner.metrics().unwrap().write("rl", 1, &values).unwrap();
        let inner = run.child("d_rlaif").unwrap();
        inner.metrics().unwrap().write("sft", 1, &values).unwrap();
        let stages = stages(&run).unwrap();
        assert_eq!(names(&Value::from(stages.clone())), ["sft", "rl"]);
        let part = |name| names(&stages[0].get_attr(name).unwrap());
        assert_eq!(part("legend"), ["rlaif", "d_rlaif"]);
        assert_eq!(part("first"), ["reward", "kl", "loss"]);
        assert_eq!(part("rest"), ["lr"]);
        let kl = stages[1]
            .get_attr("first")
            .unwrap()
            .get_item_by_index(1)
            .unwrap();
        assert_eq!(
            kl.get_attr("note").unwrap().as_str(),
            Some("1 not finite, left out")
        );
    }

    #[test]
    fn only_a_torn_last_row_is_forgiven() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("metrics.jsonl");
        let good = "{\"stage\":\"rl\",\"step\":1,\"time\":0,\"loss\":1}\n";
        for n_good in 0..4 {
            let torn = good.repeat(n_good) + "{\"stage\":";
            fs::write(&path, &torn).unwrap();
            assert_eq!(rows(&path).unwrap().len(), n_good);
            fs::write(&path, format!("{torn}\n{good}")).unwrap();
            assert!(rows(&path).is_err(), "{n_good}");
        }
    }
}
