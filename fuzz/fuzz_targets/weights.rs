//! Weights of a tiny model. With an even first byte the rest is the file; with an odd one it is the
//! header, which gets its length and as many bytes of data as the next two bytes say.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use rlaif::model;
use rlaif_fuzz::{Folder, device, safetensors};

const CONFIG: &[u8] = br#"{"model_type":"llama","hidden_size":4,"intermediate_size":4,
    "num_hidden_layers":1,"num_attention_heads":2,"num_key_value_heads":1,"vocab_size":4,
    "max_position_embeddings":8,"rms_norm_eps":1e-6,"tie_word_embeddings":true,
    "hidden_act":"silu"}"#;

static FOLDER: LazyLock<Folder> = LazyLock::new(|| {
    let folder = Folder::new();
    folder.write("config.json", CONFIG);
    folder
});

fn file(data: &[u8]) -> Option<Vec<u8>> {
    let (&form, rest) = data.split_first()?;
    if form & 1 == 0 {
        return Some(rest.to_vec());
    }
    safetensors(rest)
}

fuzz_target!(|data: &[u8]| {
    let Some(file) = file(data) else {
        return;
    };
    FOLDER.write("model.safetensors", &file);
    let _ = model::load(FOLDER.path(), &device());
    let _ = model::load_head(FOLDER.path(), &device());
});
