//! Labels a generated file of pairs with the oracle and says how much memory that took, which does
//! not depend on the number of pairs.
//!
//! `cargo build --release --example label_file`, then `target/release/examples/label_file 1000000`
//! (pairs; 10000 if not given). Started by `cargo run`, a process is charged with cargo's own peak.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use rlaif::cli::print;
use rlaif::label::{LabelFile, OracleLabeler, held_out_pairs, label_file, report_labels};
use rlaif::world::World;
use rlaif::{Error, Result, report};

/// Different pairs; a longer file repeats them.
const N_DIFFERENT: usize = 1_000;

fn main() -> Result<()> {
    let n = std::env::args().nth(1).unwrap_or_else(|| "10000".into());
    let n: usize = n
        .parse()
        .map_err(|_| Error::Usage(format!("{n} is no number of pairs")))?;
    let folder = tempfile::tempdir().map_err(Error::io("create", "a temporary folder"))?;
    let input = folder.path().join("pairs.jsonl.gz");
    write(&input, n).map_err(Error::io("write", &input))?;
    let file = LabelFile::new(input, folder.path().join("labels.jsonl"));
    let mut oracle = OracleLabeler::new(World::tiny_tldr());
    let run = label_file(&mut oracle, &file)?;
    let found = report_labels(&[file.output], None)?;
    print(report::labels_table(&found, Some(&run)))?;
    print(format_args!("peak memory {:.1} MB", peak_mb()))?;
    Ok(())
}

fn write(path: &Path, n: usize) -> std::io::Result<()> {
    let completions = held_out_pairs(World::tiny_tldr(), n.min(N_DIFFERENT));
    let rows: Vec<String> = completions
        .chunks_exact(2)
        .map(|pair| {
            let row = serde_json::json!({
                "prompt_id": pair[0].prompt_id,
                "prompt": pair[0].prompt.transcript(),
                "output_1": pair[0].completion,
                "output_2": pair[1].completion,
            });
            format!("{row}\n")
        })
        .collect();
    let file = BufWriter::new(File::create(path)?);
    let mut out = GzEncoder::new(file, Compression::fast());
    for row in rows.iter().cycle().take(n) {
        out.write_all(row.as_bytes())?;
    }
    out.finish()?.flush()
}

/// Largest resident memory of this process so far, in megabytes.
#[cfg(unix)]
fn peak_mb() -> f64 {
    use nix::sys::resource::{UsageWho, getrusage};
    // Linux counts in kilobytes, macOS in bytes.
    let unit = if cfg!(target_os = "macos") { 1e6 } else { 1e3 };
    getrusage(UsageWho::RUSAGE_SELF).map_or(f64::NAN, |usage| usage.max_rss() as f64 / unit)
}

#[cfg(not(unix))]
fn peak_mb() -> f64 {
    f64::NAN
}
