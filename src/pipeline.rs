//! A whole run in a folder: each stage reads what came before, does its work and writes what comes
//! next. A stage that has finished with the same inputs is skipped.

mod best_of;
mod folder;
mod inputs;
mod models;
mod plan;
mod prepare;
mod reproduce;
mod rows;

use std::path::{Path, PathBuf};

use burn::prelude::*;
use serde_json::json;

use self::inputs::{DPO, REWARD, RL, SFT};
pub(crate) use self::models::Models;
pub(crate) use self::plan::stage_names;
pub use self::plan::{Planned, plan};
use self::plan::{stages, table};
pub use self::prepare::Goal;
pub use self::reproduce::{reproduce, reproduction_of};
use crate::config::{Config, LabelerConfig};
use crate::dpo;
use crate::error::Result;
use crate::label::Labeler;
use crate::model;
use crate::record::{Preference, read_jsonl};
use crate::reward::{self, ModelReward, Reward};
use crate::rl::{self, RlRun};
use crate::run::{ANSWERS, Interrupt, RunDir, RunLock};
use crate::sft;

/// A run file at work in a run folder.
pub struct Pipeline {
    /// What is to be done.
    pub config: Config,
    /// Where it is done.
    pub run: RunDir,
    /// Where a branch finds what it has not made itself.
    parent: Option<RunDir>,
    device: Device,
    interrupt: Interrupt,
    _lock: RunLock,
}

impl Pipeline {
    /// Opens a run folder and writes the resolved run file into it.
    ///
    /// # Errors
    /// The folder cannot be written, another process is at work in it, or the backend is not
    /// compiled in.
    pub fn new(config: Config, root: &Path) -> Result<Self> {
        Self::open(config, RunDir::create(root)?, None, Interrupt::default())
    }

    /// Lets `interrupt` end a stage, which saves its state first.
    #[must_use]
    pub fn ended_by(mut self, interrupt: &Interrupt) -> Self {
        self.interrupt = interrupt.clone();
        self
    }

    /// A run inside this run that shares what it does not make itself: the fine-tuned policy, the
    /// sampled completions. `change` says what is different.
    ///
    /// # Errors
    /// As [`Pipeline::new`], and when the changed configuration is invalid.
    pub fn branch(&self, name: &str, change: impl FnOnce(&mut Config)) -> Result<Self> {
        let mut config = self.config.clone();
        change(&mut config);
        config.validate()?;
        let (run, parent) = (self.run.child(name)?, Some(self.run.clone()));
        Self::open(config, run, parent, self.interrupt.clone())
    }

    fn open(
        config: Config,
        run: RunDir,
        parent: Option<RunDir>,
        interrupt: Interrupt,
    ) -> Result<Self> {
        let device = config.backend.device()?;
        let lock = folder::begin(&run, &config, &device)?;
        Ok(Self {
            config,
            run,
            parent,
            device,
            interrupt,
            _lock: lock,
        })
    }

    /// All stages in order.
    ///
    /// # Errors
    /// Those of the stages.
    pub fn run_all(&self) -> Result<()> {
        self.config.labeler.ready()?;
        let mut judges = self.config.eval.judges.iter();
        judges.try_for_each(LabelerConfig::ready)?;
        let best_of = self.config.eval.best_of.as_ref();
        if let Some(labeler) = best_of.and_then(|config| config.labeler.as_ref()) {
            labeler.ready()?;
        }
        for stage in stages(&self.config) {
            self.perform(stage)?;
        }
        crate::report::write(&self.run)
    }

    /// Stage 0: fine-tunes the policy on demonstrations, if the run file has a table `sft`.
    ///
    /// # Errors
    /// See [`sft::train`].
    pub fn sft(&self) -> Result<()> {
        let Some(config) = &self.config.sft else {
            return Ok(());
        };
        self.stage(SFT, |inputs| {
            let policy = &self.config.policy;
            let (initial, tokenizer) = self.models()?.load_policy(&policy.model)?;
            let rows = self.config.data.read_demonstrations()?;
            let mut journal = self.journal("sft", "sft", inputs)?;
            let start = (initial, &tokenizer);
            let (trained, rate) =
                sft::train(config, policy, start, &rows, &mut journal, self.config.seed)?;
            models::save(&self.run, "sft/model", &trained, &tokenizer)?;
            self.run
                .write_json("sft.json", &json!({ "tokens_per_second": rate }))?;
            journal.finish()
        })
    }

