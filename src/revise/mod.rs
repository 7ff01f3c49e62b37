//! Constitutional AI's supervised half: a model answers, criticises its answer by a principle, and
//! revises it, a few rounds of that; the last revision is a demonstration for stage 0. Bai et al.
//! 2022, arXiv:2212.08073, section 3.
//!
//! The other half, labels by a principle, is the labeler's prompt `constitutional`. Deviations: the
//! paper shows the model examples of critiques and revisions first (a principles file of your own
//! may hold them in its templates), draws a principle in each round anew, where here none comes
//! twice before all have come, and trains on the revisions of all rounds, which here are in the
//! chain of each row.
//!
//! Start at [`revise_file`]. This room asks through [`Answerer`] and knows nothing of models.

mod config;
mod output;
mod principles;

use std::path::{Path, PathBuf};

use rand::RngExt;
use rand::seq::SliceRandom;

pub use config::ReviseConfig;
pub use principles::{BUILT_IN, Principle, Principles};

use self::output::Output;
use crate::error::Result;
use crate::label::{Answered, Answerer, Question, Reply, Request, Usage};
use crate::progress::Progress;
use crate::record::rows;
use crate::record::{Chain, PairOptions, Prompt, Revised, Revision, Unanswered, read_prompts};
use crate::seed::rng_for;

/// What revising a file came to.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ReviseRun {
    /// Prompts of the file.
    pub n_prompts: usize,
    /// Of those, the ones that an earlier process was done with.
    pub n_before: usize,
    /// Rows written by this one.
    pub n_revised: usize,
    /// Of those, the ones with fewer rounds than were asked for.
    pub n_stopped: usize,
    /// Prompts that it got no response to.
    pub n_unanswered: usize,
    /// What it cost.
    pub usage: Usage,
}

/// Where the answers of endpoints are kept for an output, unless the model says otherwise.
pub fn answers_of(output: &Path) -> PathBuf {
    rows::beside(output, "answers.jsonl")
}

/// Answers, criticises and revises the prompts of the file `input`, and appends a row for each to
/// `output`, in their order; prompts without a response go to `OUTPUT.unanswered.jsonl`. Goes on
/// with an unfinished file, and writes what an uninterrupted process would have written.
///
/// # Errors
/// A row of the input is bad, the output is of another input or model, a file cannot be used, or the
/// answerer fails as a whole.
pub fn revise_file(
    answerer: &mut dyn Answerer,
    config: &ReviseConfig,
    input: &Path,
    output: &Path,
) -> Result<ReviseRun> {
    let principles = Principles::load(&config.principles)?;
    let prompts = read_prompts(input, &PairOptions::default())?;
    let (mut out, done) = Output::open(output, &prompts, answerer.name(), config)?;
    let mut run = ReviseRun {
        n_prompts: prompts.len(),
        n_before: done,
        ..ReviseRun::default()
    };
    let progress = Progress::new("revise", prompts.len() as u64, "prompts");
    let mut progress = progress.resumed_at(done as u64);
    let rest = prompts.iter().enumerate().skip(done);
    let rest: Vec<(usize, &Prompt)> = rest.collect();
    for chunk in rest.chunks(config.batch) {
        let mut asking = Asking {
            answerer,
            config,
            principles: &principles,
            usage: Usage::default(),
        };
        let (revised, unanswered) = asking.revise(chunk)?;
        run.usage += asking.usage;
        run.n_revised += revised.len();
        run.n_unanswered += unanswered.len();
        let stopped = revised.iter().filter(|row| row.chain.stopped.is_some());
        run.n_stopped += stopped.count();
        out.append(&revised, &unanswered)?;
        progress.inc(chunk.len() as u64);
    }
    out.finish()?;
    Ok(run)
}

/// Some prompts at work.
struct Asking<'a> {
    answerer: &'a mut dyn Answerer,
    config: &'a ReviseConfig,
    principles: &'a Principles,
    usage: Usage,
}

/// A prompt on its way, with the principles in the order in which they come.
struct Draft<'a> {
    row: Revised,
    order: Vec<&'a Principle>,
}

