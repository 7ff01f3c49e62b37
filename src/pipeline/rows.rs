//! The stages that make rows: sampling, labeling, evaluation. Their rows are kept as they come, so
//! that an interrupted stage goes on behind them.

use std::path::Path;

use super::Pipeline;
use super::inputs::{EVAL, LABEL, SAMPLE, Stage, eval_stage};
use crate::config::LabelerConfig;
use crate::error::Result;
use crate::eval::best_of::kl_bound;
use crate::eval::{self, Contender};
use crate::generate::SamplingConfig;
use crate::label::{self, AlignmentCounts, LabelCounts, Labeler, OracleLabeler};
use crate::record::{
    Compared, Completion, JsonlReader, Judged, Kept, Preference, Prompt, Record, Verdict,
};
use crate::rl::Policy;
use crate::run::KeptRows;
use crate::sample;
use crate::seed::rng_for;
use crate::world::World;

/// Preferences that are held against the truth at once.
const GOLD_BATCH: usize = 256;

/// Completions to be drawn.
pub(super) struct Draw<'a> {
    pub(super) stage: Stage,
    pub(super) model: &'a Path,
    pub(super) prompts: &'a [Prompt],
    pub(super) n: usize,
    pub(super) sampling: &'a SamplingConfig,
}

impl Pipeline {
    /// Stage 1: completions of the fine-tuned policy, to be labeled.
    ///
    /// # Errors
    /// See [`sample::sample`].
    pub fn sample(&self) -> Result<()> {
        self.stage(SAMPLE, |inputs| {
            let prompts = self.config.data.read_preference_prompts()?;
            let draw = Draw {
                stage: SAMPLE,
                model: &self.initial_policy()?,
                prompts: &prompts,
                n: self.config.sample.num_generations,
                sampling: &self.config.sample.sampling,
            };
            let mut kept = self.kept(SAMPLE, "completions", inputs)?;
            self.draw(&draw, &mut kept)?;
            self.run.write_stream("completions.jsonl", kept.read()?)
        })
    }

    /// Stage 2: preferences between the completions; with an embedded world, held against its
    /// truth.
    ///
    /// # Errors
    /// See [`label::judge`].
    pub fn label(&self) -> Result<()> {
        self.stage(LABEL, |inputs| {
            let path = self.input("completions.jsonl", "sample")?;
            let pairs = || JsonlReader::<Completion>::open(&path).map(label::pairs);
            let n = pairs()?.try_fold(0, |n, pair| pair.map(|_| n + 1))?;
            let mut kept = self.kept(LABEL, "pairs", inputs)?;
            let mut labeler = self.labeler(&self.config.labeler)?;
            label::judge(labeler.as_mut(), pairs()?, n, &mut kept)?;
            self.write_labels(&kept)
        })
    }

    fn write_labels(&self, kept: &KeptRows<Judged>) -> Result<()> {
        let preferences = || {
            let rows = kept
                .read()?
                .filter_map(|row| match row.map(|row| row.verdict) {
                    Ok(Verdict::Preference(row)) => Some(Ok(row)),
                    Ok(Verdict::Unlabeled(_)) => None,
                    Err(error) => Some(Err(error)),
                });
            Ok::<_, crate::Error>(rows)
        };
        let unlabeled = kept
            .read()?
            .filter_map(|row| match row.map(|row| row.verdict) {
                Ok(Verdict::Unlabeled(row)) => Some(Ok(row)),
                Ok(Verdict::Preference(_)) => None,
                Err(error) => Some(Err(error)),
            });
        self.run.write_stream("preferences.jsonl", preferences()?)?;
        self.run.write_stream("unlabeled.jsonl", unlabeled)?;
        let mut counts = LabelCounts::default();
        for row in kept.read()? {
            counts.add(&row?);
        }
        let alignment = match self.config.data.world() {
            Some(world) => Some(aligned(world, preferences()?)?.alignment()),
            None => None,
        };
        if let Some(found) = &alignment {
            tracing::info!("alignment {:.3}", found.alignment);
        }
        let report = counts.report(alignment);
        let mut metrics = self.run.metrics()?;
        metrics.open("label")?;
        metrics.write("label", counts.n_pairs(), &report.metrics())?;
        tracing::info!("same position {:.3}", report.positions.same_position);
        self.run.write_json("label.json", &report)
    }

