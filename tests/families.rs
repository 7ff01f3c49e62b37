//! Every family against `transformers`: small random checkpoints with the logits and greedy texts
//! that it computes from them. `tests/fixtures/make_families.py` writes the folders.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::slice;

use burn::module::{ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::prelude::*;
use burn::tensor::Tolerance;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rlaif::batch::{Batch, Tree};
use rlaif::generate::{SamplingConfig, generate};
use rlaif::log_prob::token_log_probs;
use rlaif::model::{
    self, Architecture, Bias, CausalLm, Head, Input, LayerKind, ModelConfig, Positions, Reach,
    Residual, Rope, ScalarHead, Transformer,
};
use safetensors::SafeTensors;
use serde::Deserialize;
use serde_json::{Value, json};

/// Folders of `tests/fixtures/families`.
const FAMILIES: [&str; 17] = [
    "gemma2",
    "gemma3",
    "gpt2",
    "gpt_neox",
    "gpt_neox_sequential",
    "llama",
    "llama3",
    "llama_dynamic",
    "llama_linear",
    "llama_tied",
    "mistral",
    "phi3",
    "phi3_longrope",
    "qwen2",
    "qwen2_window",
    "qwen3",
    "smollm3",
];

/// What `transformers` computes.
#[derive(Deserialize)]
struct Expected {
    prompts: Vec<Vec<u32>>,
    /// After each token of the first prompt, `[seq][vocab]`.
    logits: Vec<Vec<f32>>,
    /// 32 tokens after each prompt.
    greedy: Vec<Vec<u32>>,
}

fn folder(family: &str) -> PathBuf {
    Path::new("tests/fixtures/families").join(family)
}

fn load(family: &str) -> Transformer {
    model::load(&folder(family), &Device::flex()).unwrap()
}

fn expected(family: &str) -> Expected {
    let text = fs::read_to_string(folder(family).join("expected.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn input(prompt: &[u32]) -> Input {
    let n = prompt.len();
    let row =
        |values: Vec<i32>| Tensor::from_data(TensorData::new(values, [1, n]), &Device::flex());
    Input {
        tokens: row(prompt.iter().map(|&id| id as i32).collect()),
        positions: row((0..n as i32).collect()),
        hidden_keys: None,
    }
}

/// Logits after every token, `[seq * vocab]`.
fn logits(model: &Transformer, prompt: &[u32]) -> TensorData {
    let hidden = model.hidden(input(prompt), None);
    let [_, seq, width] = hidden.dims();
    model.logits(hidden.reshape([seq, width])).into_data()
}

fn check_logits(family: &str, model: &Transformer) {
    let Expected {
        prompts,
        logits: golden,
        ..
    } = expected(family);
    let found = logits(model, &prompts[0]).try_to_vec::<f32>().unwrap();
    let golden: Vec<f32> = golden.into_iter().flatten().collect();
    assert_eq!(found.len(), golden.len());
    for (i, (found, golden)) in found.iter().zip(golden).enumerate() {
        let apart = (found - golden).abs();
        assert!(
            apart < 1e-4,
            "{family}: logit {i} is {found}, expected {golden}"
        );
    }
}

#[test]
fn no_folder_is_forgotten() {
    let mut found: Vec<String> = fs::read_dir(folder(""))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    found.sort();
    assert_eq!(found, FAMILIES);
}

#[test]
fn logits_are_those_of_transformers() {
    for family in FAMILIES {
        check_logits(family, &load(family));
    }
}

/// With a cache: alone, in a batch where the shorter prompt is padded on the left, and with two
/// samples of each prompt of which some leave the batch early.
#[test]
fn greedy_tokens_are_those_of_transformers() {
    for family in FAMILIES {
        let (
            model,
            Expected {
                prompts, greedy, ..
            },
        ) = (load(family), expected(family));
        let check = |prompts: &[Vec<u32>], n_samples: usize, eos: &[u32], golden: &[Vec<u32>]| {
            let config = SamplingConfig {
                temperature: 0.0,
                max_new_tokens: golden[0].len(),
                ..Default::default()
            };
            let mut rng = StdRng::seed_from_u64(0);
            let samples = generate(&model, prompts, n_samples, eos, &config, &mut rng).unwrap();
            for (i, sample) in samples.iter().enumerate() {
                let golden = &golden[i / n_samples];
                let end = golden.iter().position(|id| eos.contains(id));
                let end = end.map_or(golden.len(), |last| last + 1);
                assert_eq!(sample.tokens, golden[..end], "{family}");
            }
        };
        for (prompt, golden) in prompts.iter().zip(&greedy) {
            check(slice::from_ref(prompt), 1, &[], slice::from_ref(golden));
        }
        check(&prompts, 1, &[], &greedy);
        for golden in &greedy {
            check(&prompts, 2, &[golden[3]], &greedy);
        }
    }
}

/// Completions that share an encoding of their prompt, as in training, must not see each other nor
/// count each other's tokens in a window.
#[test]
fn shared_prompts_change_no_log_probs() {
    for family in FAMILIES {
        let (model, expected) = (load(family), expected(family));
        let prompt = &expected.prompts[0];
        let completions: Vec<Vec<u32>> = expected.greedy.iter().map(|g| g[..9].to_vec()).collect();
        let log_probs = |trees: &[Tree]| {
            let device = Device::flex();
            let batch = Batch::new(trees, model.vocab_size(), model.max_len(), &device).unwrap();
            token_log_probs(&model, &batch, 1.0).into_data()
        };
        let shared = log_probs(&[Tree {
            prompt: prompt.clone(),
            completions: completions.clone(),
        }]);
        let single = |completion: &Vec<u32>| Tree::single(prompt.clone(), completion.clone());
        let apart = log_probs(&completions.iter().map(single).collect::<Vec<_>>());
        shared.assert_approx_eq::<f32>(&apart, Tolerance::absolute(1e-4));
    }
}

/// Counts parameters whose gradient is there, finite and not all zero.
struct Gradients<'a> {
    grads: &'a GradientsParams,
    good: usize,
    all: usize,
}

impl ModuleVisitor for Gradients<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.all += 1;
        let Some(grad) = self.grads.get::<D>(param.id) else {
            return;
        };
        let size: f32 = grad.abs().sum().into_scalar();
        self.good += usize::from(size.is_finite() && size > 0.0);
    }
}

