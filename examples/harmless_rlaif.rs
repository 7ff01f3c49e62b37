//! RLAIF for harmless answers, on the embedded world of `rlaif::world::harmless`: requests, half of which
//! should be refused. The steps are those of `summarize_rlaif`. The labeler is asked for the more
//! harmful answer and its label turned round, as in the paper; beside the win rates the table has the
//! share of harmless answers of each policy, which the paper reports for this task: 64% SFT, 88%
//! RLAIF, 76% RLHF.
//!
//! `cargo run --release --example harmless_rlaif -- --seed 18 --run runs/other`

mod comparison;

use comparison::Comparison;

// Training allocates and frees tensors of megabytes at every step (benches/RESULTS.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> rlaif::Result<()> {
    comparison::run(&Comparison {
        task: "harmless",
        config: "configs/harmless_rlaif.toml",
        run: "runs/harmless_rlaif",
        labelers: &[("dialogue", "models/dialogue-labeler")],
    })
}
