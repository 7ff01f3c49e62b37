//! What a run file says about preference optimisation.

use serde::{Deserialize, Serialize};

use crate::config::at_least;
use crate::error::{Error, Result};
use crate::micro_batch::MicroBatches;
use crate::model::Activations;
use crate::optim::OptimConfig;
use crate::rl::ReferenceConfig;
use crate::rl::loss::{DpoLoss, DpoLossType};
use crate::validation::ValidationConfig;

/// Preference optimisation. Names as in TRL's `DPOConfig`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DpoConfig {
    /// Pairs per step.
    pub batch_size: usize,
    /// Passes over the pairs.
    #[serde(default = "one")]
    pub num_train_epochs: usize,
    /// Pairs that go through the network at once; all of a step when absent. Changes memory and
    /// speed, not the numbers.
    pub micro_batch_size: Option<usize>,
    /// Tokens, padding included, that go through the network at once; no bound when absent.
    pub micro_batch_tokens: Option<usize>,
    /// Keeps only the input of each block for the backward pass and computes the rest again.
    #[serde(default)]
    pub gradient_checkpointing: bool,
    /// How the labeler's probabilities count.
    #[serde(default)]
    pub labels: Labels,
    /// What is minimised.
    #[serde(default)]
    pub loss: PreferenceLoss,
    /// What the policy is compared with, by the losses that do. The log-probabilities of a
    /// reference that stays are computed once, those of one that moves at every step.
    #[serde(default)]
    pub reference: ReferenceConfig,
    /// Share of the pairs that is held out to measure the policy.
    #[serde(default)]
    pub holdout: f64,
    /// What the held-out pairs are used for during the training.
    #[serde(default)]
    pub validation: ValidationConfig,
    /// Optimizer.
    #[serde(default)]
    pub optim: OptimConfig,
}

fn one() -> usize {
    1
}

/// How the labeler's probability that a completion is better counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Labels {
    /// As it is: the loss is the expectation over the label.
    #[default]
    Soft,
    /// As a verdict: the chosen completion is better for sure.
    Hard,
}

/// What is minimised.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum PreferenceLoss {
    /// Direct preference optimisation and its variants. Rafailov et al. 2023, arXiv:2305.18290.
    Dpo(DpoOptions),
    /// Kahneman-Tversky optimisation: each completion by itself is desirable or not. Ethayarajh et
    /// al. 2024, arXiv:2402.01306.
    Kto {
        /// How strongly the policy is held to its reference.
        #[serde(default = "tenth")]
        beta: f32,
        /// Weight of a desirable completion.
        #[serde(default = "unit")]
        desirable_weight: f32,
        /// Weight of an undesirable one.
        #[serde(default = "unit")]
        undesirable_weight: f32,
    },
    /// Odds-ratio preference optimisation: imitates the chosen completion and raises its odds
    /// against the rejected one, without a reference. Hong et al. 2024, arXiv:2403.07691.
    Orpo {
        /// Weight of the odds ratio; lambda in the paper.
        #[serde(default = "tenth")]
        beta: f32,
    },
    /// Log-probabilities per token with a target margin, without a reference. Meng et al. 2024,
    /// arXiv:2405.14734.
    Simpo {
        /// Scale of the log-probabilities; 2, the paper's for base models, when absent.
        #[serde(default = "two")]
        beta: f32,
        /// The margin.
        #[serde(default = "half")]
        simpo_gamma: f32,
    },
    /// Contrastive preference optimisation: DPO with a uniform reference, and imitation of the
    /// chosen completion. Xu et al. 2024, arXiv:2401.08417.
    Cpo {
        /// Scale of the log-probabilities.
        #[serde(default = "tenth")]
        beta: f32,
        /// The loss of a pair: `sigmoid`, `hinge` or `ipo`.
        #[serde(default)]
        loss_type: DpoLossType,
        /// Weight of the imitation.
        #[serde(default = "unit")]
        cpo_alpha: f32,
    },
}

