//! Optimizers, their learning rates, and the [`Learner`]: a model together with its optimizer, and
//! the step that moves both.

mod copies;
mod learner;
mod loss_scaling;
mod masters;

use burn::module::{Module, ModuleVisitor, Param, ParamGroup};
use burn::optim::decay::WeightDecayConfig;
use burn::optim::{
    AdafactorConfig, AdamWConfig, AdjustLrFn, LionConfig, ModuleOptimizer, MuonConfig,
};
use burn::prelude::*;
use serde::{Deserialize, Serialize};

pub(crate) use self::copies::{load_copy, save_copy};
pub use self::learner::{Learner, clip_grad_norm, grad_norm};
pub use self::loss_scaling::LossScaling;
use crate::error::{Error, Result};

/// How a learning rate changes after warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    /// Stays.
    Constant,
    /// Falls linearly to zero at the last step (TRL's default).
    #[default]
    Linear,
    /// Falls to zero along half a cosine.
    Cosine,
}

/// How a gradient becomes a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OptimKind {
    /// Adam with decoupled weight decay. Loshchilov and Hutter 2019, arXiv:1711.05101.
    #[default]
    Adamw,
    /// Factored second moments, no first: the paper's optimizer. The learning rate is absolute.
    /// Shazeer and Stern 2018, arXiv:1804.04235.
    Adafactor,
    /// The sign of a momentum; wants about a tenth of AdamW's learning rate. Chen et al. 2023,
    /// arXiv:2302.06675.
    Lion,
    /// Orthogonalised momentum for the matrices inside the blocks, AdamW for all else, both at the
    /// same learning rate. Jordan et al. 2024, scaled as in Liu et al. 2025, arXiv:2502.16982.
    Muon,
}

/// The optimizer and its learning rate; names and defaults as in TRL. Adafactor has none of
/// `adam_*` and Lion only the two betas: there the others must stay at their defaults. Muon has all
/// of them, for the weights that AdamW moves.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OptimConfig {
    /// How a gradient becomes a step.
    pub kind: OptimKind,
    /// Highest learning rate.
    pub learning_rate: f64,
    /// How it changes.
    pub lr_scheduler_type: Schedule,
    /// Steps over which it rises from zero; below 1, that share of all steps, rounded up.
    pub warmup_steps: f64,
    /// Decay of the first moment.
    pub adam_beta1: f32,
    /// Decay of the second moment.
    pub adam_beta2: f32,
    /// Added to the root of the second moment.
    pub adam_epsilon: f32,
    /// Decoupled weight decay.
    pub weight_decay: f32,
    /// Bound of the global gradient norm; 0 means none.
    pub max_grad_norm: f32,
}

impl Default for OptimConfig {
    fn default() -> Self {
        Self {
            kind: OptimKind::Adamw,
            learning_rate: 1e-5,
            lr_scheduler_type: Schedule::Linear,
            warmup_steps: 0.0,
            adam_beta1: 0.9,
            adam_beta2: 0.999,
            adam_epsilon: 1e-8,
            weight_decay: 0.0,
            max_grad_norm: 1.0,
        }
    }
}

impl OptimConfig {
    /// Checks the ranges; `field` is the path of this table in the run file.
    ///
    /// # Errors
    /// Names the field that is out of range.
    pub fn validate(&self, field: &str) -> Result<()> {
        let bad = |name: &str, found: f64, expected: &str| {
            Err(Error::field(format!("{field}.{name}"), found, expected))
        };
        if !(self.learning_rate > 0.0 && self.learning_rate <= 1.0) {
            return bad("learning_rate", self.learning_rate, "a number in (0, 1]");
        }
        let warmup = self.warmup_steps;
        if !(warmup >= 0.0 && (warmup < 1.0 || warmup.fract() == 0.0) && warmup.is_finite()) {
            let expected = "a whole number of steps, or a share in [0, 1)";
            return bad("warmup_steps", warmup, expected);
        }
        for (name, beta) in [
            ("adam_beta1", self.adam_beta1),
            ("adam_beta2", self.adam_beta2),
        ] {
            if !(0.0..1.0).contains(&beta) {
                return bad(name, beta.into(), "a number in [0, 1)");
            }
        }
        if self.adam_epsilon.is_nan() || self.adam_epsilon <= 0.0 {
            return bad(
                "adam_epsilon",
                self.adam_epsilon.into(),
                "a positive number",
            );
        }
        for (name, x) in [
            ("weight_decay", self.weight_decay),
            ("max_grad_norm", self.max_grad_norm),
        ] {
            if x.is_nan() || x < 0.0 {
                return bad(name, x.into(), "a number >= 0");
            }
        }
        match self.unused() {
            Some((name, x)) => bad(
                name,
                x.into(),
                "the default: this optimizer has no such field",
            ),
            None => Ok(()),
        }
    }

    /// A field that was changed and that the optimizer does not have.
    fn unused(&self) -> Option<(&'static str, f32)> {
        let default = Self::default();
        let betas = [
            ("adam_beta1", self.adam_beta1, default.adam_beta1),
            ("adam_beta2", self.adam_beta2, default.adam_beta2),
        ];
        let epsilon = [("adam_epsilon", self.adam_epsilon, default.adam_epsilon)];
        let absent = match self.kind {
            OptimKind::Adamw | OptimKind::Muon => vec![],
            OptimKind::Lion => epsilon.to_vec(),
            OptimKind::Adafactor => [&betas[..], &epsilon].concat(),
        };
        let changed = absent.into_iter().find(|(_, x, default)| x != default);
        changed.map(|(name, x, _)| (name, x))
    }

