//! A report on labels as tables for a terminal, and as a page with drawings.

use std::path::Path;

use minijinja::{Value, context};

use super::figures::{Bar, Bars, bars, reliability};
use super::table::{self, Table};
use super::{STYLE, render, table_value};
use crate::error::{Error, Result};
use crate::eval::reliability::Bin;
use crate::label::{LabelRun, LabelerReport, LabelingReport, Rate};
use crate::run::RunDir;

const PAGE: &str = include_str!("labels.html");
const ABSENT: &str = "-";

/// Writes `label_report.json` and `label_report.html` into a folder, which it makes if need be.
///
/// `run` is the labeling that has just been done, if any: how fast it was.
///
/// # Errors
/// The folder cannot be written.
pub fn write_labels(dir: &Path, report: &LabelingReport, run: Option<&LabelRun>) -> Result<()> {
    let dir = RunDir::create(dir)?;
    let json = serde_json::json!({ "report": report, "run": run });
    dir.write_json("label_report.json", &json)?;
    let html = page(report, run)?;
    dir.write_text("label_report.html", &html)
}

/// The report as plain text with aligned columns, for a terminal.
pub fn labels_table(report: &LabelingReport, run: Option<&LabelRun>) -> String {
    let texts: Vec<_> = tables(report, run).iter().map(table::plain).collect();
    texts.join("\n")
}

fn page(report: &LabelingReport, run: Option<&LabelRun>) -> Result<String> {
    let labelers: Vec<Value> = report.labelers.iter().map(labeler).collect::<Result<_>>()?;
    let tables = tables(report, run).into_iter().map(table_value);
    let page = context! {
        style => Value::from_safe_string(STYLE.into()),
        tables => tables.collect::<Vec<_>>(),
        labelers,
    };
    render("labels.html", PAGE, page)
        .map_err(|source| Error::file("label_report.html", source.to_string()))
}

/// One labeler's drawings and its reliability table.
pub(super) fn labeler(one: &LabelerReport) -> Result<Value> {
    // The drawings hold numbers and words of this file only, so they need no escaping.
    let figure = |title: &str, note: &str, svg: String| {
        context! { title, note, svg => Value::from_safe_string(svg) }
    };
    let mut figures = Vec::new();
    if let Some(gold) = &one.gold {
        let svg = reliability(&gold.calibration)?;
        let note = "share that agrees with gold by the label's probability; on the line they would be equal";
        figures.push(figure("Calibration", note, svg));
        let rates = [gold.alignment, gold.better_first, gold.better_second];
        let orders = Bars {
            names: ["both", "better first", "second"].map(String::from).into(),
            series: vec![rates.iter().map(bar).collect()],
            top: Some(1.0),
            level: Some(0.5),
        };
        let note = "share that agrees with gold, from both orders and from each alone";
        figures.push(figure("Alignment by order", note, bars(&orders)?));
    }
    let count = |n: &usize| {
        Some(Bar {
            value: *n as f64,
            interval: None,
        })
    };
    let n_bins = one.confidence.len();
    let edge = |i: usize| format!(".{:.0}", 50.0 + 50.0 * i as f64 / n_bins as f64);
    let confidence = Bars {
        names: (0..n_bins)
            .map(|i| if i % 2 == 0 { edge(i) } else { String::new() })
            .collect(),
        series: vec![one.confidence.iter().map(count).collect()],
        top: None,
        level: None,
    };
    figures.push(figure(
        "Confidence",
        "labels by their probability",
        bars(&confidence)?,
    ));
    figures.push(figure(
        "Longer answer wins",
        if one.gold.is_some() {
            "by how many times as long it is; blue the labeler, red gold"
        } else {
            "by how many times as long it is"
        },
        bars(&lengths(one))?,
    ));
    let table = |gold: &crate::label::GoldReport| bins(&gold.calibration, "agrees with gold");
    let reliability = one.gold.as_ref().map(|gold| table_value(table(gold)));
    Ok(context! { name => one.name.clone(), figures, reliability })
}

