//! A run's rollouts by prompt: what became of each over the steps.

use std::path::PathBuf;

use super::cards::Card;
use super::folder::row;
use super::index::{Index, Seen};
use crate::error::Result;
use crate::record::LoggedRollout;

/// Rollouts of a prompt that are shown with their texts.
const MAX_SHOWN: usize = 40;

/// The rollouts of a run as far as they have been read.
#[derive(Debug)]
pub(super) struct Followed {
    index: Index,
    n_rows: usize,
    /// In the order of their first rollouts.
    prompts: Vec<Prompt>,
}

#[derive(Debug)]
struct Prompt {
    id: String,
    /// Row of the file, step and reward of each rollout.
    rollouts: Vec<(usize, usize, f32)>,
}

impl Followed {
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            index: Index::new(path),
            n_rows: 0,
            prompts: Vec::new(),
        }
    }

    /// Reads what is new; whether that is all.
    fn update(&mut self) -> Result<bool> {
        let Self {
            index,
            n_rows,
            prompts,
        } = self;
        index.update(|seen| match seen {
            Seen::Anew => (*n_rows, *prompts) = (0, Vec::new()),
            Seen::Row(line) => {
                let number = *n_rows;
                *n_rows += 1;
                let Ok(found) = row::<LoggedRollout>(number + 1, line) else {
                    return;
                };
                let (id, rollout) = (
                    found.completion.prompt_id,
                    (number, found.step, found.reward),
                );
                match prompts.iter_mut().find(|prompt| prompt.id == id) {
                    Some(prompt) => prompt.rollouts.push(rollout),
                    None => prompts.push(Prompt {
                        id,
                        rollouts: vec![rollout],
                    }),
                }
            }
        })
    }

    /// `n` prompts from number `from` on, those that came back most often first; how many there are,
    /// and whether that is all of them.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) fn cards(&mut self, from: usize, n: usize) -> Result<(Vec<Card>, usize, bool)> {
        let whole = self.update()?;
        let mut order: Vec<&Prompt> = self.prompts.iter().collect();
        order.sort_by_key(|prompt| std::cmp::Reverse(prompt.n_steps()));
        let mut cards = Vec::new();
        for prompt in order.into_iter().skip(from).take(n) {
            let mut card = Card::of_prompt(&prompt.id, prompt.rewards());
            for &(number, ..) in prompt.rollouts.iter().take(MAX_SHOWN) {
                for line in self.index.page(number, 1)?.rows {
                    card.add_rollout(&line);
                }
            }
            cards.push(card);
        }
        Ok((cards, self.prompts.len(), whole))
    }
}

impl Prompt {
    fn n_steps(&self) -> usize {
        self.rewards().len()
    }

    /// Mean reward at each of its steps.
    fn rewards(&self) -> Vec<(usize, f32)> {
        let of_step = |step: &[(usize, usize, f32)]| {
            let sum: f32 = step.iter().map(|(_, _, reward)| reward).sum();
            (step[0].1, sum / step.len() as f32)
        };
        let steps = self.rollouts.chunk_by(|a, b| a.1 == b.1);
        steps.map(of_step).collect()
    }
}
