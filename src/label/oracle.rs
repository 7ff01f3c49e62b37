//! The truth of an embedded world as a labeler: the simulated human of the RLHF baseline, and the judge
//! of the results. Also the pairs of that world on which other labelers are held against it.

use super::{Candidate, Judgement, Labeler, Pair, Scored};
use crate::error::Result;
use crate::record::{Completion, Method};
use crate::world::{self, Oracle, Split, World, preference};

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

/// `n` pairs of answers of mixed quality that no labeler was trained on, as [`label`](super::label)
/// takes them. One of each pair is better: the oracle's ties are left out.
pub fn held_out_pairs(world: World, n: usize) -> Vec<Completion> {
    /// Stream of the world's random numbers that writes the pair.
    const PAIR_STREAM: u64 = 2;
    let oracle = Oracle::new(world);
    let pair = |index| {
        let case = world.case(Split::LabelerTest, index);
        let mut rng = world.rng(Split::LabelerTest, index, PAIR_STREAM);
        let texts = [(); 2].map(|()| case.mixed(&mut rng));
        let [a, b] = texts.each_ref().map(|text| oracle.assess(&case, text));
        let completion = |(index, text): (usize, String)| Completion {
            prompt_id: case.id().into(),
            prompt: case.text().into(),
            index,
            n_tokens: world::tokens(&text).len(),
            completion: text,
            log_prob: 0.0,
            finished: true,
        };
        let decided = preference(&a, &b) != 0.5;
        decided.then(|| {
            texts
                .into_iter()
                .enumerate()
                .map(completion)
                .collect::<Vec<_>>()
        })
    };
    (0..).filter_map(pair).take(n).flatten().collect()
}

impl Labeler for OracleLabeler {
    fn name(&self) -> &str {
        "oracle"
    }

    fn compare(&mut self, pairs: &[Pair]) -> Result<Vec<Judgement>> {
        let judge = |pair: &Pair| {
            let a = self.oracle.assess_id(pair.prompt_id, pair.a)?;
            let p_a = preference(&a, &self.oracle.assess_id(pair.prompt_id, pair.b)?);
            Ok(Judgement::of_both(p_a, p_a, Method::Truth))
        };
        pairs.iter().map(judge).collect()
    }

    fn score(&mut self, candidates: &[Candidate]) -> Result<Vec<Scored>> {
        let score = |candidate: &Candidate| {
            let found = self
                .oracle
                .assess_id(candidate.prompt_id, candidate.completion)?;
            let score = (f32::from(crate::world::score(&found)) - 5.5) / 4.5;
            Ok(Scored::of(score, Method::Truth))
        };
        candidates.iter().map(score).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::label::{alignment, label};

    #[test]
    fn held_out_pairs_are_decided_and_the_oracle_agrees_with_itself() {
        for world in World::ALL {
            let pairs = held_out_pairs(world, 40);
            assert_eq!(pairs.len(), 80);
            assert!(pairs[0].prompt_id.contains("labeler_test-"));
            let mut oracle = OracleLabeler::new(world);
            let preferences = label(&mut oracle, &pairs).unwrap().preferences;
            let found = alignment(&preferences, &mut oracle).unwrap();
            assert_eq!((found.n, found.alignment, found.one_order), (40, 1.0, 1.0));
        }
    }
}
