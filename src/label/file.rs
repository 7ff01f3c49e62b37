//! Labels for a file of pairs: in constant memory, in order, and after a kill from where it
//! stopped.
//!
//! The labels are appended to the output as they come. A restart drops a last row that was not
//! finished and goes on; so that it writes the very bytes that an uninterrupted run would have
//! written, pairs are always asked in the same groups, and a group that was not finished is asked
//! again.

use std::fs;
use std::ops::Range;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Instant;

use super::output::Output;
use super::verdict::verdict;
use super::{Labeler, Pair, Usage};
use crate::config::at_least;
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::record::rows::{self, Compression, Format};
use crate::record::{AnswerPair, Label, LabelFailure, PairOptions, PairReader};

/// Pairs handed to the labeler at once where nothing else is said.
pub(super) const BATCH: usize = 64;

/// A file of pairs to be labeled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelFile {
    /// Pairs, in any of the layouts that [`PairReader`] knows.
    pub input: PathBuf,
    /// Where [`Label`]s go; its name says the format. What is no plain JSONL is first written to
    /// `OUTPUT.part.jsonl` and converted at the end. Pairs without a verdict go beside it, into
    /// `OUTPUT.unlabeled.jsonl`.
    pub output: PathBuf,
    /// How pairs are read.
    pub pairs: PairOptions,
    /// Which part of the file is labeled.
    pub shard: Shard,
    /// Pairs handed to the labeler at once, at least 1. An endpoint that takes many requests at
    /// once wants many; a kill costs at most so many.
    pub batch: usize,
}

/// A part of the pairs of a file: number 3 of 16 is written `3/16`. The outputs of all parts, one
/// after the other, are the output of the whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    number: usize,
    of: usize,
}

/// What labeling a file came to.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize)]
pub struct LabelRun {
    /// Pairs of the shard.
    pub n_pairs: usize,
    /// Of those, the ones labeled by an earlier process.
    pub n_before: usize,
    /// Labels written by this one.
    pub n_labels: usize,
    /// Pairs that it got no verdict on.
    pub n_unlabeled: usize,
    /// Rows of the whole file that could not be used.
    pub n_bad: usize,
    /// Pairs of equal texts in the whole file.
    pub n_equal: usize,
    /// What the labels of this process cost.
    pub usage: Usage,
    /// How long it took for them.
    pub seconds: f64,
}

/// Labels the pairs of a file, in the order in which they stand there.
///
/// The file is read twice, first to check and count its pairs: a bad row is found before anything
/// is asked.
///
/// # Errors
/// A row of the input is bad and they are not skipped, the output is not of this input and
/// labeler, a file cannot be used, or the labeler fails as a whole.
pub fn label_file(labeler: &mut dyn Labeler, file: &LabelFile) -> Result<LabelRun> {
    rows::check_writable(&file.output)?;
    at_least("batch", file.batch, 1)?;
    let mut run = LabelRun::default();
    let range = {
        let mut pairs = PairReader::open(&file.input, &file.pairs)?;
        let n_pairs = pairs.by_ref().try_fold(0, |n, pair| pair.map(|_| n + 1))?;
        (run.n_bad, run.n_equal) = (pairs.n_bad(), pairs.n_equal);
        file.shard.range(n_pairs, file.batch)
    };
    run.n_pairs = range.len();
    let part = file.part();
    if part != file.output && file.output.exists() && !part.exists() {
        tracing::info!("{}: finished before", file.output.display());
        run.n_before = run.n_pairs;
        return Ok(run);
    }
    let mut output = Output::open(file, &part, labeler.name())?;
    let start = output.chunk.max(range.start);
    let pairs = PairReader::open(&file.input, &file.pairs)?.enumerate();
    let mut pairs = pairs.skip(start).take(range.end.saturating_sub(start));
    run.n_before = start - range.start;
    let progress = Progress::new("label", run.n_pairs as u64, "pairs");
    let mut progress = progress.resumed_at(run.n_before as u64);
    let started = Instant::now();
    loop {
        let chunk = pairs.by_ref().take(file.batch);
        let chunk: Vec<(usize, AnswerPair)> = chunk
            .map(|(index, pair)| Ok((index, pair?.in_order())))
            .collect::<Result<_>>()?;
        let n = chunk.len();
        if n == 0 {
            break;
        }
        if output.holds(&chunk)? {
            run.n_before += n;
        } else {
            label_chunk(labeler, chunk, &mut output, &mut run)?;
        }
        progress.inc(n as u64);
    }
    run.seconds = started.elapsed().as_secs_f64();
    output.finish()?;
    if part != file.output {
        rows::convert(&part, &file.output)?;
        fs::remove_file(&part).map_err(Error::io("remove", &part))?;
    }
    Ok(run)
}

