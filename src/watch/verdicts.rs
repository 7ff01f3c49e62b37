//! What the judges of an evaluation say of each prompt.

use std::collections::HashMap;
use std::path::PathBuf;

use super::folder::row;
use super::index::{Index, Seen};
use crate::error::Result;
use crate::record::Comparison;
use crate::report;

/// The comparisons of a run as far as they have been read.
#[derive(Debug)]
pub(super) struct Verdicts {
    index: Index,
    /// By the prompt's id: each judge, and what it says.
    of_prompt: HashMap<String, Vec<[String; 2]>>,
}

impl Verdicts {
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            index: Index::new(path),
            of_prompt: HashMap::new(),
        }
    }

    /// Reads what is new.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) fn update(&mut self) -> Result<()> {
        let of_prompt = &mut self.of_prompt;
        let read = self.index.update(|seen| match seen {
            Seen::Anew => of_prompt.clear(),
            Seen::Row(line) => {
                if let Ok(found) = row::<Comparison>(1, line) {
                    let verdict = report::verdict(&found);
                    of_prompt.entry(found.prompt_id).or_default().push(verdict);
                }
            }
        });
        read.map(drop)
    }

    /// Each judge and what it says of the completions to a prompt.
    pub(super) fn of(&self, prompt_id: &str) -> &[[String; 2]] {
        self.of_prompt.get(prompt_id).map_or(&[], Vec::as_slice)
    }
}
