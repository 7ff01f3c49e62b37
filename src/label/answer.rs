//! The probabilities that a model gives to a few possible answers: "1" or "2", the scale 1 to 10,
//! yes or no.
//!
//! An answer may be one token or several ("10" is "1", "0" for some tokenizers) and may be written
//! with or without a leading space; all its spellings count. Where one answer begins another, its
//! probability is that of ending there.

use burn::prelude::*;
use burn::tensor::activation::log_softmax;

use super::shared::SharedPrefix;
use crate::batch::Tree;
use crate::error::{Error, Result};
use crate::model::{CausalLm, device_of};
use crate::tokenizer::Tokenizer;

/// Possible answers as token sequences: for each answer, its spellings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidates {
    answers: Vec<Vec<Vec<u32>>>,
    /// Every proper beginning of a spelling, the empty one first: what the model has to be asked
    /// after.
    prefixes: Vec<Vec<u32>>,
}

impl Candidates {
    /// Encodes each of `answers` with and without a leading space.
    ///
    /// # Errors
    /// The tokenizer fails, or gives no token for an answer.
    pub fn new(answers: &[&str], tokenizer: &Tokenizer) -> Result<Self> {
        let mut spelled = Vec::new();
        for answer in answers {
            let mut spellings = Vec::new();
            for text in [answer.to_string(), format!(" {answer}")] {
                let ids = tokenizer.encode_continuation(&text)?;
                if ids.is_empty() {
                    return Err(Error::Usage(format!("the answer `{answer}` has no tokens")));
                }
                if !spellings.contains(&ids) {
                    spellings.push(ids);
                }
            }
            spelled.push(spellings);
        }
        Ok(Self::from_tokens(spelled))
    }

    /// From token sequences: for each answer, its spellings.
    pub fn from_tokens(answers: Vec<Vec<Vec<u32>>>) -> Self {
        let mut prefixes: Vec<Vec<u32>> = vec![Vec::new()];
        for spelling in answers.iter().flatten() {
            for end in 1..spelling.len() {
                if !prefixes.iter().any(|prefix| prefix[..] == spelling[..end]) {
                    prefixes.push(spelling[..end].to_vec());
                }
            }
        }
        Self { answers, prefixes }
    }

    /// Number of answers.
    pub fn len(&self) -> usize {
        self.answers.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.answers.is_empty()
    }

    /// Most tokens that have to be read after a question.
    pub fn longest_prefix(&self) -> usize {
        self.prefixes.iter().map(Vec::len).max().unwrap_or(0)
    }

    /// The prefixes that begin no other one: reading these reads all of them.
    fn leaves(&self) -> impl Iterator<Item = &[u32]> {
        let is_leaf = |prefix: &Vec<u32>| {
            let mut longer = self
                .prefixes
                .iter()
                .filter(|other| other.len() > prefix.len());
            !longer.any(|other| other.starts_with(prefix))
        };
        let leaves = self.prefixes.iter().filter(move |prefix| is_leaf(prefix));
        leaves.map(Vec::as_slice)
    }

    /// Every token that can occur in an answer, in a fixed order.
    fn tokens(&self) -> Vec<u32> {
        let mut tokens: Vec<u32> = self.answers.iter().flatten().flatten().copied().collect();
        tokens.sort_unstable();
        tokens.dedup();
        tokens
    }

    /// Probability of each answer from `p(prefix, token)`, the probability of a token after a
    /// prefix.
    fn probabilities(&self, p: impl Fn(usize, u32) -> f64) -> Vec<f64> {
        let prefix = |tokens: &[u32]| self.prefixes.iter().position(|known| known[..] == *tokens);
        let spelling = |tokens: &[u32]| {
            let steps = (0..tokens.len()).filter_map(|i| Some(p(prefix(&tokens[..i])?, tokens[i])));
            let begun: f64 = steps.product();
            begun * (1.0 - self.goes_on(tokens, prefix(tokens), &p))
        };
        let answer = |spellings: &Vec<Vec<u32>>| spellings.iter().map(|s| spelling(s)).sum();
        self.answers.iter().map(answer).collect()
    }

