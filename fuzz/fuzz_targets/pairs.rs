//! Pairs, prompts and demonstrations in the layouts of other tools, HH transcripts among them.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use rlaif::record::rows::OnError;
use rlaif::record::{
    PairOptions, PairReader, Pairing, Transcripts, read_demonstrations, read_preferences,
    read_prompts,
};
use rlaif_fuzz::Folder;

static FOLDER: LazyLock<Folder> = LazyLock::new(Folder::new);

fuzz_target!(|data: &[u8]| {
    let Some((&choice, bytes)) = data.split_first() else {
        return;
    };
    let options = PairOptions {
        on_error: [OnError::Stop, OnError::Skip][usize::from(choice & 1)],
        transcripts: [Transcripts::Text, Transcripts::Messages][usize::from(choice >> 1 & 1)],
        pairing: [
            Pairing::BestWorst,
            Pairing::BestOthers,
            Pairing::Neighbours,
        ][usize::from(choice >> 2) % 3],
    };
    let path = FOLDER.write("pairs.jsonl", bytes);
    if let Ok(pairs) = PairReader::open(&path, &options) {
        for pair in pairs.take(10_000).flatten() {
            pair.in_order();
        }
    }
    let _ = read_preferences(&path, &options);
    let _ = read_prompts(&path, &options);
    let _ = read_demonstrations(&path, &options);
});
