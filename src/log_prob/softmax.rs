//! The softmax of a chunk of logits: log-probabilities and entropies, and their gradient by hand,
//! so that none of its steps is recorded.

use burn::prelude::*;
use burn::tensor::IndexingUpdateOp;

/// `softmax(logits)` of some rows, in the parts that log-probabilities and gradients are made of.
pub(super) struct Softmax {
    /// Largest logit of each row, `[rows, 1]`.
    largest: Tensor<2>,
    /// Logits less the largest of their row, `[rows, vocab]`.
    shifted: Tensor<2>,
    /// `exp(shifted)`, `[rows, vocab]`.
    exp: Tensor<2>,
    /// Sum of a row of `exp`, `[rows, 1]`.
    total: Tensor<2>,
}

/// What is read from the distributions of some rows, each `[rows, 1]`.
pub(super) struct Readings {
    /// Log-probability of the target in nats.
    pub(super) log_prob: Tensor<2>,
    /// Entropy in nats.
    pub(super) entropy: Tensor<2>,
    /// 1.0 where no token is likelier than the target.
    pub(super) top: Tensor<2>,
    /// Mean of the logits.
    pub(super) mean_logit: Tensor<2>,
}

impl Softmax {
    /// Of logits `[rows, vocab]` without gradients, in 32-bit numbers.
    pub(super) fn new(logits: Tensor<2>) -> Self {
        let largest = logits.clone().max_dim(1);
        let shifted = logits - largest.clone();
        let exp = shifted.clone().exp();
        let total = exp.clone().sum_dim(1);
        Self {
            largest,
            shifted,
            exp,
            total,
        }
    }

    /// Reads the distributions at `targets`, `[rows, 1]`.
    pub(super) fn read(&self, targets: Tensor<2, Int>) -> Readings {
        let target = self.shifted.clone().gather(1, targets);
        Readings {
            log_prob: target.clone() - self.total.clone().log(),
            entropy: self.entropy(),
            top: target.greater_equal_scalar(0.0).float(),
            mean_logit: self.shifted.clone().mean_dim(1) + self.largest.clone(),
        }
    }

    /// `log sum_v e_v - sum_v e_v s_v / sum_v e_v` with `s` the shifted logits and `e = exp(s)`.
    fn entropy(&self) -> Tensor<2> {
        let weighted = (self.exp.clone() * self.shifted.clone()).sum_dim(1);
        self.total.clone().log() - weighted / self.total.clone()
    }

    /// Gradient of a loss by the logits, `[rows, vocab]`, from that by the log-probabilities of
    /// `targets` and, if there is one, by the entropies, each `[rows, 1]`.
    ///
    /// `d log p_y / d z_v = [v = y] - p_v` and `d H / d z_v = -p_v (log p_v + H)`.
    pub(super) fn gradient(
        self,
        targets: Tensor<2, Int>,
        by_log_prob: Tensor<2>,
        by_entropy: Option<Tensor<2>>,
    ) -> Tensor<2> {
        let weight = match by_entropy {
            None => by_log_prob.clone() / self.total.clone(),
            Some(by_entropy) => {
                let surprise = self.shifted.clone() + (self.entropy() - self.total.clone().log());
                (surprise * by_entropy + by_log_prob.clone()) / self.total
            }
        };
        let by_others = self.exp * weight.neg();
        by_others.scatter(1, targets, by_log_prob, IndexingUpdateOp::Add)
    }
}

#[cfg(test)]
mod tests {
    use std::f32::consts::LN_2;

    use serde_json::Value;

    use super::*;

    // Logits 100 + [0, 0, ln 2]: probabilities 1/4, 1/4, 1/2, entropy 1.5 ln 2, mean 100 + ln 2 / 3.
    #[test]
    fn a_distribution_is_read_at_its_target() {
        let logits = Tensor::<2>::from_floats([[100.0, 100.0, 100.0 + LN_2]; 2], &Device::flex());
        let targets = Tensor::from_ints([[2], [0]], &Device::flex());
        let found = Softmax::new(logits).read(targets);
        let check = |found: Tensor<2>, expected: [f32; 2]| {
            let found = found.into_data().try_to_vec::<f32>().unwrap();
            for (x, y) in found.iter().zip(expected) {
                assert!((x - y).abs() < 1e-4, "{found:?}, {expected:?}");
            }
        };
        check(found.log_prob, [-LN_2, -2.0 * LN_2]);
        check(found.entropy, [1.5 * LN_2; 2]);
        check(found.top, [1.0, 0.0]);
        check(found.mean_logit, [100.0 + LN_2 / 3.0; 2]);
    }

    fn matrix<T: burn::tensor::Element + serde::de::DeserializeOwned>(value: &Value) -> TensorData {
        let rows: Vec<Value> = serde_json::from_value(value.clone()).unwrap();
        let numbers = |row: &Value| match row {
            Value::Array(_) => serde_json::from_value::<Vec<T>>(row.clone()).unwrap(),
            number => vec![serde_json::from_value(number.clone()).unwrap()],
        };
        let numbers: Vec<T> = rows.iter().flat_map(numbers).collect();
        let shape = [rows.len(), numbers.len() / rows.len()];
        TensorData::new(numbers, shape)
    }

    #[track_caller]
    fn check(found: Tensor<2>, expected: &Value) {
        let expected = matrix::<f32>(expected);
        let tolerance = burn::tensor::Tolerance::<f32>::rel_abs(1e-5, 1e-5);
        found.into_data().assert_approx_eq(&expected, tolerance);
    }

    /// verl's functions in float64, and torch's gradient of a sum of them with random weights;
    /// `tests/fixtures/make_on_policy.py` recorded them.
    #[test]
    fn readings_and_gradient_are_those_of_verl() {
        let text = include_str!("../../tests/fixtures/on_policy.json");
        let file: Value = serde_json::from_str(text).unwrap();
        let device = Device::flex();
        for case in file["softmax"].as_array().unwrap() {
            let tensor = |name: &str| Tensor::<2>::from_data(matrix::<f32>(&case[name]), &device);
            let targets = Tensor::<2, Int>::from_data(matrix::<i32>(&case["targets"]), &device);
            let softmax = Softmax::new(tensor("logits"));
            let readings = softmax.read(targets.clone());
            check(readings.log_prob, &case["log_probs"]);
            check(readings.entropy, &case["entropy"]);
            let by_entropy = Some(tensor("by_entropy"));
            let gradient = softmax.gradient(targets, tensor("by_log_prob"), by_entropy);
            check(gradient, &case["grad"]);
        }
    }
}
