//! What the policy is compared with: where it started, something that follows it slowly, or nothing.

use std::collections::VecDeque;
use std::path::Path;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::prelude::*;
use burn::tensor::DType;
use serde::{Deserialize, Serialize};

use super::UpdateStats;
use crate::config::at_least;
use crate::error::{Error, Result};
use crate::optim::Learner;

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
    /// Of one that moves and computes in 16 bits its weights in 32, for a mixture is often nearer to
    /// what it was than 16 bits can tell.
    exact: Option<M>,
    config: ReferenceConfig,
}

impl<M: Module> Reference<M> {
    pub(crate) fn new(initial: &M, config: ReferenceConfig) -> Self {
        let kept = config != ReferenceConfig::None;
        let model = kept.then(|| initial.clone().valid());
        let moved = model.as_ref().filter(|_| config.is_synced());
        Self {
            exact: moved.and_then(raised),
            model,
            config,
        }
    }

    /// Its weights, without gradients.
    pub(crate) fn model(&self) -> Option<&M> {
        self.model.as_ref()
    }

    /// Moves it, if it is time, after `step` has made `policy` what it is.
    pub(crate) fn observe(&mut self, step: usize, policy: &Learner<M>) {
        if let ReferenceConfig::Synced {
            ref_model_mixup_alpha,
            ref_model_sync_steps,
        } = self.config
            && step.is_multiple_of(ref_model_sync_steps)
        {
            let mixed = |weights| mix(weights, policy.exact(), ref_model_mixup_alpha);
            match self.exact.take() {
                Some(exact) => self.round(mixed(exact)),
                None => self.model = self.model.take().map(mixed),
            }
        }
    }

    /// Computes with `exact` as it is in the model's formats.
    fn round(&mut self, exact: M) {
        let formats = self.model.take().map(|model| formats(&model));
        self.model = formats.map(|formats| exact.clone().map(&mut Formats(formats)));
        self.exact = Some(exact);
    }

    /// Writes a reference that moves into the folder of a checkpoint.
    pub(crate) fn save(&self, dir: &Path) -> Result<()> {
        match (self.exact.as_ref().or(self.model.as_ref()), self.config) {
            (Some(model), ReferenceConfig::Synced { .. }) => {
                let saved = model.clone().save_file(dir.join(FILE));
                saved.map_err(|e| Error::file(dir, e.to_string()))
            }
            _ => Ok(()),
        }
    }

    /// Takes over what [`save`](Self::save) wrote.
    pub(crate) fn load(&mut self, dir: &Path) -> Result<()> {
        if !self.config.is_synced() {
            return Ok(());
        }
        let read = |weights: M| {
            let loaded = weights.try_load_file(dir.join(FILE));
            loaded.map_err(|e| Error::file(dir, e.to_string()))
        };
        match self.exact.take() {
            Some(exact) => self.round(read(exact)?),
            None => self.model = self.model.take().map(read).transpose()?,
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

/// The weights in 32 bits, if some are in 16.
fn raised<M: Module>(model: &M) -> Option<M> {
    let mut formats = formats(model);
    let is_exact = formats.iter().all(|format| *format == DType::F32);
    formats.iter_mut().for_each(|format| *format = DType::F32);
    (!is_exact).then(|| model.clone().map(&mut Formats(formats)))
}

/// The formats of the weights, in their order.
fn formats<M: Module>(model: &M) -> VecDeque<DType> {
    let mut formats = Formats(VecDeque::new());
    model.visit(&mut formats);
    formats.0
}

/// Notes formats, or puts weights into them.
struct Formats(VecDeque<DType>);

impl ModuleVisitor for Formats {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.0.push_back(param.val().dtype());
    }
}

impl ModuleMapper for Formats {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        match self.0.pop_front() {
            Some(format) => param.map(|weights| weights.cast(format)),
            None => param,
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
    use crate::optim::OptimConfig;

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
        let policy = OptimConfig::default().init(constant(2.0), 1);
        for (step, expected) in [(1, 1.0), (2, 1.6), (3, 1.6), (4, 1.84)] {
            reference.observe(step, &policy);
            for found in weights(reference.model().unwrap()) {
                assert!((found - expected).abs() < 1e-6, "{step}: {found}");
            }
        }
    }

    // 2 - .998^n after n steps: 1.002, 1.003996, 1.00599. The bf16 after 1 is 1 + 1/128, and 1 + 1/256 =
    // 1.003906 is halfway. One step from 1 would round to 1 again, every time.
    #[test]
    fn a_reference_in_16_bits_is_mixed_in_32() {
        let config = ReferenceConfig::Synced {
            ref_model_mixup_alpha: 0.002,
            ref_model_sync_steps: 1,
        };
        let in_16_bits = |x| {
            let linear = constant(x);
            let formats = formats(&linear).iter().map(|_| DType::BF16).collect();
            linear.map(&mut Formats(formats))
        };
        let policy = OptimConfig::default().init(in_16_bits(2.0), 1);
        let mut reference = Reference::new(&in_16_bits(1.0), config);
        let folder = tempfile::tempdir().unwrap();
        let found = |reference: &Reference<Linear>| {
            let weights = reference.model().unwrap().weight.val();
            assert_eq!(weights.dtype(), DType::BF16);
            weights.try_into_vec_as::<f32>().unwrap()
        };
        for (step, expected) in [(1, 1.0), (2, 1.0 + 1.0 / 128.0), (3, 1.0 + 1.0 / 128.0)] {
            reference.observe(step, &policy);
            assert_eq!(found(&reference), [expected; 2], "{step}");
            // As from a checkpoint.
            reference.save(folder.path()).unwrap();
            reference = Reference::new(&in_16_bits(1.0), config);
            reference.load(folder.path()).unwrap();
            assert_eq!(found(&reference), [expected; 2], "{step}");
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
