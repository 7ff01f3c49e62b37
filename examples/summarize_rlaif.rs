//! The whole of RLAIF on the embedded world, on a CPU, without network: three policies from one
//! start, and their judges.
//!
//! 1. fine-tune a small policy on demonstrations of mixed quality
//! 2. sample two completions per prompt, let the largest shipped labeler say which is better
//! 3. train a reward model on its soft labels and optimise the policy against it: **RLAIF**
//! 4. optimise the policy against the labeler's own score of 1 to 10: **d-RLAIF**
//! 5. the same as 3 with the oracle's preferences, the simulated human: **RLHF**
//! 6. compare all with the fine-tuned policy on held-out prompts, before the oracle and before the
//!    labeler
//!
//! `cargo run --release --example summarize_rlaif -- --algorithm reinforce --seed 18 --run
//! runs/other`

mod comparison;

use comparison::Comparison;

// Training allocates and frees tensors of megabytes at every step (benches/RESULTS.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> rlaif::Result<()> {
    comparison::run(&Comparison {
        task: "summarization",
        config: "configs/rlaif.toml",
        run: "runs/summarize_rlaif",
        labelers: &[
            ("xs", "models/labeler-xs"),
            ("s", "models/labeler-s"),
            ("m", "models/labeler-m"),
        ],
    })
}