/// DPO's own settings.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DpoOptions {
    /// How strongly the policy is held to its reference.
    pub beta: f32,
    /// The loss of a pair.
    pub loss_type: DpoLossType,
    /// Share of the labels taken to be wrong, for `robust` and `exo_pair`.
    pub label_smoothing: f32,
    /// Weight of imitating the chosen completion beside it. Pang et al. 2024, arXiv:2404.19733.
    pub rpo_alpha: f32,
}

fn tenth() -> f32 {
    0.1
}

fn half() -> f32 {
    0.5
}

fn unit() -> f32 {
    1.0
}

fn two() -> f32 {
    2.0
}

impl Default for DpoOptions {
    fn default() -> Self {
        Self {
            beta: tenth(),
            loss_type: DpoLossType::Sigmoid,
            label_smoothing: 0.0,
            rpo_alpha: 0.0,
        }
    }
}

impl Default for PreferenceLoss {
    fn default() -> Self {
        Self::Dpo(DpoOptions::default())
    }
}

impl DpoOptions {
    /// The loss of a pair.
    pub fn loss(&self) -> DpoLoss {
        DpoLoss {
            loss_type: self.loss_type,
            beta: self.beta,
            label_smoothing: self.label_smoothing,
        }
    }

    fn validate(&self, field: &str) -> Result<()> {
        not_negative(&format!("{field}.rpo_alpha"), self.rpo_alpha)?;
        let smoothing = self.label_smoothing;
        let refused = |expected: &str| {
            let field = format!("{field}.label_smoothing");
            Err(Error::field(field, smoothing, expected))
        };
        match self.loss_type {
            DpoLossType::Robust if !(0.0..0.5).contains(&smoothing) => {
                refused("a number in [0, 0.5)")
            }
            DpoLossType::ExoPair if !(smoothing > 0.0 && smoothing < 0.5) => {
                refused("a number in (0, 0.5) for exo_pair")
            }
            DpoLossType::Robust | DpoLossType::ExoPair => Ok(()),
            _ if smoothing != 0.0 => {
                refused("0: other losses than robust and exo_pair have soft labels for that")
            }
            _ => Ok(()),
        }
    }
}

impl PreferenceLoss {
    /// Whether the loss compares the policy with a reference.
    pub fn has_reference(&self) -> bool {
        matches!(self, Self::Dpo(_) | Self::Kto { .. })
    }

    /// Whether completions are also put after the prompts of other pairs.
    pub fn has_mismatched(&self) -> bool {
        matches!(self, Self::Kto { .. })
    }

    /// `beta` of each of them.
    pub fn beta(&self) -> f32 {
        match self {
            Self::Dpo(options) => options.beta,
            Self::Kto { beta, .. }
            | Self::Orpo { beta }
            | Self::Simpo { beta, .. }
            | Self::Cpo { beta, .. } => *beta,
        }
    }

    /// Checks the ranges; `field` is the path of this table in the run file.
    ///
    /// # Errors
    /// Names the field that is out of range.
    pub fn validate(&self, field: &str) -> Result<()> {
        let beta = self.beta();
        if !(beta > 0.0 && beta.is_finite()) {
            let field = format!("{field}.beta");
            return Err(Error::field(field, beta, "a positive number"));
        }
        let check = |name: &str, x: f32| not_negative(&format!("{field}.{name}"), x);
        match self {
            Self::Dpo(options) => options.validate(field),
            Self::Kto {
                desirable_weight,
                undesirable_weight,
                ..
            } => {
                check("desirable_weight", *desirable_weight)?;
                check("undesirable_weight", *undesirable_weight)
            }
            Self::Orpo { .. } => Ok(()),
            Self::Simpo { simpo_gamma, .. } => check("simpo_gamma", *simpo_gamma),
            Self::Cpo {
                loss_type,
                cpo_alpha,
                ..
            } => {
                let known = [DpoLossType::Sigmoid, DpoLossType::Hinge, DpoLossType::Ipo];
                if !known.contains(loss_type) {
                    let found = format!("{loss_type:?}");
                    let expected = "sigmoid, hinge or ipo for cpo";
                    return Err(Error::field(format!("{field}.loss_type"), found, expected));
                }
                check("cpo_alpha", *cpo_alpha)
            }
        }
    }
}