    /// Learning rate of step `step` (from 0) of `total`. A pure function, so that a resumed run
    /// needs no state.
    pub fn learning_rate_at(&self, step: usize, total: usize) -> f64 {
        let warmup = match self.warmup_steps {
            steps if steps >= 1.0 => steps as usize,
            share => (share * total as f64).ceil() as usize,
        };
        if step < warmup {
            return self.learning_rate * (step + 1) as f64 / warmup as f64;
        }
        let span = total.saturating_sub(warmup).max(1) as f64;
        let done = ((step - warmup) as f64 / span).min(1.0);
        self.learning_rate
            * match self.lr_scheduler_type {
                Schedule::Constant => 1.0,
                Schedule::Linear => 1.0 - done,
                Schedule::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * done).cos()),
            }
    }

    /// Puts a model under this optimizer for `total_steps` steps.
    pub fn init<M: Module>(&self, model: M, total_steps: usize) -> Learner<M> {
        let optim = self.build(&model);
        Learner::new(model, optim, self.clone(), total_steps)
    }
}

impl OptimConfig {
    fn build<M: Module>(&self, model: &M) -> ModuleOptimizer {
        let adamw = AdamWConfig::new()
            .with_beta_1(self.adam_beta1)
            .with_beta_2(self.adam_beta2)
            .with_epsilon(self.adam_epsilon)
            .with_weight_decay(self.weight_decay);
        match self.kind {
            OptimKind::Adamw => adamw.init(),
            OptimKind::Adafactor => AdafactorConfig::new()
                .with_relative_step(false)
                .with_scale_parameter(false)
                .with_weight_decay(self.weight_decay)
                .init(),
            OptimKind::Lion => LionConfig::new()
                .with_beta_1(self.adam_beta1)
                .with_beta_2(self.adam_beta2)
                .with_weight_decay(self.weight_decay)
                .init(),
            OptimKind::Muon => {
                let muon = MuonConfig::new()
                    .with_weight_decay(Some(WeightDecayConfig::new(self.weight_decay)))
                    .with_adjust_lr_fn(AdjustLrFn::MatchRmsAdamW);
                let matrices = ParamGroup::from_paths(inner_matrices(model));
                adamw.init().with_group(matrices, muon.build(), None)
            }
        }
    }
}

/// Paths of the matrices that map hidden states to hidden states: all but embeddings and heads.
fn inner_matrices<M: Module>(model: &M) -> Vec<String> {
    let mut found = InnerMatrices::default();
    model.visit(&mut found);
    found.paths
}

/// A block is an element of a list of modules, so its path has a number in it.
#[derive(Default)]
struct InnerMatrices {
    path: Vec<String>,
    paths: Vec<String>,
}

impl ModuleVisitor for InnerMatrices {
    fn visit_float<const D: usize>(&mut self, _param: &Param<Tensor<D>>) {
        let in_a_block = self.path.iter().any(|part| part.parse::<usize>().is_ok());
        if D == 2 && in_a_block {
            self.paths.push(self.path.join("."));
        }
    }

    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.into());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // A quarter of 10 steps is 2.5, so 3: thirds of the rate, then 1 - (step - 3) / 7.
    #[test]
    fn warm_up_is_a_number_of_steps_or_a_share_of_them() {
        let config = |warmup_steps| OptimConfig {
            learning_rate: 0.3,
            warmup_steps,
            ..Default::default()
        };
        for warmup in [3.0, 0.25] {
            let rates = [0, 1, 2, 3, 4].map(|step| config(warmup).learning_rate_at(step, 10));
            let expected = [0.1, 0.2, 0.3, 0.3, 0.3 * 6.0 / 7.0];
            for (rate, expected) in rates.iter().zip(expected) {
                assert!((rate - expected).abs() < 1e-12, "{rates:?}");
            }
        }
        assert_eq!(config(0.0).learning_rate_at(0, 10), 0.3);
        for warmup in [-1.0, 2.5, f64::NAN] {
            assert!(config(warmup).validate("optim").is_err());
        }
    }

    #[test]
    fn fields_that_an_optimizer_lacks_are_refused() {
        let check = |kind, refused: [bool; 3]| {
            let with = |change: fn(&mut OptimConfig)| {
                let mut config = OptimConfig {
                    kind,
                    ..Default::default()
                };
                change(&mut config);
                config.validate("optim").is_err()
            };
            let found = [
                with(|config| config.adam_beta1 = 0.8),
                with(|config| config.adam_beta2 = 0.95),
                with(|config| config.adam_epsilon = 1e-5),
            ];
            assert_eq!(found, refused, "{kind:?}");
            assert!(!with(|_| ()), "{kind:?}");
        };
        check(OptimKind::Adamw, [false; 3]);
        check(OptimKind::Muon, [false; 3]);
        check(OptimKind::Lion, [false, false, true]);
        check(OptimKind::Adafactor, [true; 3]);
    }
}
