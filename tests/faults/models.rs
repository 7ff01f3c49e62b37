//! Folders of models made by somebody who means harm.

use std::fs;
use std::path::Path;

use burn::tensor::Device;
use rlaif::model;
use rlaif::record::{Conversation, Message};
use rlaif::tokenizer::{ChatTemplate, Ending, SpecialTokens};
use serde_json::{Value, json};

use super::says;

/// A folder with a tiny Llama's `config.json` and these weights.
fn loaded(weights: &[u8]) -> (tempfile::TempDir, rlaif::Error) {
    let folder = tempfile::tempdir().unwrap();
    let config = json!({
        "model_type": "llama", "hidden_size": 4, "intermediate_size": 4, "num_hidden_layers": 1,
        "num_attention_heads": 2, "num_key_value_heads": 1, "vocab_size": 4,
        "max_position_embeddings": 8, "rms_norm_eps": 1e-6, "tie_word_embeddings": true,
    });
    fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    fs::write(folder.path().join("model.safetensors"), weights).unwrap();
    let error = model::load(folder.path(), &Device::flex()).unwrap_err();
    (folder, error)
}

/// A safetensors file: the length of the header, the header, so many bytes of data.
fn safetensors(header: &Value, n_data: usize) -> Vec<u8> {
    let header = header.to_string();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.bytes());
    file.resize(file.len() + n_data, 0);
    file
}

#[track_caller]
fn check(weights: &[u8], words: &[&str]) {
    let (folder, error) = loaded(weights);
    says(&error, &folder.path().join("model.safetensors"), words);
}

#[test]
fn a_hostile_header_is_refused_before_anything_is_allocated() {
    let tensor = |shape: Value, offsets: [u64; 2]| json!({ "dtype": "F32", "shape": shape, "data_offsets": offsets });
    check(&[0xff; 16], &["its header does not fit into it"]);
    check(&(1u64 << 40).to_le_bytes(), &["its header does not fit"]);
    check(b"abc", &["it is too short"]);
    let overlap = json!({ "a": tensor(json!([2]), [0, 8]), "b": tensor(json!([2]), [4, 12]) });
    check(
        &safetensors(&overlap, 12),
        &["no safetensors file", "offset"],
    );
    let shape = json!({ "a": tensor(json!([3]), [0, 8]) });
    check(&safetensors(&shape, 8), &["no safetensors file"]);
    let huge = json!({ "a": tensor(json!([1u64 << 40, 1u64 << 40]), [0, 8]) });
    check(&safetensors(&huge, 8), &["no safetensors file"]);
    let behind = json!({ "a": tensor(json!([2]), [0, u64::MAX]) });
    check(&safetensors(&behind, 8), &["no safetensors file"]);
    let backward = json!({ "a": tensor(json!([2]), [8, 0]) });
    check(&safetensors(&backward, 8), &["no safetensors file"]);
    let foreign = json!({ "a": tensor(json!([2]), [0, 8]) });
    check(&safetensors(&foreign, 8), &["a", "missing"]);
}

fn render(template: &str) -> rlaif::Result<String> {
    let special = SpecialTokens::default();
    let template = ChatTemplate::new(template, &special, Path::new("chat_template.jinja"))?;
    let conversation = Conversation {
        messages: vec![Message::new("user", "hello")],
        ..Conversation::default()
    };
    template.render(&conversation, Ending::GenerationPrompt)
}

/// Loops without end, texts that double, calls of itself, a million brackets.
#[test]
fn a_template_that_runs_away_is_stopped() {
    let source = Path::new("chat_template.jinja");
    let brackets = format!("{{{{ {} }}}}", "(".repeat(1_000_000));
    for template in [
        "{% for a in range(99999) %}{% for b in range(99999) %}x{% endfor %}{% endfor %}",
        "{% set n = namespace(t='xxxxxxxx') %}{% for a in range(99) %}{% set n.t = n.t ~ n.t %}\
         {% endfor %}{{ n.t }}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{{ 'x' * 9999999999 }}",
        &brackets,
    ] {
        let error = render(template).unwrap_err();
        says(&error, source, &["chat template"]);
    }
    let error = render("{% include '/etc/passwd' %}").unwrap_err();
    says(&error, source, &["non-existing template"]);
}
