//! Labeled pairs as tokens, with what the reference policy says of them.

use super::{Labels, PreferenceLoss};
use crate::batch::Tree;
use crate::config::PolicyConfig;
use crate::error::{Error, Result};
use crate::log_prob::log_probs_of;
use crate::model::CausalLm;
use crate::record::Preference;
use crate::reward;
use crate::rl::MAX_TOKENS;
use crate::tokenizer::Tokenizer;

/// Two completions of one prompt, and how probably the first of them is better.
#[derive(Debug, Clone, PartialEq)]
pub struct PreferencePair {
    /// The prompt with the chosen completion and the rejected one, in this order.
    pub tree: Tree,
    /// Probability that the chosen one is better.
    pub p_chosen: f32,
    /// Log-probabilities of both under the reference policy, in nats; zeros for a loss without one.
    pub ref_log_probs: [f32; 2],
    /// Where the loss estimates the KL: both completions of another pair after this prompt.
    pub mismatched: Option<Mismatched>,
}

/// Completions after a prompt that they do not answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Mismatched {
    /// The prompt and the completions.
    pub tree: Tree,
    /// Their log-probabilities under the reference policy, in nats.
    pub ref_log_probs: [f32; 2],
}

/// Preferences as tokens, in their order; what the loss needs of `reference` is computed once.
///
/// # Errors
/// A text does not fit the model, the device fails, or all pairs have one prompt and the loss needs
/// mismatched ones.
pub fn pairs<M: CausalLm>(
    preferences: &[Preference],
    policy: &PolicyConfig,
    (reference, tokenizer): (&M, &Tokenizer),
    loss: &PreferenceLoss,
    labels: Labels,
) -> Result<Vec<PreferencePair>> {
    let mut pairs = pairs_alone(preferences, policy, (reference, tokenizer), loss, labels)?;
    if loss.has_reference() {
        add_reference(reference, &mut pairs)?;
    }
    Ok(pairs)
}

/// [`pairs`] without what a reference says of them.
pub(super) fn pairs_alone<M: CausalLm>(
    preferences: &[Preference],
    policy: &PolicyConfig,
    (model, tokenizer): (&M, &Tokenizer),
    loss: &PreferenceLoss,
    labels: Labels,
) -> Result<Vec<PreferencePair>> {
    let pair = |row: &Preference| {
        let answers = [row.chosen.clone(), row.rejected.clone()];
        Ok(PreferencePair {
            tree: reward::tree(tokenizer, policy, &row.prompt, &answers)?,
            p_chosen: match labels {
                Labels::Soft => row.p_chosen,
                Labels::Hard => 1.0,
            },
            ref_log_probs: [0.0; 2],
            mismatched: None,
        })
    };
    let mut pairs: Vec<PreferencePair> = preferences.iter().map(pair).collect::<Result<_>>()?;
    if loss.has_mismatched() {
        mismatch(&mut pairs, model.max_len())?;
    }
    Ok(pairs)
}

/// Puts the completions of the next pair with another prompt after the prompt of each pair, cut
/// where they would not fit the model.
fn mismatch(pairs: &mut [PreferencePair], max_len: usize) -> Result<()> {
    let n = pairs.len();
    let found: Option<Vec<Tree>> = (0..n)
        .map(|i| {
            let prompt = &pairs[i].tree.prompt;
            let mut others = (1..n).map(|step| &pairs[(i + step) % n].tree);
            let other = others.find(|other| other.prompt != *prompt)?;
            let room = max_len.saturating_sub(prompt.len());
            let cut = |tokens: &Vec<u32>| tokens[..tokens.len().min(room)].to_vec();
            Some(Tree {
                prompt: prompt.clone(),
                completions: other.completions.iter().map(cut).collect(),
            })
        })
        .collect();
    let Some(trees) = found else {
        let message = "kto needs preferences about at least two different prompts";
        return Err(Error::Usage(message.into()));
    };
    for (pair, tree) in pairs.iter_mut().zip(trees) {
        pair.mismatched = Some(Mismatched {
            tree,
            ref_log_probs: [0.0; 2],
        });
    }
    Ok(())
}

/// Fills in the log-probabilities under `reference`.
pub(super) fn add_reference<M: CausalLm>(
    reference: &M,
    pairs: &mut [PreferencePair],
) -> Result<()> {
    let trees: Vec<Tree> = pairs.iter().map(|pair| pair.tree.clone()).collect();
    for (pair, sums) in pairs.iter_mut().zip(log_prob_sums(reference, &trees, 1.0)?) {
        pair.ref_log_probs = sums;
    }
    let mut mismatched: Vec<&mut Mismatched> = pairs
        .iter_mut()
        .filter_map(|pair| pair.mismatched.as_mut())
        .collect();
    let trees: Vec<Tree> = mismatched.iter().map(|other| other.tree.clone()).collect();
    let sums = log_prob_sums(reference, &trees, 1.0)?;
    for (other, sums) in mismatched.iter_mut().zip(sums) {
        other.ref_log_probs = sums;
    }
    Ok(())
}

/// Log-probabilities of both completions of each tree, summed over tokens, in nats.
pub(super) fn log_prob_sums<M: CausalLm>(
    model: &M,
    trees: &[Tree],
    temperature: f32,
) -> Result<Vec<[f32; 2]>> {
    let rows = log_probs_of(model, trees, temperature, MAX_TOKENS)?;
    let both = |rows: &[Vec<f32>]| [rows[0].iter().sum(), rows[1].iter().sum()];
    Ok(rows.chunks_exact(2).map(both).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(prompt: u32, completion: u32) -> PreferencePair {
        PreferencePair {
            tree: Tree {
                prompt: vec![prompt; 3],
                completions: vec![vec![completion; 2], vec![completion; 4]],
            },
            p_chosen: 1.0,
            ref_log_probs: [0.0; 2],
            mismatched: None,
        }
    }

    #[test]
    fn mismatched_completions_answer_another_prompt_and_fit() {
        let mut all = [pair(1, 11), pair(1, 12), pair(2, 13)];
        mismatch(&mut all, 6).unwrap();
        let completions = |i: usize| all[i].mismatched.clone().unwrap().tree.completions;
        assert_eq!(completions(0), [vec![13; 2], vec![13; 3]]);
        assert_eq!(completions(1), [vec![13; 2], vec![13; 3]]);
        assert_eq!(completions(2), [vec![11; 2], vec![11; 3]]);
        assert_eq!(all[2].mismatched.clone().unwrap().tree.prompt, [2; 3]);
        let error = mismatch(&mut all[..2], 6).unwrap_err().to_string();
        assert!(error.contains("two different prompts"), "{error}");
    }
}
