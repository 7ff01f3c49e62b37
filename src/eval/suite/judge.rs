//! A reward model as a judge.

use std::path::Path;

use burn::prelude::*;

use crate::config::PolicyConfig;
use crate::error::{Error, Result};
use crate::label::{Candidate, Judgement, Labeler, Pair, Scored};
use crate::model::{Transformer, load_head};
use crate::record::{Completion, Method};
use crate::reward::ModelReward;
use crate::tokenizer::Tokenizer;

/// Prefers what its reward model rewards more, with the probability that the model was trained to
/// tell: `sigmoid(r_a - r_b)` of the head's own numbers (Bradley-Terry).
pub struct RewardJudge {
    name: String,
    model: ModelReward<Transformer>,
}

impl RewardJudge {
    /// Loads a reward model, whose name is its folder's.
    ///
    /// # Errors
    /// The folder holds no reward model.
    pub fn load(dir: &Path, policy: PolicyConfig, device: &Device) -> Result<Self> {
        let model = load_head(dir, device)?.valid();
        // A run's reward models are all in a folder `model`: the path tells them apart.
        Ok(Self {
            name: dir.display().to_string(),
            model: ModelReward::new(model, Tokenizer::load(dir)?, policy),
        })
    }

    /// The head's number for each text.
    ///
    /// # Errors
    /// A text does not fit the model, or the device fails.
    pub fn rewards(&self, completions: &[Completion]) -> Result<Vec<f32>> {
        self.model.raw(completions)
    }
}

impl Labeler for RewardJudge {
    fn name(&self) -> &str {
        &self.name
    }

    fn compare(&mut self, pairs: &[Pair]) -> Result<Vec<Judgement>> {
        let both = pairs
            .iter()
            .flat_map(|pair| [pair.a, pair.b].map(|text| (pair, text)));
        let rows: Vec<Completion> = both.map(|(pair, text)| row(pair, text)).collect();
        let rewards = self.rewards(&rows)?;
        let judge = |both: &[f32]| {
            let p_a = 1.0 / (1.0 + (both[1] - both[0]).exp());
            Judgement::of_both(p_a, p_a, Method::LogProbs)
        };
        Ok(rewards.chunks_exact(2).map(judge).collect())
    }

    fn score(&mut self, _: &[Candidate]) -> Result<Vec<Scored>> {
        let why = "a reward model compares; its rewards are on no scale of -1 to 1";
        Err(Error::Usage(format!("{}: {why}", self.name)))
    }
}

fn row(pair: &Pair, text: &str) -> Completion {
    Completion {
        prompt_id: pair.prompt_id.into(),
        prompt: pair.prompt.clone(),
        index: 0,
        completion: text.into(),
        n_tokens: 0,
        log_prob: 0.0,
        finished: true,
    }
}
