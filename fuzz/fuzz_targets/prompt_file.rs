//! Prompt files of labelers, and the questions that they make.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use rlaif::label::prompt::Prompt;
use rlaif_fuzz::Folder;

static FOLDER: LazyLock<Folder> = LazyLock::new(Folder::new);

fuzz_target!(|data: &[u8]| {
    let path = FOLDER.write("prompt.toml", data);
    if let Ok(prompt) = Prompt::load(&path.to_string_lossy()) {
        let _ = prompt.prefix("a text\nof two lines");
        let _ = prompt.question(&["one", "two"]);
    }
});
