//! `rlaif inspect`: what a model folder holds and needs.

use clap::Args;

use super::model::ModelArg;
use super::print;
use crate::error::{Error, Result};
use crate::inspect::{Inspection, Load, inspect};

/// Say what a model folder holds and how much memory its uses need, without loading it.
#[derive(Debug, Args)]
pub(super) struct Inspect {
    #[command(flatten)]
    model: ModelArg,
    /// Texts at a time.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    batch: u64,
    /// Tokens in each; the model's context when left out.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    seq: Option<u64>,
    /// Rank of the adapters on every linear map, for LoRA.
    #[arg(long, default_value_t = 16)]
    lora_rank: u64,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Inspect {
    pub(super) fn run(self) -> Result<()> {
        let load = Load {
            dtype: self.model.dtype(),
            batch: self.batch,
            seq: self.seq,
            lora_rank: self.lora_rank,
        };
        let found = inspect(self.model.name(), load, &self.model.device()?)?;
        if self.json {
            let json = serde_json::to_string_pretty(&found);
            return print(json.map_err(|e| Error::Usage(e.to_string()))?);
        }
        for (name, value) in lines(&found) {
            print(format_args!("{name:22} {value}"))?;
        }
        Ok(())
    }
}

fn lines(found: &Inspection) -> Vec<(String, String)> {
    let class = found.class.as_deref().map(|class| format!(" ({class})"));
    let stored = found.stored.iter().map(|(dtype, n)| format!("{n} {dtype}"));
    let special = found.special_tokens.iter();
    let special = special.map(|(name, token)| match token.as_str() {
        Some(token) => format!("{name} {token}"),
        None => format!("{name} {token}"),
    });
    let none = |text: String| if text.is_empty() { "none".into() } else { text };
    let join = |texts: Vec<String>| none(texts.join(", "));
    let (load, memory) = (&found.load, &found.memory);
    let line = |name: &str, value: String| (name.to_string(), value);
    let load_text = format!(
        "{:?}, batch {}, {} tokens",
        load.dtype,
        load.batch,
        load.seq.unwrap_or(found.context)
    );
    vec![
        line("family", found.family.clone() + &class.unwrap_or_default()),
        line(
            "parameters",
            format!(
                "{} ({} of embeddings)",
                found.parameters, found.embedding_parameters
            ),
        ),
        line(
            "layers",
            format!("{} of width {}", found.layers, found.hidden_size),
        ),
        line("context", format!("{} tokens", found.context)),
        line(
            "vocabulary",
            format!(
                "{} ({} in the tokenizer)",
                found.vocabulary,
                found.tokens.map_or("none".into(), |n| n.to_string())
            ),
        ),
        line("stored numbers", join(stored.collect())),
        line(
            "chat template",
            if found.chat_template { "yes" } else { "no" }.into(),
        ),
        line("special tokens", join(special.collect())),
        line(
            "end of text",
            join(found.eos.iter().map(u32::to_string).collect()),
        ),
        line("memory for", load_text.to_lowercase()),
        line("  inference", gigabytes(memory.inference)),
        line(
            "  LoRA training",
            format!("{} (rank {})", gigabytes(memory.lora), load.lora_rank),
        ),
        line("  full training", gigabytes(memory.full)),
    ]
}

fn gigabytes(bytes: u64) -> String {
    format!("{:.3} GB", bytes as f64 / 1e9)
}
