//! Weights that are too many for one file: how they are cut into several, and the index of these.
//! Names and layout as `save_pretrained` of `transformers` writes them.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use serde_json::json;

use super::weights::{INDEX, WEIGHTS};
use crate::error::{Error, Result};

/// Bytes of the weights in one file, unless something else is asked for. `transformers` 5 has 50
/// GB; here a file is put together in memory.
pub const MAX_SHARD_SIZE: u64 = 5_000_000_000;

/// Cuts tensors of these sizes into runs of at most `bound` bytes, one tensor at least.
pub(super) fn cut(sizes: &[u64], bound: u64) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    let mut filled = 0;
    for (i, size) in sizes.iter().enumerate() {
        match runs.last_mut() {
            Some(run) if filled + size <= bound => {
                run.end = i + 1;
                filled += size;
            }
            _ => {
                runs.push(i..i + 1);
                filled = *size;
            }
        }
    }
    runs
}

/// Name of file `i` of `n`.
pub(super) fn file_name(i: usize, n: usize) -> String {
    match n {
        1 => WEIGHTS.into(),
        _ => format!("model-{:05}-of-{n:05}.safetensors", i + 1),
    }
}

/// Writes which file each tensor is in; `bytes` and `numbers` are those of all of them.
///
/// # Errors
/// The file system refuses.
pub(super) fn write_index(
    dir: &Path,
    weight_map: &BTreeMap<String, String>,
    (bytes, numbers): (u64, u64),
) -> Result<()> {
    let path = dir.join(INDEX);
    let index = json!({
        "metadata": {"total_parameters": numbers, "total_size": bytes},
        "weight_map": weight_map,
    });
    let text = serde_json::to_string_pretty(&index);
    let text = text.map_err(|e| Error::file(&path, e.to_string()))?;
    std::fs::write(&path, text + "\n").map_err(Error::io("write", &path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_keep_the_bound_unless_a_tensor_is_larger() {
        let check = |sizes: &[u64], expected: &[[usize; 2]]| {
            let found = cut(sizes, 10).into_iter().map(|run| [run.start, run.end]);
            assert_eq!(found.collect::<Vec<_>>(), expected, "{sizes:?}");
        };
        check(&[4, 6], &[[0, 2]]);
        check(&[4, 7, 3, 1], &[[0, 1], [1, 3], [3, 4]]);
        check(&[1, 30, 1], &[[0, 1], [1, 2], [2, 3]]);
        check(&[], &[]);
    }
}
