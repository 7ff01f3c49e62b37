//! Run files, and an override: the first line, if it has a `=`.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use rlaif::config::Config;
use rlaif::label::LabelingConfig;
use rlaif_fuzz::Folder;

static FOLDER: LazyLock<Folder> = LazyLock::new(Folder::new);

fuzz_target!(|data: &str| {
    let (set, file) = match data.split_once('\n') {
        Some((line, rest)) if line.contains('=') => (vec![line.to_string()], rest),
        _ => (Vec::new(), data),
    };
    let path = FOLDER.write("run.toml", file.as_bytes());
    if let Ok(config) = Config::read(&path, &set) {
        let text = config.to_toml().expect("a run file can be written");
        let path = FOLDER.write("again.toml", text.as_bytes());
        Config::read(&path, &[]).expect("the resolved file is a run file");
    }
    let _ = LabelingConfig::read(&path, &set);
});
