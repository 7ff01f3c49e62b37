//! A run folder that is watched: what has been found out about its files so far.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::cards::{Card, Kind};
use super::followed::Followed;
use super::index::{Index, Page, Seen};
use super::lines::Lines;
use super::mark::Mark;
use super::verdicts::Verdicts;
use crate::error::{Error, Result};
use crate::label::{LabelTally, LabelerReport};
use crate::record::{Label, Record};
use crate::report;
use crate::run::{Metric, RunDir, jsonl};

/// Bytes of metrics handed out at a time.
const METRICS_AT_ONCE: u64 = 1 << 20;

/// A watched run.
#[derive(Debug)]
pub(super) struct Folder {
    /// Name on the page.
    pub(super) name: String,
    pub(super) path: PathBuf,
    /// By the file's path inside the folder.
    indices: Mutex<BTreeMap<String, Arc<Mutex<Index>>>>,
    labels: Mutex<Labels>,
    verdicts: Mutex<Verdicts>,
    followed: Mutex<Followed>,
}

/// Labels counted so far.
#[derive(Debug)]
struct Labels {
    index: Index,
    tally: LabelTally,
    labeler: Option<String>,
}

/// A part of `metrics.jsonl`.
#[derive(Debug, Serialize)]
pub(super) struct Metrics {
    rows: Vec<Metric>,
    /// Rows that cannot be read.
    n_bad: usize,
    /// Where to go on.
    next: String,
    /// Whether what was handed out before counts no longer.
    anew: bool,
    /// Whether there is more already.
    more: bool,
}

/// Rows for the sample browser.
#[derive(Debug, Serialize)]
pub(super) struct Cards {
    cards: Vec<Card>,
    n_rows: usize,
    whole: bool,
}

/// What `metrics.jsonl` is like from outside.
#[derive(Debug, Serialize)]
pub(super) struct Life {
    /// Its length in bytes.
    metrics_bytes: u64,
    /// Seconds since it was written last.
    idle_secs: Option<f64>,
}

impl Folder {
    pub(super) fn new(name: String, path: PathBuf) -> Self {
        let labels = Labels {
            index: Index::new(path.join(Kind::Preferences.file())),
            tally: LabelTally::default(),
            labeler: None,
        };
        Self {
            name,
            indices: Mutex::default(),
            labels: Mutex::new(labels),
            verdicts: Mutex::new(Verdicts::new(path.join("comparisons.jsonl"))),
            followed: Mutex::new(Followed::new(path.join(Kind::Prompts.file()))),
            path,
        }
    }

    pub(super) fn life(&self) -> Life {
        let metadata = self.path.join("metrics.jsonl").metadata().ok();
        let written = metadata.as_ref().and_then(|found| found.modified().ok());
        let idle = written.map(|at| {
            SystemTime::now()
                .duration_since(at)
                .unwrap_or(Duration::ZERO)
        });
        Life {
            metrics_bytes: metadata.map_or(0, |found| found.len()),
            idle_secs: idle.map(|idle| idle.as_secs_f64()),
        }
    }

    /// The kinds of rows that the folder holds.
    pub(super) fn kinds(&self) -> Vec<Kind> {
        let filled = |path: PathBuf| path.metadata().is_ok_and(|found| found.len() > 0);
        let holds = |kind: &Kind| match kind {
            Kind::Evaluations => report::policies(&self.path).is_ok_and(|found| !found.is_empty()),
            kind => filled(self.path.join(kind.file())),
        };
        Kind::ALL.into_iter().filter(holds).collect()
    }

