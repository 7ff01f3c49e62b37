//! What is read and written: folders of the family come back as they were, others are refused.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use burn::prelude::*;
use rlaif::model::{self, ScalarHead};
use safetensors::SafeTensors;
use serde_json::{Value, json};

use super::*;

/// Tensors of a folder, whatever the number of its files: shape and numbers.
pub(super) fn tensors(dir: &Path) -> BTreeMap<String, (Vec<usize>, Vec<f32>)> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path
            .extension()
            .is_none_or(|extension| extension != "safetensors")
        {
            continue;
        }
        let bytes = fs::read(path).unwrap();
        for (name, view) in SafeTensors::deserialize(&bytes).unwrap().tensors() {
            let dtype = match view.dtype() {
                safetensors::Dtype::BF16 => burn::tensor::DType::BF16,
                safetensors::Dtype::F16 => burn::tensor::DType::F16,
                _ => burn::tensor::DType::F32,
            };
            let shape = view.shape().to_vec();
            let data = TensorData::from_bytes_vec(view.data().to_vec(), shape.clone(), dtype);
            let data = data.convert_dtype(burn::tensor::DType::F32);
            found.insert(name, (shape, data.try_into_vec().unwrap()));
        }
    }
    found
}

fn read_json(dir: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(dir.join("config.json")).unwrap()).unwrap()
}

/// What is written is what was read: the tensors bit by bit under the names of the family, and the
/// configuration but for the width of the numbers.
#[test]
fn a_saved_model_is_a_folder_of_its_family() {
    for family in FAMILIES {
        let saved = tempfile::tempdir().unwrap();
        model::save(&load(family), saved.path()).unwrap();
        assert!(
            tensors(saved.path()) == tensors(&folder(family)),
            "{family}"
        );
        let mut config = read_json(&folder(family));
        config["dtype"] = json!("float32");
        assert_eq!(read_json(saved.path()), config, "{family}");
        check_logits(family, &model::load(saved.path(), &Device::flex()).unwrap());
    }
}

#[test]
fn a_scalar_head_goes_on_every_family() {
    for family in FAMILIES {
        let saved = tempfile::tempdir().unwrap();
        let mut model = ScalarHead::new(load(family));
        model.std = 2.0;
        model::save_head(&model, saved.path()).unwrap();
        let class = read_json(saved.path())["architectures"][0].clone();
        assert!(
            class
                .as_str()
                .unwrap()
                .ends_with("ForSequenceClassification")
        );
        let names: Vec<String> = tensors(saved.path()).into_keys().collect();
        assert!(
            names.contains(&"score.weight".into()),
            "{family}: {names:?}"
        );
        assert!(
            !names.iter().any(|name| name.starts_with("lm_head")),
            "{family}"
        );
        let loaded = model::load_head(saved.path(), &Device::flex()).unwrap();
        assert_eq!(loaded.std, 2.0);
        let prompt = [3, 4, 5];
        let hidden = |model: &Transformer| model.hidden(input(&prompt), None).into_data();
        assert_eq!(
            hidden(&loaded.backbone),
            hidden(&model.backbone),
            "{family}"
        );
    }
}

/// A copy of a folder with some fields of its `config.json` changed.
fn changed(family: &str, fields: Value) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(folder(family)).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    let mut config = read_json(copy.path());
    let Value::Object(fields) = fields else {
        panic!("{fields} is no object");
    };
    for (name, value) in fields {
        config[name] = value;
    }
    fs::write(copy.path().join("config.json"), config.to_string()).unwrap();
    copy
}

fn refused(dir: &Path, words: &[&str]) {
    let message = model::load(dir, &Device::flex())
        .map(|_| ())
        .unwrap_err()
        .to_string();
    for word in words {
        assert!(message.contains(word), "{message} lacks {word}");
    }
}

