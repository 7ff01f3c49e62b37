//! `metrics.jsonl`: the numbers that the stages log, one row per step, flushed as they come; the
//! same for TensorBoard in `tensorboard/`, a folder per stage.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::jsonl;
use super::tensorboard::EventFile;
use crate::error::{Error, Result};
use crate::record::Record;

/// The numbers that one step of a stage logged: a row of `metrics.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Metric {
    /// Name of the stage.
    pub stage: String,
    /// Step within the stage.
    pub step: usize,
    /// Seconds since the log was opened.
    pub time: f64,
    /// Value of each quantity; `None` (in the file: `null`) where it was not a finite number.
    #[serde(flatten)]
    pub values: BTreeMap<String, Option<f64>>,
}

impl Record for Metric {}

/// The open `metrics.jsonl` of a run.
#[derive(Debug)]
pub struct MetricsLog {
    path: PathBuf,
    file: File,
    opened: Instant,
    /// The event file of each stage that has written.
    events: BTreeMap<String, EventFile>,
}

impl MetricsLog {
    /// Opens the file, without a last row that a killed process left unfinished.
    pub(super) fn append_to(path: PathBuf) -> Result<Self> {
        let mut file = appending(&path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)
            .map_err(Error::io("read", &path))?;
        let whole = bytes
            .iter()
            .rposition(|&byte| byte == b'\n')
            .map_or(0, |end| end + 1);
        if whole < bytes.len() {
            file.set_len(whole as u64)
                .map_err(Error::io("write", &path))?;
        }
        Ok(Self {
            path,
            file,
            opened: Instant::now(),
            events: BTreeMap::new(),
        })
    }

    /// Starts a stage from its beginning: drops the rows of an earlier attempt.
    pub fn open(&mut self, stage: &str) -> Result<()> {
        self.retain(|row| row.stage != stage)?;
        self.start_events(stage, 1)
    }

    /// Goes on with a stage after `step`: drops its later rows, which will be logged again.
    pub fn resume(&mut self, stage: &str, step: usize) -> Result<()> {
        self.retain(|row| row.stage != stage || row.step <= step)?;
        self.start_events(stage, step + 1)
    }

    /// Appends a row. Values that are not finite are written as `null`; no value may be named
    /// `stage`, `step` or `time`.
    pub fn write(&mut self, stage: &str, step: usize, values: &[(&str, f64)]) -> Result<()> {
        let number = |value: f64| value.is_finite().then_some(value);
        let row = Metric {
            stage: stage.to_string(),
            step,
            // Milliseconds are as fine as a step's time means anything.
            time: (self.opened.elapsed().as_secs_f64() * 1e3).round() / 1e3,
            values: values
                .iter()
                .map(|&(name, value)| (name.to_string(), number(value)))
                .collect(),
        };
        let line =
            jsonl::to_line(&row).map_err(|source| Error::file(&self.path, source.to_string()))?;
        // A `File` is not buffered, so the row is out when this returns.
        self.file
            .write_all(line.as_bytes())
            .map_err(Error::io("write", &self.path))?;
        if !self.events.contains_key(stage) {
            self.start_events(stage, step)?;
        }
        (self.events.get_mut(stage)).map_or(Ok(()), |events| events.write(step, values))
    }

    /// Starts an event file for the steps of `stage` from `first_step` on; those in older files
    /// count no longer.
    fn start_events(&mut self, stage: &str, first_step: usize) -> Result<()> {
        let folder = self.path.with_file_name("tensorboard").join(stage);
        let events = EventFile::create(&folder, first_step)?;
        self.events.insert(stage.into(), events);
        Ok(())
    }

    fn retain(&mut self, keep: impl Fn(&Metric) -> bool) -> Result<()> {
        let mut rows = jsonl::read_jsonl::<Metric>(&self.path)?;
        let n_rows = rows.len();
        rows.retain(keep);
        if rows.len() < n_rows {
            jsonl::write_jsonl(&self.path, &rows)?;
            // The rename left the old handle on a file without a name.
            self.file = appending(&self.path)?;
        }
        Ok(())
    }
}

fn appending(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    options
        .read(true)
        .append(true)
        .create(true)
        .open(path)
        .map_err(Error::io("write", path))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn steps(path: &Path) -> Vec<(String, usize)> {
        let rows = jsonl::read_jsonl::<Metric>(path).unwrap();
        rows.into_iter().map(|row| (row.stage, row.step)).collect()
    }

    #[test]
    fn rows_are_plain_json() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("metrics.jsonl");
        let mut log = MetricsLog::append_to(path.clone()).unwrap();
        log.write(
            "rl",
            3,
            &[("loss", 0.1), ("kl", f64::NAN), ("lr", f64::INFINITY)],
        )
        .unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert!(
            text.starts_with(r#"{"stage":"rl","step":3,"time":0"#),
            "{text}"
        );
        assert!(
            text.ends_with(",\"kl\":null,\"loss\":0.1,\"lr\":null}\n"),
            "{text}"
        );
        let row = &jsonl::read_jsonl::<Metric>(&path).unwrap()[0];
        assert_eq!((row.values["loss"], row.values["kl"]), (Some(0.1), None));
    }

    #[test]
    fn a_stage_restarts_and_resumes() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("metrics.jsonl");
        let mut log = MetricsLog::append_to(path.clone()).unwrap();
        for (stage, step) in [("sft", 1), ("rl", 1), ("rl", 2), ("rl", 3)] {
            log.write(stage, step, &[]).unwrap();
        }
        drop(log);
        // Killed in the middle of a row.
        let whole = fs::read_to_string(&path).unwrap();
        fs::write(&path, format!("{whole}{{\"stage\":\"rl\",\"st")).unwrap();
        let mut log = MetricsLog::append_to(path.clone()).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), whole);
        let row = |stage: &str, step| (stage.to_string(), step);
        log.resume("rl", 2).unwrap();
        assert_eq!(steps(&path), [row("sft", 1), row("rl", 1), row("rl", 2)]);
        log.open("rl").unwrap();
        log.write("rl", 1, &[]).unwrap();
        assert_eq!(steps(&path), [row("sft", 1), row("rl", 1)]);
    }
}
