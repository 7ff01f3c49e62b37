//! The description files of a tokenizer: the first byte says which of them the rest is.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use rlaif::tokenizer::Tokenizer;
use rlaif_fuzz::Folder;

const FILES: [(&str, &[u8]); 5] = [
    (
        "tokenizer.json",
        include_bytes!("../../models/labeler-xs/tokenizer.json"),
    ),
    (
        "tokenizer_config.json",
        include_bytes!("../../models/labeler-xs/tokenizer_config.json"),
    ),
    ("special_tokens_map.json", b"{}"),
    ("generation_config.json", b"{}"),
    ("config.json", b"{\"eos_token_id\": 1}"),
];

static FOLDER: LazyLock<Folder> = LazyLock::new(|| {
    let folder = Folder::new();
    for (name, good) in FILES {
        folder.write(name, good);
    }
    folder
});

fuzz_target!(|data: &[u8]| {
    let Some((&which, bytes)) = data.split_first() else {
        return;
    };
    let (name, good) = FILES[usize::from(which) % FILES.len()];
    FOLDER.write(name, bytes);
    if let Ok(tokenizer) = Tokenizer::load(FOLDER.path()) {
        let text = "Grüße, 世界! <s></s>\n\t 12";
        if let Ok(ids) = tokenizer.encode_prompt(text) {
            let _ = tokenizer.decode(&ids);
        }
        let _ = tokenizer.encode_completion("");
        let _ = tokenizer.decode(&[0, 1, u32::MAX]);
    }
    FOLDER.write(name, good);
});