fn lengths(one: &LabelerReport) -> Bars {
    let bins = &one.length.by_ratio;
    let name = |bin: &crate::label::RatioBin| match bin.high {
        Some(high) => format!("{}-{high}", bin.low),
        None => format!("{}+", bin.low),
    };
    let mut series = vec![bins.iter().map(|bin| bar(&bin.longer_wins)).collect()];
    if one.gold.is_some() {
        series.push(bins.iter().map(|bin| bar(&bin.gold_longer_wins)).collect());
    }
    Bars {
        names: bins.iter().map(name).collect(),
        series,
        top: Some(1.0),
        level: Some(0.5),
    }
}

fn bar(rate: &Rate) -> Option<Bar> {
    Some(Bar {
        value: rate.rate?,
        interval: Some((rate.ci.low, rate.ci.high)),
    })
}

/// A reliability table; `agrees` heads the share that is right.
pub(super) fn bins(table: &[Bin], agrees: &str) -> Table {
    let row = |bin: &Bin| {
        let number = |value: Option<f64>| value.map_or(ABSENT.into(), |x| format!("{x:.3}"));
        let range = format!("{:.2} to {:.2}", bin.low, bin.high);
        vec![
            range,
            bin.n.to_string(),
            number(bin.confidence),
            number(bin.accuracy),
        ]
    };
    Table {
        caption: "Reliability".into(),
        note: String::new(),
        head: ["probability", "labels", "mean", agrees]
            .map(String::from)
            .into(),
        rows: table.iter().map(row).collect(),
    }
}

pub(super) fn tables(report: &LabelingReport, run: Option<&LabelRun>) -> Vec<Table> {
    let names = report.labelers.iter().map(|one| one.name.clone());
    let head: Vec<String> = std::iter::once(String::new()).chain(names).collect();
    let table = |caption: &str, note: &str, rows: Vec<(&str, Vec<Option<String>>)>| {
        let shown = rows
            .into_iter()
            .filter(|(_, cells)| cells.iter().any(Option::is_some));
        let row = |(name, cells): (&str, Vec<Option<String>>)| {
            let cells = cells
                .into_iter()
                .map(|cell| cell.unwrap_or_else(|| ABSENT.into()));
            std::iter::once(name.to_string()).chain(cells).collect()
        };
        Table {
            caption: caption.into(),
            note: note.into(),
            head: head.clone(),
            rows: shown.map(row).collect(),
        }
    };
    let all = |cell: &dyn Fn(&LabelerReport) -> Option<String>| {
        report.labelers.iter().map(cell).collect::<Vec<_>>()
    };
    let mut tables = vec![
        table("Labels", "", counts(&all)),
        table(
            "Against gold labels [95% interval]",
            "Ties of the labeler count half; pairs that gold calls a tie do not count.",
            gold(&all),
        ),
        table(
            "Biases [95% interval]",
            "The same position wins: the verdict turns with the order. Lengths in characters.",
            biases(&all),
        ),
        agreements(report),
    ];
    tables.extend(run.map(speed));
    tables.retain(|table| !table.rows.is_empty());
    tables
}

