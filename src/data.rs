//! The texts that a run works on: rows of files, or posts of the embedded world.

use crate::config::DataConfig;
use crate::error::{Error, Result};
use crate::record::{
    Demonstration, Preference, Prompt, read_demonstrations, read_preferences, read_prompts,
};
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
                    Demonstration::new(post.id, post.text, completion)
                };
                Ok((0..*demonstrations).map(row).collect())
            }
            Self::Files {
                demonstrations: Some(path),
                rows,
                ..
            } => read_demonstrations(path, rows),
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
    /// A file cannot be read, or there is no prompt.
    pub fn read_preference_prompts(&self) -> Result<Vec<Prompt>> {
        let prompts = match self {
            Self::TinyTldr {
                preference_prompts: n,
                ..
            } => posts(Split::Preference, *n),
            Self::Files {
                preference_prompts: Some(path),
                rows,
                ..
            } => read_prompts(path, rows)?,
            Self::Files { .. } => {
                return Err(Error::field(
                    "data.preference_prompts",
                    "absent",
                    "a file, for stage sample",
                ));
            }
        };
        non_empty(prompts, "data.preference_prompts")
    }

    /// Prompts of the policy optimisation.
    ///
    /// # Errors
    /// A file cannot be read, or there is no prompt.
    pub fn read_rl_prompts(&self) -> Result<Vec<Prompt>> {
        let prompts = match self {
            Self::TinyTldr { rl_prompts: n, .. } => posts(Split::Rl, *n),
            Self::Files {
                rl_prompts: path,
                rows,
                ..
            } => read_prompts(path, rows)?,
        };
        non_empty(prompts, "data.rl_prompts")
    }

    /// Held-out prompts.
    ///
    /// # Errors
    /// A file cannot be read, or there is no prompt.
    pub fn read_eval_prompts(&self) -> Result<Vec<Prompt>> {
        let prompts = match self {
            Self::TinyTldr {
                eval_prompts: n, ..
            } => posts(Split::Test, *n),
            Self::Files {
                eval_prompts: path,
                rows,
                ..
            } => read_prompts(path, rows)?,
        };
        non_empty(prompts, "data.eval_prompts")
    }

    /// Labels that came with the data, if the run has such.
    ///
    /// # Errors
    /// The file cannot be read, or holds no label.
    pub fn read_preferences(&self) -> Result<Option<Vec<Preference>>> {
        match self {
            Self::Files {
                preferences: Some(path),
                rows,
                ..
            } => read_preferences(path, rows).map(Some),
            _ => Ok(None),
        }
    }

    /// Whether labels came with the data, so that nothing is sampled and labeled.
    pub fn is_labeled(&self) -> bool {
        matches!(
            self,
            Self::Files {
                preferences: Some(_),
                ..
            }
        )
    }

    /// Checks what contradicts itself.
    ///
    /// # Errors
    /// Prompts are to be labeled beside labels that are there.
    pub fn validate(&self) -> Result<()> {
        match self {
            Self::Files {
                preferences: Some(_),
                preference_prompts: Some(path),
                ..
            } => Err(Error::field(
                "data.preference_prompts",
                path.display(),
                "nothing beside `data.preferences`",
            )),
            _ => Ok(()),
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
            prompt: post.text.into(),
        }
    };
    (0..n).map(prompt).collect()
}

/// A stage without prompts would finish without having done anything.
fn non_empty(prompts: Vec<Prompt>, field: &str) -> Result<Vec<Prompt>> {
    if prompts.is_empty() {
        return Err(Error::field(field, "empty", "at least one prompt"));
    }
    Ok(prompts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_without_prompts_is_refused() {
        let data = DataConfig::TinyTldr {
            demonstrations: 0,
            preference_prompts: 0,
            rl_prompts: 1,
            eval_prompts: 0,
        };
        let error = data.read_preference_prompts().unwrap_err().to_string();
        assert_eq!(
            error,
            "`data.preference_prompts` is empty, expected at least one prompt"
        );
        assert!(data.read_eval_prompts().is_err());
        assert_eq!(data.read_rl_prompts().unwrap().len(), 1);
    }
}
