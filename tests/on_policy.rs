//! The formulas of policy optimisation on random numbers, against TRL and verl in float64: losses,
//! their gradients and advantages to 1e-5.
//!
//! `tests/fixtures/make_on_policy.py` recorded the cases; `from` in a case says which function of
//! which library made it:
//!
//! | formula | library |
//! |---|---|
//! | GAE, returns, RLOO's and GRPO's advantages, REINFORCE++'s baseline, KL in the reward | verl 0.9.1 |
//! | PPO's clip, dual clip, asymmetric clip, value clip, k1, k2, k3, aggregation | verl 0.9.1 |
//! | GSPO and CISPO | verl 0.9.1 and TRL 1.16 |
//! | the losses of GRPO's variants, of RLOO, of online DPO; advantages scaled by the batch | TRL 1.16 |
//! | whitening, with and without its mean | TRL 1.12 |
//!
//! Entropy and log-probabilities (verl) are in `src/log_prob/softmax.rs`.
#![cfg(feature = "flex")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use burn::prelude::*;
use rlaif::record::Completion;
use rlaif::rl::Rollout;
use rlaif::rl::advantage::{
    ScaleRewards, gae, group_relative, leave_one_out, rescale, returns_to_go, whiten,
};
use rlaif::rl::loss::{
    Clip, DpoLoss, KlEstimator, LossType, Normalizer, PairRatios, cispo, clipped_surrogate,
    clipped_value_loss, high_clipped, kl, low_clipped, masked_mean, mean_log_ratio,
    token_log_ratio, total_log_ratio, weighted_sum,
};
use serde::de::DeserializeOwned;
use serde_json::Value;

type Rows = Vec<Vec<f32>>;

struct Case(Value);

/// The cases of one formula.
fn recorded(kind: &str) -> Vec<Case> {
    let file = match kind {
        "whiten" => include_str!("fixtures/on_policy_ppo.json"),
        "online_dpo" | "batch_relative" => include_str!("fixtures/on_policy_online.json"),
        _ => include_str!("fixtures/on_policy.json"),
    };
    let mut file: Value = serde_json::from_str(file).unwrap();
    let cases: Vec<Value> = serde_json::from_value(file[kind].take()).unwrap();
    assert!(!cases.is_empty(), "{kind}");
    cases.into_iter().map(Case).collect()
}

impl Case {
    fn get<T: DeserializeOwned>(&self, name: &str) -> T {
        let value = self.0[name].clone();
        serde_json::from_value(value).unwrap()
    }

    fn tensor(&self, name: &str) -> Tensor<2> {
        let rows: Rows = self.get(name);
        let shape = [rows.len(), rows[0].len()];
        Tensor::from_data(
            TensorData::new(rows.concat(), shape),
            &Device::flex().autodiff(),
        )
    }

    /// One number for each completion, `[completions, 1]`.
    fn column(&self, name: &str) -> Tensor<2> {
        let values: Vec<f32> = self.get(name);
        let shape = [values.len(), 1];
        Tensor::from_data(TensorData::new(values, shape), &Device::flex().autodiff())
    }

    /// The rows without what the mask hides.
    fn rows(&self, name: &str) -> Rows {
        let (rows, mask): (Rows, Rows) = (self.get(name), self.get("mask"));
        let counted = |(row, mask): (&Vec<f32>, &Vec<f32>)| {
            let both = row.iter().zip(mask);
            both.filter(|(_, counts)| **counts == 1.0)
                .map(|(x, _)| *x)
                .collect()
        };
        rows.iter().zip(&mask).map(counted).collect()
    }

    fn clip(&self) -> Clip {
        Clip {
            low: self.get("low"),
            high: self.get("high"),
            dual: self.get("dual"),
        }
    }

    /// What the tokens of each completion weigh.
    fn weights(&self, loss_type: LossType, max_len: usize, mean_n_tokens: f32) -> Tensor<2> {
        let mask: Rows = self.get("mask");
        let lengths = mask.iter().map(|row| row.iter().sum::<f32>() as usize);
        let normalizer = Normalizer {
            n_completions: mask.len(),
            n_tokens: lengths.clone().sum(),
            mean_n_tokens,
            max_len,
        };
        let weights: Vec<f32> = lengths.map(|n| normalizer.weight(loss_type, n)).collect();
        let shape = [weights.len(), 1];
        let device = Device::flex().autodiff();
        self.tensor("mask") * Tensor::<2>::from_data(TensorData::new(weights, shape), &device)
    }

