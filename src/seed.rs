//! Random numbers that depend on the run's seed and on what they are for, and on nothing else.
//!
//! Every step derives its generator anew, so that a run that goes on from a checkpoint draws what
//! it would have drawn.

use rand::SeedableRng;
use rand::rngs::StdRng;

/// The generator of step `step` of what `purpose` names.
pub(crate) fn rng_for(seed: u64, purpose: &str, step: u64) -> StdRng {
    let named = purpose
        .bytes()
        .fold(seed, |state, byte| mix(state ^ u64::from(byte)));
    StdRng::seed_from_u64(mix(named ^ step))
}

/// One round of SplitMix64 (Steele et al. 2014): neighbouring inputs give unrelated outputs.
fn mix(state: u64) -> u64 {
    let z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use rand::RngExt;

    use super::*;

    #[test]
    fn streams_repeat_and_differ() {
        let draw = |seed, purpose, step| rng_for(seed, purpose, step).random::<u64>();
        assert_eq!(draw(1, "rl", 2), draw(1, "rl", 2));
        let all = [
            draw(1, "rl", 2),
            draw(1, "rl", 3),
            draw(2, "rl", 2),
            draw(1, "sft", 2),
        ];
        assert!((0..4).all(|i| (0..i).all(|j| all[i] != all[j])));
    }
}
