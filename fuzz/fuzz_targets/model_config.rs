//! `config.json` of every family, and what `inspect` computes from one.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use rlaif::inspect::{Load, memory};
use rlaif::model::ModelConfig;
use rlaif::precision::Precision;
use rlaif_fuzz::Folder;

static FOLDER: LazyLock<Folder> = LazyLock::new(Folder::new);

fuzz_target!(|data: &[u8]| {
    let path = FOLDER.write("config.json", data);
    if let Ok(config) = ModelConfig::read(&path) {
        let load = Load {
            dtype: Precision::Bf16,
            batch: 4,
            seq: None,
            lora_rank: 8,
        };
        memory(&config.architecture, 1 << 20, load);
    }
});