    #[track_caller]
    fn check(&self, name: &str, found: &[f32], expected: &[f32]) {
        assert_eq!(found.len(), expected.len(), "{}: {name}", self.0["from"]);
        for (x, e) in found.iter().zip(expected) {
            let near = (x - e).abs() <= 1e-5 * e.abs().max(1.0);
            assert!(near, "{}: {name} {x}, recorded {e}", self.0["from"]);
        }
    }

    #[track_caller]
    fn check_rows(&self, name: &str, found: &Rows) {
        self.check(name, &found.concat(), &self.rows(name).concat());
    }

    /// The loss of the tensor `by`, and its gradient.
    #[track_caller]
    fn check_loss(&self, by: &str, loss: impl Fn(Tensor<2>) -> Tensor<1>) {
        let by = self.tensor(by).require_grad();
        let loss = loss(by.clone());
        self.check("loss", &numbers(loss.clone()), &[self.get("loss")]);
        let grad = by.grad(&loss.backward()).unwrap();
        self.check("grad", &numbers(grad), &self.get::<Rows>("grad").concat());
    }
}

fn numbers<const D: usize>(x: Tensor<D>) -> Vec<f32> {
    x.into_data().try_to_vec().unwrap()
}

#[test]
fn advantages_of_tokens() {
    for case in recorded("gae") {
        let estimates = case.rows("rewards").into_iter().zip(case.rows("values"));
        let (gamma, lam) = (case.get("gamma"), case.get("lam"));
        let (mut advantages, returns): (Rows, Rows) = estimates
            .map(|(rewards, values)| gae(&rewards, &values, gamma, lam))
            .unzip();
        case.check_rows("returns", &returns);
        whiten(&mut advantages);
        case.check_rows("whitened", &advantages);
    }
    for case in recorded("reinforce_batch") {
        let gamma = case.get("gamma");
        let returns = case.rows("rewards");
        let mut returns: Rows = returns
            .iter()
            .map(|row| returns_to_go(row, gamma))
            .collect();
        case.check_rows("returns", &returns);
        whiten(&mut returns);
        case.check_rows("whitened", &returns);
    }
    for case in recorded("whiten") {
        let (mut whitened, mut rescaled) = (case.rows("x"), case.rows("x"));
        whiten(&mut whitened);
        case.check_rows("whitened", &whitened);
        rescale(&mut rescaled);
        case.check_rows("rescaled", &rescaled);
        let mean = masked_mean(case.tensor("x"), case.tensor("mask"));
        case.check("mean", &numbers(mean), &[case.get("mean")]);
    }
}

#[test]
fn advantages_of_completions() {
    for case in recorded("group_relative") {
        let scale = match case.get("scaled") {
            true => ScaleRewards::Group,
            false => ScaleRewards::None,
        };
        let found = group_relative(&case.get::<Vec<f32>>("rewards"), case.get("group"), scale);
        case.check("advantages", &found, &case.get::<Vec<f32>>("advantages"));
    }
    for case in recorded("batch_relative") {
        let rewards: Vec<f32> = case.get("rewards");
        let found = group_relative(&rewards, case.get("group"), ScaleRewards::Batch);
        case.check("advantages", &found, &case.get::<Vec<f32>>("advantages"));
    }
    for case in recorded("leave_one_out") {
        let found = leave_one_out(&case.get::<Vec<f32>>("rewards"), case.get("group"));
        case.check("advantages", &found, &case.get::<Vec<f32>>("advantages"));
    }
}

#[test]
fn the_kl_in_the_reward() {
    for case in recorded("token_rewards") {
        let both = case
            .rows("log_probs")
            .into_iter()
            .zip(case.rows("ref_log_probs"));
        let scored = both.zip(case.get::<Vec<f32>>("scores"));
        let of_tokens = |((log_probs, reference), score): ((Vec<f32>, Vec<f32>), f32)| {
            let row = rollout(log_probs, reference);
            row.token_rewards(score, case.get("coef"), KlEstimator::K1)
        };
        case.check_rows("rewards", &scored.map(of_tokens).collect());
    }
}