fn label_chunk(
    labeler: &mut dyn Labeler,
    chunk: Vec<(usize, AnswerPair)>,
    output: &mut Output,
    run: &mut LabelRun,
) -> Result<()> {
    let asked: Vec<Pair> = chunk.iter().map(|(_, pair)| Pair::between(pair)).collect();
    let judgements = labeler.compare(&asked)?;
    let (mut labels, mut failures) = (Vec::new(), Vec::new());
    for ((index, pair), judged) in chunk.into_iter().zip(judgements) {
        let usage = judged.usage;
        run.usage += usage;
        let p_gold = pair.p_gold;
        let a_is_chosen = judged.p_a().is_some_and(|p_a| p_a >= 0.5);
        match verdict(pair, judged, labeler.name()) {
            Ok(preference) => labels.push(Label {
                index: Some(index),
                preference,
                p_gold: p_gold.map(|p| if a_is_chosen { p } else { 1.0 - p }),
                prompt_tokens: usage.prompt_tokens,
                completion_tokens: usage.completion_tokens,
            }),
            Err(unlabeled) => failures.push(LabelFailure {
                index,
                unlabeled: *unlabeled,
            }),
        }
    }
    run.n_labels += labels.len();
    run.n_unlabeled += failures.len();
    // The labels come last: a chunk counts as finished by them.
    output.failures.append(&failures)?;
    output.labels.append(&labels)
}

impl LabelFile {
    /// All pairs of a file, a bad row of which is an error.
    pub fn new(input: PathBuf, output: PathBuf) -> Self {
        Self {
            input,
            output,
            pairs: PairOptions::default(),
            shard: Shard::WHOLE,
            batch: BATCH,
        }
    }

    /// Where labels are appended.
    fn part(&self) -> PathBuf {
        match rows::named(&self.output) {
            (Format::Json, Compression::None) => self.output.clone(),
            _ => rows::beside(&self.output, "part.jsonl"),
        }
    }

    /// Where the answers of endpoints are kept, unless the labeler says otherwise.
    pub fn answers(&self) -> PathBuf {
        rows::beside(&self.output, "answers.jsonl")
    }

    /// Where pairs without a verdict go.
    pub fn unlabeled(&self) -> PathBuf {
        rows::beside(&self.output, "unlabeled.jsonl")
    }
}

impl Shard {
    /// All pairs.
    pub const WHOLE: Self = Self { number: 1, of: 1 };

    /// The pairs of this part. Parts begin where a group of pairs begins, so that a pair is asked
    /// in the same group whatever the number of parts.
    fn range(self, n_pairs: usize, batch: usize) -> Range<usize> {
        let n_chunks = n_pairs.div_ceil(batch);
        let at = |part: usize| (part * n_chunks / self.of * batch).min(n_pairs);
        at(self.number - 1)..at(self.number)
    }
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers = text.split_once('/').and_then(|(number, of)| {
            Some(Self {
                number: number.parse().ok()?,
                of: of.parse().ok()?,
            })
        });
        numbers
            .filter(|shard| (1..=shard.of).contains(&shard.number))
            .ok_or_else(|| format!("{text:?}, expected a part of parts such as 3/16"))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::label::{Judgement, NoAnswer, Scored};
    use crate::record::{Method, read_records};

    /// Prefers by the letters of the texts, says nothing of every seventh prompt, and fails after
    /// some calls.
    struct Letters {
        n_asked: usize,
        calls_left: usize,
    }

    impl Labeler for Letters {
        fn name(&self) -> &str {
            "letters"
        }

        fn compare(&mut self, pairs: &[Pair]) -> Result<Vec<Judgement>> {
            if self.calls_left == 0 {
                return Err(Error::Usage("killed".into()));
            }
            self.calls_left -= 1;
            self.n_asked += pairs.len();
            let sum = |text: &str| text.bytes().map(u64::from).sum::<u64>() as f32;
            let judge = |pair: &Pair| {
                let p = sum(pair.a) / (sum(pair.a) + sum(pair.b));
                let mut judged = Judgement::of_both(p, p * 0.9, Method::LogProbs);
                judged.usage.prompt_tokens = 3;
                if pair.prompt_id.ends_with('7') {
                    let message = "no".into();
                    judged.no_verdict = Some(NoAnswer::Failed { message });
                }
                judged
            };
            Ok(pairs.iter().map(judge).collect())
        }

        fn score(&mut self, _: &[crate::label::Candidate]) -> Result<Vec<Scored>> {
            Err(Error::Usage("not asked".into()))
        }
    }

    fn letters(calls_left: usize) -> Letters {
        Letters {
            n_asked: 0,
            calls_left,
        }
    }

