//! A run done again from what its folder says, and held against it.

use std::path::{Path, PathBuf};

use super::Pipeline;
use super::inputs::difference;
use super::plan::stages;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::run::{Compared, Environment, Interrupt, RunDir, compare};

/// Does the run of the folder `old` again in the folder `new`, with the same resolved run file, and
/// compares their results. What is no longer as it was when `old` was made goes to the log before
/// anything is done. A reproduction that was interrupted goes on.
///
/// # Errors
/// Those of the run, and when `old` holds no run or `new` is the same folder.
pub fn reproduce(old: &Path, new: &Path, interrupt: &Interrupt) -> Result<Vec<Compared>> {
    let run = RunDir::open(old)?;
    if same_folder(old, new) {
        let message = "expected another folder than that of the run";
        return Err(Error::file(new, message));
    }
    let config = Config::read(&run.path("config.toml"), &[])?;
    for change in changes(&config, &run)? {
        tracing::warn!("{change}");
    }
    Pipeline::new(config, new)?.ended_by(interrupt).run_all()?;
    compare(old, new)
}

/// The folder in which a run is reproduced unless another is named: `runs/a-reproduced`.
pub fn reproduction_of(old: &Path) -> PathBuf {
    let name = old.file_name().unwrap_or_default().to_string_lossy();
    old.with_file_name(format!("{name}-reproduced"))
}

/// What has changed since the run was made: the program, the machine, files that it read.
fn changes(config: &Config, run: &RunDir) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let now = Environment::current(&config.backend.device()?, config.seed);
    if let Some(then) = run.environments()?.last() {
        found.extend(then.changes(&now));
    }
    for stage in stages(config) {
        let Some(before) = run.stage_inputs(stage.name) else {
            found.push(format!("stage {} was not finished", stage.name));
            continue;
        };
        // What the stage read of the run itself is there still.
        let inputs = stage.inputs(config, |rel| run.path(rel))?;
        let changed = difference(&before, &inputs);
        found.extend(changed.map(|what| format!("stage {}: {what}", stage.name)));
    }
    Ok(found)
}

fn same_folder(a: &Path, b: &Path) -> bool {
    let whole = |path: &Path| path.canonicalize().ok();
    whole(a).is_some_and(|a| Some(a) == whole(b))
}
