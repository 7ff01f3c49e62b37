//! The file that keeps the answers of endpoints.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use rlaif::run::AnswerLog;
use rlaif_fuzz::Folder;

static FOLDER: LazyLock<Folder> = LazyLock::new(Folder::new);

fuzz_target!(|data: &[u8]| {
    let path = FOLDER.write("answers.jsonl", data);
    if let Ok(mut log) = AnswerLog::open(&path) {
        log.usage("m");
        let found = log.get("k").expect("what was indexed can be read");
        if let Some(answer) = found {
            log.put(&answer).expect("an answer can be kept");
        }
    }
});
