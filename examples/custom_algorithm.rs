//! An algorithm of one's own: expert iteration. The policy imitates the best quarter of what it
//! wrote, and nothing else. (Anthony et al. 2017, arXiv:1705.08439; as "rejection sampling
//! fine-tuning" in Llama 2.)
//!
//! `cargo run --release --example custom_algorithm`

mod toy;

use std::path::Path;

use burn::tensor::{Device, Tensor};
use rand::rngs::StdRng;
use rlaif::batch::Batch;
use rlaif::cli::print;
use rlaif::log_prob::{Scores, gradients};
use rlaif::model::{self, Activations, CausalLm, device_of};
use rlaif::optim::{Learner, grad_norm};
use rlaif::reward::Rule;
use rlaif::rl::loss::nll;
use rlaif::rl::{Algorithm, Rollout, UpdateStats, trees};
use rlaif::run::Metric;

/// `algorithm` is what the run file offers; ours takes its place.
const SETTINGS: &str = r#"
steps = 8
batch_size = 64
sampling = { max_new_tokens = 32 }
optim = { learning_rate = 1e-3, lr_scheduler_type = "constant" }
algorithm = { kind = "reinforce_batch" }
"#;

/// Imitates the best quarter of each batch.
struct ExpertIteration;

impl<M: CausalLm> Algorithm<M> for ExpertIteration {
    fn update(
        &mut self,
        policy: Learner<M>,
        rollouts: &[Rollout],
        _kl_coef: f32,
        _rng: &mut StdRng,
    ) -> rlaif::Result<(Learner<M>, UpdateStats)> {
        let mut best = rollouts.to_vec();
        best.sort_by(|a, b| b.reward.total_cmp(&a.reward));
        best.truncate(rollouts.len().div_ceil(4));
        let (vocab, max_len) = (policy.model.vocab_size(), policy.model.max_len());
        let device = device_of(&policy.model);
        let batch = Batch::new(&trees(&best), vocab, max_len, &device)?;
        let way = policy.backward(Activations::Kept);
        let imitate = |model: &M, batch: Batch| {
            let loss = |scores: Scores| {
                let loss = nll(scores.log_probs, batch.mask.clone());
                (loss.clone(), loss.detach())
            };
            Ok(gradients(model, &batch, 1.0, way, loss))
        };
        let (policy, norm, losses) = policy.step_over([batch], imitate)?;
        let loss = Tensor::cat(losses, 0).try_into_scalar::<f32>()?;
        let mut stats = vec![("loss", loss.into())];
        stats.extend(grad_norm(norm));
        Ok((policy, stats))
    }
}

fn main() -> rlaif::Result<()> {
    let config = toy::config(SETTINGS)?;
    let initial = model::load(Path::new("models/base-s"), &Device::default())?;
    let mut reward = Rule::pattern(r"(dog|cat|boss).*(dog|cat|boss)", "reward")?;
    let prompts = ["my dog ate", "i told my boss", "we went to the beach"];
    let rows = toy::optimise(
        &config,
        initial,
        &mut ExpertIteration,
        &prompts,
        &mut reward,
    )?;

    let reward = |row: &Metric| row.values["reward"].unwrap_or(f64::NAN);
    for row in &rows {
        print(format_args!(
            "step {}: two of dog, cat and boss in {:.2}",
            row.step,
            reward(row)
        ))?;
    }
    assert!(
        reward(&rows[rows.len() - 1]) > reward(&rows[0]),
        "the reward rose"
    );
    Ok(())
}