    /// Stage 3: a reward model from the preferences, or those of `data.preferences`, starting from
    /// the fine-tuned policy.
    ///
    /// # Errors
    /// See [`reward::train`].
    pub fn reward(&self) -> Result<()> {
        self.stage(REWARD, |inputs| {
            let config = table(&self.config.reward, "reward")?;
            let preferences = self.preferences()?;
            let start = match &config.model {
                Some(model) => model.clone(),
                None => self.initial_policy()?,
            };
            let (backbone, tokenizer) = self.models()?.load_policy(&start)?;
            let mut journal = self.journal("reward", "reward", inputs)?;
            let (model, report) = reward::train(
                config,
                &self.config.policy,
                (backbone, &tokenizer),
                &preferences,
                &mut journal,
                self.config.seed,
            )?;
            tracing::info!(
                "held-out accuracy {:.3} on {} pairs",
                report.accuracy,
                report.n
            );
            self.run.write_dir("reward/model", |dir| {
                model::save_head(&model, dir)?;
                tokenizer.save(dir)
            })?;
            self.run.write_json("reward.json", &report)?;
            journal.finish()
        })
    }

    /// Stage 4: optimises the fine-tuned policy.
    ///
    /// # Errors
    /// See [`rl::train`].
    pub fn rl(&self) -> Result<()> {
        self.stage(RL, |inputs| {
            let config = table(&self.config.rl, "rl")?;
            let mut models = self.models()?;
            let (initial, tokenizer) = models.load_policy(&self.initial_policy()?)?;
            let prompts = self.config.data.read_rl_prompts()?;
            let model = || {
                let dir = self.input("reward/model", "reward")?;
                self.model_reward(&mut models, &dir)
            };
            let judge = config.judge(&initial, &tokenizer)?;
            let labeler = || match &judge {
                Some(judge) => judge.labeler(self.config.seed),
                None => self.labeler(&self.config.labeler),
            };
            let mut reward = config.reward.init(&tokenizer, model, labeler)?;
            // Both ways write the policy's folder.
            self.run.forget_stage("dpo")?;
            let mut journal = self.journal("rl", "policy", inputs)?;
            let mut algorithm = config.init(initial.clone());
            if let Some(judge) = judge {
                algorithm = judge.refreshed_by(algorithm);
            }
            let mut run = RlRun {
                config,
                policy: &self.config.policy,
                tokenizer: &tokenizer,
                prompts: &prompts,
                reward: &mut reward,
                journal: &mut journal,
            };
            let trained = rl::train(&mut run, initial, algorithm.as_mut(), self.config.seed)?;
            models::save(&self.run, "policy/model", &trained.model, &tokenizer)?;
            let rate = trained.n_tokens as f64 / trained.generate_secs.max(f64::MIN_POSITIVE);
            self.run
                .write_json("rl.json", &json!({ "generate_tokens_per_second": rate }))?;
            journal.finish()
        })
    }

    /// Stage 4, the other way: optimises the fine-tuned policy on the preferences themselves.
    ///
    /// # Errors
    /// See [`dpo::train`].
    pub fn dpo(&self) -> Result<()> {
        self.stage(DPO, |inputs| {
            let config = table(&self.config.dpo, "dpo")?;
            let preferences = self.preferences()?;
            let (initial, tokenizer) = self.models()?.load_policy(&self.initial_policy()?)?;
            // Both ways write the policy's folder.
            self.run.forget_stage("rl")?;
            let mut journal = self.journal("dpo", "policy", inputs)?;
            let model = dpo::train(
                config,
                &self.config.policy,
                (initial, &tokenizer),
                &preferences,
                &mut journal,
                self.config.seed,
            )?;
            models::save(&self.run, "policy/model", &model, &tokenizer)?;
            journal.finish()
        })
    }

    /// Where the policy is that stages 1 to 4 start from.
    ///
    /// # Errors
    /// It has not been fine-tuned yet.
    pub fn initial_policy(&self) -> Result<PathBuf> {
        match &self.config.sft {
            Some(_) => self.input("sft/model", "sft"),
            None => Ok(self.config.policy.model.clone()),
        }
    }

    pub(crate) fn labeler(&self, config: &LabelerConfig) -> Result<Box<dyn Labeler>> {
        let truth = self.config.data.world();
        let answers = self.run.path(ANSWERS);
        config.init(&self.device, truth, &answers, self.config.seed)
    }

    /// The labels of the run file, or those of stage 2.
    pub(crate) fn preferences(&self) -> Result<Vec<Preference>> {
        match self.config.data.read_preferences()? {
            Some(preferences) => Ok(preferences),
            None => read_jsonl(self.input("preferences.jsonl", "label")?),
        }
    }

    fn model_reward(&self, models: &mut Models, dir: &Path) -> Result<Box<dyn Reward>> {
        let (model, tokenizer) = models.load_head(dir)?;
        let policy = self.config.policy.clone();
        Ok(Box::new(ModelReward::new(model.valid(), tokenizer, policy)))
    }

    fn models(&self) -> Result<Models> {
        Models::new(&self.device, &self.config)
    }
}
