//! What became of a few prompts over the steps of a policy optimisation.

use std::cmp::Reverse;

use minijinja::{Value, context};

use crate::error::Result;
use crate::record::{LoggedRollout, read_jsonl};
use crate::run::RunDir;

const N_PROMPTS: usize = 3;
const N_STEPS: usize = 5;

/// The prompts that came back most often, with a completion of some steps each, the first and the
/// last among them, and its reward.
pub(super) fn followed(run: &RunDir) -> Result<Vec<Value>> {
    let path = run.path("rollouts.jsonl");
    if !path.is_file() {
        return Ok(Vec::new());
    }
    let rows: Vec<LoggedRollout> = read_jsonl(path)?;
    let mut prompts: Vec<Vec<&LoggedRollout>> = Vec::new();
    for row in &rows {
        let same = |seen: &&mut Vec<&LoggedRollout>| {
            seen[0].completion.prompt_id == row.completion.prompt_id
        };
        match prompts.iter_mut().find(same) {
            // One of each step.
            Some(seen) if seen.iter().any(|other| other.step == row.step) => {}
            Some(seen) => seen.push(row),
            None => prompts.push(vec![row]),
        }
    }
    prompts.sort_by_key(|seen| Reverse(seen.len()));
    Ok(prompts
        .iter()
        .take(N_PROMPTS)
        .map(|seen| shown(seen))
        .collect())
}

fn shown(seen: &[&LoggedRollout]) -> Value {
    let n = seen.len().min(N_STEPS);
    let spread = (0..n).map(|i| seen[i * (seen.len() - 1) / (n - 1).max(1)]);
    let step = |row: &LoggedRollout| {
        let reward = format!("{:.3}", row.reward);
        context! { step => row.step, reward, text => row.completion.completion.clone() }
    };
    let steps: Vec<Value> = spread.map(step).collect();
    context! { prompt => seen[0].completion.prompt.transcript(), steps }
}
