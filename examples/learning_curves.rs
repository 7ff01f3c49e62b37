//! The learning curves of the runs inside a run folder, a picture each: those of the book.
//!
//! `cargo run --release --example learning_curves -- runs/compare_algorithms docs/src/curves`

#![expect(clippy::print_stdout, reason = "an example prints")]

use std::fs;
use std::path::PathBuf;

use clap::Parser;
use rlaif::report::picture;
use rlaif::run::RunDir;

/// What is drawn of each stage.
const CURVES: [(&str, &[&str]); 2] = [
    ("rl", &["reward", "objective/kl", "eval_win_rate"]),
    ("dpo", &["loss", "rewards/accuracies"]),
];

#[derive(Parser)]
struct Args {
    /// Run folder, as `compare_algorithms` leaves it.
    run: PathBuf,
    /// Where the pictures go: `NAME-METRIC.svg`.
    out: PathBuf,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args = Args::parse();
    fs::create_dir_all(&args.out)?;
    for entry in fs::read_dir(&args.run)? {
        let path = entry?.path();
        if !path.join("metrics.jsonl").is_file() {
            continue;
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let run = RunDir::open(path.clone())?;
        for (stage, metrics) in CURVES {
            for metric in metrics {
                if let Some(svg) = picture(&run, stage, metric)? {
                    let file = format!("{name}-{}.svg", metric.replace('/', "-"));
                    fs::write(args.out.join(&file), svg)?;
                    println!("{file}");
                }
            }
        }
    }
    Ok(())
}
