//! What a run folder remembers: the first byte says which of its files the rest is.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use rlaif::record::read_jsonl;
use rlaif::run::{Metric, RunDir};
use rlaif_fuzz::Folder;

const FILES: [&str; 5] = [
    "stages.json",
    "metrics.jsonl",
    "sft/step-1/manifest.json",
    "sft/step-1/state.json",
    "eval.json",
];
static FOLDER: LazyLock<Folder> = LazyLock::new(|| {
    let folder = Folder::new();
    std::fs::create_dir_all(folder.path().join("sft/step-1")).expect("a folder");
    folder
});

fuzz_target!(|data: &[u8]| {
    let Some((&which, bytes)) = data.split_first() else {
        return;
    };
    let path = FOLDER.write(FILES[usize::from(which) % FILES.len()], bytes);
    if let Ok(run) = RunDir::open(FOLDER.path()) {
        run.stage_inputs("sft");
        let resumed = run.journal("sft", "sft").and_then(|mut journal| {
            let found = journal.resume()?;
            if let Some(checkpoint) = found {
                let _ = checkpoint.state::<serde_json::Value>();
            }
            journal.write(1, &[("loss", 1.0)])
        });
        let _ = resumed;
        let _ = read_jsonl::<Metric>(run.path("metrics.jsonl"));
        let _ = rlaif::report::write(&run);
    }
    let _ = std::fs::remove_file(path);
    let _ = std::fs::remove_file(FOLDER.path().join("metrics.jsonl"));
    let _ = std::fs::remove_dir_all(FOLDER.path().join("tensorboard"));
});