#[test]
fn what_is_not_implemented_is_refused_by_name() {
    let check = |family: &str, fields: Value, words: &[&str]| {
        refused(changed(family, fields).path(), words);
    };
    let mamba = json!({"model_type": "mamba"});
    check("llama", mamba, &["`mamba`", "llama, mistral, qwen2"]);
    check(
        "llama",
        json!({"hidden_act": "tanh"}),
        &["`hidden_act` = tanh"],
    );
    let yarn = json!({"rope_parameters": {"rope_type": "yarn", "factor": 2.0}});
    check("llama", yarn, &["`rope_type` = yarn"]);
    let older = json!({"rope_parameters": null, "rope_scaling": {"type": "ntk"}});
    check("phi3", older, &["`rope_type` = ntk"]);
    let quantized = json!({"quantization_config": {"quant_method": "gptq"}});
    check("llama", quantized, &["`quantization_config`"]);
    check(
        "gpt2",
        json!({"scale_attn_by_inverse_layer_idx": true}),
        &["inverse_layer_idx"],
    );
    check(
        "gemma3",
        json!({"use_bidirectional_attention": true}),
        &["bidirectional"],
    );
    let chunked = json!({"layer_types": ["chunked_attention", "full_attention"]});
    check("qwen2", chunked, &["`layer_types` = chunked_attention"]);
    let sliding = json!({"layer_types": ["sliding_attention", "full_attention"]});
    check("mistral", sliding.clone(), &["`layer_types` disagrees"]);
    check("qwen2", sliding, &["`sliding_window` is off"]);
    check(
        "llama",
        json!({"num_key_value_heads": 3}),
        &["a multiple of"],
    );
    check(
        "llama",
        json!({"hidden_size": null}),
        &["`hidden_size` is missing"],
    );
}

#[test]
fn tensors_that_do_not_fit_are_listed() {
    let layers = |n: usize| changed("gpt2", json!({ "n_layer": n }));
    refused(
        layers(3).path(),
        &[
            "missing tensor `transformer.h.2.attn.c_attn.weight`",
            "mlp.c_fc",
        ],
    );
    refused(
        layers(1).path(),
        &["unknown tensor `transformer.h.1.attn.c_attn.weight`"],
    );
    let narrow = changed("phi3", json!({"num_key_value_heads": 4}));
    let words = ["`model.layers.0.self_attn.qkv_proj.weight` is [64, 32], expected [96, 32]"];
    refused(narrow.path(), &words);
}

#[test]
fn an_index_stays_inside_its_folder() {
    let check = |file: &str, words: &[&str]| {
        let copy = changed("llama3", json!({}));
        let index = copy.path().join("model.safetensors.index.json");
        let mut json: Value = serde_json::from_str(&fs::read_to_string(&index).unwrap()).unwrap();
        json["weight_map"]["lm_head.weight"] = file.into();
        fs::write(&index, json.to_string()).unwrap();
        refused(copy.path(), words);
    };
    check(
        "../model.safetensors",
        &["`../model.safetensors`", "same folder"],
    );
    check("/model.safetensors", &["same folder"]);
    check("a/model.safetensors", &["same folder"]);
    check("..", &["same folder"]);
    check("none.safetensors", &["cannot read", "none.safetensors"]);
}

#[test]
fn a_file_that_is_cut_short_is_refused() {
    for len in [0, 4, 100, 5_000] {
        let copy = changed("qwen2", json!({}));
        let path = copy.path().join("model.safetensors");
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..len]).unwrap();
        refused(copy.path(), &["model.safetensors", "no safetensors file"]);
    }
}

/// Files of a bare model, such as OpenAI's of GPT-2, name its tensors without a prefix and hold the
/// causal mask.
#[test]
fn names_may_lack_the_prefix() {
    let copy = changed("gpt2", json!({}));
    let path = copy.path().join("model.safetensors");
    let bytes = fs::read(&path).unwrap();
    let read = SafeTensors::deserialize(&bytes).unwrap();
    let bare = |name: String| name.strip_prefix("transformer.").unwrap().to_string();
    let mut tensors: Vec<_> = read
        .tensors()
        .into_iter()
        .map(|(n, view)| (bare(n), view))
        .collect();
    tensors.push((
        "h.0.attn.bias".into(),
        read.tensor("transformer.ln_f.bias").unwrap(),
    ));
    fs::write(&path, safetensors::serialize(tensors, None).unwrap()).unwrap();
    check_logits("gpt2", &model::load(copy.path(), &Device::flex()).unwrap());
}
