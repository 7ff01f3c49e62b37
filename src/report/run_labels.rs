//! What the labels of a run are like, and how far they agree with the truth where it is known.

use minijinja::{Value, context};

use super::figures::reliability;
use super::labels::{bins, labeler, tables};
use super::table::Table;
use super::table_value;
use crate::error::{Error, Result};
use crate::eval::reliability::Bin;
use crate::label::{LabelingReport, report_labels};
use crate::run::RunDir;

/// The labels of a run in numbers: what `report` counted of them, before it what stage `label` found
/// out against the embedded world's truth.
///
/// # Errors
/// `label.json` cannot be read.
pub(crate) fn run_tables(run: &RunDir, report: &LabelingReport) -> Result<Vec<Table>> {
    let truth = truth(&super::json(run, "label.json")?);
    Ok(truth.into_iter().chain(tables(report, None)).collect())
}

/// What there is to say of the labels of a run, `None` without any.
pub(super) fn of_run(run: &RunDir) -> Result<Option<Value>> {
    let path = run.path("preferences.jsonl");
    if !path.is_file() {
        return Ok(None);
    }
    let report = report_labels(&[path], None)?;
    let tables = run_tables(run, &report)?.into_iter().map(table_value);
    let tables: Vec<_> = tables.collect();
    let mut labelers: Vec<Value> = report.labelers.iter().map(labeler).collect::<Result<_>>()?;
    labelers.extend(calibration(run)?);
    Ok(Some(context! { tables, labelers }))
}

/// Whether the labels are right as often as they say, by what stage `label` found out against the
/// truth.
fn calibration(run: &RunDir) -> Result<Option<Value>> {
    let mut found = super::json(run, "label.json")?;
    let table: Option<Vec<Bin>> = serde_json::from_value(found["reliability"].take())
        .map_err(|source| Error::file(run.path("label.json"), source.to_string()))?;
    let Some(table) = table else {
        return Ok(None);
    };
    let figure = context! {
        title => "Calibration",
        note => "share that agrees with the truth by the label's probability; on the line they would be equal",
        svg => Value::from_safe_string(reliability(&table)?),
    };
    let reliability = table_value(bins(&table, "agrees with the truth"));
    let name = "Against the truth";
    Ok(Some(context! { name, figures => [figure], reliability }))
}

/// How far stage `label` agreed with the truth, where it is known.
fn truth(found: &serde_json::Value) -> Option<Table> {
    let percent = |value: &serde_json::Value| value.as_f64().map(|share| 100.0 * share);
    let share = percent(&found["alignment"])?;
    let (low, high) = (percent(&found["ci"][0])?, percent(&found["ci"][1])?);
    let row = |name: &str, cell: String| vec![name.to_string(), cell];
    let mut rows = vec![row(
        "alignment",
        format!("{share:.1}% [{low:.1}, {high:.1}]"),
    )];
    let alone = percent(&found["one_order"]).map(|share| format!("{share:.1}%"));
    rows.extend(alone.map(|cell| row("of a single order", cell)));
    rows.push(row("pairs", found["n"].to_string()));
    for (name, key) in [("calibration error (ECE)", "ece"), ("Brier score", "brier")] {
        let value = found[key].as_f64().map(|value| format!("{value:.3}"));
        rows.extend(value.map(|cell| row(name, cell)));
    }
    Some(Table {
        caption: "Against the truth [95% interval]".into(),
        note: "Pairs that it calls a tie do not count.".into(),
        head: vec!["quantity".into(), "value".into()],
        rows,
    })
}
