//! The texts that a run works on: rows of files, or posts of the embedded world.

use crate::config::DataConfig;
use crate::error::{Error, Result};
use crate::record::{Demonstration, Prompt, read_jsonl, read_prompts};
use crate::world::{Oracle, Split, World};

impl DataConfig {
    /// Demonstrations for fine-tuning.
    ///
    /// # Errors
    /// A file cannot be read, or none is named.
    pub fn read_demonstrations(&self) -> Result<Vec<Demonstration>> {
        match self {
            Self::TinyTldr { demonstrations, .. } => {
                let world = World::tiny_tldr();
                let row = |index| {
                    let post = world.post(Split::Demonstration, index);
                    let completion = world.demonstration(Split::Demonstration, index);
                    Demonstration {
                        id: post.id,
                        prompt: post.text,
                        completion,
                    }
                };
                Ok((0..*demonstrations).map(row).collect())
            }
            Self::Files {
                demonstrations: Some(path),
                ..
            } => read_jsonl(path),
            Self::Files {
                demonstrations: None,
                ..
            } => Err(Error::field(
                "data.demonstrations",
                "absent",
                "a file, for stage sft",
            )),
        }
    }

    /// Prompts whose completions are labeled.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn read_preference_prompts(&self) -> Result<Vec<Prompt>> {
        match self {
            Self::TinyTldr {
                preference_prompts: n,
                ..
            } => Ok(posts(Split::Preference, *n)),
            Self::Files {
                preference_prompts, ..
            } => read_prompts(preference_prompts),
        }
    }

    /// Prompts of the policy optimisation.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn read_rl_prompts(&self) -> Result<Vec<Prompt>> {
        match self {
            Self::TinyTldr { rl_prompts: n, .. } => Ok(posts(Split::Rl, *n)),
            Self::Files { rl_prompts, .. } => read_prompts(rl_prompts),
        }
    }

    /// Held-out prompts.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn read_eval_prompts(&self) -> Result<Vec<Prompt>> {
        match self {
            Self::TinyTldr {
                eval_prompts: n, ..
            } => Ok(posts(Split::Test, *n)),
            Self::Files { eval_prompts, .. } => read_prompts(eval_prompts),
        }
    }

    /// The truth about these texts, where there is one.
    pub fn oracle(&self) -> Option<Oracle> {
        match self {
            Self::TinyTldr { .. } => Some(Oracle::new(World::tiny_tldr())),
            Self::Files { .. } => None,
        }
    }
}

fn posts(split: Split, n: usize) -> Vec<Prompt> {
    let world = World::tiny_tldr();
    let prompt = |index| {
        let post = world.post(split, index);
        Prompt {
            id: post.id,
            prompt: post.text,
        }
    };
    (0..n).map(prompt).collect()
}