fn rollout(old_log_probs: Vec<f32>, ref_log_probs: Vec<f32>) -> Rollout {
    let n = old_log_probs.len();
    let completion = serde_json::json!({
        "prompt_id": "p", "prompt": "", "index": 0, "completion": "", "n_tokens": n,
        "log_prob": 0.0, "finished": true,
    });
    let completion: Completion = serde_json::from_value(completion).unwrap();
    Rollout {
        completion,
        prompt_tokens: vec![1],
        tokens: vec![1; n],
        log_probs: old_log_probs.clone(),
        old_log_probs,
        ref_log_probs,
        reward: 0.0,
    }
}

#[test]
fn kl_estimators() {
    for case in recorded("kl") {
        let estimator: KlEstimator = case.get("estimator");
        let each = |x| kl(x, case.tensor("ref_log_probs"), estimator);
        let found = numbers(each(case.tensor("log_probs")));
        case.check("each", &found, &case.get::<Rows>("each").concat());
        case.check_loss("log_probs", |x| each(x).sum());
    }
}

#[test]
fn clips_of_ratios_and_values() {
    for case in recorded("clipped_surrogate") {
        let (clip, mask) = (case.clip(), case.tensor("mask"));
        let (old, advantages) = (case.tensor("old_log_probs"), case.tensor("advantages"));
        let log_ratio = |x| token_log_ratio(x, old.clone());
        let loss = |x| clipped_surrogate(log_ratio(x), advantages.clone(), &clip);
        case.check_loss("log_probs", |x| masked_mean(loss(x), mask.clone()));
        let at = || log_ratio(case.tensor("log_probs"));
        let clipped = low_clipped(at(), advantages.clone(), &clip)
            + high_clipped(at(), advantages.clone(), &clip);
        let share = numbers(masked_mean(clipped, mask.clone()));
        case.check("clipped", &share, &[case.get("clipped")]);
    }
    for case in recorded("clipped_value_loss") {
        let (old, returns) = (case.tensor("old_values"), case.tensor("returns"));
        let loss = |x| clipped_value_loss(x, old.clone(), returns.clone(), case.get("clip"));
        case.check_loss("values", |x| masked_mean(loss(x), case.tensor("mask")));
    }
}

/// Of verl, whose GSPO has no dual clip.
#[test]
fn gspo_and_cispo() {
    for case in recorded("gspo") {
        let clip = Clip {
            dual: None,
            ..case.clip()
        };
        let (mask, old) = (case.tensor("mask"), case.tensor("old_log_probs"));
        let weights = case.weights(LossType::Grpo, 1, 1.0);
        // One advantage for a completion, the first of its row.
        let [rows, tokens] = mask.dims();
        let advantages = case
            .tensor("advantages")
            .slice(s![.., 0..1])
            .expand([rows, tokens]);
        case.check_loss("log_probs", |x| {
            let log_ratio = mean_log_ratio(x, old.clone(), mask.clone());
            let loss = clipped_surrogate(log_ratio, advantages.clone(), &clip);
            weighted_sum(loss, weights.clone())
        });
    }
    for case in recorded("cispo") {
        let (old, advantages) = (case.tensor("old_log_probs"), case.tensor("advantages"));
        case.check_loss("log_probs", |x| {
            let log_ratio = token_log_ratio(x.clone(), old.clone());
            let loss = cispo(x, log_ratio, advantages.clone(), &case.clip());
            masked_mean(loss, case.tensor("mask"))
        });
    }
}

#[test]
fn aggregation() {
    for case in recorded("aggregate") {
        let weights = case.weights(case.get("loss_type"), case.get("max_len"), 1.0);
        let found = numbers(weighted_sum(case.tensor("losses"), weights));
        case.check("loss", &found, &[case.get("loss")]);
    }
}

