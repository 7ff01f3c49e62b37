//! Is a policy optimisation going wrong? The usual ways, told from its metrics alone.
//!
//! Every step the means over the last steps are held against thresholds, and against the first
//! steps of the run where only a change says something. [`diagnose`] is a pure function of that
//! history; [`Health`] keeps the history, warns once when a symptom appears, and ends the run if
//! the run file wants that.

use serde::{Deserialize, Serialize};

use super::UpdateStats;
use super::config::positive;
use crate::config::at_least;
use crate::error::{Error, Result};

/// When to worry. The thresholds are wide: what they catch is rarely worth going on with.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HealthConfig {
    /// Ends the run at the first symptom, without a policy; otherwise it is a warning and a metric.
    pub stop: bool,
    /// Steps that a mean is taken over; nothing is judged before there are as many.
    pub window: usize,
    /// Highest `objective/kl`, in nats per completion.
    pub max_kl: f32,
    /// Lowest entropy per token, as a share of that of the first steps.
    pub min_entropy_ratio: f32,
    /// Highest share of prompts whose completions all get the same reward.
    pub max_frac_reward_zero_std: f32,
    /// Largest factor between the mean length and that of the first steps, in either direction.
    pub max_length_ratio: f32,
    /// Lowest `critic/vf_explained_var`; below 0 the value model is worse than a constant.
    pub min_explained_var: f32,
}

impl Default for HealthConfig {
    fn default() -> Self {
        Self {
            stop: false,
            window: 10,
            max_kl: 50.0,
            min_entropy_ratio: 0.1,
            max_frac_reward_zero_std: 0.9,
            max_length_ratio: 3.0,
            min_explained_var: -1.0,
        }
    }
}

impl HealthConfig {
    pub(super) fn validate(&self) -> Result<()> {
        at_least("rl.health.window", self.window, 1)?;
        positive("rl.health.max_kl", self.max_kl)?;
        let shares = [
            ("min_entropy_ratio", self.min_entropy_ratio),
            ("max_frac_reward_zero_std", self.max_frac_reward_zero_std),
        ];
        for (name, x) in shares {
            if !(0.0..=1.0).contains(&x) {
                let field = format!("rl.health.{name}");
                return Err(Error::field(field, x, "a number in [0, 1]"));
            }
        }
        if self.max_length_ratio.is_nan() || self.max_length_ratio <= 1.0 {
            let (field, found) = ("rl.health.max_length_ratio", self.max_length_ratio);
            return Err(Error::field(field, found, "a number above 1"));
        }
        if self.min_explained_var.is_nan() || self.min_explained_var >= 1.0 {
            let (field, found) = ("rl.health.min_explained_var", self.min_explained_var);
            return Err(Error::field(field, found, "a number below 1"));
        }
        Ok(())
    }
}

/// What is looked at of a step.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Vitals {
    /// Nats per completion.
    pub kl: f64,
    /// Nats per token, if the algorithm tells it.
    pub entropy: Option<f64>,
    /// Share of prompts whose completions all get the same reward; of the batch as one group where
    /// prompts have one completion each.
    pub frac_reward_zero_std: f64,
    /// Tokens per completion.
    pub length: f64,
    /// Share of the returns' variance that the value model explains, if there is one.
    pub explained_var: Option<f64>,
}

impl Vitals {
    /// Finds them among the metrics of a step.
    pub fn of(stats: &UpdateStats) -> Self {
        let find = |name: &str| {
            let found = stats.iter().find(|(found, _)| *found == name);
            found.map(|(_, value)| *value)
        };
        let no_spread = find("reward_std").map(|std| if std == 0.0 { 1.0 } else { 0.0 });
        Self {
            kl: find("objective/kl").unwrap_or(0.0),
            entropy: find("entropy").or_else(|| find("policy/entropy_avg")),
            frac_reward_zero_std: find("frac_reward_zero_std").or(no_spread).unwrap_or(0.0),
            length: find("completions/mean_length").unwrap_or(0.0),
            explained_var: find("critic/vf_explained_var"),
        }
    }
}

/// One way to go wrong, as it was found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Symptom {
    /// Which way.
    pub kind: SymptomKind,
    /// The mean over the last steps, or its ratio to that of the first.
    pub value: f64,
    /// What it has passed.
    pub threshold: f64,
}

