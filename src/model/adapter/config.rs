//! `adapter_config.json`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::error::{Error, Result};
use crate::model::architecture::Architecture;
use crate::model::family::Family;
use crate::model::lora::{Adapters, LoraConfig, is_named};

/// `adapter_config.json`, as far as it changes what is computed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct PeftConfig {
    peft_type: String,
    pub(super) task_type: Option<String>,
    pub(super) base_model_name_or_path: Option<PathBuf>,
    r: usize,
    lora_alpha: f64,
    #[serde(default)]
    lora_dropout: f64,
    #[serde(default)]
    pub(super) target_modules: Value,
    #[serde(default)]
    pub(super) modules_to_save: Option<Vec<String>>,
    #[serde(default = "none")]
    bias: String,
    #[serde(default)]
    fan_in_fan_out: bool,
    #[serde(default)]
    use_rslora: bool,
    #[serde(default)]
    pub(super) rank_pattern: BTreeMap<String, usize>,
    #[serde(default)]
    pub(super) alpha_pattern: BTreeMap<String, f64>,
    #[serde(default)]
    init_lora_weights: Value,
    #[serde(default)]
    inference_mode: bool,
    #[serde(flatten)]
    others: Map<String, Value>,
}

fn none() -> String {
    "none".into()
}

/// Fields that change what is computed, unless they are switched off.
const REFUSED: [&str; 14] = [
    "alora_invocation_tokens",
    "arrow_config",
    "corda_config",
    "kasa_config",
    "layer_replication",
    "lora_bias",
    "lora_ga_config",
    "monteclora_config",
    "target_parameters",
    "trainable_token_indices",
    "use_bdlora",
    "use_dora",
    "use_qalora",
    "velora_config",
];

pub(super) fn read(path: &Path) -> Result<PeftConfig> {
    let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
    let config: PeftConfig =
        serde_json::from_str(&text).map_err(|e| Error::file(path, e.to_string()))?;
    config
        .refuse()
        .map_err(|message| Error::file(path, message))?;
    Ok(config)
}

impl PeftConfig {
    /// That of adapters on a language model.
    pub(super) fn new(architecture: &Architecture, adapters: &Adapters) -> Self {
        let lora = &adapters.config;
        Self {
            peft_type: "LORA".into(),
            task_type: Some("CAUSAL_LM".into()),
            base_model_name_or_path: Some(adapters.base.clone()),
            r: lora.lora_r,
            lora_alpha: lora.lora_alpha,
            lora_dropout: 0.0,
            target_modules: json!(lora.lora_target_modules),
            modules_to_save: None,
            bias: none(),
            // GPT-2's maps are `[input, output]` in its files.
            fan_in_fan_out: architecture.family == Family::Gpt2,
            use_rslora: lora.use_rslora,
            rank_pattern: BTreeMap::new(),
            alpha_pattern: BTreeMap::new(),
            init_lora_weights: true.into(),
            inference_mode: true,
            others: Map::new(),
        }
    }

    fn refuse(&self) -> Result<(), String> {
        if self.peft_type != "LORA" {
            return Err(format!("`peft_type` is {}, expected LORA", self.peft_type));
        }
        if let Some(task) = &self.task_type
            && !["CAUSAL_LM", "SEQ_CLS"].contains(&task.as_str())
        {
            return Err(format!(
                "`task_type` is {task}, expected CAUSAL_LM or SEQ_CLS"
            ));
        }
        if self.bias != "none" {
            return Err(format!("`bias` = {} is not implemented", self.bias));
        }
        if self.r == 0 {
            return Err("`r` is 0, expected at least 1".into());
        }
        if let Some(init) = self.init_lora_weights.as_str()
            && init != "gaussian"
        {
            return Err(format!("`init_lora_weights` = {init} is not implemented"));
        }
        let saved = self.modules_to_save.iter().flatten();
        let known = ["score", "classifier"];
        if let Some(name) = saved
            .into_iter()
            .find(|name| !known.contains(&name.as_str()))
        {
            return Err(format!("`modules_to_save` = {name} is not implemented"));
        }
        let on = |name: &&str| match self.others.get(*name) {
            None | Some(Value::Null | Value::Bool(false)) => false,
            Some(_) => true,
        };
        if let Some(name) = REFUSED.iter().find(|name| on(name)) {
            return Err(format!("`{name}` is not implemented"));
        }
        let patterns = self.rank_pattern.keys().chain(self.alpha_pattern.keys());
        let plain = |c: char| c.is_alphanumeric() || "._".contains(c);
        if let Some(pattern) = patterns.into_iter().find(|name| !name.chars().all(plain)) {
            return Err(format!(
                "the pattern `{pattern}` is no name, which is not implemented"
            ));
        }
        Ok(())
    }

    /// Rank and alpha of a module.
    pub(super) fn of(&self, module: &str) -> (usize, f64) {
        let rank = pattern(&self.rank_pattern, module).unwrap_or(self.r);
        let alpha = pattern(&self.alpha_pattern, module).unwrap_or(self.lora_alpha);
        (rank, alpha)
    }

    pub(super) fn lora(&self) -> LoraConfig {
        LoraConfig {
            lora_r: self.r,
            lora_alpha: self.lora_alpha,
            use_rslora: self.use_rslora,
            lora_target_modules: serde_json::from_value(self.target_modules.clone()).ok(),
            ..LoraConfig::default()
        }
    }
}

fn pattern<T: Copy>(patterns: &BTreeMap<String, T>, module: &str) -> Option<T> {
    let mut found = patterns.iter().filter(|(name, _)| is_named(module, name));
    found.next().map(|(_, value)| *value)
}