    /// Probability that a finished spelling is only the beginning of a longer one.
    fn goes_on(&self, tokens: &[u32], prefix: Option<usize>, p: impl Fn(usize, u32) -> f64) -> f64 {
        let Some(prefix) = prefix else { return 0.0 };
        let longer = self
            .answers
            .iter()
            .flatten()
            .filter(|other| other.starts_with(tokens));
        let mut next: Vec<u32> = longer
            .filter_map(|other| other.get(tokens.len()).copied())
            .collect();
        next.sort_unstable();
        next.dedup();
        next.into_iter().map(|token| p(prefix, token)).sum()
    }
}

/// How much of the work is done at once, and shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sharing {
    /// Padded tokens in one forward pass.
    pub max_tokens: usize,
    /// Beginnings that all questions have in common are read once from this many tokens on;
    /// `usize::MAX` never shares one.
    pub min_shared: usize,
}

impl Default for Sharing {
    fn default() -> Self {
        Self {
            max_tokens: 8_192,
            min_shared: 32,
        }
    }
}

/// Log-probabilities in nats of each answer after each question, normalised over the answers: for
/// every question of every prompt, in order, one row with a number per answer; NaN where the model
/// gives no number.
///
/// `questions` are trees whose completions are the questions. A tree's prompt is read once for all
/// its questions; what all prompts begin with, once for all of them.
///
/// # Errors
/// As [`Batch::new`](crate::batch::Batch::new), and when the device fails.
pub fn answer_log_probs<M: CausalLm>(
    model: &M,
    questions: &[Tree],
    candidates: &Candidates,
    sharing: &Sharing,
) -> Result<Vec<Vec<f32>>> {
    let device = device_of(model).inner();
    let tokens = candidates.tokens();
    let vocab = model.vocab_size();
    if let Some(&id) = tokens.iter().find(|&&id| id as usize >= vocab) {
        return Err(Error::TokenId { id, vocab });
    }
    let columns: Vec<i32> = tokens.iter().map(|&id| id as i32).collect();
    let columns = Tensor::<1, Int>::from_data(columns.as_slice(), &device);
    let mut asked: Vec<Tree> = questions
        .iter()
        .map(|tree| with_leaves(tree, candidates))
        .collect();
    let shared = SharedPrefix::take(model, &mut asked, sharing)?;

    let mut answers: Vec<Vec<Vec<f32>>> = vec![Vec::new(); questions.len()];
    for chunk in shared.chunks(&asked, sharing.max_tokens) {
        let picked: Vec<Tree> = chunk.iter().map(|&i| asked[i].clone()).collect();
        let hidden = shared.hidden(model, &picked)?;
        let [rows, seq, width] = hidden.dims();
        let places: Vec<i32> = (0..)
            .zip(&chunk)
            .zip(&picked)
            .flat_map(|((row, &i), tree)| places(row * seq, tree, &questions[i], candidates))
            .collect();
        let places = Tensor::<1, Int>::from_data(places.as_slice(), &device);
        let read = hidden.reshape([rows * seq, width]).select(0, places);
        let log_probs = log_softmax(model.logits(read), 1).select(1, columns.clone());
        let values = log_probs.try_into_vec_as::<f32>()?;
        let mut per_question = values.chunks(candidates.prefixes.len() * tokens.len());
        for &i in &chunk {
            for block in per_question.by_ref().take(questions[i].completions.len()) {
                answers[i].push(normalised(block, &tokens, candidates));
            }
        }
    }
    Ok(answers.into_iter().flatten().collect())
}

/// Each question followed by each leaf: the beginnings of answers that begin no other one.
fn with_leaves(tree: &Tree, candidates: &Candidates) -> Tree {
    let followed = |question: &Vec<u32>| {
        let question = question.clone();
        let leaves = candidates.leaves();
        leaves.map(move |leaf| [&question[..], leaf].concat())
    };
    Tree {
        prompt: tree.prompt.clone(),
        completions: tree.completions.iter().flat_map(followed).collect(),
    }
}