impl DpoConfig {
    pub(super) fn micro_batches(&self) -> MicroBatches {
        MicroBatches {
            size: self.micro_batch_size,
            tokens: self.micro_batch_tokens,
        }
    }

    pub(super) fn activations(&self) -> Activations {
        Activations::of(self.gradient_checkpointing)
    }

    /// Checks the ranges.
    ///
    /// # Errors
    /// Names the field that is out of range.
    pub fn validate(&self) -> Result<()> {
        at_least("dpo.batch_size", self.batch_size, 1)?;
        at_least("dpo.num_train_epochs", self.num_train_epochs, 1)?;
        self.micro_batches().validate("dpo")?;
        self.loss.validate("dpo.loss")?;
        let comparing = self.loss.has_reference().then_some("this loss");
        self.reference.validate("dpo.reference", comparing)?;
        if !(0.0..1.0).contains(&self.holdout) {
            let expected = "a number in [0, 1)";
            return Err(Error::field("dpo.holdout", self.holdout, expected));
        }
        if self.holdout > 0.0 && self.validation.eval_steps.is_none() {
            let expected = "0 without `dpo.validation.eval_steps`: nothing would be measured";
            return Err(Error::field("dpo.holdout", self.holdout, expected));
        }
        self.validation.validate("dpo.validation", self.holdout)?;
        self.optim.validate("dpo.optim")
    }
}

fn not_negative(field: &str, x: f32) -> Result<()> {
    if x >= 0.0 && x.is_finite() {
        return Ok(());
    }
    Err(Error::field(field, x, "a number >= 0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(loss: &str) -> std::result::Result<DpoConfig, String> {
        let text = format!("batch_size = 8\n[loss]\n{loss}\n");
        let config: DpoConfig = toml::from_str(&text).map_err(|e| e.message().to_string())?;
        config.validate().map_err(|e| e.to_string())?;
        Ok(config)
    }

    #[test]
    fn defaults_are_those_of_trl() {
        let config: DpoConfig = toml::from_str("batch_size = 8").unwrap();
        assert_eq!(config.loss, read("kind = \"dpo\"").unwrap().loss);
        assert_eq!(config.loss.beta(), 0.1);
        let cpo = read("kind = \"cpo\"").unwrap();
        assert!(matches!(
            cpo.loss,
            PreferenceLoss::Cpo { cpo_alpha: 1.0, .. }
        ));
        let text = toml::to_string(&cpo).unwrap();
        assert_eq!(toml::from_str::<DpoConfig>(&text).unwrap(), cpo);
    }

    #[test]
    fn ranges_are_checked_and_idle_options_refused() {
        for (loss, said) in [
            ("kind = \"dpo\"\nbeta = 0", "`dpo.loss.beta` is 0"),
            ("kind = \"dpo\"\nlabel_smoothing = 0.1", "have soft labels"),
            (
                "kind = \"dpo\"\nloss_type = \"robust\"\nlabel_smoothing = 0.5",
                "[0, 0.5)",
            ),
            ("kind = \"dpo\"\nloss_type = \"exo_pair\"", "(0, 0.5)"),
            ("kind = \"dpo\"\nrpo_alpha = -1", "`dpo.loss.rpo_alpha`"),
            ("kind = \"orpo\"\ngamma = 1", "gamma"),
            ("kind = \"simpo\"\nsimpo_gamma = -1", "simpo_gamma"),
            ("kind = \"kto\"\ndesirable_weight = -1", "desirable_weight"),
            ("kind = \"cpo\"\nloss_type = \"robust\"", "for cpo"),
        ] {
            let error = read(loss).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
        for (line, said) in [
            ("holdout = 1.0", "`dpo.holdout` is 1"),
            ("holdout = 0.1", "nothing would be measured"),
            ("validation = { eval_steps = 2 }", "`dpo.validation`"),
        ] {
            let config: DpoConfig = toml::from_str(&format!("batch_size = 8\n{line}")).unwrap();
            let error = config.validate().unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }
}