    /// The metrics after a place.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) fn metrics(&self, after: Mark) -> Result<Metrics> {
        let path = self.path.join("metrics.jsonl");
        let mut found = Metrics {
            rows: Vec::new(),
            n_bad: 0,
            next: Mark::default().to_string(),
            anew: after != Mark::default(),
            more: false,
        };
        if let Some(mut lines) = Lines::open(&path)? {
            let read = found.read(&mut lines, after);
            read.map_err(Error::io("read", &path))?;
        }
        Ok(found)
    }

    /// `n` rows of a kind from row `from` on.
    ///
    /// # Errors
    /// A file cannot be read.
    pub(super) fn cards(&self, kind: Kind, from: usize, n: usize) -> Result<Cards> {
        match kind {
            Kind::Evaluations => return self.evaluations(from, n),
            Kind::Prompts => {
                let mut followed = self.followed.lock().unwrap_or_else(PoisonError::into_inner);
                let (cards, n_rows, whole) = followed.cards(from, n)?;
                return Ok(Cards {
                    cards,
                    n_rows,
                    whole,
                });
            }
            _ => {}
        }
        let Page {
            rows,
            n_rows,
            whole,
        } = self.page(kind.file(), from, n)?;
        let card = |(row, line): (usize, Vec<u8>)| kind.card(row, &line);
        Ok(Cards {
            cards: (from..).zip(rows).map(card).collect(),
            n_rows,
            whole,
        })
    }

    /// What all policies wrote to the same prompts, which are in one order in all files, and what
    /// the judges say of it.
    fn evaluations(&self, from: usize, n: usize) -> Result<Cards> {
        let mut verdicts = self.verdicts.lock().unwrap_or_else(PoisonError::into_inner);
        verdicts.update()?;
        let mut found = Cards {
            cards: Vec::new(),
            n_rows: 0,
            whole: true,
        };
        for policy in report::policies(&self.path)? {
            let page = self.page(&format!("eval/{policy}.jsonl"), from, n)?;
            found.n_rows = found.n_rows.max(page.n_rows);
            found.whole &= page.whole;
            for (i, line) in page.rows.iter().enumerate() {
                match found.cards.get_mut(i) {
                    Some(card) => card.add_policy(&policy, line),
                    None => {
                        let card = Card::of_policy(from + i, (&policy, line), &verdicts);
                        found.cards.push(card);
                    }
                }
            }
        }
        Ok(found)
    }

    fn page(&self, rel: &str, from: usize, n: usize) -> Result<Page> {
        let index = {
            let mut indices = self.indices.lock().unwrap_or_else(PoisonError::into_inner);
            let new = || Arc::new(Mutex::new(Index::new(self.path.join(rel))));
            Arc::clone(indices.entry(rel.into()).or_insert_with(new))
        };
        let mut index = index.lock().unwrap_or_else(PoisonError::into_inner);
        index.page(from, n)
    }

    /// What the labels are like as far as they have been counted, and whether that is all of them;
    /// `None` without labels.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) fn labels(&self) -> Result<(Option<LabelerReport>, bool)> {
        let mut labels = self.labels.lock().unwrap_or_else(PoisonError::into_inner);
        let Labels {
            index,
            tally,
            labeler,
        } = &mut *labels;
        let mut n = index.n_rows();
        let whole = index.update(|seen| match seen {
            Seen::Anew => (*tally, *labeler, n) = (LabelTally::default(), None, 0),
            Seen::Row(line) => {
                n += 1;
                if let Ok(row) = row::<Label>(n, line) {
                    tally.add(&row);
                    *labeler = labeler.take().or(row.preference.labeler);
                }
            }
        })?;
        let name = labeler.clone().unwrap_or_else(|| "labels".into());
        let report = tally.report(name, None);
        Ok(((report.n > 0).then_some(report), whole))
    }

    /// The folder as other rooms read it.
    ///
    /// # Errors
    /// `stages.json` cannot be read.
    pub(super) fn run(&self) -> Result<RunDir> {
        RunDir::open(&self.path)
    }
}

impl Metrics {
    fn read(&mut self, lines: &mut Lines, after: Mark) -> std::io::Result<()> {
        self.anew = !lines.go_to(after)?;
        let (start, mut line) = (lines.offset(), Vec::new());
        while lines.next(&mut line)? {
            match row::<Metric>(1, &line) {
                Ok(row) => self.rows.push(row),
                Err(_) => self.n_bad += 1,
            }
            if lines.offset() - start > METRICS_AT_ONCE {
                self.more = true;
                break;
            }
        }
        self.next = lines.mark()?.to_string();
        Ok(())
    }
}

/// A row of a file, which stands in line `number`; or what is wrong with it.
pub(super) fn row<T: Record>(number: usize, line: &[u8]) -> Result<T, String> {
    let text = jsonl::text(line, number)?.unwrap_or_default();
    jsonl::record(jsonl::object(text)?, number)
}

/// The run folder `path`, and those right inside it.
pub(super) fn runs_of(path: &Path) -> Vec<PathBuf> {
    let entries = path.read_dir().into_iter().flatten().flatten();
    let is_run = |path: &PathBuf| {
        ["metrics.jsonl", "config.toml"]
            .iter()
            .any(|name| path.join(name).is_file())
    };
    let mut inner: Vec<_> = entries.map(|entry| entry.path()).filter(is_run).collect();
    inner.sort();
    inner.insert(0, path.into());
    inner
}