/// Where each prefix of the answers ends after each of `questions`, in the row of `asked`, which
/// starts at `start`.
fn places(start: usize, asked: &Tree, questions: &Tree, candidates: &Candidates) -> Vec<i32> {
    let leaves: Vec<&[u32]> = candidates.leaves().collect();
    let prompt_end = start + asked.prompt.len();
    let mut completion = prompt_end;
    let mut places = Vec::new();
    for (question, asked) in
        (questions.completions.iter()).zip(asked.completions.chunks(leaves.len()))
    {
        let mut starts = Vec::with_capacity(leaves.len());
        for row in asked {
            starts.push(completion);
            completion += row.len();
        }
        for prefix in &candidates.prefixes {
            let leaf = leaves.iter().position(|leaf| leaf.starts_with(prefix));
            let end = match question.len() + prefix.len() {
                0 => prompt_end,
                read => starts[leaf.unwrap_or(0)] + read,
            };
            places.push(end as i32 - 1);
        }
    }
    places
}

/// `block` holds the log-probability of each of `tokens` after each prefix; NaN where one of them is.
fn normalised(block: &[f32], tokens: &[u32], candidates: &Candidates) -> Vec<f32> {
    if block.iter().any(|log_prob| log_prob.is_nan()) {
        return vec![f32::NAN; candidates.len()];
    }
    let p = |prefix: usize, token: u32| {
        let column = tokens.binary_search(&token).unwrap_or(0);
        f64::from(block[prefix * tokens.len() + column]).exp()
    };
    let probabilities = candidates.probabilities(p);
    let total: f64 = probabilities.iter().sum();
    // A model that gives every answer probability 0 in f64 says nothing: uniform.
    let uniform = 1.0 / probabilities.len() as f64;
    let share = |p: f64| if total > 0.0 { p / total } else { uniform };
    probabilities
        .into_iter()
        .map(|p| share(p).max(f64::MIN_POSITIVE).ln() as f32)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// "1" is token 1, "10" is tokens 1, 0: P("1") = p(1) (1 - p(0 | 1)), P("10") = p(1) p(0 | 1).
    #[test]
    fn an_answer_that_begins_another_must_end() {
        let candidates =
            Candidates::from_tokens(vec![vec![vec![1]], vec![vec![2]], vec![vec![1, 0]]]);
        assert_eq!(candidates.prefixes, [vec![], vec![1]]);
        let p = |prefix: usize, token: u32| match (prefix, token) {
            (0, 1) => 0.5,
            (0, 2) => 0.25,
            (1, 0) => 0.2,
            _ => 0.0,
        };
        let found = candidates.probabilities(p);
        for (found, expected) in found.iter().zip([0.4, 0.25, 0.1]) {
            assert!(
                (found - expected).abs() < 1e-12,
                "{found} is not {expected}"
            );
        }
    }

    /// "(A)" and "(B)" as "(", "A" or "B", ")": after "(" both are read in one place.
    #[test]
    fn prefixes_are_read_where_they_end() {
        let candidates = Candidates::from_tokens(vec![vec![vec![1, 2, 9]], vec![vec![1, 3, 9]]]);
        assert_eq!(
            candidates.prefixes,
            [vec![], vec![1], vec![1, 2], vec![1, 3]]
        );
        let questions = Tree {
            prompt: vec![7, 7, 7],
            completions: vec![vec![5, 5], vec![]],
        };
        let asked = with_leaves(&questions, &candidates);
        assert_eq!(
            asked.completions,
            [vec![5, 5, 1, 2], vec![5, 5, 1, 3], vec![1, 2], vec![1, 3]]
        );
        // Completions start at 103, 107, 111 and 113.
        let found = places(100, &asked, &questions, &candidates);
        assert_eq!(found, [104, 105, 106, 110, 102, 111, 112, 114]);
    }

    #[test]
    fn spellings_of_an_answer_add_up() {
        let candidates = Candidates::from_tokens(vec![vec![vec![1], vec![3]], vec![vec![2]]]);
        let found = candidates.probabilities(|_, token| [0.0, 0.1, 0.2, 0.3][token as usize]);
        for (found, expected) in found.iter().zip([0.4, 0.2]) {
            assert!((found - expected).abs() < 1e-12);
        }
    }

    #[test]
    fn probabilities_are_normalised_over_the_answers() {
        let candidates = Candidates::from_tokens(vec![vec![vec![1]], vec![vec![2]]]);
        let log_probs = normalised(&[0.1f32.ln(), 0.3f32.ln()], &[1, 2], &candidates);
        assert!((log_probs[0].exp() - 0.25).abs() < 1e-6);
        assert!((log_probs[1].exp() - 0.75).abs() < 1e-6);
    }
}
