//! An adapter of `peft` on a small Llama: with a first byte of 0 (of its last two bits) the rest is
//! `adapter_config.json`, with 1 `adapter_model.safetensors`, otherwise the header of that file,
//! which gets its length and as many bytes of data as the next two bytes say.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use rlaif::model;
use rlaif_fuzz::{Folder, device, safetensors};

const CONFIG: &str = include_str!("../../tests/fixtures/adapters/llama/adapter_config.json");
const WEIGHTS: &[u8] =
    include_bytes!("../../tests/fixtures/adapters/llama/adapter_model.safetensors");
const BASE: [(&str, &[u8]); 2] = [
    (
        "base/config.json",
        include_bytes!("../../tests/fixtures/families/llama/config.json"),
    ),
    (
        "base/model.safetensors",
        include_bytes!("../../tests/fixtures/families/llama/model.safetensors"),
    ),
];

/// The adapter's own files, good ones, whose base lies beside them.
fn good() -> [(&'static str, Vec<u8>); 2] {
    let config = CONFIG.replace("../../families/llama", "base");
    [
        ("adapter_config.json", config.into_bytes()),
        ("adapter_model.safetensors", WEIGHTS.to_vec()),
    ]
}

static FOLDER: LazyLock<Folder> = LazyLock::new(|| {
    let folder = Folder::new();
    std::fs::create_dir(folder.path().join("base")).expect("a folder in the folder");
    for (name, bytes) in BASE {
        folder.write(name, bytes);
    }
    for (name, bytes) in good() {
        folder.write(name, &bytes);
    }
    model::load(folder.path(), &device()).expect("the good adapter loads");
    folder
});

fuzz_target!(|data: &[u8]| {
    let Some((&form, rest)) = data.split_first() else {
        return;
    };
    let (which, bytes) = match form & 3 {
        0 => (0, Some(rest.to_vec())),
        1 => (1, Some(rest.to_vec())),
        _ => (1, safetensors(rest)),
    };
    let Some(bytes) = bytes else {
        return;
    };
    let (name, good) = good()[which].clone();
    FOLDER.write(name, &bytes);
    let _ = model::load(FOLDER.path(), &device());
    let _ = model::load_head(FOLDER.path(), &device());
    FOLDER.write(name, &good);
});