/// The ways to go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SymptomKind {
    /// The policy has left its reference, where the reward model knows nothing.
    KlExplosion,
    /// The policy always writes the same.
    EntropyCollapse,
    /// The rewards no longer tell completions apart.
    EqualRewards,
    /// Completions grow, or vanish.
    LengthDrift,
    /// The value model is worse than a constant.
    ValueDivergence,
}

impl SymptomKind {
    const ALL: [Self; 5] = [
        Self::KlExplosion,
        Self::EntropyCollapse,
        Self::EqualRewards,
        Self::LengthDrift,
        Self::ValueDivergence,
    ];

    /// Name of its metric, 1 where the symptom is there and 0 elsewhere.
    pub fn metric(self) -> &'static str {
        match self {
            Self::KlExplosion => "health/kl_explosion",
            Self::EntropyCollapse => "health/entropy_collapse",
            Self::EqualRewards => "health/equal_rewards",
            Self::LengthDrift => "health/length_drift",
            Self::ValueDivergence => "health/value_divergence",
        }
    }

    /// What is measured, and what may help.
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::KlExplosion => (
                "KL explosion: the KL per completion",
                "raise the KL weight or set rl.adaptive_kl, or lower rl.optim.learning_rate",
            ),
            Self::EntropyCollapse => (
                "entropy collapse: the entropy per token as a share of the first steps'",
                "lower rl.optim.learning_rate, or raise the KL weight or the entropy bonus",
            ),
            Self::EqualRewards => (
                "equal rewards: the share of prompts without a spread of rewards",
                "raise rl.sampling.temperature or rl.num_generations, or look at the reward",
            ),
            Self::LengthDrift => (
                "length drift: the mean length over the first steps'",
                "set rl.missing_eos_penalty, raise the KL weight, or look for length in the reward",
            ),
            Self::ValueDivergence => (
                "value divergence: the explained variance of the value model",
                "lower rl.value_optim.learning_rate, or normalise the rewards",
            ),
        }
    }
}

impl std::fmt::Display for Symptom {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (what, remedy) = self.kind.words();
        let (value, threshold) = (self.value, self.threshold);
        write!(f, "{what} is {value:.3}, past {threshold:.3}: {remedy}")
    }
}

/// The symptoms at the end of `history`, one entry per step from the first.
///
/// Means over the last `window` steps; ratios are to the mean over the first `window`.
pub fn diagnose(history: &[Vitals], config: &HealthConfig) -> Vec<Symptom> {
    let n = config.window.max(1);
    if history.len() < n {
        return Vec::new();
    }
    let (first, last) = (&history[..n], &history[history.len() - n..]);
    let entropy = |part: &[Vitals]| mean(part.iter().map(|step| step.entropy));
    let length = |part: &[Vitals]| mean(part.iter().map(|step| Some(step.length)));
    let ratio = |(now, before): (f64, f64)| now / before.max(f64::MIN_POSITIVE);
    let longer = length(last).zip(length(first)).map(ratio);
    let of_last = |value: fn(&Vitals) -> Option<f64>| mean(last.iter().map(value));
    let highest = f64::from(config.max_length_ratio);
    let above = |x: Option<f64>, bound: f64| x.filter(|x| *x > bound).map(|x| (x, bound));
    let below = |x: Option<f64>, bound: f64| x.filter(|x| *x < bound).map(|x| (x, bound));
    let found = |kind| match kind {
        SymptomKind::KlExplosion => above(of_last(|step| Some(step.kl)), config.max_kl.into()),
        SymptomKind::EntropyCollapse => {
            let kept = entropy(last).zip(entropy(first)).map(ratio);
            below(kept, config.min_entropy_ratio.into())
        }
        SymptomKind::EqualRewards => above(
            of_last(|step| Some(step.frac_reward_zero_std)),
            config.max_frac_reward_zero_std.into(),
        ),
        SymptomKind::LengthDrift => above(longer, highest).or_else(|| below(longer, 1.0 / highest)),
        SymptomKind::ValueDivergence => below(
            of_last(|step| step.explained_var),
            config.min_explained_var.into(),
        ),
    };
    let symptom = |kind| {
        found(kind).map(|(value, threshold)| Symptom {
            kind,
            value,
            threshold,
        })
    };
    SymptomKind::ALL.into_iter().filter_map(symptom).collect()
}

/// Mean of what is there, if anything is.
fn mean(values: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    let (sum, n) = values
        .flatten()
        .fold((0.0, 0), |(sum, n), x| (sum + x, n + 1));
    (n > 0).then(|| sum / f64::from(n))
}

