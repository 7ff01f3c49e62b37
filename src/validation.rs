//! Held-out rows during a training: when to measure, which model to keep, when to stop.

use std::path::Path;

use burn::module::{Module, ParamId};
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use crate::config::at_least;
use crate::error::{Error, Result};
use crate::optim::{load_copy, save_copy};
use crate::seed::rng_for;

/// What the held-out rows are used for while a stage trains; names as in TRL.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ValidationConfig {
    /// Steps between two measurements, with one after the last step; none when absent.
    pub eval_steps: Option<usize>,
    /// Ends the training after so many measurements in a row that are no better than the best.
    pub early_stopping_patience: Option<usize>,
    /// Ends with the model that was best at a measurement instead of the last.
    pub load_best_model_at_end: bool,
}

impl ValidationConfig {
    /// Checks the ranges; `field` is the path of this table in the run file, and `holdout` the
    /// share of rows that is kept to measure.
    ///
    /// # Errors
    /// Names the field that is out of range, or that does nothing.
    pub fn validate(&self, field: &str, holdout: f64) -> Result<()> {
        let steps = [
            ("eval_steps", self.eval_steps),
            ("early_stopping_patience", self.early_stopping_patience),
        ];
        for (name, found) in steps {
            if let Some(found) = found {
                at_least(&format!("{field}.{name}"), found, 1)?;
            }
        }
        let idle = *self != Self::default() && (holdout == 0.0 || self.eval_steps.is_none());
        if idle {
            let expected = "absent: it takes `eval_steps` and a `holdout` above 0 to measure";
            return Err(Error::field(field, "given", expected));
        }
        Ok(())
    }
}

/// The rows to train on, and the share `holdout` of them to measure on, at least one where it is not
/// 0; which ones the seed decides. `stage` is the path of the table that says so.
///
/// # Errors
/// None would be left to train on.
pub(crate) fn held_out<T>(
    mut rows: Vec<T>,
    holdout: f64,
    (stage, seed): (&str, u64),
) -> Result<(Vec<T>, Vec<T>)> {
    if holdout == 0.0 {
        return Ok((rows, Vec::new()));
    }
    rows.shuffle(&mut rng_for(seed, &format!("{stage}-holdout"), 0));
    let n_held = ((rows.len() as f64 * holdout).round() as usize).max(1);
    if n_held >= rows.len() {
        let n = rows.len();
        let expected = format!("a share that leaves some of {n} rows to train on");
        return Err(Error::field(format!("{stage}.holdout"), holdout, expected));
    }
    let held = rows.split_off(rows.len() - n_held);
    Ok((rows, held))
}

/// The measurements of a training so far.
pub(crate) struct Validation<M> {
    config: ValidationConfig,
    /// The lowest loss, and the model that had it if that is to be kept.
    best: Option<(f64, Option<M>)>,
    /// Measurements since then.
    since: usize,
}

impl<M> Validation<M> {
    pub(crate) fn new(config: ValidationConfig) -> Self {
        Self {
            config,
            best: None,
            since: 0,
        }
    }

    /// Whether to measure after `step` of `total`.
    pub(crate) fn is_due(&self, step: usize, total: usize) -> bool {
        let at_end = step == total;
        let steps = self.config.eval_steps;
        steps.is_some_and(|steps| at_end || step.is_multiple_of(steps))
    }

    /// Takes a measured loss; returns whether the training should end.
    pub(crate) fn observe(&mut self, loss: f64, model: impl FnOnce() -> M) -> bool {
        let better = self.best.as_ref().is_none_or(|(best, _)| loss < *best);
        if better {
            let kept = self.config.load_best_model_at_end.then(model);
            (self.best, self.since) = (Some((loss, kept)), 0);
        } else {
            self.since += 1;
        }
        let patience = self.config.early_stopping_patience;
        patience.is_some_and(|patience| self.since >= patience)
    }

