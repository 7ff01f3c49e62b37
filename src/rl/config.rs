//! What a run file says about the policy optimisation.

use serde::{Deserialize, Serialize};

use super::reference::ReferenceConfig;
use super::{
    AdaptiveKlConfig, Algorithm, AlgorithmConfig, Grpo, HealthConfig, OnlineDpo, Ppo, Reinforce,
    ReinforceBatch, RejectionSampling, RlValidationConfig, Rloo, SelfRewardingConfig,
};
use crate::config::at_least;
use crate::error::{Error, Result};
use crate::generate::SamplingConfig;
use crate::micro_batch::MicroBatches;
use crate::model::{Activations, CausalLm};
use crate::optim::OptimConfig;
use crate::reward::{RewardKind, RewardTerms};

/// Weight of the KL penalty where a run file names none: the paper's.
const KL_COEF: f32 = 0.05;

/// The policy optimisation of a run file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RlConfig {
    /// What completions are worth: "model", "direct", or a list of weighted terms. The reward model
    /// when absent.
    #[serde(default = "model")]
    pub reward: RewardTerms,
    /// Lets the policy judge what it writes in place of the run file's labeler.
    pub self_rewarding: Option<SelfRewardingConfig>,
    /// Rollout batches, each followed by one update.
    pub steps: usize,
    /// Completions per step.
    pub batch_size: usize,
    /// Completions of the same prompt in a batch.
    #[serde(default = "one")]
    pub num_generations: usize,
    /// Completions that go through the network at once in an update; the minibatch when absent.
    /// Changes memory and speed, not the numbers.
    pub micro_batch_size: Option<usize>,
    /// Tokens, padding included, that go through the network at once in an update; no bound when
    /// absent. With both bounds, both are kept.
    pub micro_batch_tokens: Option<usize>,
    /// Keeps only the input of each block for the backward pass and computes the rest again.
    #[serde(default)]
    pub gradient_checkpointing: bool,
    /// How completions are drawn.
    #[serde(default)]
    pub sampling: SamplingConfig,
    /// Draws the next batch while this one is scored, for a labeler behind a network. A batch is then
    /// of the policy one step before the one that learns from it; ratios are to the former.
    #[serde(default)]
    pub overlap: bool,
    /// Weight of the KL penalty to the reference; 0.05, the paper's, when absent. GRPO, RLOO and
    /// online DPO have `beta` instead.
    pub kl_coef: Option<f32>,
    /// Steers the weight of the KL penalty; it stays as it is when absent.
    pub adaptive_kl: Option<AdaptiveKlConfig>,
    /// What the KL is to.
    #[serde(default)]
    pub reference: ReferenceConfig,
    /// Prompts held out to measure the policy on; none when absent.
    pub validation: Option<RlValidationConfig>,
    /// When to warn, or to stop.
    #[serde(default)]
    pub health: HealthConfig,
    /// Taken off the reward of a completion that was cut by its length.
    #[serde(default)]
    pub missing_eos_penalty: f32,
    /// Optimizer of the policy.
    #[serde(default)]
    pub optim: OptimConfig,
    /// Optimizer of the value model; the defaults when absent. Only for algorithms that have one.
    pub value_optim: Option<OptimConfig>,
    /// How rollouts change the policy.
    pub algorithm: AlgorithmConfig,
}

fn one() -> usize {
    1
}

fn model() -> RewardTerms {
    RewardKind::Model {}.into()
}

