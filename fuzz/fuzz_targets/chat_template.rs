//! Chat templates, which are programs from whoever made a model, on conversations from a file: the
//! first line is a row with `messages`, the rest the template.
#![no_main]

use std::path::Path;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use rlaif::record::{Context, Prompt, read_prompts};
use rlaif::tokenizer::{ChatTemplate, Ending, SpecialTokens};
use rlaif_fuzz::Folder;

static FOLDER: LazyLock<Folder> = LazyLock::new(Folder::new);

fn prompt(line: &str) -> Option<Prompt> {
    let path = FOLDER.write("prompt.jsonl", line.as_bytes());
    read_prompts(path, &Default::default()).ok()?.into_iter().next()
}

fuzz_target!(|data: &str| {
    let (line, template) = data.split_once('\n').unwrap_or(("", data));
    let special = SpecialTokens::default();
    let Ok(template) = ChatTemplate::new(template, &special, Path::new("fuzz")) else {
        return;
    };
    let hello = r#"{"prompt":[{"role":"user","content":"hello"},{"role":"assistant","content":"hi"}]}"#;
    for line in [line, hello] {
        let Some(Prompt {
            prompt: Context::Conversation(conversation),
            ..
        }) = prompt(line)
        else {
            continue;
        };
        for ending in [Ending::Closed, Ending::GenerationPrompt, Ending::Continued] {
            let _ = template.render(&conversation, ending);
        }
        let _ = template.render_spans(&conversation);
    }
});
