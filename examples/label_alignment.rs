//! What the form of a prompt is worth to a labeler: agreement with the oracle of the embedded world
//! over {base, detailed} x {0, 1, 2 exemplars} x {direct, rationale first} x {XS, S, M}, asked in
//! one order or in both, as in tables 2 and 3 of the paper (Lee et al. 2023, arXiv:2309.00267).
//!
//! `cargo run --release --example label_alignment -- --pairs 300` prints a Markdown table. The
//! shipped labelers learned one short question, `tiny-tldr`, and know few words beside it: the
//! table says what that costs, not which prompt is good for a model that reads English.

use std::path::{Path, PathBuf};

use burn::prelude::*;
use clap::Parser;
use rlaif::cli::print;
use rlaif::label::config::{AskConfig, ExemplarConfig, RationaleConfig};
use rlaif::label::{
    Asking, Decoding, LocalAnswerer, OracleLabeler, Positions, PromptedLabeler, alignment,
    held_out_pairs, label,
};
use rlaif::record::{Completion, Preference, write_jsonl};
use rlaif::world::{self, Oracle, Split, World};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Longest rationale in tokens; the labelers read at most 512, and their texts are short.
const RATIONALE_TOKENS: usize = 40;

#[derive(Parser)]
struct Args {
    /// Held-out pairs.
    #[arg(long, default_value_t = 300)]
    pairs: usize,
    /// Sizes of the labelers.
    #[arg(long, value_delimiter = ',', default_values_t = ["xs", "s", "m"].map(String::from))]
    sizes: Vec<String>,
}

fn main() -> rlaif::Result<()> {
    let args = Args::parse();
    let pairs = held_out_pairs(args.pairs);
    let folder = tempfile::tempdir().map_err(rlaif::Error::io("create", "a temporary folder"))?;
    let exemplars = folder.path().join("exemplars.jsonl");
    write_jsonl(&exemplars, &world_exemplars(2)?)?;
    print(
        "| labeler | prompt | exemplars | rationale | one order | both orders | same position | \
        no verdict |",
    )?;
    print("|---|---|---|---|---|---|---|---|")?;
    for size in &args.sizes {
        for config in configs(&exemplars) {
            print(row(size, &config, &pairs)?)?;
        }
    }
    Ok(())
}

/// The trained question first, then every form.
fn configs(exemplars: &Path) -> Vec<AskConfig> {
    let mut configs = vec![AskConfig::default()];
    for prompt in ["summary-base", "summary-detailed"] {
        for shots in 0..3 {
            for rationale in [None, Some(rationale())] {
                configs.push(AskConfig {
                    prompt: prompt.into(),
                    exemplars: ExemplarConfig {
                        shots,
                        file: (shots > 0).then(|| exemplars.into()),
                        ..ExemplarConfig::default()
                    },
                    rationale,
                    ..AskConfig::default()
                });
            }
        }
    }
    configs
}

fn rationale() -> RationaleConfig {
    RationaleConfig {
        decoding: Decoding {
            max_new_tokens: RATIONALE_TOKENS,
            ..Decoding::default()
        },
        ..RationaleConfig::default()
    }
}

fn row(size: &str, config: &AskConfig, pairs: &[Completion]) -> rlaif::Result<String> {
    let dir = PathBuf::from(format!("models/labeler-{size}"));
    let answerer = LocalAnswerer::load(&dir, &Device::flex())?;
    let mut labeler = PromptedLabeler::new(answerer, Asking::new(config, 1)?);
    let labels = label(&mut labeler, pairs)?;
    let found = alignment(
        &labels.preferences,
        &mut OracleLabeler::new(World::tiny_tldr()),
    )?;
    let positions = Positions::of(&labels.preferences);
    let percent = |share: f64| format!("{:.1}", 100.0 * share);
    let agreement = match found.n {
        0 => ["-".into(), "-".into(), "-".into()],
        _ => [
            format!("{}%", percent(found.one_order)),
            format!(
                "{}% [{}, {}]",
                percent(found.alignment),
                percent(found.ci.low),
                percent(found.ci.high)
            ),
            format!("{}%", percent(positions.same_position)),
        ],
    };
    Ok(format!(
        "| {} | {} | {} | {} | {} | {} of {} |",
        size.to_uppercase(),
        config.prompt,
        config.exemplars.shots,
        if config.rationale.is_some() {
            "first"
        } else {
            "none"
        },
        agreement.join(" | "),
        labels.unlabeled.len(),
        pairs.len() / 2
    ))
}

/// Pairs of the world, decided by the oracle, of a split that no pair of the table is from.
fn world_exemplars(n: usize) -> rlaif::Result<Vec<Preference>> {
    let world = World::tiny_tldr();
    let oracle = Oracle::new(world);
    let mut rows = Vec::new();
    for index in 0.. {
        if rows.len() == n {
            break;
        }
        let post = world.post(Split::LabelerTrain, index);
        let mut rng = world.rng(Split::LabelerTrain, index, 3);
        let [a, b] = [(); 2].map(|()| world::mixed(&post, &mut rng));
        let p_a = world::preference(&oracle.assess(&post, &a), &oracle.assess(&post, &b));
        if p_a == 0.5 {
            continue;
        }
        let (chosen, rejected) = if p_a > 0.5 { (a, b) } else { (b, a) };
        let rationale = "one summary is true to the text and leaves out less.";
        rows.push(Preference {
            prompt_id: post.id,
            prompt: post.text.as_str().into(),
            chosen: chosen.into(),
            rejected: rejected.into(),
            p_chosen: 1.0,
            p_first: None,
            p_second: None,
            margin: None,
            labeler: None,
            method: None,
            rationales: vec![rationale.into()],
        });
    }
    Ok(rows)
}
