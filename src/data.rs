//! The texts that a run works on: rows of files, or prompts of an embedded world.

use crate::config::{DataConfig, FilesConfig, WorldSizes};
use crate::error::{Error, Result};
use crate::record::{
    Demonstration, Preference, Prompt, read_demonstrations, read_preferences, read_prompts,
};
use crate::world::{Oracle, Split, World};

/// Where texts come from.
enum Source<'a> {
    World(World, &'a WorldSizes),
    Files(&'a FilesConfig),
}

impl DataConfig {
    /// Demonstrations for fine-tuning.
    ///
    /// # Errors
    /// A file cannot be read, or none is named.
    pub fn read_demonstrations(&self) -> Result<Vec<Demonstration>> {
        match self.source() {
            Source::World(world, sizes) => {
                let row = |index| {
                    let case = world.case(Split::Demonstration, index);
                    let completion = world.demonstration(Split::Demonstration, index);
                    Demonstration::new(case.id().into(), case.text().to_owned(), completion)
                };
                Ok((0..sizes.demonstrations).map(row).collect())
            }
            Source::Files(files) => match &files.demonstrations {
                Some(path) => read_demonstrations(path, &files.rows),
                None => Err(Error::field(
                    "data.demonstrations",
                    "absent",
                    "a file, for stage sft",
                )),
            },
        }
    }

    /// Prompts whose completions are labeled.
    ///
    /// # Errors
    /// A file cannot be read, or there is no prompt.
    pub fn read_preference_prompts(&self) -> Result<Vec<Prompt>> {
        const FIELD: &str = "data.preference_prompts";
        let prompts = match self.source() {
            Source::World(world, sizes) => {
                prompts(world, Split::Preference, sizes.preference_prompts)
            }
            Source::Files(files) => {
                let absent = || Error::field(FIELD, "absent", "a file, for stage sample");
                let path = files.preference_prompts.as_ref().ok_or_else(absent)?;
                read_prompts(path, &files.rows)?
            }
        };
        non_empty(prompts, FIELD)
    }

    /// Prompts of the policy optimisation.
    ///
    /// # Errors
    /// A file cannot be read, or there is no prompt.
    pub fn read_rl_prompts(&self) -> Result<Vec<Prompt>> {
        let prompts = match self.source() {
            Source::World(world, sizes) => prompts(world, Split::Rl, sizes.rl_prompts),
            Source::Files(files) => read_prompts(&files.rl_prompts, &files.rows)?,
        };
        non_empty(prompts, "data.rl_prompts")
    }

    /// Held-out prompts.
    ///
    /// # Errors
    /// A file cannot be read, or there is no prompt.
    pub fn read_eval_prompts(&self) -> Result<Vec<Prompt>> {
        let prompts = match self.source() {
            Source::World(world, sizes) => prompts(world, Split::Test, sizes.eval_prompts),
            Source::Files(files) => read_prompts(&files.eval_prompts, &files.rows)?,
        };
        non_empty(prompts, "data.eval_prompts")
    }

    /// Labels that came with the data, if the run has such.
    ///
    /// # Errors
    /// The file cannot be read, or holds no label.
    pub fn read_preferences(&self) -> Result<Option<Vec<Preference>>> {
        match self {
            Self::Files(FilesConfig {
                preferences: Some(path),
                rows,
                ..
            }) => read_preferences(path, rows).map(Some),
            _ => Ok(None),
        }
    }

    /// Whether labels came with the data, so that nothing is sampled and labeled.
    pub fn is_labeled(&self) -> bool {
        matches!(self, Self::Files(files) if files.preferences.is_some())
    }

    /// Checks what contradicts itself.
    ///
    /// # Errors
    /// Prompts are to be labeled beside labels that are there.
    pub fn validate(&self) -> Result<()> {
        match self {
            Self::Files(FilesConfig {
                preferences: Some(_),
                preference_prompts: Some(path),
                ..
            }) => Err(Error::field(
                "data.preference_prompts",
                path.display(),
                "nothing beside `data.preferences`",
            )),
            _ => Ok(()),
        }
    }

    /// The embedded world that these texts are from, where they are from one.
    pub fn world(&self) -> Option<World> {
        match self.source() {
            Source::World(world, _) => Some(world),
            Source::Files(_) => None,
        }
    }

    /// The truth about these texts, where there is one.
    pub fn oracle(&self) -> Option<Oracle> {
        self.world().map(Oracle::new)
    }

    fn source(&self) -> Source<'_> {
        match self {
            Self::TinyTldr(sizes) => Source::World(World::tiny_tldr(), sizes),
            Self::TinyHelpful(sizes) => Source::World(World::tiny_helpful(), sizes),
            Self::TinyHarmless(sizes) => Source::World(World::tiny_harmless(), sizes),
            Self::Files(files) => Source::Files(files),
        }
    }
}

fn prompts(world: World, split: Split, n: usize) -> Vec<Prompt> {
    let prompt = |index| {
        let case = world.case(split, index);
        Prompt {
            id: case.id().into(),
            prompt: case.text().into(),
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
        let data = DataConfig::TinyTldr(WorldSizes {
            demonstrations: 0,
            preference_prompts: 0,
            rl_prompts: 1,
            eval_prompts: 0,
        });
        let error = data.read_preference_prompts().unwrap_err().to_string();
        assert_eq!(
            error,
            "`data.preference_prompts` is empty, expected at least one prompt"
        );
        assert!(data.read_eval_prompts().is_err());
        assert_eq!(data.read_rl_prompts().unwrap().len(), 1);
    }
}