/// TRL's losses, put together as `rl::Grpo` does.
#[test]
fn variants_of_grpo() {
    for case in recorded("grpo") {
        let loss_type: LossType = case.get("loss_type");
        // TRL's bound on CISPO's weight is the weight itself, and there is none below.
        let (low, below) = match loss_type {
            LossType::Cispo => (1.0, 1.0),
            _ => (case.get("epsilon"), 0.0),
        };
        let high = case.get::<f32>("epsilon_high") - below;
        let clip = Clip {
            low,
            high,
            dual: case.get("delta"),
        };
        let (mask, old) = (case.tensor("mask"), case.tensor("old_log_probs"));
        let advantages = case.column("advantages").expand(mask.dims());
        let log_ratio = |x| match case.get::<String>("importance_sampling_level").as_str() {
            "sequence" => mean_log_ratio(x, old.clone(), mask.clone()),
            _ => token_log_ratio(x, old.clone()),
        };
        let weights = case.weights(loss_type, case.get("max_len"), case.get("mean_n_tokens"));
        let entropy = masked_mean(case.tensor("entropies"), mask.clone());
        case.check_loss("log_probs", |x| {
            let surrogate = match loss_type {
                LossType::Cispo => {
                    cispo(x.clone(), log_ratio(x.clone()), advantages.clone(), &clip)
                }
                _ => clipped_surrogate(log_ratio(x.clone()), advantages.clone(), &clip),
            };
            let kl = kl(x, case.tensor("ref_log_probs"), KlEstimator::K3);
            weighted_sum(surrogate + kl * case.get::<f32>("beta"), weights.clone())
                - entropy.clone() * case.get::<f32>("entropy_coef")
        });
        let at = || log_ratio(case.tensor("log_probs"));
        for (name, clipped) in [
            ("low", low_clipped as fn(_, _, _) -> _),
            ("high", high_clipped),
        ] {
            let Some(expected) = case.0["clipped"][name].as_f64() else {
                continue;
            };
            let share = masked_mean(clipped(at(), advantages.clone(), &clip), mask.clone());
            let level: String = case.get("importance_sampling_level");
            // TRL counts completions there, this crate their tokens.
            if level == "token" {
                case.check(name, &numbers(share), &[expected as f32]);
            }
        }
    }
}

#[test]
fn rloo() {
    for case in recorded("rloo") {
        let (mask, old) = (case.tensor("mask"), case.tensor("old_log_probs"));
        let clip = Clip::symmetric(case.get("epsilon"));
        case.check_loss("log_probs", |x| {
            let log_ratio = total_log_ratio(x, old.clone(), mask.clone());
            clipped_surrogate(log_ratio, case.column("advantages"), &clip).mean()
        });
    }
}

/// Of two completions of a prompt the one with the higher score is chosen. TRL's online trainer does
/// not divide IPO's log-ratios by the lengths, as its DPO trainer and this crate do: lengths of 1.
#[test]
fn online_dpo() {
    for case in recorded("online_dpo") {
        let (scores, mask): (Vec<f32>, _) = (case.get("scores"), case.tensor("mask"));
        let n = scores.len() / 2;
        let better = |i: usize| if scores[i] >= scores[i + n] { i } else { i + n };
        let chosen: Vec<i32> = (0..n).map(|i| better(i) as i32).collect();
        let rejected: Vec<i32> = (0..n).map(|i| (2 * i + n - better(i)) as i32).collect();
        let loss = DpoLoss {
            loss_type: case.get("loss_type"),
            beta: case.get("beta"),
            label_smoothing: 0.0,
        };
        let ratios = |x: Tensor<2>| {
            let each = (x - case.tensor("ref_log_probs")) * mask.clone();
            let sums: Tensor<1> = each.sum_dim(1).squeeze_dim(1);
            let of = |rows: &[i32]| {
                let rows = Tensor::<1, Int>::from_ints(rows, &sums.device());
                sums.clone().select(0, rows)
            };
            let lengths = Tensor::ones([n], &sums.device());
            PairRatios {
                chosen: of(&chosen),
                rejected: of(&rejected),
                chosen_lengths: lengths.clone(),
                rejected_lengths: lengths,
            }
        };
        case.check_loss("log_probs", |x| loss.hard(&ratios(x)).mean());
        let at = ratios(case.tensor("log_probs"));
        let margins = numbers((at.chosen - at.rejected) * loss.beta);
        let mean = margins.iter().sum::<f32>() / n as f32;
        let expected = case.0["told"]["rewards/margins"].as_f64().unwrap();
        case.check("margins", &[mean], &[expected as f32]);
    }
}
