//! What the policy is compared with: where it started, something that follows it slowly, or nothing.

use std::collections::VecDeque;
use std::path::Path;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::prelude::*;
use serde::{Deserialize, Serialize};

use super::UpdateStats;
use crate::config::at_least;
use crate::error::{Error, Result};

/// What the policy is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum ReferenceConfig {
    /// The initial policy; under adapters it shares the base model with the policy.
    #[default]
    Frozen,
    /// Nothing: no second model in memory and no second forward pass. No KL is measured.
    None,
    /// The initial policy, moved towards the current one from time to time: `(1 - alpha) reference
    /// + alpha policy`. Gorbatovski et al. 2024 (TR-DPO), arXiv:2404.09656.
    Synced {
        /// The policy's share in the mixture; 1 replaces the reference.
        #[serde(default = "mixup_alpha")]
        ref_model_mixup_alpha: f32,
        /// Steps of the loop between two mixtures.
        #[serde(default = "sync_steps")]
        ref_model_sync_steps: usize,
    },
}

fn mixup_alpha() -> f32 {
    0.6
}

fn sync_steps() -> usize {
    512
}

impl ReferenceConfig {
    /// Whether it moves.
    pub fn is_synced(self) -> bool {
        matches!(self, Self::Synced { .. })
    }

    /// Checks the ranges; `field` is the path of this table in the run file, and `use_of_it` says
    /// what compares the policy with its reference, if anything does.
    pub(crate) fn validate(&self, field: &str, use_of_it: Option<&str>) -> Result<()> {
        match (*self, use_of_it) {
            (Self::None, Some(use_of_it)) => {
                let expected = format!("another for {use_of_it}");
                Err(Error::field(format!("{field}.kind"), "none", expected))
            }
            (Self::Synced { .. }, None) => {
                let expected = "another: nothing compares the policy with it";
                Err(Error::field(format!("{field}.kind"), "synced", expected))
            }
            (
                Self::Synced {
                    ref_model_mixup_alpha: alpha,
                    ref_model_sync_steps: steps,
                },
                Some(_),
            ) => {
                if !(alpha > 0.0 && alpha <= 1.0) {
                    let field = format!("{field}.ref_model_mixup_alpha");
                    return Err(Error::field(field, alpha, "a number in (0, 1]"));
                }
                at_least(&format!("{field}.ref_model_sync_steps"), steps, 1)
            }
            _ => Ok(()),
        }
    }
}

/// File of a checkpoint; burn adds its own ending.
const FILE: &str = "reference";

/// The reference during a run.
pub(crate) struct Reference<M> {
    model: Option<M>,
    config: ReferenceConfig,
}

impl<M: Module> Reference<M> {
    pub(crate) fn new(initial: &M, config: ReferenceConfig) -> Self {
        let kept = config != ReferenceConfig::None;
        Self {
            model: kept.then(|| initial.clone().valid()),
            config,
        }
    }

    /// Its weights, without gradients.
    pub(crate) fn model(&self) -> Option<&M> {
        self.model.as_ref()
    }

    /// Moves it, if it is time, after `step` has made `policy` what it is.
    pub(crate) fn observe(&mut self, step: usize, policy: &M) {
        if let ReferenceConfig::Synced {
            ref_model_mixup_alpha,
            ref_model_sync_steps,
        } = self.config
            && step.is_multiple_of(ref_model_sync_steps)
        {
            let model = self.model.take();
            self.model = model.map(|model| mix(model, policy, ref_model_mixup_alpha));
        }
    }

    /// Writes a reference that moves into the folder of a checkpoint.
    pub(crate) fn save(&self, dir: &Path) -> Result<()> {
        match (&self.model, self.config) {
            (Some(model), ReferenceConfig::Synced { .. }) => {
                let saved = model.clone().save_file(dir.join(FILE));
                saved.map_err(|e| Error::file(dir, e.to_string()))
            }
            _ => Ok(()),
        }
    }