type All<'a> = dyn Fn(&dyn Fn(&LabelerReport) -> Option<String>) -> Vec<Option<String>> + 'a;
type Rows = Vec<(&'static str, Vec<Option<String>>)>;

fn counts(all: &All) -> Rows {
    let failures = |one: &LabelerReport| {
        let kinds = one
            .no_verdict
            .iter()
            .map(|(kind, n)| format!("{n} {}", kind.replace('_', " ")));
        (!one.no_verdict.is_empty()).then(|| kinds.collect::<Vec<_>>().join(", "))
    };
    let tokens = |one: &LabelerReport| {
        let [read, written] = one.tokens;
        (read + written > 0).then(|| format!("{read} + {written}"))
    };
    vec![
        ("labels", all(&|one| Some(one.n.to_string()))),
        ("ties", all(&|one| Some(one.n_ties.to_string()))),
        (
            "read from text",
            all(&|one| (one.n_from_text > 0).then(|| one.n_from_text.to_string())),
        ),
        ("no verdict", all(&failures)),
        ("tokens read + written", all(&tokens)),
        (
            "cost",
            all(&|one| one.cost_usd.map(|cost| format!("${cost:.2}"))),
        ),
    ]
}

fn gold(all: &All) -> Rows {
    vec![
        (
            "alignment",
            all(&|one| percent(&one.gold.as_ref()?.alignment)),
        ),
        (
            "better one shown first",
            all(&|one| percent(&one.gold.as_ref()?.better_first)),
        ),
        (
            "better one shown second",
            all(&|one| percent(&one.gold.as_ref()?.better_second)),
        ),
        (
            "pairs",
            all(&|one| Some(one.gold.as_ref()?.alignment.n.to_string())),
        ),
        (
            "calibration error (ECE)",
            all(&|one| Some(format!("{:.3}", one.gold.as_ref()?.ece?))),
        ),
        (
            "Brier score",
            all(&|one| Some(format!("{:.3}", one.gold.as_ref()?.brier?))),
        ),
    ]
}

fn biases(all: &All) -> Rows {
    let p_value = |one: &LabelerReport| Some(probability(one.position.as_ref()?.p_value));
    let mean = |one: &LabelerReport| Some(format!("{:.3}", one.position.as_ref()?.mean_p_first));
    vec![
        (
            "same position wins",
            all(&|one| percent(&one.position.as_ref()?.same_position)),
        ),
        (
            "of those, the first",
            all(&|one| percent(&one.position.as_ref()?.first)),
        ),
        ("p of that by chance", all(&p_value)),
        ("mean probability of the first", all(&mean)),
        (
            "longer answer wins",
            all(&|one| percent(&one.length.longer_wins)),
        ),
        (
            "the same of gold",
            all(&|one| percent(&one.length.gold_longer_wins?)),
        ),
        (
            "correlation with length",
            all(&|one| Some(format!("{:+.3}", one.length.correlation?))),
        ),
    ]
}

fn agreements(report: &LabelingReport) -> Table {
    let row = |one: &crate::label::LabelerAgreement| {
        vec![
            format!("{} and {}", one.a, one.b),
            percent(&one.agreed).unwrap_or_else(|| ABSENT.into()),
            one.kappa
                .map_or(ABSENT.into(), |kappa| format!("{kappa:.3}")),
            one.agreed.n.to_string(),
        ]
    };
    Table {
        caption: "Agreement between labelers [95% interval]".into(),
        note: "Cohen's kappa: 1 is full agreement, 0 what chance gives.".into(),
        head: ["labelers", "agree", "kappa", "pairs"]
            .map(String::from)
            .into(),
        rows: report.agreements.iter().map(row).collect(),
    }
}

fn speed(run: &LabelRun) -> Table {
    let rate = (run.n_labels + run.n_unlabeled) as f64 / run.seconds.max(f64::MIN_POSITIVE);
    let row = |name: &str, cell: String| vec![name.to_string(), cell];
    let mut rows = vec![
        row("pairs of the input", run.n_pairs.to_string()),
        row("labeled before", run.n_before.to_string()),
        row("labels", run.n_labels.to_string()),
        row("no verdict", run.n_unlabeled.to_string()),
        row("rows left out", run.n_bad.to_string()),
        row("pairs of equal answers", run.n_equal.to_string()),
    ];
    if run.n_labels + run.n_unlabeled > 0 {
        rows.push(row("seconds", format!("{:.1}", run.seconds)));
        rows.push(row("pairs a second", format!("{rate:.1}")));
        rows.push(row("answered from cache", run.usage.cached.to_string()));
    }
    Table {
        caption: "This labeling".into(),
        note: String::new(),
        head: vec![String::new(), String::new()],
        rows,
    }
}

fn percent(rate: &Rate) -> Option<String> {
    let share = 100.0 * rate.rate?;
    let (low, high) = (100.0 * rate.ci.low, 100.0 * rate.ci.high);
    Some(format!("{share:.1}% [{low:.1}, {high:.1}]"))
}

fn probability(p: f64) -> String {
    if p < 0.001 {
        format!("{p:.1e}")
    } else {
        format!("{p:.3}")
    }
}
