//! What an experiment found: a page in Markdown, the numbers as JSON, one drawing.

use std::fmt::Write;
use std::path::Path;

use super::plot::alone;
use super::points::{Series, lines, rows};
use crate::error::Result;
use crate::eval::stats::Interval;
use crate::experiment::{Mean, MeasureKind, Outcome, Plot, Row, Table, Unit};
use crate::run::RunDir;

const ABSENT: &str = "-";

/// Writes `NAME.md`, `NAME.json` and `NAME.svg`.
///
/// # Errors
/// The folder cannot be written.
pub fn write_experiment(dir: &Path, found: &Outcome) -> Result<()> {
    let (dir, name) = (RunDir::create(dir)?, &found.name);
    dir.write_json(format!("{name}.json"), found)?;
    dir.write_text(format!("{name}.svg"), &alone(&drawing(found)?))?;
    let page = experiment_page(found) + &format!("\n![{name}]({name}.svg)\n");
    dir.write_text(format!("{name}.md"), &page)
}

/// Title, what it is about, and its tables, in Markdown.
pub fn experiment_page(found: &Outcome) -> String {
    let experiment = &found.experiment;
    let mut page = format!("# {}\n\n", experiment.title);
    if !experiment.about.is_empty() {
        page += &format!("{}\n\n", experiment.about.trim());
    }
    let _ = writeln!(
        page,
        "`{}`. {}",
        found.command,
        match found.seeds.len() {
            1 => "95% intervals over what was counted.",
            _ => "Means over seeds [Student's 95% interval over seeds] (each seed).",
        }
    );
    for (table, measure) in found.tables.iter().zip(&experiment.measures) {
        let paper = &measure.paper;
        let head = [caption(table.measure)].into_iter();
        let head = head.chain(table.columns.iter().map(String::as_str));
        let head: Vec<&str> = head.chain((!paper.is_empty()).then_some("paper")).collect();
        let _ = write!(
            page,
            "\n| {} |\n|{}\n",
            head.join(" | "),
            "---|".repeat(head.len())
        );
        for row in &table.rows {
            let name = [row.name.clone()].into_iter();
            let cells = name.chain(row.cells.iter().map(|cell| shown(cell.as_ref())));
            let of_paper = paper.get(&row.name).cloned().unwrap_or_default();
            let cells: Vec<String> = cells
                .chain((!paper.is_empty()).then_some(of_paper))
                .collect();
            let _ = writeln!(page, "| {} |", cells.join(" | "));
        }
    }
    page
}

fn caption(measure: MeasureKind) -> &'static str {
    match measure {
        MeasureKind::Labelers => "labeler, held-out pairs",
        MeasureKind::Labels => "labeler, the policy's pairs",
        MeasureKind::RewardModels => "reward model",
        MeasureKind::Staleness => "pairs of the policy",
        MeasureKind::Policies => "policy",
        MeasureKind::WinRates => "win rate",
    }
}

fn shown(cell: Option<&Mean>) -> String {
    let Some(cell) = cell else {
        return ABSENT.into();
    };
    let number = |value: f64| match cell.unit {
        Unit::Share => format!("{:.1}", 100.0 * value),
        Unit::Number => format!("{value:.3}"),
    };
    let mark = if cell.unit == Unit::Share { "%" } else { "" };
    let mut text = number(cell.mean) + mark;
    if let Some(Interval { low, high }) = cell.ci.filter(|ci| ci.low.is_finite()) {
        let _ = write!(text, " [{}, {}]", number(low), number(high));
    }
    if cell.seeds.len() > 1 {
        let each = cell.seeds.iter();
        let each: Vec<String> = each
            .map(|seed| seed.map_or(ABSENT.into(), number))
            .collect();
        let _ = write!(text, " ({})", each.join(" / "));
    }
    text
}

fn drawing(found: &Outcome) -> Result<String> {
    let plot = &found.experiment.plot;
    let wanted = |table: &&Table| plot.table.is_none_or(|kind| kind == table.measure);
    let Some(table) = found.tables.iter().find(wanted) else {
        return Ok(String::new());
    };
    match (&plot.over, &plot.against) {
        (Some(axis), _) => lines(&over(found, table, plot), [axis, &plot.column]),
        (None, Some(other)) => lines(&scattered(table, plot, other), [other, &plot.column]),
        (None, None) => {
            let points = of_column(table, &plot.column);
            let named = table.rows.iter().zip(points);
            let named = named.filter_map(|(row, y)| Some((row.name.clone(), y?)));
            rows(&named.collect::<Vec<_>>(), &plot.column)
        }
    }
}

/// A value and its interval.
type Point = Option<(f64, Option<Interval>)>;

