//! What is read and written.

use std::collections::BTreeMap;

use burn::tensor::Int;
use rlaif::model::{self, LoraConfig, ScalarHead};
use safetensors::SafeTensors;
use serde_json::{Value, json};

use super::*;

const ADAPTERS: [&str; 4] = ["llama", "gpt2", "gpt_neox", "phi3"];

fn check_logits(name: &str, model: &Transformer) {
    let expected = expected(name);
    let golden = expected.logits.unwrap().concat();
    check_close(&logits(model, &expected.prompts[0]), &golden, 1e-4, name);
}

fn score(model: &ScalarHead<Transformer>, prompt: &[u32]) -> f32 {
    let last = Tensor::<1, Int>::from_data([prompt.len() as i32 - 1], &Device::flex());
    model.forward(input(prompt), last).into_scalar()
}

fn check_scores(name: &str, model: &ScalarHead<Transformer>) {
    let expected = expected(name);
    let scores = expected.prompts.iter().map(|prompt| score(model, prompt));
    let golden = expected.scores.unwrap();
    check_close(&scores.collect::<Vec<_>>(), &golden, 1e-4, name);
}

fn tensors(dir: &Path) -> BTreeMap<String, (Vec<usize>, Vec<u8>)> {
    let bytes = fs::read(dir.join("adapter_model.safetensors")).unwrap();
    let read = SafeTensors::deserialize(&bytes).unwrap();
    let tensor = |(name, view): (String, safetensors::tensor::TensorView)| {
        (name, (view.shape().to_vec(), view.data().to_vec()))
    };
    read.tensors().into_iter().map(tensor).collect()
}

fn read_json(dir: &Path, name: &str) -> Value {
    serde_json::from_str(&fs::read_to_string(dir.join(name)).unwrap()).unwrap()
}

/// Read, written and read again; merged; merged, written and read.
#[test]
fn adapters_compute_what_peft_computes() {
    for name in ADAPTERS {
        let model = model::load(&folder(name), &Device::flex()).unwrap();
        check_logits(name, &model);
        let saved = tempfile::tempdir().unwrap();
        model::save(&model, saved.path()).unwrap();
        assert!(!saved.path().join("model.safetensors").exists());
        check_logits(name, &model::load(saved.path(), &Device::flex()).unwrap());
        let merged = model::merge(model);
        check_logits(name, &merged);
        let saved = tempfile::tempdir().unwrap();
        model::save(&merged, saved.path()).unwrap();
        assert!(!saved.path().join("adapter_config.json").exists());
        check_logits(name, &model::load(saved.path(), &Device::flex()).unwrap());
    }
}

/// Maps that are one in the file and in the model come back bit by bit.
#[test]
fn what_is_written_is_what_was_read() {
    let saved = tempfile::tempdir().unwrap();
    let model = model::load(&folder("llama"), &Device::flex()).unwrap();
    model::save(&model, saved.path()).unwrap();
    assert!(tensors(saved.path()) == tensors(&folder("llama")));
    let (found, golden) = (
        read_json(saved.path(), "adapter_config.json"),
        read_json(&folder("llama"), "adapter_config.json"),
    );
    for field in [
        "peft_type",
        "task_type",
        "bias",
        "r",
        "use_rslora",
        "target_modules",
    ] {
        assert_eq!(found[field], golden[field], "{field}");
    }
    assert_eq!(found["lora_alpha"], json!(8.0));
    let base = "tests/fixtures/adapters/llama/../../families/llama";
    assert_eq!(found["base_model_name_or_path"], json!(base));
}

#[test]
fn a_scalar_head_comes_with_its_adapter() {
    let name = "qwen3_score";
    let mut model = model::load_head(&folder(name), &Device::flex()).unwrap();
    check_scores(name, &model);
    (model.mean, model.std) = (0.5, 2.0);
    let saved = tempfile::tempdir().unwrap();
    model::save_head(&model, saved.path()).unwrap();
    assert!(tensors(saved.path()) == tensors(&folder(name)));
    let config = read_json(saved.path(), "adapter_config.json");
    assert_eq!(config["task_type"], "SEQ_CLS");
    assert_eq!(config["modules_to_save"], json!(["score"]));
    let again = model::load_head(saved.path(), &Device::flex()).unwrap();
    check_scores(name, &again);
    assert_eq!((again.mean, again.std), (0.5, 2.0));
    model.backbone = model::merge(model.backbone);
    check_scores(name, &model);
    let merged = tempfile::tempdir().unwrap();
    model::save_head(&model, merged.path()).unwrap();
    check_scores(
        name,
        &model::load_head(merged.path(), &Device::flex()).unwrap(),
    );
}

