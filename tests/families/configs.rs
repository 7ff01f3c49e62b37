//! What a published `config.json` means, older forms included.

use std::fs;

use rlaif::model::{
    Architecture, Bias, Head, LayerKind, ModelConfig, Positions, Reach, Residual, Rope,
};
use serde_json::{Value, json};

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
