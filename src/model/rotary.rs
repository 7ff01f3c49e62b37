//! Rotary positions and their scaling to longer texts.

use std::f64::consts::TAU;

use burn::prelude::*;
use serde::Deserialize;

use crate::precision::in_f32;

/// Angles per position of the rotary components.
///
/// Su et al. 2021, arXiv:2104.09864, in the half-split form of Hugging Face checkpoints: of the
/// first `2 n` components of a head, component `i` turns with component `i + n`; the others stay.
#[derive(Debug, Clone, PartialEq)]
pub struct Rope {
    /// Radians per position, `n` of them.
    pub frequencies: Vec<f32>,
    /// Factor on the components that turn; 1 unless scaling asks for another.
    pub scale: f32,
    /// Longest text in tokens for which these frequencies hold, where scaling limits it.
    pub max_len: Option<usize>,
}

/// Rotary settings as a `config.json` holds them, under `rope_parameters` or (older files, without
/// `rope_theta`) `rope_scaling`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub(super) struct RopeParameters {
    pub(super) rope_theta: Option<f64>,
    rope_type: Option<String>,
    /// An older name of `rope_type`.
    #[serde(rename = "type")]
    kind: Option<String>,
    pub(super) partial_rotary_factor: Option<f64>,
    factor: Option<f64>,
    low_freq_factor: Option<f64>,
    high_freq_factor: Option<f64>,
    pub(super) original_max_position_embeddings: Option<f64>,
    short_factor: Option<Vec<f64>>,
    attention_factor: Option<f64>,
}

impl Rope {
    /// Frequencies `theta^(-2i / rotary_dim)`, `i < rotary_dim / 2`.
    pub(super) fn unscaled(theta: f64, rotary_dim: usize) -> Self {
        Self::turning(unscaled(theta, rotary_dim))
    }

    fn turning(frequencies: impl Iterator<Item = f64>) -> Self {
        Self {
            frequencies: frequencies.map(|x| x as f32).collect(),
            scale: 1.0,
            max_len: None,
        }
    }

    /// The frequencies of [`Rope::unscaled`], scaled as `parameters` say, for a model of texts up
    /// to `max_len`.
    ///
    /// Two kinds of scaling change the frequencies of all tokens once a text is long, which a cache
    /// cannot follow. Only shorter texts are taken: with `dynamic` up to `max_len`, where it
    /// changes nothing, with `longrope` up to the original length of the pretraining.
    ///
    /// # Errors
    /// The kind of scaling is not implemented, or lacks a number that it needs.
    pub(super) fn new(
        theta: f64,
        rotary_dim: usize,
        parameters: &RopeParameters,
        max_len: usize,
    ) -> Result<Self, String> {
        let plain = unscaled(theta, rotary_dim);
        let kind = parameters.rope_type.as_ref().or(parameters.kind.as_ref());
        match kind.map_or("default", String::as_str) {
            "default" | "dynamic" => Ok(Self::turning(plain)),
            "linear" => {
                let factor = need("factor", parameters.factor)?;
                Ok(Self::turning(plain.map(|frequency| frequency / factor)))
            }
            "llama3" => {
                let scaling = Llama3::new(parameters)?;
                let slowed = plain.map(|frequency| scaling.apply(frequency));
                Ok(Self::turning(slowed))
            }
            // The second is the name in the first Phi-3 files.
            "longrope" | "su" => Self::long(plain.collect(), parameters, max_len),
            other => Err(format!("`rope_type` = {other} is not implemented")),
        }
    }

    /// LongRoPE for short texts. Ding et al. 2024, arXiv:2402.13753, as in
    /// `_compute_longrope_parameters` of `transformers`.
    fn long(plain: Vec<f64>, parameters: &RopeParameters, max_len: usize) -> Result<Self, String> {
        // At least 2, for its logarithm divides.
        let original = parameters.original()?.max(2.0);
        let factors = parameters.short_factor.as_deref().unwrap_or_default();
        if factors.len() != plain.len() || factors.iter().any(|factor| *factor <= 0.0) {
            let n = plain.len();
            return Err(format!("rotary scaling needs {n} positive `short_factor`"));
        }
        let factor = parameters.factor.unwrap_or(max_len as f64 / original);
        let scale = (1.0 + factor.max(1.0).ln() / original.ln()).sqrt();
        let slowed = plain.iter().zip(factors).map(|(plain, by)| plain / by);
        Ok(Self {
            scale: parameters.attention_factor.unwrap_or(scale) as f32,
            max_len: Some(original as usize),
            ..Self::turning(slowed)
        })
    }
}

impl RopeParameters {
    fn original(&self) -> Result<f64, String> {
        let name = "original_max_position_embeddings";
        need(name, self.original_max_position_embeddings)
    }
}

fn need(name: &str, value: Option<f64>) -> Result<f64, String> {
    let positive = value.filter(|value| *value > 0.0);
    positive.ok_or_else(|| format!("rotary scaling needs a positive `{name}`"))
}

fn unscaled(theta: f64, rotary_dim: usize) -> impl Iterator<Item = f64> {
    let frequency = move |i| theta.powf(-((2 * i) as f64) / rotary_dim as f64);
    (0..rotary_dim / 2).map(frequency)
}