    /// A file of so many pairs, to be labeled four at once.
    fn input(folder: &Path, n: usize) -> LabelFile {
        let row = |i: usize| {
            format!("{{\"prompt\":\"p{i}\",\"chosen\":\"c{i}\",\"rejected\":\"{i}\"}}\n")
        };
        let path = folder.join("pairs.jsonl");
        fs::write(&path, (0..n).map(row).collect::<String>()).unwrap();
        LabelFile {
            batch: 4,
            ..LabelFile::new(path, folder.join("labels.jsonl"))
        }
    }

    fn bytes(file: &LabelFile) -> [Vec<u8>; 2] {
        [&file.output, &file.unlabeled()].map(|path| fs::read(path).unwrap_or_default())
    }

    /// 30 pairs: those of lines 7, 17 and 27 have no verdict.
    #[test]
    fn labels_are_the_same_wherever_it_was_stopped() {
        let folder = tempfile::tempdir().unwrap();
        let file = input(folder.path(), 30);
        let run = label_file(&mut letters(99), &file).unwrap();
        assert_eq!((run.n_pairs, run.n_labels, run.n_unlabeled), (30, 27, 3));
        let whole = bytes(&file);
        let rows: Vec<Label> = read_records(&file.output).unwrap();
        let places: Vec<_> = rows.iter().filter_map(|row| row.index).take(8).collect();
        assert_eq!(places, [0, 1, 2, 3, 4, 5, 7, 8]);
        // "c0" is letters enough to win, and what the file says too.
        assert_eq!(
            (rows[0].p_gold, rows[0].preference.chosen.text.as_str()),
            (Some(1.0), "c0")
        );
        // Finished: nothing is asked again.
        let mut again = letters(99);
        assert_eq!(label_file(&mut again, &file).unwrap().n_before, 30);
        assert_eq!((again.n_asked, bytes(&file)), (0, whole.clone()));
        // Stopped after some calls, and cut anywhere.
        for cut in (0..whole[0].len()).step_by(97) {
            fs::write(&file.output, &whole[0][..cut]).unwrap();
            label_file(&mut letters(1), &file).ok();
            label_file(&mut letters(99), &file).unwrap();
            assert_eq!(bytes(&file), whole, "cut at {cut}");
        }
    }

    #[test]
    fn parts_join_to_the_whole() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = input(folder.path(), 30);
        label_file(&mut letters(99), &file).unwrap();
        let whole = bytes(&file);
        for of in [1, 3, 20] {
            let mut joined = [Vec::new(), Vec::new()];
            for number in 1..=of {
                file.shard = format!("{number}/{of}").parse().unwrap();
                file.output = folder.path().join(format!("{number}-{of}.jsonl"));
                label_file(&mut letters(99), &file).unwrap();
                let part = bytes(&file);
                joined
                    .iter_mut()
                    .zip(part)
                    .for_each(|(all, part)| all.extend(part));
            }
            assert_eq!(joined, whole, "{of} parts");
        }
        for wrong in ["", "3", "0/2", "3/2", "1/0", "a/b"] {
            assert!(wrong.parse::<Shard>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn other_formats_are_made_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = input(folder.path(), 10);
        label_file(&mut letters(99), &file).unwrap();
        let expected: Vec<Label> = read_records(&file.output).unwrap();
        for name in ["l.csv", "l.jsonl.gz", "l.parquet"] {
            file.output = folder.path().join(name);
            let part = folder.path().join(format!("{name}.part.jsonl"));
            label_file(&mut letters(1), &file).unwrap_err();
            assert!(part.exists() && !file.output.exists());
            label_file(&mut letters(99), &file).unwrap();
            assert!(!part.exists());
            assert_eq!(
                read_records::<Label>(&file.output).unwrap(),
                expected,
                "{name}"
            );
            assert_eq!(label_file(&mut letters(0), &file).unwrap().n_before, 10);
        }
    }

    #[test]
    fn labels_of_another_labeler_or_input_are_not_mixed() {
        let folder = tempfile::tempdir().unwrap();
        let file = input(folder.path(), 10);
        label_file(&mut letters(1), &file).unwrap_err();
        let check = |file: &LabelFile, words: &str| {
            let error = label_file(&mut letters(99), file).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        };
        let labels = fs::read_to_string(&file.output).unwrap();
        fs::write(&file.output, labels.replace("letters", "other")).unwrap();
        check(&file, "holds labels by `other`, expected `letters`");
        fs::write(&file.output, labels.replace("\"p3\"", "\"p9\"")).unwrap();
        check(&file, "of another input");
        fs::write(&file.output, labels.replace("\"index\":3", "\"index\":33")).unwrap();
        check(&file, "of another input");
    }
}
