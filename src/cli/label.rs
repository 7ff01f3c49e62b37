//! `rlaif label`: the stage of a run, a file of pairs, a report on labels.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{ArgGroup, Args};

use super::screen::ScreenArg;
use super::{Stage, print};
use crate::backend::Backend;
use crate::error::Result;
use crate::label::{LabelFile, LabelRun, LabelingConfig, Prices, Shard, label_file, report_labels};
use crate::pipeline::Pipeline;
use crate::precision::Precision;
use crate::record::rows::OnError;
use crate::record::{Pairing, Transcripts};
use crate::report;

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("what").required(true).multiple(true).args(["run", "input", "labels"]))]
#[command(group = ArgGroup::new("who").args(["config", "labeler"]))]
pub(super) struct Label {
    /// Run file; for a file of pairs, one with a table `labeler` is enough.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Run folder whose completions are labeled.
    #[arg(long, value_name = "DIR", requires = "config", conflicts_with_all = ["input", "labels"])]
    run: Option<PathBuf>,
    /// File of pairs to be labeled: JSONL, JSON, CSV or Parquet in the layouts of the field.
    #[arg(long, value_name = "FILE", requires_all = ["output", "who"])]
    input: Option<PathBuf>,
    /// Where the labels go; an unfinished file is gone on with.
    #[arg(long, value_name = "FILE", requires = "input")]
    output: Option<PathBuf>,
    /// Folder of the model that labels, instead of a run file.
    #[arg(long, value_name = "MODEL")]
    labeler: Option<PathBuf>,
    /// Number format of its weights and activations.
    #[arg(long, value_enum, requires = "labeler")]
    dtype: Option<Precision>,
    /// What it is asked: a built-in prompt or a TOML file.
    #[arg(long, value_name = "PROMPT", requires = "labeler")]
    prompt: Option<String>,
    /// Label one part of the pairs, such as 3/16.
    #[arg(long, value_name = "PART/PARTS", requires = "input")]
    shard: Option<Shard>,
    /// Pairs that are asked at once.
    #[arg(long, requires = "input")]
    batch: Option<usize>,
    /// What happens to rows that cannot be used.
    #[arg(long, value_enum, requires = "input")]
    on_error: Option<OnError>,
    /// What HH transcripts become.
    #[arg(long, value_enum, requires = "input")]
    transcripts: Option<Transcripts>,
    /// Which of several scored completions meet.
    #[arg(long, value_enum, requires = "input")]
    pairing: Option<Pairing>,
    /// Folder for a report on the labels.
    #[arg(long, value_name = "DIR", conflicts_with = "run")]
    report: Option<PathBuf>,
    /// Labels made before, to be reported on too; may be repeated.
    #[arg(long, value_name = "FILE")]
    labels: Vec<PathBuf>,
    /// US dollars per million tokens read and written, for the report.
    #[arg(long, value_name = "READ,WRITTEN", value_parser = prices)]
    prices: Option<Prices>,
    /// Backend, instead of the file's.
    #[arg(long, value_enum)]
    backend: Option<Backend>,
    /// Override a key of the file, such as `labeler.model=path`; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE", requires = "config")]
    overrides: Vec<String>,
}

impl Label {
    pub(super) fn run(self) -> Result<()> {
        if let (Some(config), Some(run)) = (&self.config, &self.run) {
            let stage = Stage {
                config: config.clone(),
                run: run.clone(),
                backend: self.backend,
                overrides: self.overrides,
                screen: ScreenArg::default(),
            };
            return stage.perform(Pipeline::label);
        }
        let labeled = match (&self.input, &self.output) {
            (Some(input), Some(output)) => Some(self.label(input.clone(), output.clone())?),
            _ => None,
        };
        let files: Vec<PathBuf> = self.output.iter().chain(&self.labels).cloned().collect();
        self.tell(&files, labeled.as_ref())
    }

    fn label(&self, input: PathBuf, output: PathBuf) -> Result<LabelRun> {
        let config = self.config()?;
        let mut file = LabelFile::new(input, output);
        let mut labeler = config.labeler(&file.answers())?;
        file.pairs = config.pairs;
        file.shard = self.shard.unwrap_or(Shard::WHOLE);
        file.batch = config.batch;
        label_file(labeler.as_mut(), &file)
    }

    fn config(&self) -> Result<LabelingConfig> {
        let mut config = match (&self.config, &self.labeler) {
            (Some(config), _) => LabelingConfig::read(config, &self.overrides)?,
            (None, model) => {
                let model = model.clone().unwrap_or_default();
                let dtype = self.dtype.unwrap_or_default();
                LabelingConfig::of_model(model, dtype, self.prompt.as_deref())
            }
        };
        config.backend = self.backend.unwrap_or(config.backend);
        config.batch = self.batch.unwrap_or(config.batch);
        config.pairs.on_error = self.on_error.unwrap_or(config.pairs.on_error);
        config.pairs.transcripts = self.transcripts.unwrap_or(config.pairs.transcripts);
        config.pairs.pairing = self.pairing.unwrap_or(config.pairs.pairing);
        Ok(config)
    }

    fn tell(&self, files: &[PathBuf], labeled: Option<&LabelRun>) -> Result<()> {
        if self.report.is_none() && self.labels.is_empty() {
            return Ok(());
        }
        let found = report_labels(files, self.prices)?;
        if let Some(dir) = &self.report {
            report::write_labels(dir, &found, labeled)?;
        }
        print(report::labels_table(&found, labeled))
    }
}

fn prices(text: &str) -> Result<Prices, String> {
    let price = |text: &str| {
        f64::from_str(text.trim())
            .ok()
            .filter(|price| *price >= 0.0)
    };
    let prices = text.split_once(',');
    prices
        .and_then(|(read, written)| Some([price(read)?, price(written)?]))
        .ok_or_else(|| format!("{text:?}, expected two numbers such as 0.15,0.6"))
}
