//! One labeler for several askers, so that its weights are in memory once.

use std::cell::RefCell;
use std::rc::Rc;

use super::{Candidate, Judgement, Labeler, Pair, Scored};
use crate::error::Result;

/// A labeler whose clones are the same labeler.
#[derive(Clone)]
pub struct SharedLabeler {
    name: String,
    labeler: Rc<RefCell<Box<dyn Labeler>>>,
}

impl SharedLabeler {
    /// Shares `labeler`.
    pub fn new(labeler: Box<dyn Labeler>) -> Self {
        Self {
            name: labeler.name().to_string(),
            labeler: Rc::new(RefCell::new(labeler)),
        }
    }
}

impl Labeler for SharedLabeler {
    fn name(&self) -> &str {
        &self.name
    }

    fn compare(&mut self, pairs: &[Pair]) -> Result<Vec<Judgement>> {
        self.labeler.borrow_mut().compare(pairs)
    }

    fn batch_size(&self) -> usize {
        self.labeler.borrow().batch_size()
    }

    fn score(&mut self, candidates: &[Candidate]) -> Result<Vec<Scored>> {
        self.labeler.borrow_mut().score(candidates)
    }
}