impl RlConfig {
    /// Weight of the KL penalty in the first step.
    pub fn initial_kl_coef(&self) -> f32 {
        let beta = self.algorithm.beta();
        beta.unwrap_or_else(|| self.kl_coef.unwrap_or(KL_COEF))
    }

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
        at_least("rl.steps", self.steps, 1)?;
        self.validate_groups()?;
        self.micro_batches().validate("rl")?;
        self.reward.validate("rl.reward", self.num_generations)?;
        self.validate_judge()?;
        self.sampling.validate("rl.sampling")?;
        if self.sampling.temperature == 0.0 {
            return Err(Error::field(
                "rl.sampling.temperature",
                0,
                "a number above 0",
            ));
        }
        if !(self.missing_eos_penalty >= 0.0 && self.missing_eos_penalty.is_finite()) {
            let found = self.missing_eos_penalty;
            return Err(Error::field(
                "rl.missing_eos_penalty",
                found,
                "a number >= 0",
            ));
        }
        self.optim.validate("rl.optim")?;
        if let Some(optim) = &self.value_optim {
            optim.validate("rl.value_optim")?;
            if !self.algorithm.has_value_model() {
                let expected = format!("absent: {} has no value model", self.algorithm.name());
                return Err(Error::field("rl.value_optim", "given", expected));
            }
        }
        self.health.validate()?;
        let penalty = (self.initial_kl_coef() > 0.0).then_some("a KL penalty");
        self.reference.validate("rl.reference", penalty)?;
        if let Some(validation) = &self.validation {
            validation.validate()?;
        }
        self.algorithm.validate(self)?;
        self.validate_kl()
    }

    fn validate_judge(&self) -> Result<()> {
        match &self.self_rewarding {
            Some(_) if !self.reward.has_labeler() => {
                let expected = "absent: no term of rl.reward asks a labeler";
                Err(Error::field("rl.self_rewarding", "given", expected))
            }
            Some(config) => config.validate(),
            None => Ok(()),
        }
    }

    fn validate_groups(&self) -> Result<()> {
        at_least("rl.num_generations", self.num_generations, 1)?;
        if self.algorithm.has_groups() && self.num_generations < 2 {
            let name = self.algorithm.name();
            let expected =
                format!("at least 2: {name} compares a completion with others of its prompt");
            let found = self.num_generations;
            return Err(Error::field("rl.num_generations", found, expected));
        }
        if self.batch_size == 0 || !self.batch_size.is_multiple_of(self.num_generations) {
            let expected = format!(
                "a multiple of rl.num_generations = {}",
                self.num_generations
            );
            return Err(Error::field("rl.batch_size", self.batch_size, expected));
        }
        Ok(())
    }

    fn validate_kl(&self) -> Result<()> {
        if let Some(x) = self.kl_coef {
            let field = "rl.kl_coef";
            if self.algorithm.beta().is_some() {
                let name = self.algorithm.name();
                let expected = format!("absent: {name} has `rl.algorithm.beta` instead");
                return Err(Error::field(field, x, expected));
            }
            if !(x >= 0.0 && x.is_finite()) {
                return Err(Error::field(field, x, "a number >= 0"));
            }
            if matches!(self.algorithm, AlgorithmConfig::Reinforce(_)) && x > 1.0 {
                let expected = "a number in [0, 1] for reinforce";
                return Err(Error::field(field, x, expected));
            }
        }
        match &self.adaptive_kl {
            Some(config) => config.validate(self.initial_kl_coef()),
            None => Ok(()),
        }
    }

    /// Creates the algorithm of the run file; its value model, if it has one, starts from
    /// `initial`, the initial policy.
    pub fn init<M: CausalLm>(&self, initial: M) -> Box<dyn Algorithm<M>> {
        match self.algorithm.clone() {
            AlgorithmConfig::Ppo(config) => Box::new(Ppo::new(config, self, initial)),
            AlgorithmConfig::Reinforce(config) => Box::new(Reinforce::new(config, self, initial)),
            AlgorithmConfig::ReinforceBatch(config) => Box::new(ReinforceBatch::new(config, self)),
            AlgorithmConfig::Grpo(config) => Box::new(Grpo::new(config, self)),
            AlgorithmConfig::Rloo(config) => Box::new(Rloo::new(config, self)),
            AlgorithmConfig::OnlineDpo(config) => Box::new(OnlineDpo::new(config, self)),
            AlgorithmConfig::RejectionSampling(config) => {
                Box::new(RejectionSampling::new(config, self))
            }
        }
    }
}

/// Refuses what is not a finite number above 0.
pub(super) fn positive(field: &str, x: f32) -> Result<()> {
    if x > 0.0 && x.is_finite() {
        return Ok(());
    }
    Err(Error::field(field, x, "a positive number"))
}

/// Refuses more minibatches than completions, and none.
pub(super) fn mini_batches_fit(num_mini_batches: usize, batch_size: usize) -> Result<()> {
    if (1..=batch_size).contains(&num_mini_batches) {
        return Ok(());
    }
    let expected = format!("1 to rl.batch_size = {batch_size}");
    let field = "rl.algorithm.num_mini_batches";
    Err(Error::field(field, num_mini_batches, expected))
}

