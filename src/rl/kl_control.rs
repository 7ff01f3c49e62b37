//! The weight of the KL penalty: held, or steered so that the policy keeps a given distance from
//! its reference. Ziegler et al. 2019, arXiv:1909.08593, section 2.2.

use serde::{Deserialize, Serialize};

use super::config::positive;
use crate::error::{Error, Result};

/// The error counts as this at most, in either direction; as published.
const MAX_ERROR: f64 = 0.2;

/// Where to steer the KL; names and defaults as in TRL's `AdaptiveKLController`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdaptiveKlConfig {
    /// KL to hold, in nats per completion: `objective/kl`.
    pub target: f32,
    /// Completions over which an error of 100% would double the weight.
    pub horizon: usize,
}

impl Default for AdaptiveKlConfig {
    fn default() -> Self {
        Self {
            target: 6.0,
            horizon: 10_000,
        }
    }
}

impl AdaptiveKlConfig {
    pub(super) fn validate(&self, initial: f32) -> Result<()> {
        positive("rl.adaptive_kl.target", self.target)?;
        crate::config::at_least("rl.adaptive_kl.horizon", self.horizon, 1)?;
        if initial == 0.0 {
            let expected = "absent for a KL penalty of weight 0: no factor moves it";
            return Err(Error::field("rl.adaptive_kl", "given", expected));
        }
        Ok(())
    }
}

/// The weight of the KL penalty during a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KlController {
    coef: f64,
    adaptive: Option<AdaptiveKlConfig>,
}

impl KlController {
    /// Starts at `coef`, and stays there without `adaptive`.
    pub fn new(coef: f32, adaptive: Option<AdaptiveKlConfig>) -> Self {
        Self {
            coef: coef.into(),
            adaptive,
        }
    }

    /// The weight of the next step.
    pub fn coef(&self) -> f32 {
        self.coef as f32
    }

    /// Steers after a batch of `n_completions` whose KL was `kl` nats per completion:
    /// `coef *= 1 + clip(kl / target - 1, -0.2, 0.2) n_completions / horizon`.
    pub fn observe(&mut self, kl: f64, n_completions: usize) {
        if let Some(AdaptiveKlConfig { target, horizon }) = self.adaptive {
            let error = (kl / f64::from(target) - 1.0).clamp(-MAX_ERROR, MAX_ERROR);
            // A batch larger than a few horizons must not turn the weight negative.
            let factor = 1.0 + error * n_completions as f64 / horizon as f64;
            self.coef *= factor.max(0.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(kl: f64) -> f32 {
        let mut controller = KlController::new(0.2, Some(AdaptiveKlConfig::default()));
        controller.observe(kl, 64);
        controller.coef()
    }

    // 9 / 6 - 1 = .5, held at .2: .2 (1 + .2 * 64 / 10000). 5.4 / 6 - 1 = -.1: .2 (1 - .00064).
    #[test]
    fn the_weight_follows_the_error() {
        assert!((after(9.0) - 0.200_256).abs() < 1e-7);
        assert!((after(5.4) - 0.199_872).abs() < 1e-7);
        assert!((after(-3.0) - 0.199_744).abs() < 1e-7);
        assert_eq!(after(6.0), 0.2);
    }

    #[test]
    fn without_a_target_the_weight_stays() {
        let mut controller = KlController::new(0.05, None);
        controller.observe(100.0, 64);
        assert_eq!(controller.coef(), 0.05);
    }
}