/// Three maps of rank 2 lie in `c_attn` as one pair of rank 6, of which each uses a third.
#[test]
fn factors_of_maps_that_lie_together() {
    for (base, module, n) in [
        ("gpt2", "transformer.h.0.attn.c_attn", 3),
        ("gpt_neox", "gpt_neox.layers.0.attention.query_key_value", 3),
        ("phi3", "model.layers.0.mlp.gate_up_proj", 2),
    ] {
        let lora = LoraConfig {
            lora_r: 2,
            lora_target_modules: serde_json::from_value(json!([module])).unwrap(),
            ..Default::default()
        };
        let model = super::training::with_noise(&family(base), &lora);
        let saved = tempfile::tempdir().unwrap();
        model::save(&model, saved.path()).unwrap();
        let config = read_json(saved.path(), "adapter_config.json");
        assert_eq!(config["rank_pattern"], json!({ module: 2 * n }));
        assert_eq!(
            config["alpha_pattern"],
            json!({ module: 32.0 * f64::from(n) })
        );
        let again = model::load(saved.path(), &Device::flex()).unwrap();
        let prompt = [3, 4, 5, 6];
        let golden = logits(&model, &prompt);
        check_close(&logits(&again, &prompt), &golden, 1e-5, base);
        // As many numbers to learn as before.
        use burn::module::Module;
        assert_eq!(again.num_params(), model.num_params());
    }
}

/// A copy of an adapter's folder with some fields of its configuration changed.
fn changed(name: &str, fields: Value) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for file in ["adapter_config.json", "adapter_model.safetensors"] {
        fs::copy(folder(name).join(file), copy.path().join(file)).unwrap();
    }
    let mut config = read_json(copy.path(), "adapter_config.json");
    config["base_model_name_or_path"] = json!(family("llama"));
    for (field, value) in fields.as_object().unwrap() {
        config[field] = value.clone();
    }
    fs::write(copy.path().join("adapter_config.json"), config.to_string()).unwrap();
    copy
}

#[test]
fn what_cannot_be_loaded_is_refused_by_name() {
    let check = |fields: Value, words: &[&str]| {
        let copy = changed("llama", fields);
        let error = model::load(copy.path(), &Device::flex()).map(|_| ());
        let error = error.unwrap_err().to_string();
        for word in words {
            assert!(error.contains(word), "{error} lacks {word}");
        }
    };
    check(json!({"peft_type": "LOHA"}), &["`peft_type` is LOHA"]);
    check(
        json!({"task_type": "TOKEN_CLS"}),
        &["`task_type` is TOKEN_CLS"],
    );
    check(
        json!({"use_dora": true}),
        &["`use_dora` is not implemented"],
    );
    check(json!({"bias": "all"}), &["`bias` = all"]);
    check(
        json!({"init_lora_weights": "pissa"}),
        &["`init_lora_weights` = pissa"],
    );
    check(
        json!({"modules_to_save": ["lm_head"]}),
        &["`modules_to_save` = lm_head"],
    );
    check(
        json!({"trainable_token_indices": [1]}),
        &["`trainable_token_indices`"],
    );
    check(
        json!({"alpha_pattern": {"^q.*": 2}}),
        &["the pattern `^q.*`"],
    );
    check(
        json!({"base_model_name_or_path": "nowhere"}),
        &["is nowhere, expected a folder"],
    );
    let wrong = [
        "lora_A.weight` is [4, 32], expected [8, 32]",
        "q_proj.lora_B",
        "v_proj",
    ];
    check(json!({"r": 8}), &wrong);
    let gpt2 = json!({"base_model_name_or_path": family("gpt2")});
    check(
        gpt2,
        &[
            "no factors",
            "unknown tensor `base_model.model.model.layers.0.self_attn.q_proj",
        ],
    );
    let llama = model::load_head(&folder("llama"), &Device::flex());
    let error = llama.map(|_| ()).unwrap_err().to_string();
    assert!(
        error.ends_with("the adapter has no `score.weight`"),
        "{error}"
    );
}
