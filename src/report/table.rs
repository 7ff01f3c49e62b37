//! The tables of a summary. Each is made once, for the page and for the console alike.
//!
//! A summary is whatever JSON the evaluation wrote: every part may be missing, and names of
//! policies, judges and labelers that are unknown here follow the known ones in alphabetical order.

use std::collections::BTreeSet;
use std::iter;

use serde::Serialize;
use serde_json::Value;

use super::paper::{self, PaperTask};

/// Known names in the order to show them in, the pairs and labelers of [`paper`] aside.
const ORDER: [&str; 17] = [
    "oracle",
    "labeler",
    "mean_length",
    "hallucination_rate",
    "coverage",
    "fluency",
    "harmless_rate",
    "sft",
    "sample",
    "label",
    "reward",
    "rlaif",
    "d_rlaif",
    "rlhf",
    "eval",
    "generate",
    "train",
];

const ABSENT: &str = "-";

/// A table of texts; the first column names the rows.
#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct Table {
    pub(super) caption: String,
    /// What has to be known to read it; may be empty.
    pub(super) note: String,
    pub(super) head: Vec<String>,
    pub(super) rows: Vec<Vec<String>>,
}

/// The tables of a summary as plain text with aligned columns, for a terminal.
pub fn table(summary: &Value) -> String {
    let texts: Vec<_> = tables(summary).iter().map(plain).collect();
    texts.join("\n")
}

/// The tables that the summary has numbers for.
pub(super) fn tables(summary: &Value) -> Vec<Table> {
    let task = PaperTask::of(summary["task"].as_str());
    let tables = [
        win_rates(&summary["win_rate"], task),
        policies(&summary["policies"], task),
        labelers(&summary["labeler"]),
        reward_model(&summary["reward_model"]),
        cost(summary),
    ];
    tables
        .into_iter()
        .filter(|table| !table.rows.is_empty())
        .collect()
}

/// Sorts names: known ones first and in their order, the others by the alphabet.
pub(super) fn sort_names<T: AsRef<str>>(names: &mut [T]) {
    let rank = |name: &str| {
        let mut known = ORDER.into_iter().chain(paper::order());
        known.position(|other| other == name).unwrap_or(usize::MAX)
    };
    names.sort_by_key(|name| (rank(name.as_ref()), name.as_ref().to_string()));
}

fn win_rates(judges: &Value, task: PaperTask) -> Table {
    let names = keys([judges]);
    let pairs = keys(names.iter().map(|judge| &judges[judge]));
    let cells = |pair: &String| {
        let ours = names.iter().map(|judge| {
            let pair = &judges[judge][pair];
            rate(&pair["rate"], &pair["ci"], &pair["length_controlled"])
        });
        let paper = paper::win_rate(task, pair).map_or(ABSENT.to_string(), |paper| {
            let controlled = paper
                .length_controlled
                .map(|rate| format!(" ({:.0})", 100.0 * rate));
            format!(
                "{:.0}%{}",
                100.0 * paper.rate,
                controlled.unwrap_or_default()
            )
        });
        let name = iter::once(pair.replace("_vs_", " vs "));
        name.chain(ours).chain([paper]).collect()
    };
    let sizes: BTreeSet<u64> = names
        .iter()
        .flat_map(|judge| pairs.iter().map(move |pair| &judges[judge][pair]["n"]))
        .filter_map(Value::as_u64)
        .collect();
    let size = match (sizes.first(), sizes.last()) {
        (Some(low), Some(high)) if low == high => format!("; {low} prompts"),
        (Some(low), Some(high)) => format!("; {low} to {high} prompts"),
        _ => String::new(),
    };
    Table {
        caption: format!("Win rate [95% interval] (length-controlled) by judge{size}"),
        note: format!(
            "Paper: Lee et al. 2023, arXiv:2309.00267, Table 1, {}: other models and data, people as \
             judges.",
            task.name()
        ),
        head: iter::once("comparison".to_string())
            .chain(names.iter().cloned())
            .chain(["paper".to_string()])
            .collect(),
        rows: pairs.iter().map(cells).collect(),
    }
}

fn policies(policies: &Value, task: PaperTask) -> Table {
    let names = keys([policies]);
    let of_paper = |name: &String| {
        let percent = |rate: f64| format!("{:.0}%", 100.0 * rate);
        paper::harmless_rate(name).map_or(ABSENT.to_string(), percent)
    };
    let is_harmless = task == PaperTask::Harmless;
    let columns = keys(names.iter().map(|name| &policies[name]));
    let cells = |name: &String| {
        let numbers = columns
            .iter()
            .map(|column| quantity(column, &policies[name][column]));
        let paper = is_harmless.then(|| of_paper(name));
        iter::once(name.clone())
            .chain(numbers)
            .chain(paper)
            .collect()
    };
    Table {
        caption: "Policies: means over their completions".into(),
        note: String::new(),
        head: iter::once("policy".to_string())
            .chain(columns.iter().map(|column| spaced(column)))
            .chain(is_harmless.then(|| "paper: harmless rate".to_string()))
            .collect(),
        rows: names.iter().map(cells).collect(),
    }
}

