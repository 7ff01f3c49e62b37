//! A language model on this machine as the labeler.

use std::path::Path;

use burn::prelude::*;

use super::prompt::{
    COMPARE_ANSWERS, SCORE_ANSWERS, compare_prefix, compare_question, score_prefix, score_question,
};
use super::{Candidate, Candidates, Judgement, Labeler, Pair, answer_log_probs};
use crate::batch::Tree;
use crate::error::Result;
use crate::model::{self, CausalLm, Transformer};
use crate::tokenizer::Tokenizer;

/// Padded tokens in one forward pass of the labeler.
const MAX_TOKENS: usize = 8_192;

/// Judges by the probabilities that a language model gives to the answer tokens.
///
/// Both orders of a pair, and consecutive pairs or candidates of one prompt, share one encoding of
/// the preamble and the text.
pub struct LocalLabeler<M = Transformer> {
    name: String,
    model: M,
    tokenizer: Tokenizer,
    compare_answers: Candidates,
    score_answers: Candidates,
}

impl LocalLabeler<Transformer> {
    /// Loads the model of a Hugging Face folder; its name is the folder's.
    ///
    /// # Errors
    /// As [`model::load`] and [`Tokenizer::load`].
    pub fn load(dir: &Path, device: &Device) -> Result<Self> {
        let name = dir
            .file_name()
            .unwrap_or(dir.as_os_str())
            .to_string_lossy()
            .into_owned();
        Self::new(name, model::load(dir, device)?, Tokenizer::load(dir)?)
    }
}

impl<M: CausalLm> LocalLabeler<M> {
    /// A labeler from a model and its tokenizer.
    ///
    /// # Errors
    /// The tokenizer cannot write an answer.
    pub fn new(name: String, model: M, tokenizer: Tokenizer) -> Result<Self> {
        let compare_answers = Candidates::new(&COMPARE_ANSWERS, &tokenizer)?;
        let score_answers = Candidates::new(&SCORE_ANSWERS, &tokenizer)?;
        Ok(Self {
            name,
            model,
            tokenizer,
            compare_answers,
            score_answers,
        })
    }

    fn tree(&self, prefix: &str, questions: impl Iterator<Item = String>) -> Result<Tree> {
        let encoded = questions.map(|question| self.tokenizer.encode_continuation(&question));
        Ok(Tree {
            prompt: self.tokenizer.encode_prompt(prefix)?,
            completions: encoded.collect::<Result<_>>()?,
        })
    }
}

impl<M: CausalLm> Labeler for LocalLabeler<M> {
    fn name(&self) -> &str {
        &self.name
    }

    fn compare(&mut self, pairs: &[Pair]) -> Result<Vec<Judgement>> {
        let tree = |group: &[Pair]| {
            let orders = group
                .iter()
                .flat_map(|pair| [(pair.a, pair.b), (pair.b, pair.a)]);
            let questions = orders.map(|(first, second)| compare_question(first, second));
            self.tree(&compare_prefix(&group[0].prompt.transcript()), questions)
        };
        let groups = pairs.chunk_by(|a, b| a.prompt == b.prompt);
        let trees: Vec<Tree> = groups.map(tree).collect::<Result<_>>()?;
        let answers = answer_log_probs(&self.model, &trees, &self.compare_answers, MAX_TOKENS)?;
        let judgement = |orders: &[Vec<f32>]| Judgement {
            p_a_first: orders[0][0].exp(),
            p_a_second: orders[1][1].exp(),
        };
        Ok(answers.chunks_exact(2).map(judgement).collect())
    }

    /// Expected score `s` of 1 to 10 under the answer probabilities, mapped to `(s - 5.5) / 4.5`.
    fn score(&mut self, candidates: &[Candidate]) -> Result<Vec<f32>> {
        let same_prompt = |a: &Candidate, b: &Candidate| a.prompt == b.prompt;
        let tree = |group: &[Candidate]| {
            let questions = group
                .iter()
                .map(|candidate| score_question(candidate.completion));
            self.tree(&score_prefix(&group[0].prompt.transcript()), questions)
        };
        let trees: Vec<Tree> = candidates
            .chunk_by(same_prompt)
            .map(tree)
            .collect::<Result<_>>()?;
        let answers = answer_log_probs(&self.model, &trees, &self.score_answers, MAX_TOKENS)?;
        Ok(answers
            .iter()
            .map(|log_probs| expected_score(log_probs))
            .collect())
    }
}

fn expected_score(log_probs: &[f32]) -> f32 {
    let score: f32 = (1..)
        .zip(log_probs)
        .map(|(score, p)| score as f32 * p.exp())
        .sum();
    (score - 5.5) / 4.5
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All on 10 is 1, all on 1 is -1, uniform is 0, half on 8 and half on 9 is (8.5 - 5.5) / 4.5.
    #[test]
    fn scores_map_to_minus_one_to_one() {
        let never = f32::NEG_INFINITY;
        let mut top = [never; 10];
        top[9] = 0.0;
        let mut bottom = [never; 10];
        bottom[0] = 0.0;
        let mut mixed = [never; 10];
        (mixed[7], mixed[8]) = (0.5f32.ln(), 0.5f32.ln());
        let cases = [
            (top, 1.0),
            (bottom, -1.0),
            ([0.1f32.ln(); 10], 0.0),
            (mixed, 2.0 / 3.0),
        ];
        for (log_probs, expected) in cases {
            assert!((expected_score(&log_probs) - expected).abs() < 1e-6);
        }
    }
}
