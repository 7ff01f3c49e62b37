//! The numbers of an experiment: of one seed as they are found, of all seeds as tables.

use serde::{Deserialize, Serialize};

use super::config::{Experiment, MeasureKind};
use crate::eval::stats::{Interval, student_interval};

/// What a number is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// A share, shown in percent.
    Share,
    /// Something else.
    Number,
}

/// One number of one seed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    /// Row of its table.
    pub row: String,
    /// Column.
    pub column: String,
    /// What it is.
    pub unit: Unit,
    /// The number; nothing where there was nothing to count.
    pub value: Option<f64>,
    /// Its 95% interval over what was counted, where it has one.
    pub ci: Option<Interval>,
}

impl Cell {
    /// A share with its interval.
    pub fn share(row: &str, column: &str, value: f64, ci: Option<Interval>) -> Self {
        Self {
            row: row.into(),
            column: column.into(),
            unit: Unit::Share,
            value: Some(value).filter(|value| value.is_finite()),
            ci,
        }
    }

    /// Any other number.
    pub fn number(row: &str, column: &str, value: f64) -> Self {
        Self {
            unit: Unit::Number,
            ..Self::share(row, column, value, None)
        }
    }
}

/// `NAME.json`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outcome {
    /// The experiment's name.
    pub name: String,
    /// What does it again.
    pub command: String,
    /// What was done.
    pub experiment: Experiment,
    /// The seeds.
    pub seeds: Vec<u64>,
    /// A table for each measure, in their order.
    pub tables: Vec<Table>,
}

/// What one measure found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Table {
    /// What was measured.
    pub measure: MeasureKind,
    /// Names of the columns.
    pub columns: Vec<String>,
    /// The rows.
    pub rows: Vec<Row>,
}

/// A row of a table.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// Its name.
    pub name: String,
    /// A number for each column, nothing where no seed has one.
    pub cells: Vec<Option<Mean>>,
}

/// A number over all seeds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Mean {
    /// What it is.
    pub unit: Unit,
    /// Mean over the seeds that have it.
    pub mean: f64,
    /// 95% interval: Student's over the seeds; of a single seed, that of what was counted.
    pub ci: Option<Interval>,
    /// The number of each seed.
    pub seeds: Vec<Option<f64>>,
}

impl Table {
    /// From the cells of each seed; rows and columns come in the order in which they were found.
    pub fn of(measure: MeasureKind, seeds: &[Vec<Cell>]) -> Self {
        let (mut columns, mut rows) = (Vec::<String>::new(), Vec::<String>::new());
        for cell in seeds.iter().flatten() {
            for (names, name) in [(&mut columns, &cell.column), (&mut rows, &cell.row)] {
                if !names.contains(name) {
                    names.push(name.clone());
                }
            }
        }
        let row = |name: &String| {
            let cells = columns.iter().map(|column| {
                let at = |cell: &&Cell| cell.row == *name && cell.column == *column;
                let found: Vec<Option<&Cell>> =
                    seeds.iter().map(|cells| cells.iter().find(at)).collect();
                Mean::of(&found)
            });
            Row {
                name: name.clone(),
                cells: cells.collect(),
            }
        };
        Self {
            rows: rows.iter().map(row).collect(),
            measure,
            columns,
        }
    }
}

impl Mean {
    fn of(found: &[Option<&Cell>]) -> Option<Self> {
        let seeds: Vec<Option<f64>> = found
            .iter()
            .map(|cell| cell.and_then(|cell| cell.value))
            .collect();
        let values: Vec<f64> = seeds.iter().copied().flatten().collect();
        let first = found
            .iter()
            .copied()
            .flatten()
            .find(|cell| cell.value.is_some())?;
        Some(Self {
            unit: first.unit,
            mean: values.iter().sum::<f64>() / values.len() as f64,
            ci: match values.len() {
                1 => first.ci,
                _ => Some(student_interval(&values)),
            },
            seeds,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Of 0.5 and 0.7: mean 0.6, s = 0.141421, half width 12.706205 * 0.1 = 1.2706205.
    #[test]
    fn seeds_are_averaged_and_kept() {
        let ci = Interval {
            low: 0.4,
            high: 0.6,
        };
        let cell = |row: &str, value| Cell::share(row, "c", value, Some(ci));
        let seeds = [vec![cell("a", 0.5), cell("b", 0.25)], vec![cell("a", 0.7)]];
        let table = Table::of(MeasureKind::Labels, &seeds);
        assert_eq!(table.columns, ["c"]);
        let [a, b] = [0, 1].map(|row| table.rows[row].cells[0].clone().unwrap());
        assert_eq!(a.seeds, [Some(0.5), Some(0.7)]);
        assert!((a.mean - 0.6).abs() < 1e-12);
        assert!((a.ci.unwrap().high - 1.870_620_5).abs() < 1e-6, "{a:?}");
        assert_eq!(
            (b.mean, b.ci, b.seeds),
            (0.25, Some(ci), vec![Some(0.25), None])
        );
        let nothing = Table::of(MeasureKind::Labels, &[vec![cell("a", f64::NAN)]]);
        assert_eq!(nothing.rows[0].cells, [None]);
    }
}