    /// Stage 5: the optimised policy against the one it started from, on held-out prompts.
    ///
    /// # Errors
    /// See [`eval::judge`].
    pub fn eval(&self) -> Result<()> {
        let optimised_by = if self.config.dpo.is_some() {
            "dpo"
        } else {
            "rl"
        };
        self.stage(eval_stage(&self.config), |inputs| {
            let policies = [
                ("policy", self.input("policy/model", optimised_by)?),
                ("sft", self.initial_policy()?),
            ];
            let mut contenders = Vec::new();
            for (name, model) in &policies {
                let mut kept = self.kept(EVAL, name, inputs)?;
                self.answer(model, 1, &mut kept)?;
                let completions: Vec<Completion> = kept.read()?.collect::<Result<_>>()?;
                self.run
                    .write_records(format!("eval/{name}.jsonl"), &completions)?;
                contenders.push(Contender {
                    name: name.to_string(),
                    completions,
                });
            }
            let mut pairs = vec![(0, 1)];
            let best_of = self.config.eval.best_of.as_ref();
            if let Some(config) = best_of {
                contenders.push(self.best_of(config, inputs)?);
                pairs.extend([(0, 2), (2, 1)]);
            }
            let mut kept = self.kept::<Compared>(EVAL, "verdicts", inputs)?;
            eval::judge(&contenders, &pairs, &mut self.judges()?, &mut kept)?;
            let verdicts = kept.read()?.collect::<Result<_>>()?;
            let oracle = self.config.data.oracle();
            let (comparisons, mut report) =
                eval::report(&contenders, &pairs, verdicts, oracle.as_ref())?;
            if let (Some(config), Some(chosen)) = (best_of, contenders.get(2))
                && let Some(policy) = report.policies.get_mut(&chosen.name)
            {
                policy.kl_bound = Some(kl_bound(config.n));
            }
            self.run.write_records("comparisons.jsonl", &comparisons)?;
            self.run.write_json("eval.json", &report)
        })
    }

    /// The completions of a policy on the held-out prompts.
    ///
    /// # Errors
    /// The model or the prompts cannot be read, or a prompt does not fit.
    pub fn contender(&self, name: &str, dir: &Path) -> Result<Contender> {
        Ok(Contender {
            name: name.into(),
            completions: self.completions(dir, 1)?,
        })
    }

    /// `n` completions of a policy on each held-out prompt, side by side.
    ///
    /// # Errors
    /// As [`Pipeline::contender`].
    pub fn completions(&self, dir: &Path, n: usize) -> Result<Vec<Completion>> {
        let mut completions = Vec::new();
        self.answer(dir, n, &mut completions)?;
        Ok(completions)
    }

    /// The judges of the run file.
    ///
    /// # Errors
    /// A model cannot be loaded, or the oracle is asked about texts that it does not know.
    pub fn judges(&self) -> Result<Vec<Box<dyn Labeler>>> {
        let judges = self.config.eval.judges.iter();
        judges
            .map(|config: &LabelerConfig| self.labeler(config))
            .collect()
    }

    fn answer(&self, model: &Path, n: usize, kept: &mut impl Kept<Completion>) -> Result<()> {
        let prompts = self.config.data.read_eval_prompts()?;
        let draw = Draw {
            stage: EVAL,
            model,
            prompts: &prompts,
            n,
            sampling: &self.config.eval.sampling,
        };
        self.draw(&draw, kept)
    }

    pub(super) fn draw(&self, draw: &Draw, kept: &mut impl Kept<Completion>) -> Result<()> {
        if kept.n_rows() >= draw.prompts.len() * draw.n {
            return Ok(());
        }
        let (model, tokenizer) = self.models()?.load(draw.model)?;
        let policy = Policy {
            model: &model,
            tokenizer: &tokenizer,
            config: &self.config.policy,
        };
        let mut rng = rng_for(self.config.seed, draw.stage.name, 0);
        let (prompts, n) = (draw.prompts, draw.n);
        sample::sample(&policy, prompts, n, draw.sampling, &mut rng, kept)
    }

    pub(super) fn kept<T: Record>(
        &self,
        stage: Stage,
        name: &str,
        inputs: &str,
    ) -> Result<KeptRows<T>> {
        self.run.kept((stage.name, name), inputs, &self.interrupt)
    }
}

/// Preferences against the truth of an embedded world.
fn aligned(
    world: World,
    rows: impl Iterator<Item = Result<Preference>>,
) -> Result<AlignmentCounts> {
    let mut gold = OracleLabeler::new(world);
    let mut counts = AlignmentCounts::default();
    let mut rows = rows.peekable();
    while rows.peek().is_some() {
        let some: Vec<Preference> = rows.by_ref().take(GOLD_BATCH).collect::<Result<_>>()?;
        counts.add(&some, &mut gold)?;
    }
    Ok(counts)
}