    /// The model to end with.
    pub(crate) fn finish(self, last: M) -> M {
        self.best.and_then(|(_, model)| model).unwrap_or(last)
    }
}

/// What a checkpoint remembers of a validation besides the best model.
#[derive(Serialize, Deserialize)]
struct Measured {
    best: Option<f64>,
    since: usize,
    /// Whether the best model is beside it.
    kept: bool,
}

/// Files of a checkpoint; burn adds its own ending to the second.
const MEASURED: &str = "validation.json";
const BEST: &str = "best";

impl<M: Module> Validation<M> {
    /// Writes the measurements and the weights `trained` of the best model into the folder of a
    /// checkpoint.
    pub(crate) fn save(&self, dir: &Path, trained: &[ParamId]) -> Result<()> {
        let model = self.best.as_ref().and_then(|(_, model)| model.as_ref());
        let measured = Measured {
            best: self.best.as_ref().map(|(loss, _)| *loss),
            since: self.since,
            kept: model.is_some(),
        };
        let path = dir.join(MEASURED);
        let text = serde_json::to_string(&measured);
        let text = text.map_err(|e| Error::file(&path, e.to_string()))?;
        std::fs::write(&path, text).map_err(Error::io("write", &path))?;
        model.map_or(Ok(()), |model| save_copy(model, trained, (dir, BEST)))
    }

    /// Takes over what [`save`](Self::save) wrote; `like` makes a model of the same run.
    pub(crate) fn load(mut self, dir: &Path, like: impl FnOnce() -> M) -> Result<Self> {
        let path = dir.join(MEASURED);
        let text = std::fs::read_to_string(&path).map_err(Error::io("read", &path))?;
        let measured: Measured =
            serde_json::from_str(&text).map_err(|e| Error::file(&path, e.to_string()))?;
        let read = || load_copy(like(), (dir, BEST));
        let model = measured.kept.then(read).transpose()?;
        self.best = measured.best.map(|loss| (loss, model));
        self.since = measured.since;
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(config: ValidationConfig, losses: &[f64]) -> (usize, usize) {
        let mut validation = Validation::new(config);
        let mut last = 0;
        for (i, &loss) in losses.iter().enumerate() {
            last = i;
            if validation.observe(loss, || i) {
                break;
            }
        }
        (last, validation.finish(last))
    }

    #[test]
    fn patience_ends_and_the_best_is_kept() {
        let losses = [3.0, 2.0, 2.5, 2.0, 1.0];
        let config = |patience, best| ValidationConfig {
            eval_steps: Some(1),
            early_stopping_patience: patience,
            load_best_model_at_end: best,
        };
        assert_eq!(run(config(None, false), &losses), (4, 4));
        assert_eq!(run(config(Some(2), false), &losses), (3, 3));
        assert_eq!(run(config(Some(2), true), &losses), (3, 1));
        assert_eq!(run(config(Some(3), true), &losses), (4, 4));
    }

    #[test]
    fn it_is_measured_every_so_many_steps_and_at_the_end() {
        let due = |eval_steps| {
            let config = ValidationConfig {
                eval_steps,
                ..Default::default()
            };
            let validation = Validation::<()>::new(config);
            (1..=7)
                .filter(|&step| validation.is_due(step, 7))
                .collect::<Vec<_>>()
        };
        assert_eq!(due(Some(3)), [3, 6, 7]);
        assert!(due(None).is_empty());
    }

    #[test]
    fn what_would_do_nothing_is_refused() {
        let config = ValidationConfig {
            load_best_model_at_end: true,
            ..Default::default()
        };
        assert!(config.validate("sft.validation", 0.1).is_err());
        let config = ValidationConfig {
            eval_steps: Some(5),
            ..config
        };
        assert!(config.validate("sft.validation", 0.1).is_ok());
        assert!(config.validate("sft.validation", 0.0).is_err());
        assert!(
            ValidationConfig::default()
                .validate("sft.validation", 0.0)
                .is_ok()
        );
    }
}
