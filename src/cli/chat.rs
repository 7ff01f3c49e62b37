//! `rlaif chat`: at the terminal, or the prompts of a file.

use std::io::{BufRead, IsTerminal};
use std::path::PathBuf;

use clap::Args;
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::{Map, Value};

use super::model::{ModelArg, json_object};
use super::out::Out;
use crate::chat::{Responder, Shown};
use crate::error::{Error, Result};
use crate::generate::SamplingConfig;
use crate::model::CausalLm;
use crate::record::{Context, Conversation, JsonlReader, Message};

/// Talk to a model, or answer the prompts of a file.
///
/// At the terminal `/reset` forgets the conversation and `/exit` leaves.
#[derive(Debug, Args)]
pub(super) struct Chat {
    #[command(flatten)]
    model: ModelArg,
    /// Prompts: JSONL rows with `prompt` (a text or messages) or `messages`, optionally `id`. One
    /// row `{id, prompt_ids, completion_ids, completion}` each is printed.
    #[arg(long)]
    file: Option<PathBuf>,
    /// Show texts as they are, without the chat template.
    #[arg(long, conflicts_with_all = ["system", "template_kwargs"])]
    raw: bool,
    /// What the system says first.
    #[arg(long)]
    system: Option<String>,
    /// Variables of the chat template, as a JSON object: `{"enable_thinking": false}`.
    #[arg(long, value_name = "JSON", value_parser = json_object)]
    template_kwargs: Option<Map<String, Value>>,
    /// Always take the most probable token.
    #[arg(long, conflicts_with = "temperature")]
    greedy: bool,
    /// Divides the logits.
    #[arg(long, default_value_t = 1.0)]
    temperature: f32,
    /// Keep the most probable tokens that together have this probability.
    #[arg(long, default_value_t = 1.0)]
    top_p: f32,
    /// Keep this many most probable tokens; 0 keeps all.
    #[arg(long, default_value_t = 0)]
    top_k: usize,
    /// Longest answer in tokens.
    #[arg(long, default_value_t = 256)]
    max_new_tokens: usize,
    /// Prompts of a file that are answered at the same time.
    #[arg(long, default_value_t = 16)]
    batch_size: usize,
    /// Seed of the random numbers.
    #[arg(long, default_value_t = 17)]
    seed: u64,
}

impl Chat {
    pub(super) fn run(self) -> Result<()> {
        let sampling = SamplingConfig {
            temperature: if self.greedy { 0.0 } else { self.temperature },
            top_p: self.top_p,
            top_k: self.top_k,
            max_new_tokens: self.max_new_tokens,
            batch_size: self.batch_size,
        };
        sampling.validate("chat")?;
        let shown = match self.raw {
            true => Shown::Raw,
            false => Shown::Chat {
                system: self.system.clone(),
                template_kwargs: self.template_kwargs.unwrap_or_default(),
            },
        };
        // A file that is not there is told before a model is loaded.
        let prompts = self.file.as_ref().map(JsonlReader::open).transpose()?;
        let (model, tokenizer) = self.model.load()?;
        let responder = Responder {
            model: &model,
            tokenizer: &tokenizer,
            shown,
            sampling,
        };
        let mut rng = StdRng::seed_from_u64(self.seed);
        let mut out = Out::new();
        let done = match prompts {
            Some(prompts) => {
                let answered = responder.answer_all(prompts, &mut rng, |row| out.row(row));
                answered.map(drop)
            }
            None => talk(&responder, &mut rng, &mut out),
        };
        out.ended(done)
    }
}

/// Reads what the user says line by line until the input ends.
fn talk<M: CausalLm>(responder: &Responder<M>, rng: &mut StdRng, out: &mut Out) -> Result<()> {
    let interactive = std::io::stdin().is_terminal();
    let mut conversation = Conversation::default();
    let mut lines = std::io::stdin().lock().lines();
    loop {
        if interactive {
            out.text("> ")?;
        }
        let Some(line) = lines.next() else {
            return Ok(());
        };
        let line = line.map_err(Error::io("read", "standard input"))?;
        match line.trim() {
            "" => continue,
            "/exit" => return Ok(()),
            "/reset" => {
                conversation.messages.clear();
                continue;
            }
            _ => {}
        }
        let raw = responder.shown == Shown::Raw;
        conversation.messages.push(Message::new("user", &line));
        let prompt = match raw {
            true => Context::Text(line),
            false => Context::Conversation(conversation.clone()),
        };
        let answer = responder.stream(&prompt, rng, |piece| out.text(piece));
        match answer {
            Ok(answer) => conversation
                .messages
                .push(Message::new("assistant", &answer)),
            // At the terminal one can mend it; a script is told by the exit code.
            Err(error) if interactive => {
                conversation.messages.pop();
                out.text(format_args!("{error} (/reset forgets the conversation)"))?;
            }
            Err(error) => return Err(error),
        }
        out.text("\n")?;
    }
}
