//! What `chat`, `score` and `inspect` say of bad input.

use super::*;

/// A file of rows in a folder of its own.
fn own_file(rows: &[Value]) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path(), rows);
    (folder, path)
}

/// A row that can be used; rows of messages, which need a chat template; a row that is too long.
fn some_rows() -> [(tempfile::TempDir, String); 3] {
    let turns = json!([{"role": "user", "content": "a"}]);
    let long = "my ".repeat(600);
    [
        own_file(&[json!({"id": "x", "prompt": "my boss", "completion": " is"})]),
        own_file(&[json!({"prompt": turns, "completion": "b"})]),
        own_file(&[json!({"id": "l", "prompt": long, "completion": "b"})]),
    ]
}

#[test]
fn chat_refuses_bad_input_by_name() {
    let [(_a, path), (_b, turns), (_c, long)] = some_rows();
    let (_d, empty) = own_file(&[json!({"prompt": "a"}), json!({})]);
    let raw = |more: &[&str], words: &[&str]| {
        refused(&[&["chat", MODEL, "--raw"], more].concat(), words);
    };
    refused(
        &["chat", "no/such/model", "--file", &path],
        &["no/such/model", "cannot read"],
    );
    refused(
        &["chat", MODEL, "--file", &path],
        &["`x`", "there is no chat template"],
    );
    raw(&["--file", "none.jsonl"], &["none.jsonl: cannot read"]);
    raw(
        &["--file", &turns],
        &["`1`", "a list of messages cannot be shown raw"],
    );
    raw(&["--file", &long], &["prompt `l`", "tokens"]);
    raw(
        &["--file", &empty],
        &["rows.jsonl:2", "missing field `prompt`"],
    );
    raw(&["--top-p", "0", "--file", &path], &["`chat.top_p` is 0"]);
    let kwargs = command(&["chat", MODEL, "--template-kwargs", "[]", "--file", &path]).output();
    assert_eq!(kwargs.unwrap().status.code(), Some(2));
}

#[test]
fn score_refuses_bad_input_by_name() {
    let [(_a, path), (_b, turns), (_c, long)] = some_rows();
    let (_d, text) = own_file(&[json!({"text": "a"})]);
    let (_e, half) = own_file(&[json!({"prompt": "a"})]);
    let check = |path: &str, words: &[&str]| refused(&["score", MODEL, "--file", path], words);
    check("none.jsonl", &["none.jsonl: cannot read"]);
    check(&text, &["`1`", "no `prompt` and `completion`"]);
    check(&turns, &["`1`", "there is no chat template"]);
    check(&long, &["row `l`", "takes at most"]);
    check(&half, &["rows.jsonl:1", "missing field `completion`"]);
    refused(
        &["score", "no/such/model", "--file", &path],
        &["no/such/model"],
    );
    refused(
        &["score", MODEL, "--file", &path, "--prompt-template", "x"],
        &["prompt_template", "{prompt}"],
    );
}

#[test]
fn inspect_refuses_bad_folders_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let check = |name: &str, text: &str, words: &[&str]| {
        fs::write(dir.join(name), text).unwrap();
        refused(&["inspect", dir.to_str().unwrap()], words);
    };
    check("config.json", "{", &["config.json", "EOF"]);
    check(
        "config.json",
        r#"{"model_type": "mamba"}"#,
        &["`mamba`", "expected one of the families"],
    );
    fs::copy(
        Path::new(MODEL).join("config.json"),
        dir.join("config.json"),
    )
    .unwrap();
    check(
        "model.safetensors",
        "xx",
        &["model.safetensors", "cannot read"],
    );
    check("tokenizer.json", "{}", &["tokenizer.json"]);
    refused(
        &["inspect", "no/such/model"],
        &["no/such/model", "cannot read"],
    );
    let none = command(&["inspect", MODEL, "--batch", "0"]).output();
    assert_eq!(none.unwrap().status.code(), Some(2));
}

#[test]
#[cfg(not(feature = "hub"))]
fn a_name_on_the_hub_needs_the_feature() {
    for verb in ["inspect", "chat"] {
        refused(
            &[verb, "org/name"],
            &["there is no folder `org/name`", "--features hub"],
        );
    }
}
