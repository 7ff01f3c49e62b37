//! How the scale of the losses of a model in f16 follows its gradients.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::precision::LossScale;

/// When the scale of a loss grows and when it falls: names, defaults and rules are those of
/// `torch.amp.GradScaler`, the floor that of DeepSpeed's `min_loss_scale`.
///
/// A step whose gradient is not finite is left out, and the scale falls; after enough steps in a
/// row that were taken it grows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LossScaling {
    /// The first scale.
    pub init_scale: f32,
    /// What it is multiplied by when it grows, above 1.
    pub growth_factor: f32,
    /// What it is multiplied by when it falls, below 1.
    pub backoff_factor: f32,
    /// Steps in a row without a skipped one after which it grows.
    pub growth_interval: usize,
    /// A step that has to be skipped at this scale, or below, is an error.
    pub min_scale: f32,
}

impl Default for LossScaling {
    fn default() -> Self {
        Self {
            init_scale: 65_536.0,
            growth_factor: 2.0,
            backoff_factor: 0.5,
            growth_interval: 2000,
            min_scale: 1.0,
        }
    }
}

/// A scale under way.
pub(super) struct Scaler {
    config: LossScaling,
    state: State,
}

/// What a checkpoint has of it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    scale: f32,
    /// Steps in a row that were taken.
    growth_tracker: usize,
    skipped_steps: usize,
}

/// File of a checkpoint.
const FILE: &str = "loss_scale.json";

impl Scaler {
    pub(super) fn new(config: LossScaling) -> Self {
        let state = State {
            scale: config.init_scale,
            growth_tracker: 0,
            skipped_steps: 0,
        };
        Self { config, state }
    }

    /// The scale of the next step.
    pub(super) fn scale(&self) -> LossScale {
        LossScale::new(self.state.scale)
    }

    pub(super) fn skipped_steps(&self) -> usize {
        self.state.skipped_steps
    }

    /// Follows a gradient of this norm at step `step`; returns whether the step is to be taken.
    ///
    /// # Errors
    /// [`Error::LossScale`] when it is to be skipped and the scale cannot fall further.
    pub(super) fn observe(&mut self, norm: f32, step: usize) -> Result<bool> {
        let (config, state) = (&self.config, &mut self.state);
        if !norm.is_finite() {
            if state.scale <= config.min_scale {
                let scale = state.scale;
                return Err(Error::LossScale { scale, step });
            }
            state.scale = (state.scale * config.backoff_factor).max(config.min_scale);
            state.growth_tracker = 0;
            state.skipped_steps += 1;
            return Ok(false);
        }
        state.growth_tracker += 1;
        if state.growth_tracker == config.growth_interval {
            let grown = state.scale * config.growth_factor;
            if grown.is_finite() {
                state.scale = grown;
            }
            state.growth_tracker = 0;
        }
        Ok(true)
    }

    /// Writes it into the folder of a checkpoint.
    pub(super) fn save(&self, dir: &Path) -> Result<()> {
        let path = dir.join(FILE);
        let text = serde_json::to_string(&self.state);
        let text = text.map_err(|e| Error::file(&path, e.to_string()))?;
        std::fs::write(&path, text).map_err(Error::io("write", &path))
    }

    /// Takes over what [`save`](Self::save) wrote.
    pub(super) fn load(&mut self, dir: &Path) -> Result<()> {
        let path = dir.join(FILE);
        let text = std::fs::read_to_string(&path).map_err(Error::io("read", &path))?;
        self.state = serde_json::from_str(&text).map_err(|e| Error::file(&path, e.to_string()))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OVERFLOW: f32 = f32::INFINITY;

    /// Scales after each norm.
    fn scales(scaler: &mut Scaler, norms: &[f32]) -> Vec<f32> {
        let scale = |(step, &norm): (usize, &f32)| {
            let taken = scaler.observe(norm, step).unwrap();
            assert_eq!(taken, norm.is_finite());
            scaler.scale().value()
        };
        norms.iter().enumerate().map(scale).collect()
    }

    /// Grows at the third step in a row; a skipped one halves and begins to count anew.
    #[test]
    fn the_scale_follows_the_gradients() {
        let config = LossScaling {
            init_scale: 8.0,
            growth_interval: 3,
            ..LossScaling::default()
        };
        let norms = [
            1.0,
            1.0,
            1.0,
            1.0,
            1.0,
            OVERFLOW,
            1.0,
            1.0,
            f32::NAN,
            1.0,
            0.0,
            1.0,
        ];
        let expected = [
            8.0, 8.0, 16.0, 16.0, 16.0, 8.0, 8.0, 8.0, 4.0, 4.0, 4.0, 8.0,
        ];
        let mut scaler = Scaler::new(config);
        assert_eq!(scales(&mut scaler, &norms), expected);
        assert_eq!(scaler.skipped_steps(), 2);
    }

    #[test]
    fn it_never_grows_out_of_its_format() {
        let config = LossScaling {
            init_scale: 2.0f32.powi(127),
            growth_interval: 1,
            ..LossScaling::default()
        };
        let found = scales(&mut Scaler::new(config), &[1.0, 1.0]);
        assert_eq!(found, [2.0f32.powi(127); 2]);
    }

    /// 65536 is 2^16: sixteen halvings, and the seventeenth overflow is one too many.
    #[test]
    fn a_run_of_overflows_is_an_error() {
        let mut scaler = Scaler::new(LossScaling::default());
        let found = scales(&mut scaler, &[OVERFLOW; 16]);
        assert_eq!((found[0], found[15]), (32_768.0, 1.0));
        let said = scaler.observe(OVERFLOW, 17).unwrap_err().to_string();
        let expected = "the gradient in f16 is not a number at step 17, though the loss is scaled by \
                        1 alone";
        assert!(said.starts_with(expected), "{said}");
    }

    #[test]
    fn a_checkpoint_has_scale_and_counters() {
        let config = LossScaling {
            growth_interval: 3,
            ..LossScaling::default()
        };
        let (mut before, mut after) = (Scaler::new(config), Scaler::new(config));
        scales(&mut before, &[OVERFLOW, 1.0, 1.0]);
        let folder = tempfile::tempdir().unwrap();
        before.save(folder.path()).unwrap();
        after.load(folder.path()).unwrap();
        assert_eq!(after.state, before.state);
        assert_eq!(scales(&mut after, &[1.0]), [65_536.0]);
        std::fs::write(folder.path().join(FILE), "{}").unwrap();
        let said = after.load(folder.path()).unwrap_err().to_string();
        assert!(said.contains("missing field `scale`"), "{said}");
    }
}
