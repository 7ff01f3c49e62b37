//! A whole run with adapters: what its stages write, and that each goes on from the one before.

use rlaif::config::Config;
use rlaif::label::LocalAnswerer;
use rlaif::merge::merge;
use rlaif::model::{self, Loader};
use rlaif::pipeline::Pipeline;
use rlaif::tokenizer::Tokenizer;
use serde_json::Value;

use super::*;

#[test]
fn every_stage_trains_adapters_of_one_base() {
    let changes = [
        "policy.lora.lora_r=4",
        "data.demonstrations=16",
        "data.preference_prompts=8",
        "data.rl_prompts=16",
        "data.eval_prompts=4",
        "rl.steps=1",
        "eval.judges=[{kind='oracle'}]",
    ];
    let config = Config::read(Path::new("configs/smoke.toml"), &changes.map(String::from)).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let pipeline = Pipeline::new(config, dir.path()).unwrap();
    pipeline.run_all().unwrap();
    for (model, task) in [
        ("sft/model", "CAUSAL_LM"),
        ("reward/model", "SEQ_CLS"),
        ("policy/model", "CAUSAL_LM"),
    ] {
        let folder = dir.path().join(model);
        let text = fs::read_to_string(folder.join("adapter_config.json")).unwrap();
        let adapter: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            adapter["base_model_name_or_path"], "models/labeler-xs",
            "{model}"
        );
        assert_eq!(adapter["task_type"], task, "{model}");
        assert!(!folder.join("model.safetensors").exists());
    }
    // The policy moved away from where it started, which was away from the base.
    let prompt = [3, 4, 5, 6];
    let found = [
        "models/labeler-xs".into(),
        dir.path().join("sft/model"),
        dir.path().join("policy/model"),
    ]
    .map(|path: PathBuf| logits(&model::load(&path, &Device::flex()).unwrap(), &prompt));
    assert!(found[0] != found[1] && found[1] != found[2]);

    let merged = |model: &str| {
        let out = dir.path().join(model.replace('/', "-"));
        merge(&dir.path().join(model), &out, Loader::new(&Device::flex())).unwrap();
        assert!(out.join("tokenizer.json").exists() && !out.join("adapter_config.json").exists());
        out
    };
    let policy = model::load(&merged("policy/model"), &Device::flex()).unwrap();
    check_close(&logits(&policy, &prompt), &found[2], 1e-4, "merged");
    let [whole, adapter] = [merged("reward/model"), dir.path().join("reward/model")]
        .map(|path| model::load_head(&path, &Device::flex()).unwrap());
    assert_eq!((whole.mean, whole.std), (adapter.mean, adapter.std));
    assert!(whole.std != 1.0);
    check_tokenizer(&dir.path().join("policy/model"));
}

/// An adapter as `peft` leaves it has neither tokenizer nor `config.json`: both are its base's.
fn check_tokenizer(adapter: &Path) {
    let read = |dir: &Path| {
        let tokenizer = Tokenizer::load(dir).unwrap();
        let ids = tokenizer.encode_completion("my dog ate it").unwrap();
        (ids, tokenizer.eos().to_vec())
    };
    let expected = read(Path::new("models/labeler-xs"));
    for name in ["config.json", "generation_config.json", "tokenizer.json"] {
        fs::remove_file(adapter.join(name)).ok();
        assert_eq!(read(adapter), expected, "{name}");
    }
    LocalAnswerer::load(adapter, &Device::flex()).unwrap();
}

#[test]
fn merging_wants_an_adapter_and_a_new_folder() {
    let dir = tempfile::tempdir().unwrap();
    let check = |from: &Path, out: &Path, end: &str| {
        let error = merge(from, out, Loader::new(&Device::flex()))
            .unwrap_err()
            .to_string();
        assert!(error.ends_with(end), "{error}");
    };
    let out = dir.path().join("out");
    check(
        &family("llama"),
        &out,
        "holds no adapter_config.json, expected an adapter",
    );
    check(&folder("llama"), &out, "tokenizer.json: cannot read");
    assert!(!out.exists());
}

#[test]
fn adapters_of_another_kind_are_not_trained_on() {
    let adapter = folder("llama");
    let adapter = format!("policy.model='{}'", adapter.display());
    let changes = [
        "policy.lora.lora_r=3".into(),
        adapter,
        "data.demonstrations=4".into(),
    ];
    let config = Config::read(Path::new("configs/smoke.toml"), &changes).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let error = Pipeline::new(config, dir.path())
        .unwrap()
        .sft()
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "`policy.lora` is r 3, alpha 32, expected the adapter's own: r 4, alpha 8, rslora false; or \
        merge it first"
    );
}
