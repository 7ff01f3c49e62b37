//! RLAIF for helpful answers, on the embedded world of `rlaif::world::helpful`: questions about facts,
//! and answers that are right, partial, wrong or evasive. The steps are those of `summarize_rlaif`:
//! fine-tuning, **RLAIF** against a reward model of the labeler's preferences, **d-RLAIF** against its
//! score, **RLHF** on the oracle's preferences, and the comparison of all three with the fine-tuned
//! policy, beside the paper's numbers.
//!
//! `cargo run --release --example helpful_rlaif -- --seed 18 --run runs/other`

mod comparison;

use comparison::Comparison;

// Training allocates and frees tensors of megabytes at every step (benches/RESULTS.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> rlaif::Result<()> {
    comparison::run(&Comparison {
        task: "helpful",
        config: "configs/helpful_rlaif.toml",
        run: "runs/helpful_rlaif",
        labelers: &[("dialogue", "models/dialogue-labeler")],
    })
}
