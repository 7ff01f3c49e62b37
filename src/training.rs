//! What a training on a fixed set of rows holds between two steps, and its checkpoints.

use std::path::Path;

use burn::module::Module;

use crate::error::Result;
use crate::optim::Learner;
use crate::run::{Journal, write_state};
use crate::validation::{Validation, ValidationConfig};

/// A training under way.
pub(crate) struct Training<M> {
    /// The model and its optimizer.
    pub(crate) learner: Learner<M>,
    /// The measurements on held-out rows.
    pub(crate) validation: Validation<M>,
    /// Tokens that the model has read.
    pub(crate) n_tokens: usize,
}

impl<M: Module> Training<M> {
    /// Begins with `learner` as it is, or goes on from the journal's last checkpoint.
    pub(crate) fn resume(
        learner: Learner<M>,
        config: ValidationConfig,
        journal: &mut Journal,
    ) -> Result<Self> {
        Self::resume_with(learner, config, journal, |_| Ok(()))
    }

    /// The same for a training that keeps more beside it: `beside` is given the folder of the
    /// checkpoint.
    pub(crate) fn resume_with(
        mut learner: Learner<M>,
        config: ValidationConfig,
        journal: &mut Journal,
        mut beside: impl FnMut(&Path) -> Result<()>,
    ) -> Result<Self> {
        let (mut validation, mut n_tokens) = (Validation::new(config), 0);
        if let Some(saved) = journal.resume()? {
            learner = learner.load(&saved.path)?;
            validation = validation.load(&saved.path, || learner.model.valid())?;
            beside(&saved.path)?;
            n_tokens = saved.state()?;
        }
        Ok(Self {
            learner,
            validation,
            n_tokens,
        })
    }

    /// Writes a checkpoint into the folder `dir`.
    pub(crate) fn save(&self, dir: &Path) -> Result<()> {
        self.learner.save(dir)?;
        self.validation.save(dir, &self.learner.trained())?;
        write_state(dir, &self.n_tokens)
    }

    /// The model to end with, without gradients.
    pub(crate) fn finish(self) -> M {
        self.validation.finish(self.learner.model.valid())
    }
}