fn labelers(labelers: &Value) -> Table {
    let cells = |name: &String| {
        let ours = &labelers[name];
        let paper = paper::labeler(name);
        let of_paper = |part: fn(&paper::PaperLabeler) -> f64| {
            let percent = |row| format!("{:.1}%", 100.0 * part(&row));
            paper.map_or(ABSENT.to_string(), percent)
        };
        vec![
            name.clone(),
            rate(&ours["alignment"], &ours["ci"], &Value::Null),
            rate(&ours["same_position"], &Value::Null, &Value::Null),
            rate(&ours["policy_alignment"], &ours["policy_ci"], &Value::Null),
            paper.map_or(ABSENT, |row| row.model).to_string(),
            of_paper(|row| row.alignment),
            of_paper(|row| row.same_position),
        ]
    };
    let head = [
        "labeler",
        "alignment",
        "same position",
        "on the policy's pairs",
        "paper",
        "paper alignment",
        "paper same position",
    ];
    Table {
        caption: "Labelers: agreement with the preferred order [95% interval], and how often the \
                  position decides"
            .into(),
        note: "Paper: the labeler of the same rank by size, Tables 3 and 4, summarization: other \
               models and data."
            .into(),
        head: head.map(String::from).to_vec(),
        rows: keys([labelers]).iter().map(cells).collect(),
    }
}

fn reward_model(model: &Value) -> Table {
    let mut rows = Vec::new();
    if model["accuracy"].is_number() {
        let accuracy = rate(&model["accuracy"], &model["ci"], &Value::Null);
        rows.push(vec!["accuracy".to_string(), accuracy]);
    }
    let numbers = [
        ("longer_chosen", "of one that knows only lengths"),
        ("length_correlation", "correlation with length"),
        ("ece", "calibration error"),
    ];
    for (key, name) in numbers {
        let value = &model[key];
        let cell = match key {
            "longer_chosen" => rate(value, &Value::Null, &Value::Null),
            _ => quantity("", value),
        };
        rows.extend(value.is_number().then(|| vec![name.to_string(), cell]));
    }
    for bin in model["reliability"].as_array().into_iter().flatten() {
        let percent = |key: &str| rate(&bin[key], &Value::Null, &Value::Null);
        let name = format!("right where it says {}", percent("confidence"));
        rows.push(vec![
            name,
            format!("{} of {}", percent("accuracy"), bin["n"]),
        ]);
    }
    Table {
        caption: "Reward model, on pairs it was not trained on [95% interval]".into(),
        note: String::new(),
        head: vec!["quantity".into(), "value".into()],
        rows,
    }
}

fn cost(summary: &Value) -> Table {
    let stages = &summary["seconds"];
    let speeds = &summary["tokens_per_second"];
    let row = |name: String, value: &Value, unit: &str| {
        let value = value.as_f64()?;
        Some(vec![name, format!("{value:.1} {unit}")])
    };
    // The total is last whatever the stages are called.
    let (totals, names): (Vec<_>, Vec<_>) =
        keys([stages]).into_iter().partition(|key| key == "total");
    let mut rows: Vec<_> = names
        .iter()
        .chain(&totals)
        .filter_map(|name| row(name.clone(), &stages[name], "s"))
        .collect();
    for name in keys([speeds]) {
        rows.extend(row(format!("speed: {name}"), &speeds[&name], "tokens/s"));
    }
    rows.extend(row("peak memory".into(), &summary["peak_memory_mb"], "MB"));
    Table {
        caption: "Time and memory".into(),
        note: String::new(),
        head: vec!["stage".into(), "value".into()],
        rows,
    }
}

/// The keys of all objects, each once, sorted.
fn keys<'a>(objects: impl IntoIterator<Item = &'a Value>) -> Vec<String> {
    let objects = objects.into_iter().filter_map(Value::as_object);
    let names: BTreeSet<_> = objects.flat_map(|object| object.keys().cloned()).collect();
    let mut names: Vec<_> = names.into_iter().collect();
    sort_names(&mut names);
    names
}

/// `71.0% [68.2, 73.9] (59.1)`, without the parts that are no numbers.
fn rate(rate: &Value, interval: &Value, length_controlled: &Value) -> String {
    let hundred = |value: &Value| value.as_f64().map(|value| format!("{:.1}", 100.0 * value));
    let Some(mut text) = hundred(rate).map(|rate| rate + "%") else {
        return ABSENT.into();
    };
    if let (Some(low), Some(high)) = (hundred(&interval[0]), hundred(&interval[1])) {
        text += &format!(" [{low}, {high}]");
    }
    if let Some(controlled) = hundred(length_controlled) {
        text += &format!(" ({controlled})");
    }
    text
}

fn quantity(name: &str, value: &Value) -> String {
    match value.as_f64() {
        None => ABSENT.into(),
        Some(value) if name.ends_with("_rate") => format!("{:.1}%", 100.0 * value),
        Some(value) if name.contains("length") => format!("{value:.1}"),
        Some(value) => format!("{value:.3}"),
    }
}

fn spaced(name: &str) -> String {
    name.replace('_', " ")
}

/// Names to the left, numbers to the right.
pub(super) fn plain(table: &Table) -> String {
    let lines: Vec<_> = iter::once(&table.head).chain(&table.rows).collect();
    let width = |column: usize| {
        let cells = lines.iter().filter_map(|line| line.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<_> = (0..table.head.len()).map(width).collect();
    let mut text = table.caption.clone() + "\n";
    for line in lines {
        for (column, (cell, &width)) in line.iter().zip(&widths).enumerate() {
            match column {
                0 => text += &format!("{cell:<width$}"),
                _ => text += &format!("  {cell:>width$}"),
            }
        }
        text += "\n";
    }
    if !table.note.is_empty() {
        text += &format!("{}\n", table.note);
    }
    text
}

#[cfg(test)]
mod tests;