impl<'a> Asking<'a> {
    fn revise(&mut self, prompts: &[(usize, &Prompt)]) -> Result<(Vec<Revised>, Vec<Unanswered>)> {
        let first = |(_, prompt): &(usize, &Prompt)| {
            let text = self.principles.answer(&prompt.prompt.transcript())?;
            Ok(self.request(&prompt.id, "answer", 0, text))
        };
        let asked = prompts.iter().map(first).collect::<Result<Vec<_>>>()?;
        let replies = self.write(&asked)?;
        let (mut drafts, mut unanswered) = (Vec::new(), Vec::new());
        for ((index, prompt), reply) in prompts.iter().zip(replies) {
            match reply {
                Ok(response) => drafts.push(self.draft(*index, prompt, response)),
                Err(reason) => unanswered.push(Unanswered {
                    index: *index,
                    id: prompt.id.clone(),
                    prompt: prompt.prompt.clone(),
                    reason,
                }),
            }
        }
        for round in 0..self.config.rounds {
            self.round(round, &mut drafts)?;
        }
        Ok((
            drafts.into_iter().map(|draft| draft.row).collect(),
            unanswered,
        ))
    }

    fn draft(&self, index: usize, prompt: &Prompt, response: String) -> Draft<'a> {
        let mut order: Vec<&Principle> = self.principles.all().iter().collect();
        let purpose = format!("principles {}", prompt.id);
        order.shuffle(&mut rng_for(self.config.seed, &purpose, 0));
        let row = Revised {
            index,
            id: prompt.id.clone(),
            prompt: prompt.prompt.clone(),
            completion: response.clone(),
            chain: Chain {
                model: self.answerer.name().into(),
                response,
                rounds: Vec::new(),
                stopped: None,
            },
        };
        Draft { row, order }
    }

    /// A critique and a revision of each draft that has come so far.
    fn round(&mut self, round: usize, drafts: &mut [Draft<'a>]) -> Result<()> {
        let principle = |draft: &Draft<'a>| draft.order[round % draft.order.len()];
        let mut critiques = vec![None; drafts.len()];
        for half in ["critique", "revision"] {
            let mut asked = Vec::new();
            for (draft, critique) in drafts.iter().zip(&critiques) {
                if draft.row.chain.stopped.is_some() {
                    continue;
                }
                let text =
                    self.principles
                        .ask(&draft.row, principle(draft), critique.as_deref())?;
                asked.push(self.request(&draft.row.id, half, round, text));
            }
            let mut replies = self.write(&asked)?.into_iter();
            for (draft, critique) in drafts.iter_mut().zip(&mut critiques) {
                if draft.row.chain.stopped.is_some() {
                    continue;
                }
                match (replies.next(), critique.take()) {
                    (Some(Ok(text)), None) => *critique = Some(text),
                    (Some(Ok(revision)), Some(critique)) => {
                        draft.row.completion = revision.clone();
                        draft.row.chain.rounds.push(Revision {
                            principle: principle(draft).name.clone(),
                            critique,
                            revision,
                        });
                    }
                    (Some(Err(reason)), _) => draft.row.chain.stopped = Some(reason),
                    (None, _) => {}
                }
            }
        }
        Ok(())
    }

    fn request(&self, id: &str, what: &str, round: usize, text: String) -> Request {
        let purpose = format!("{what} {id}");
        let mut rng = rng_for(self.config.seed, &purpose, round as u64);
        Request {
            question: Question {
                prefix: "".into(),
                text,
                ending: String::new(),
            },
            seed: rng.random(),
        }
    }

    /// What is written, or why there is nothing.
    fn write(&mut self, asked: &[Request]) -> Result<Vec<Result<String, String>>> {
        let mut decoding = self.config.decoding.clone();
        decoding.stop.extend(self.principles.stop().iter().cloned());
        let replies = self.answerer.write(asked, &decoding)?;
        let read = |reply: Answered<Reply>| {
            self.usage += reply.usage;
            let text = reply.value.map_err(|why| why.to_string())?;
            match text.text.trim() {
                "" => Err("an empty text".to_string()),
                text => Ok(text.to_string()),
            }
        };
        Ok(replies.into_iter().map(read).collect())
    }
}

#[cfg(test)]
mod tests;