/// Those of each row.
fn of_column(table: &Table, column: &str) -> Vec<Point> {
    let place = table.columns.iter().position(|name| name == column);
    let cell = |row: &Row| {
        let found = row.cells.get(place?)?.as_ref()?;
        Some((found.mean, found.ci.filter(|ci| ci.low.is_finite())))
    };
    table.rows.iter().map(cell).collect()
}

/// A line for the arms that differ on the axis alone. Rows that are no arm are left out.
fn over(found: &Outcome, table: &Table, plot: &Plot) -> Vec<Series> {
    let arms = found.experiment.all_arms();
    let mut series: Vec<Series> = Vec::new();
    for (row, y) in table.rows.iter().zip(of_column(table, &plot.column)) {
        let arm = arms.iter().find(|arm| arm.name == row.name);
        let Some((arm, (y, ci))) = arm.zip(y) else {
            continue;
        };
        let (name, x) = (&arm.line.0, arm.line.1.unwrap_or(0.0));
        let at = match series.iter().position(|one| one.name == *name) {
            Some(at) => at,
            None => {
                series.push(Series {
                    name: name.clone(),
                    points: Vec::new(),
                });
                series.len() - 1
            }
        };
        series[at].points.push((x, y, ci));
    }
    series
}

fn scattered(table: &Table, plot: &Plot, other: &str) -> Vec<Series> {
    let (x, y) = (of_column(table, other), of_column(table, &plot.column));
    let series = |(row, (x, y)): (&Row, (Point, Point))| {
        let ((x, _), (y, ci)) = x.zip(y)?;
        Some(Series {
            name: row.name.clone(),
            points: vec![(x, y, ci)],
        })
    };
    let both = table.rows.iter().zip(x.into_iter().zip(y));
    both.filter_map(series).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::{Cell, Experiment};

    const FILE: &str = r#"
title = "Sizes"
config = "c.toml"
set = ["rl.steps=2"]
arms = [{ name = "a" }, { name = "b" }]
measures = [{ kind = "labelers", paper = { a-1 = "62.7%" } }]
plot = { column = "both orders", over = "n" }

[[axes]]
name = "n"
levels = [{ name = "1", x = 1 }, { name = "2", x = 2 }]
"#;

    fn outcome(plot: &str) -> Outcome {
        let text = FILE.replace("over = \"n\"", plot);
        let experiment: Experiment = toml::from_str(&text).unwrap();
        let seed = |shift: f64| {
            let cell = |(i, name): (usize, &str)| {
                let both = Cell::share(name, "both orders", 0.5 + shift + 0.1 * i as f64, None);
                [both, Cell::number(name, "length", i as f64)]
            };
            let rows = ["a-1", "a-2", "b-1", "b-2"].into_iter().enumerate();
            rows.flat_map(cell).collect::<Vec<_>>()
        };
        Outcome {
            name: "sizes".into(),
            command: "rlaif experiment sizes".into(),
            seeds: vec![1, 2],
            tables: vec![Table::of(MeasureKind::Labelers, &[seed(0.0), seed(0.1)])],
            experiment,
        }
    }

    // Student's t of one degree of freedom, 12.7062, times 0.05.
    #[test]
    fn the_page_has_every_number() {
        let page = experiment_page(&outcome("over = \"n\""));
        for part in [
            "# Sizes\n",
            "`rlaif experiment sizes`. Means over seeds",
            "\n| labeler, held-out pairs | both orders | length | paper |\n|---|---|---|---|\n",
            "| a-1 | 55.0% [-8.5, 118.5] (50.0 / 60.0) | 0.000 [0.000, 0.000] (0.000 / 0.000) | \
             62.7% |\n",
        ] {
            assert!(page.contains(part), "{part}\n{page}");
        }
    }

    #[test]
    fn every_kind_of_plot_is_drawn() {
        let folder = tempfile::tempdir().unwrap();
        let check = |plot: &str, circles: usize, names: &[&str]| {
            write_experiment(folder.path(), &outcome(plot)).unwrap();
            let svg = std::fs::read_to_string(folder.path().join("sizes.svg")).unwrap();
            assert_eq!(svg.matches("<circle").count(), circles, "{svg}");
            for name in names {
                assert!(svg.contains(&format!("\n{name}\n")), "{name}: {svg}");
            }
            assert!(!svg.contains("NaN"), "{svg}");
        };
        check("over = \"n\"", 4, &["a", "b", "n"]);
        check("against = \"length\"", 4, &["a-1", "b-2", "length"]);
        check("table = \"labelers\"", 4, &["a-1", "b-2", "both orders"]);
        assert!(folder.path().join("sizes.json").is_file());
        let page = std::fs::read_to_string(folder.path().join("sizes.md")).unwrap();
        assert!(page.ends_with("![sizes](sizes.svg)\n"));
    }
}
