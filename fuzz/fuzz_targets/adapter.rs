//! An adapter of `peft`: with an even first byte the rest is `adapter_config.json`, with an odd one
//! `adapter_model.safetensors`.
#![no_main]

use std::path::Path;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use rlaif::model;
use rlaif_fuzz::{Folder, device};

const CONFIG: &[u8] = include_bytes!("../../tests/fixtures/adapters/llama/adapter_config.json");
const WEIGHTS: &[u8] =
    include_bytes!("../../tests/fixtures/adapters/llama/adapter_model.safetensors");
const NAMES: [(&str, &[u8]); 2] = [
    ("adapter_config.json", CONFIG),
    ("adapter_model.safetensors", WEIGHTS),
];

static FOLDER: LazyLock<Folder> = LazyLock::new(|| {
    let folder = Folder::new();
    for (name, good) in NAMES {
        folder.write(name, good);
    }
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    std::env::set_current_dir(repository).expect("the repository");
    folder
});

fuzz_target!(|data: &[u8]| {
    let Some((&which, bytes)) = data.split_first() else {
        return;
    };
    let (name, good) = NAMES[usize::from(which & 1)];
    FOLDER.write(name, bytes);
    let _ = model::load(FOLDER.path(), &device());
    FOLDER.write(name, good);
});
