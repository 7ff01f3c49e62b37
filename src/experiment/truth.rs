//! Pairs of which is known which completion is better, and who knows it.

use std::collections::HashMap;

use crate::error::{Error, Result};
use crate::label::{Candidate, Judgement, Labeler, OracleLabeler, Pair, Scored, held_out_pairs};
use crate::pipeline::Pipeline;
use crate::record::{Completion, Method, Preference};

/// Seeds take turns on this many blocks of the world's held-out pairs.
const BLOCKS: u64 = 8;

/// Completions of which two after each other are a pair, with who knows the better one.
pub(super) type Gold = (Vec<Completion>, Box<dyn Labeler>);

/// `n` held-out pairs: of the embedded world, others for other seeds; or those of
/// `data.preferences`.
pub(super) fn held_out(run: &Pipeline, n: usize) -> Result<Gold> {
    if let Some(world) = run.config.data.world() {
        let block = (run.config.seed % BLOCKS) as usize;
        let pairs = held_out_pairs(world, n * (block + 1)).split_off(2 * n * block);
        return Ok((pairs, Box::new(OracleLabeler::new(world))));
    }
    let Some(mut rows) = run.config.data.read_preferences()? else {
        let expected = "a file of labels, for this data has no truth of its own";
        return Err(Error::field("data.preferences", "absent", expected));
    };
    rows.truncate(n);
    let pairs = rows.iter().flat_map(pair).collect();
    Ok((pairs, Box::new(Labeled::new(&rows))))
}

/// The judge whose word is the truth about what policies write.
pub(super) fn judge(run: &Pipeline) -> Result<Box<dyn Labeler>> {
    match run.config.data.world() {
        Some(world) => Ok(Box::new(OracleLabeler::new(world))),
        None => run.labeler(&run.config.eval.judges[0]),
    }
}

fn pair(row: &Preference) -> [Completion; 2] {
    let completion = |index, text: &str| Completion {
        prompt_id: row.prompt_id.clone(),
        prompt: row.prompt.clone(),
        index,
        completion: text.into(),
        n_tokens: 0,
        log_prob: 0.0,
        finished: true,
    };
    [
        completion(0, &row.chosen.text),
        completion(1, &row.rejected.text),
    ]
}

/// Labels of a file as a labeler: it knows these pairs and no others.
struct Labeled {
    p_chosen: HashMap<(String, String, String), f32>,
}

impl Labeled {
    fn new(rows: &[Preference]) -> Self {
        let mut p_chosen = HashMap::new();
        for row in rows {
            let [id, chosen, rejected] = [&row.prompt_id, &row.chosen.text, &row.rejected.text];
            let key = |a: &String, b: &String| (id.clone(), a.clone(), b.clone());
            p_chosen.insert(key(chosen, rejected), row.p_chosen);
            p_chosen.insert(key(rejected, chosen), 1.0 - row.p_chosen);
        }
        Self { p_chosen }
    }
}

impl Labeler for Labeled {
    fn name(&self) -> &str {
        "labels of the file"
    }

    fn compare(&mut self, pairs: &[Pair]) -> Result<Vec<Judgement>> {
        let judge = |pair: &Pair| {
            let key = (pair.prompt_id.into(), pair.a.into(), pair.b.into());
            let p = self.p_chosen.get(&key).copied().unwrap_or(0.5);
            Judgement::of_both(p, p, Method::Truth)
        };
        Ok(pairs.iter().map(judge).collect())
    }

    fn score(&mut self, _: &[Candidate]) -> Result<Vec<Scored>> {
        Err(Error::Usage("labels of pairs are no scores".into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::label::{alignment, label};

    #[test]
    fn a_files_labels_are_the_truth_of_its_pairs() {
        let row = |id: &str, chosen: &str, rejected: &str| Preference {
            prompt_id: id.into(),
            prompt: "q".into(),
            chosen: chosen.into(),
            rejected: rejected.into(),
            p_chosen: 1.0,
            p_first: None,
            p_second: None,
            margin: None,
            labeler: None,
            method: None,
            rationales: Vec::new(),
        };
        let rows = [row("1", "a", "b"), row("2", "d", "c")];
        let pairs: Vec<Completion> = rows.iter().flat_map(pair).collect();
        let mut truth = Labeled::new(&rows);
        let labels = label(&mut truth, &pairs).unwrap().preferences;
        assert_eq!(labels[1].chosen.text, "d");
        let mut other = Labeled::new(&[row("1", "b", "a"), row("2", "d", "c")]);
        assert_eq!(alignment(&labels, &mut other).unwrap().alignment, 0.5);
    }
}
