//! `model.safetensors.index.json`, beside one file of weights and a file that is none.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use rlaif::model;
use rlaif_fuzz::{Folder, device};

static FOLDER: LazyLock<Folder> = LazyLock::new(|| {
    let folder = Folder::new();
    let model = "../../tests/fixtures/families/llama3";
    for name in ["config.json", "model-00001-of-00006.safetensors"] {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("fuzz_targets")
            .join(model)
            .join(name);
        folder.write(name, &std::fs::read(path).expect("a fixture"));
    }
    folder.write("a", b"no weights");
    folder
});

fuzz_target!(|data: &[u8]| {
    FOLDER.write("model.safetensors.index.json", data);
    let _ = model::load(FOLDER.path(), &device());
});