/// The scaling of Llama 3.1 (`_compute_llama3_parameters` in `transformers`): components that turn
/// less than `low` times in `original` tokens are slowed down by `factor`, those that turn more
/// than `high` times stay, between the two it is interpolated.
struct Llama3 {
    factor: f64,
    low: f64,
    high: f64,
    original: f64,
}

impl Llama3 {
    fn new(parameters: &RopeParameters) -> Result<Self, String> {
        let scaling = Self {
            factor: need("factor", parameters.factor)?,
            low: need("low_freq_factor", parameters.low_freq_factor)?,
            high: need("high_freq_factor", parameters.high_freq_factor)?,
            original: parameters.original()?,
        };
        if scaling.high <= scaling.low {
            return Err("`high_freq_factor` must be above `low_freq_factor`".into());
        }
        Ok(scaling)
    }

    fn apply(&self, frequency: f64) -> f64 {
        let turns = self.original * frequency / TAU;
        let kept = ((turns - self.low) / (self.high - self.low)).clamp(0.0, 1.0);
        kept * frequency + (1.0 - kept) * frequency / self.factor
    }
}

/// Cosines and sines of the rotary angles of one batch, `[batch, 1, seq, n]`.
///
/// (burn's own `RotaryEncoding` turns neighbours, which other weights expect.)
#[derive(Debug, Clone)]
pub(super) struct Rotary {
    cos: Tensor<4>,
    sin: Tensor<4>,
}

impl Rotary {
    pub(super) fn new(rope: &Rope, positions: &Tensor<2, Int>) -> Self {
        let [batch, seq] = positions.dims();
        let n = rope.frequencies.len();
        let frequencies = Tensor::<4>::from_data(
            TensorData::new(rope.frequencies.clone(), [1, 1, 1, n]),
            &positions.device(),
        );
        let angles = positions.clone().float().reshape([batch, 1, seq, 1]) * frequencies;
        let (cos, sin) = (angles.clone().cos(), angles.sin());
        if rope.scale == 1.0 {
            return Self { cos, sin };
        }
        Self {
            cos: cos * rope.scale,
            sin: sin * rope.scale,
        }
    }

    /// Turns queries or keys, `[batch, heads, seq, head_dim]`.
    pub(super) fn apply(&self, x: Tensor<4>) -> Tensor<4> {
        in_f32(x, |x| self.turn(x))
    }

    fn turn(&self, x: Tensor<4>) -> Tensor<4> {
        let (n, head_dim) = (self.cos.dims()[3], x.dims()[3]);
        let first = x.clone().slice(s![.., .., .., 0..n]);
        let second = x.clone().slice(s![.., .., .., n..2 * n]);
        let turned_first = first.clone() * self.cos.clone() - second.clone() * self.sin.clone();
        let turned_second = second * self.cos.clone() + first * self.sin.clone();
        let mut parts = vec![turned_first, turned_second];
        if 2 * n < head_dim {
            parts.push(x.slice(s![.., .., .., 2 * n..]));
        }
        Tensor::cat(parts, 3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rope(parameters: &str) -> Result<Vec<f32>, String> {
        let parameters = serde_json::from_str(parameters).unwrap();
        Rope::new(100.0, 4, &parameters, 16).map(|rope| rope.frequencies)
    }

    #[test]
    fn frequencies_by_hand() {
        // 100^(-0/4) = 1, 100^(-2/4) = 0.1.
        assert_eq!(rope("{}").unwrap(), [1.0, 0.1]);
        assert_eq!(
            rope(r#"{"type": "dynamic", "factor": 2.0}"#).unwrap(),
            [1.0, 0.1]
        );
        assert_eq!(
            rope(r#"{"rope_type": "linear", "factor": 4.0}"#).unwrap(),
            [0.25, 0.025]
        );
        // In 20 pi tokens the first turns 10 times, the second once: kept, and half of the way
        // between 0.1 and 0.1 / 4 for a low of 0.5 and a high of 1.5.
        let llama3 = r#"{"rope_type": "llama3", "factor": 4.0, "low_freq_factor": 0.5,
            "high_freq_factor": 1.5, "original_max_position_embeddings": 62.83185307179586}"#;
        assert_eq!(rope(llama3).unwrap(), [1.0, 0.0625]);
    }

    /// 16 tokens are 4 times those of the pretraining: sqrt(1 + ln 4 / ln 4).
    #[test]
    fn longrope_by_hand() {
        let json = r#"{"type": "su", "short_factor": [2.0, 4.0], "long_factor": [8.0, 8.0],
            "original_max_position_embeddings": 4}"#;
        let rope = Rope::new(100.0, 4, &serde_json::from_str(json).unwrap(), 16).unwrap();
        assert_eq!(rope.frequencies, [0.5, 0.025]);
        assert_eq!(rope.scale, std::f32::consts::SQRT_2);
        assert_eq!(rope.max_len, Some(4));
    }

    #[test]
    fn other_scaling_is_refused_by_name() {
        let yarn = rope(r#"{"rope_type": "yarn", "factor": 4.0}"#);
        assert_eq!(yarn.unwrap_err(), "`rope_type` = yarn is not implemented");
        let linear = rope(r#"{"rope_type": "linear"}"#);
        assert_eq!(
            linear.unwrap_err(),
            "rotary scaling needs a positive `factor`"
        );
    }
}
