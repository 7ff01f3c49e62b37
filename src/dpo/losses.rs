//! The loss of a batch of pairs, and what it has to tell; names as in TRL.
//!
//! A batch may go through the network in parts: losses and statistics of a part are sums divided by
//! what the whole batch has, so that adding the parts gives what one piece would have given.

use burn::prelude::*;
use burn::tensor::activation::log_sigmoid;

use super::{PreferenceLoss, PreferencePair};
use crate::batch::{Batch, Tree};
use crate::error::Result;
use crate::log_prob::Scores;
use crate::model::{CausalLm, device_of};
use crate::rl::loss::{DpoLoss, KtoLoss, PairRatios, log_odds_ratio, odds_ratio, simpo};

/// What a loss has to know of the whole batch that its part belongs to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Whole {
    /// Pairs.
    pub(super) n_pairs: usize,
    /// Tokens of the chosen completions.
    pub(super) n_chosen_tokens: usize,
    /// Tokens of all completions.
    pub(super) n_tokens: usize,
    /// The reference point of KTO.
    pub(super) kl: f32,
}

/// Pairs that go through the network at once.
pub(super) struct Part {
    /// Their tokens.
    pub(super) batch: Batch,
    p_chosen: Tensor<1>,
    /// Log-probabilities under the reference, `[2 pairs]`: chosen, rejected, chosen, ...
    ref_log_probs: Tensor<1>,
    /// Tokens of the completions, in the same order.
    lengths: Tensor<1>,
}

impl Part {
    /// Builds the tensors on the device of `model`.
    ///
    /// # Errors
    /// As [`Batch::new`].
    pub(super) fn new<M: CausalLm>(model: &M, pairs: &[PreferencePair]) -> Result<Self> {
        let device = device_of(model);
        let trees: Vec<Tree> = pairs.iter().map(|pair| pair.tree.clone()).collect();
        let row = |values: Vec<f32>| Tensor::<1>::from_floats(values.as_slice(), &device);
        let lengths = trees.iter().flat_map(|tree| &tree.completions);
        Ok(Self {
            batch: Batch::new(&trees, model.vocab_size(), model.max_len(), &device)?,
            p_chosen: row(pairs.iter().map(|pair| pair.p_chosen).collect()),
            ref_log_probs: row(pairs.iter().flat_map(|pair| pair.ref_log_probs).collect()),
            lengths: row(lengths.map(|tokens| tokens.len() as f32).collect()),
        })
    }
}

/// The chosen and the rejected halves of a tensor that lists them in turn.
fn halves(x: Tensor<1>) -> (Tensor<1>, Tensor<1>) {
    let [n] = x.dims();
    let x = x.reshape([n / 2, 2]);
    let side = |range: std::ops::Range<usize>| {
        let column: Tensor<2> = x.clone().slice(s![.., range]);
        column.squeeze_dim::<1>(1)
    };
    (side(0..1), side(1..2))
}