/// The health of a run under way.
#[derive(Debug, Clone)]
pub(super) struct Health {
    config: HealthConfig,
    history: Vec<Vitals>,
    symptoms: Vec<Symptom>,
}

impl Health {
    /// The health of a run that goes on after `history`, of which a new run has none.
    pub(super) fn new(config: HealthConfig, history: Vec<Vitals>) -> Self {
        let symptoms = diagnose(&history, &config);
        Self {
            config,
            history,
            symptoms,
        }
    }

    /// What was seen so far, a step an entry.
    pub(super) fn history(&self) -> &[Vitals] {
        &self.history
    }

    /// Takes in the metrics of a step, adds its own to them, and warns of symptoms that are new.
    pub(super) fn observe(&mut self, stats: &mut UpdateStats) {
        self.history.push(Vitals::of(stats));
        let before = std::mem::take(&mut self.symptoms);
        self.symptoms = diagnose(&self.history, &self.config);
        let holds = |symptoms: &[Symptom], kind| symptoms.iter().any(|found| found.kind == kind);
        for symptom in &self.symptoms {
            if !holds(&before, symptom.kind) {
                tracing::warn!("{symptom}");
            }
        }
        let metric = |kind: SymptomKind| {
            let ill = holds(&self.symptoms, kind);
            (kind.metric(), if ill { 1.0 } else { 0.0 })
        };
        stats.extend(SymptomKind::ALL.map(metric));
    }

    /// Ends the run, if it is ill and the run file wants that.
    pub(super) fn verdict(&self, step: usize) -> Result<()> {
        if !self.config.stop || self.symptoms.is_empty() {
            return Ok(());
        }
        let symptoms: Vec<String> = self.symptoms.iter().map(Symptom::to_string).collect();
        Err(Error::Unhealthy {
            step,
            symptoms: symptoms.join("; "),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WELL: Vitals = Vitals {
        kl: 5.0,
        entropy: Some(2.0),
        frac_reward_zero_std: 0.25,
        length: 20.0,
        explained_var: Some(0.5),
    };

    /// Two steps in health, then two of `vitals`, judged over the last two.
    #[track_caller]
    fn check(vitals: Vitals, expected: &[(SymptomKind, f64, f64)]) {
        let config = HealthConfig {
            window: 2,
            ..Default::default()
        };
        let found = diagnose(&[WELL, WELL, vitals, vitals], &config);
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (found, (kind, value, threshold)) in found.iter().zip(expected) {
            assert_eq!(found.kind, *kind);
            assert!((found.value - value).abs() < 1e-6, "{found:?}");
            assert!((found.threshold - threshold).abs() < 1e-6, "{found:?}");
        }
    }

    #[test]
    fn each_symptom_is_named() {
        use SymptomKind::*;
        check(WELL, &[]);
        check(Vitals { kl: 60.0, ..WELL }, &[(KlExplosion, 60.0, 50.0)]);
        // 0.1 of 2 nats.
        let entropy = Some(0.1);
        check(Vitals { entropy, ..WELL }, &[(EntropyCollapse, 0.05, 0.1)]);
        let equal = Vitals {
            frac_reward_zero_std: 1.0,
            ..WELL
        };
        check(equal, &[(EqualRewards, 1.0, 0.9)]);
        // 80 of 20 tokens, 5 of 20 tokens.
        let length = |length| Vitals { length, ..WELL };
        check(length(80.0), &[(LengthDrift, 4.0, 3.0)]);
        check(length(5.0), &[(LengthDrift, 0.25, 1.0 / 3.0)]);
        let explained_var = Some(-2.0);
        check(
            Vitals {
                explained_var,
                ..WELL
            },
            &[(ValueDivergence, -2.0, -1.0)],
        );
        // What an algorithm does not tell is not judged.
        let (entropy, explained_var) = (None, None);
        check(
            Vitals {
                entropy,
                explained_var,
                ..WELL
            },
            &[],
        );
    }

    #[test]
    fn one_bad_step_is_no_symptom() {
        let config = HealthConfig::default();
        let bad = Vitals { kl: 100.0, ..WELL };
        assert_eq!(diagnose(&[bad; 9], &config), []);
        let mut history = [WELL; 20];
        history[19] = bad;
        // (9 * 5 + 100) / 10 = 14.5.
        assert_eq!(diagnose(&history, &config), []);
    }
}