/// Refuses a `reward_clip_range` that is empty or has no number for a bound.
pub(super) fn ascending(range: Option<[f32; 2]>) -> Result<()> {
    match range {
        Some([low, high]) if !(low < high && low.is_finite() && high.is_finite()) => {
            let found = format!("[{low}, {high}]");
            let field = "rl.algorithm.reward_clip_range";
            Err(Error::field(
                field,
                found,
                "two numbers, the lower one first",
            ))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads `[rl]` with the lines of `rl` and the algorithm of `algorithm`.
    fn read(rl: &str, algorithm: &str) -> std::result::Result<RlConfig, String> {
        let text = format!(
            "reward = \"direct\"\nsteps = 1\nbatch_size = 8\n{rl}\n[algorithm]\n{algorithm}\n"
        );
        let config: RlConfig = toml::from_str(&text).map_err(|e| e.message().to_string())?;
        config.validate().map_err(|e| e.to_string())?;
        Ok(config)
    }

    #[track_caller]
    fn refused(rl: &str, algorithm: &str, message: &str) {
        let error = read(rl, algorithm).unwrap_err();
        assert!(error.contains(message), "{error}");
    }

    const GROUPS: &str = "num_generations = 4";

    #[test]
    fn defaults_are_those_of_trl() {
        let config = read(GROUPS, "kind = \"grpo\"").unwrap();
        assert_eq!(config.initial_kl_coef(), 0.0);
        let AlgorithmConfig::Grpo(grpo) = config.algorithm else {
            panic!("no grpo");
        };
        assert_eq!((grpo.num_iterations, grpo.epsilon), (1, 0.2));
        assert_eq!((grpo.epsilon_high, grpo.delta), (None, None));
        let config = read(GROUPS, "kind = \"rloo\"").unwrap();
        assert_eq!(config.initial_kl_coef(), 0.05);
        let config = read("", "kind = \"ppo\"").unwrap();
        assert_eq!(config.initial_kl_coef(), 0.05);
    }

    #[test]
    fn every_option_survives_being_written() {
        let algorithm = "kind = \"grpo\"\nbeta = 0.25\nepsilon_high = 0.5\ndelta = 3.0\n\
            loss_type = \"dr_grpo\"\nimportance_sampling_level = \"sequence\"\n\
            scale_rewards = \"batch\"\nkl_estimator = \"k2\"";
        let rl = "num_generations = 2\nmicro_batch_size = 4\nadaptive_kl = { target = 3.0 }";
        let config = read(rl, algorithm).unwrap();
        let text = toml::to_string(&config).unwrap();
        assert_eq!(toml::from_str::<RlConfig>(&text).unwrap(), config);
    }

    #[test]
    fn groups_need_two() {
        for kind in ["grpo", "rloo", "rejection_sampling"] {
            let algorithm = format!("kind = \"{kind}\"");
            let message =
                format!("`rl.num_generations` is 1, expected at least 2: {kind} compares");
            refused("", &algorithm, &message);
        }
        assert!(read("", "kind = \"reinforce_batch\"").is_ok());
    }

    #[test]
    fn options_that_would_do_nothing_are_refused() {
        let kl_coef = format!("{GROUPS}\nkl_coef = 0.1");
        refused(&kl_coef, "kind = \"grpo\"", "`rl.algorithm.beta` instead");
        refused(&kl_coef, "kind = \"rloo\"", "`rl.algorithm.beta` instead");
        let value = format!("{GROUPS}\nvalue_optim = {{}}");
        refused(&value, "kind = \"rloo\"", "rloo has no value model");
        let adaptive = format!("{GROUPS}\nadaptive_kl = {{}}");
        refused(&adaptive, "kind = \"grpo\"", "`rl.adaptive_kl`");
        let cispo = "kind = \"grpo\"\nloss_type = \"cispo\"\ndelta = 3.0";
        refused(GROUPS, cispo, "`rl.algorithm.delta`");
        refused(GROUPS, "kind = \"grpo\"\nepsilonn = 1", "epsilonn");
        refused("", "kind = \"ppo\"\nbeta = 1", "beta");
    }

    #[test]
    fn ranges_are_checked() {
        for (kind, line) in [
            ("grpo", "epsilon = 1.5"),
            ("grpo", "epsilon_high = 0.0"),
            ("grpo", "delta = 1.1"),
            ("grpo", "beta = -1"),
            ("grpo", "entropy_coef = -0.1"),
            ("grpo", "num_iterations = 0"),
            ("rloo", "reward_clip_range = [1, -1]"),
            ("rloo", "num_mini_batches = 9"),
            ("rloo", "epsilon = 0"),
            ("rejection_sampling", "num_mini_batches = 3"),
            ("ppo", "dual_clip = 1.2"),
            ("ppo", "reward_clip_range = [1, 1]"),
            ("reinforce_batch", "epsilon = -0.2"),
        ] {
            let field = line.split_once(' ').unwrap().0;
            let algorithm = format!("kind = \"{kind}\"\n{line}");
            refused(GROUPS, &algorithm, &format!("`rl.algorithm.{field}`"));
        }
        refused(
            "micro_batch_size = 0",
            "kind = \"ppo\"",
            "rl.micro_batch_size",
        );
        refused("kl_coef = 1.5", "kind = \"reinforce\"", "[0, 1]");
    }
}