/// Loss of each pair, the implicit rewards of its completions, and statistics of the loss's own.
struct Found {
    losses: Tensor<1>,
    rewards: (Tensor<1>, Tensor<1>),
    /// Weight of imitating the chosen completion.
    imitation: f32,
    more: Vec<(&'static str, Tensor<1>)>,
}

impl Found {
    fn new(losses: Tensor<1>, rewards: (Tensor<1>, Tensor<1>), beta: f32) -> Self {
        Self {
            losses,
            rewards: (rewards.0 * beta, rewards.1 * beta),
            imitation: 0.0,
            more: Vec::new(),
        }
    }
}

/// What a part of a batch has to tell.
pub(super) type Told = Vec<(&'static str, Tensor<1>)>;

/// The loss of a part of a batch whose completions have these scores.
pub(super) fn losses(
    loss: &PreferenceLoss,
    scores: Scores,
    part: &Part,
    whole: Whole,
) -> (Tensor<1>, Told) {
    let sums: Tensor<1> = scores.log_probs.sum_dim(1).squeeze_dim(1);
    let (right, _) = halves(scores.top.sum_dim(1).squeeze_dim(1));
    let (chosen_logits, rejected_logits) = halves(scores.mean_logits.sum_dim(1).squeeze_dim(1));
    let found = evaluate(loss, part, sums.clone(), whole.kl);
    let mean = |x: Tensor<1>| x.sum() / whole.n_pairs as f32;
    let (chosen_log_probs, rejected_log_probs) = halves(sums);
    let of_chosen = |x: Tensor<1>| x.sum() / whole.n_chosen_tokens.max(1) as f32;
    let n_rejected_tokens = whole.n_tokens - whole.n_chosen_tokens;
    let of_rejected = |x: Tensor<1>| x.sum() / n_rejected_tokens.max(1) as f32;
    let nll = of_chosen(chosen_log_probs.clone()).neg();
    let mut total = mean(found.losses);
    if found.imitation > 0.0 {
        total = total + nll.clone() * found.imitation;
    }
    let (chosen, rejected) = found.rewards;
    let margins = chosen.clone() - rejected.clone();
    let mut stats = vec![
        ("loss", total.clone()),
        ("rewards/chosen", mean(chosen)),
        ("rewards/rejected", mean(rejected)),
        ("rewards/margins", mean(margins.clone())),
        (
            "rewards/accuracies",
            mean(margins.greater_scalar(0.0).float()),
        ),
        ("logps/chosen", mean(chosen_log_probs)),
        ("logps/rejected", mean(rejected_log_probs)),
        (
            "entropy",
            scores.entropy.sum() / whole.n_tokens.max(1) as f32,
        ),
        ("mean_token_accuracy", of_chosen(right)),
        ("logits/chosen", of_chosen(chosen_logits)),
        ("logits/rejected", of_rejected(rejected_logits)),
    ];
    if found.imitation > 0.0 {
        stats.push(("nll_loss", nll));
    }
    stats.extend(found.more.into_iter().map(|(name, x)| (name, mean(x))));
    let detached = stats.into_iter().map(|(name, x)| (name, x.detach()));
    let told = detached.collect();
    (total, told)
}

/// `log_probs` are those of the completions, `[2 pairs]`.
fn evaluate(loss: &PreferenceLoss, part: &Part, log_probs: Tensor<1>, kl: f32) -> Found {
    let (p, lengths) = (part.p_chosen.clone(), part.lengths.clone());
    let ratios = halves(log_probs.clone() - part.ref_log_probs.clone());
    let means = halves(log_probs.clone() / lengths.clone().clamp_min(1.0));
    let dpo = |loss: DpoLoss, ratios| on_ratios(&loss, part, ratios);
    match *loss {
        PreferenceLoss::Dpo(options) => Found {
            imitation: options.rpo_alpha,
            ..dpo(options.loss(), ratios)
        },
        PreferenceLoss::Kto {
            beta,
            desirable_weight,
            undesirable_weight,
        } => {
            let kto = KtoLoss {
                beta,
                desirable_weight,
                undesirable_weight,
            };
            let chosen = kto.soft(ratios.0.clone(), kl, p.clone());
            let rejected = kto.soft(ratios.1.clone(), kl, p.neg() + 1.0);
            Found::new((chosen + rejected) * 0.5, ratios, beta)
        }
        PreferenceLoss::Orpo { beta } => {
            let x = log_odds_ratio(means.0.clone(), means.1.clone());
            let more = vec![
                ("log_odds_ratio", log_sigmoid(x.clone())),
                ("log_odds_chosen", x.clone()),
            ];
            Found {
                imitation: 1.0,
                more,
                ..Found::new(odds_ratio(x, p, beta), means, beta)
            }
        }
        PreferenceLoss::Simpo { beta, simpo_gamma } => {
            let losses = simpo(means.0.clone(), means.1.clone(), p, beta, simpo_gamma);
            Found::new(losses, means, beta)
        }
        PreferenceLoss::Cpo {
            beta,
            loss_type,
            cpo_alpha,
        } => {
            let loss = DpoLoss {
                loss_type,
                beta,
                label_smoothing: 0.0,
            };
            Found {
                imitation: cpo_alpha,
                ..dpo(loss, halves(log_probs))
            }
        }
    }
}

/// A loss of the log-ratios of the chosen and the rejected completions.
fn on_ratios(loss: &DpoLoss, part: &Part, (chosen, rejected): (Tensor<1>, Tensor<1>)) -> Found {
    let (chosen_lengths, rejected_lengths) = halves(part.lengths.clone());
    let at = PairRatios {
        chosen: chosen.clone(),
        rejected: rejected.clone(),
        chosen_lengths,
        rejected_lengths,
    };
    let losses = loss.soft(&at, part.p_chosen.clone());
    Found::new(losses, (chosen, rejected), loss.beta)
}
