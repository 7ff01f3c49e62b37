//! The embedded world's truth as a labeler: the simulated human of the RLHF baseline, and the judge
//! of the results.

use super::{Candidate, Judgement, Labeler, Pair};
use crate::error::Result;
use crate::world::{Oracle, World, preference};

/// Prefers the completion of higher quality; equal quality is a tie. Without position bias and
/// without noise.
pub struct OracleLabeler {
    oracle: Oracle,
}

impl OracleLabeler {
    /// The oracle of a world.
    pub fn new(world: World) -> Self {
        Self {
            oracle: Oracle::new(world),
        }
    }
}

impl Labeler for OracleLabeler {
    fn name(&self) -> &str {
        "oracle"
    }

    fn compare(&mut self, pairs: &[Pair]) -> Result<Vec<Judgement>> {
        let judge = |pair: &Pair| {
            let a = self.oracle.assess_id(pair.prompt_id, pair.a)?;
            let p_a = preference(&a, &self.oracle.assess_id(pair.prompt_id, pair.b)?);
            Ok(Judgement {
                p_a_first: p_a,
                p_a_second: p_a,
            })
        };
        pairs.iter().map(judge).collect()
    }

    fn score(&mut self, candidates: &[Candidate]) -> Result<Vec<f32>> {
        let score = |candidate: &Candidate| {
            let found = self
                .oracle
                .assess_id(candidate.prompt_id, candidate.completion)?;
            Ok((f32::from(crate::world::score(&found)) - 5.5) / 4.5)
        };
        candidates.iter().map(score).collect()
    }
}