    /// Takes over what [`save`](Self::save) wrote.
    pub(crate) fn load(&mut self, dir: &Path) -> Result<()> {
        if let ReferenceConfig::Synced { .. } = self.config
            && let Some(model) = self.model.take()
        {
            let loaded = model.try_load_file(dir.join(FILE));
            self.model = Some(loaded.map_err(|e| Error::file(dir, e.to_string()))?);
        }
        Ok(())
    }

    /// Leaves out of `stats` what cannot be known without a reference.
    pub(super) fn tell(&self, stats: &mut UpdateStats) {
        if self.model.is_none() {
            let unknown = ["kl", "objective/kl", "objective/non_score_reward"];
            stats.retain(|(name, _)| !unknown.contains(name));
        }
    }
}

/// `(1 - alpha) reference + alpha policy`, of the weights that are trained.
fn mix<M: Module>(reference: M, policy: &M, alpha: f32) -> M {
    let mut trained = Trained(VecDeque::new());
    policy.visit(&mut trained);
    let weights = trained.0;
    reference.map(&mut Mix { weights, alpha })
}

/// The weights of a policy in their order, as flat tensors; `None` for those that stay.
struct Trained(VecDeque<Option<Tensor<1>>>);

impl ModuleVisitor for Trained {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let weights = param.val();
        let n = weights.shape().num_elements();
        let trained = weights.is_require_grad();
        self.0
            .push_back(trained.then(|| weights.inner().reshape([n])));
    }
}

struct Mix {
    weights: VecDeque<Option<Tensor<1>>>,
    alpha: f32,
}

impl ModuleMapper for Mix {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        match self.weights.pop_front().flatten() {
            Some(weights) => param.map(|old| {
                let new = weights.reshape(old.shape());
                old * (1.0 - self.alpha) + new * self.alpha
            }),
            None => param,
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::nn::{Linear, LinearConfig};

    use super::*;

    fn weights(model: &Linear) -> Vec<f32> {
        let data = model.weight.val().into_data();
        data.try_to_vec::<f32>().unwrap()
    }

    fn constant(x: f32) -> Linear {
        let config = LinearConfig::new(2, 1).with_bias(false);
        let initializer = burn::nn::Initializer::Constant { value: x.into() };
        config.with_initializer(initializer).init(&Device::flex())
    }

    // .4 * 1 + .6 * 2 = 1.6 after the second step, .4 * 1.6 + .6 * 2 = 1.84 after the fourth.
    #[test]
    fn a_synced_reference_follows_slowly() {
        let config = ReferenceConfig::Synced {
            ref_model_mixup_alpha: 0.6,
            ref_model_sync_steps: 2,
        };
        let mut reference = Reference::new(&constant(1.0), config);
        let policy = constant(2.0).train();
        for (step, expected) in [(1, 1.0), (2, 1.6), (3, 1.6), (4, 1.84)] {
            reference.observe(step, &policy);
            for found in weights(reference.model().unwrap()) {
                assert!((found - expected).abs() < 1e-6, "{step}: {found}");
            }
        }
    }

    #[test]
    fn weights_that_are_not_trained_stay() {
        let policy = constant(2.0).train().no_grad();
        let mixed = mix(constant(1.0), &policy, 0.6);
        assert_eq!(weights(&mixed), [1.0, 1.0]);
    }

    #[test]
    fn without_a_reference_no_kl_is_told() {
        let mut stats: UpdateStats = vec![("kl", 0.0), ("objective/kl", 0.0), ("reward", 1.0)];
        Reference::new(&constant(1.0), ReferenceConfig::Frozen).tell(&mut stats);
        assert_eq!(stats.len(), 3);
        let none = Reference::new(&constant(1.0), ReferenceConfig::None);
        none.tell(&mut stats);
        assert_eq!(stats, [("reward", 1.0)]);
        assert!(none.model().is_none());
        assert!(
            ReferenceConfig::None
                .validate("rl.reference", Some("a KL penalty"))
                .is_err()
        );
    }
}