#[test]
fn every_parameter_learns() {
    for family in FAMILIES {
        let device = Device::flex().autodiff();
        let model = model::load(&folder(family), &device).unwrap();
        let expected = expected(family);
        let tree = Tree {
            prompt: expected.prompts[0].clone(),
            completions: expected.greedy.clone(),
        };
        let batch = Batch::new(&[tree], model.vocab_size(), model.max_len(), &device).unwrap();
        let loss = token_log_probs(&model, &batch, 1.0).sum().neg();
        let grads = GradientsParams::from_grads(loss.backward(), &model);
        let (good, all) = (0, 0);
        let mut gradients = Gradients {
            grads: &grads,
            good,
            all,
        };
        model.visit(&mut gradients);
        assert_eq!(gradients.good, gradients.all, "{family}");
    }
}

/// Tensors of a folder, whatever the number of its files: shape and numbers.
fn tensors(dir: &Path) -> BTreeMap<String, (Vec<usize>, Vec<f32>)> {
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

/// What a published `config.json` means; the rest of it changes nothing that is computed here.
fn architecture(config: Value) -> Architecture {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.json");
    fs::write(&path, config.to_string()).unwrap();
    ModelConfig::read(&path).unwrap().architecture
}

/// One letter a layer: `w`indow or `f`ull, a capital where nothing turns.
fn layers(architecture: &Architecture) -> String {
    let letter = |layer: &LayerKind| match (layer.reach, layer.rope) {
        (Reach::Window, Some(_)) => 'w',
        (Reach::Full, Some(_)) => 'f',
        (Reach::Window, None) => 'W',
        (Reach::Full, None) => 'F',
    };
    architecture.layers.iter().map(letter).collect()
}

/// Files of older versions of `transformers`, as on the hub, leave defaults out and have other
/// names for the rotary settings.
#[test]
fn older_files_mean_the_same() {
    // meta-llama/Llama-3.2-1B
    let llama = architecture(
        json!({"model_type": "llama", "hidden_size": 2048, "head_dim": 64,
        "intermediate_size": 8192, "num_hidden_layers": 16, "num_attention_heads": 32,
        "num_key_value_heads": 8, "vocab_size": 128_256, "max_position_embeddings": 131_072,
        "rms_norm_eps": 1e-5, "rope_theta": 500_000.0, "tie_word_embeddings": true,
        "rope_scaling": {"factor": 32.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
            "original_max_position_embeddings": 8192, "rope_type": "llama3"}}),
    );
    let Positions::Rotary(ropes) = &llama.positions else {
        panic!("{:?}", llama.positions);
    };
    // The first turns once in 2 pi tokens and stays; the last turns 500000^(-62/64) / (2 pi) * 8192
    // = 0.004 times in 8192 tokens and is slowed down: 500000^(-62/64) / 32 = 9.418e-8.
    assert_eq!(ropes[0].frequencies[0], 1.0);
    assert!((ropes[0].frequencies[31] - 9.418e-8).abs() < 1e-11);
    assert_eq!(llama.head, Head::Tied);
    // Qwen/Qwen2.5-0.5B
    let qwen = architecture(json!({"model_type": "qwen2", "hidden_size": 896,
        "intermediate_size": 4864, "num_hidden_layers": 24, "num_attention_heads": 14,
        "num_key_value_heads": 2, "vocab_size": 151_936, "max_position_embeddings": 32_768,
        "max_window_layers": 24, "sliding_window": 32_768, "use_sliding_window": false,
        "rope_theta": 1e6, "rms_norm_eps": 1e-6, "tie_word_embeddings": true}));
    assert_eq!(
        (layers(&qwen), qwen.attention.qkv_bias),
        ("f".repeat(24), Bias::Present)
    );
    // EleutherAI/pythia-70m
    let pythia = architecture(json!({"model_type": "gpt_neox", "hidden_size": 512,
        "intermediate_size": 2048, "num_hidden_layers": 6, "num_attention_heads": 8,
        "vocab_size": 50_304, "max_position_embeddings": 2048, "layer_norm_eps": 1e-5,
        "hidden_act": "gelu", "rotary_emb_base": 10_000, "rotary_pct": 0.25,
        "use_parallel_residual": true, "tie_word_embeddings": false}));
    let frequencies = [
        1.0,
        0.316_227_76,
        0.1,
        0.031_622_776,
        0.01,
        0.003_162_277_6,
        0.001,
    ];
    let Positions::Rotary(ropes) = &pythia.positions else {
        panic!("{:?}", pythia.positions);
    };
    assert_eq!(ropes[0].frequencies[..7], frequencies);
    assert_eq!(ropes[0].frequencies.len(), 8);
    assert_eq!(pythia.residual, Residual::Parallel);
    // openai-community/gpt2
    let gpt2 = architecture(json!({"model_type": "gpt2", "n_ctx": 1024, "n_embd": 768,
        "n_head": 12, "n_layer": 12, "n_positions": 1024, "vocab_size": 50_257,
        "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5}));
    assert_eq!((gpt2.feed_forward.inner, gpt2.head), (3072, Head::Tied));
    assert_eq!(layers(&gpt2), "F".repeat(12));
}

#[test]
fn older_files_put_windows_into_the_same_layers() {
    let sizes = |model_type: &str, n_layers: usize, more: Value| {
        let mut json = json!({"model_type": model_type, "hidden_size": 64,
            "intermediate_size": 64, "num_hidden_layers": n_layers, "num_attention_heads": 4,
            "vocab_size": 64, "max_position_embeddings": 64});
        json.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        architecture(json)
    };
    let check = |model_type: &str, n_layers: usize, more: Value, expected: &str| {
        assert_eq!(layers(&sizes(model_type, n_layers, more)), expected);
    };
    check("mistral", 3, json!({"sliding_window": 8}), "www");
    check("mistral", 3, json!({"sliding_window": null}), "fff");
    check("phi3", 2, json!({"sliding_window": 2047}), "ww");
    check("gemma2", 4, json!({"sliding_window": 8}), "wfwf");
    check(
        "gemma3_text",
        7,
        json!({"sliding_window_pattern": 6}),
        "wwwwwfw",
    );
    check("smollm3", 5, json!({}), "fffFf");
    let nope = json!({"no_rope_layers": [1, 0], "use_sliding_window": true, "sliding_window": 4});
    check("smollm3", 2, nope, "fW");
    let late = json!({"use_sliding_window": true, "sliding_window": 4, "max_window_layers": 2});
    check("qwen2", 4, late.clone(), "ffww");
    check("qwen3", 3, late, "ffw");
    let gemma2 = sizes("gemma2", 1, json!({}));
    assert_eq!(gemma2.attention.soft_cap, Some(50.0));
    assert_eq!(gemma2.logit_soft_cap, Some(30.0));
    assert_eq!(gemma2.attention.head_dim, 256);
    // google/gemma-3-4b-it: only the layers that see everything are scaled.
    let scaled = json!({"rope_scaling": {"factor": 8.0, "rope_type": "linear"}, "head_dim": 4,
        "rope_theta": 1e6, "rope_local_base_freq": 1e4});
    let gemma3 = sizes("gemma3_text", 6, scaled);
    let rope = |frequencies: [f32; 2]| Rope {
        frequencies: frequencies.to_vec(),
        scale: 1.0,
        max_len: None,
    };
    let ropes = vec![rope([0.125, 0.000_125]), rope([1.0, 0.01])];
    assert_eq!(gemma3.positions, Positions::Rotary(ropes));
    assert_eq!(gemma3.layers[5].rope, Some(0));
    assert_eq!(gemma3.layers[0].rope, Some(1));
}
