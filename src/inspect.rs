//! What a model folder holds, and the memory that its uses need, from `config.json`, the heads of
//! the weight files and the tokenizer alone: no weight is read.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::hub::{self, Wanted};
use crate::log_prob::rows_at_once;
use crate::model::{Architecture, Gate, Head, ModelConfig};
use crate::precision::Precision;
use crate::tokenizer::Tokenizer;

/// Longest head of a safetensors file, as in its own reader.
const MAX_HEADER: u64 = 100_000_000;

/// The use whose memory is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Load {
    /// Format of weights, activations and cache.
    pub dtype: Precision,
    /// Texts at a time.
    pub batch: u64,
    /// Tokens in each; the model's context when absent.
    pub seq: Option<u64>,
    /// Rank of the adapters on every linear map, for LoRA.
    pub lora_rank: u64,
}

/// A model folder.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Inspection {
    /// `model_type` of `config.json`.
    pub family: String,
    /// Its class, such as `LlamaForCausalLM`.
    pub class: Option<String>,
    /// Parameters of the model; a tied head counts once.
    pub parameters: u64,
    /// Those of the token embedding, and of a head of its own.
    pub embedding_parameters: u64,
    /// Layers.
    pub layers: u64,
    /// Width of the hidden states.
    pub hidden_size: u64,
    /// Longest text in tokens.
    pub context: u64,
    /// Tokens that the embedding knows.
    pub vocabulary: u64,
    /// Numbers in the weight files by their format, as safetensors calls it; empty without such
    /// files.
    pub stored: BTreeMap<String, u64>,
    /// Tokens that the tokenizer knows; absent without a `tokenizer.json`.
    pub tokens: Option<u64>,
    /// Whether there is a chat template.
    pub chat_template: bool,
    /// Special tokens by name.
    pub special_tokens: Map<String, Value>,
    /// Ids that end a text.
    pub eos: Vec<u32>,
    /// What `memory` is about.
    pub load: Load,
    /// Memory in bytes.
    pub memory: Memory,
}

/// Bytes that three uses of a model need. Weights, gradients, moments and cache are exact,
/// activations an estimate; what the process and the device need beside is not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// `w P + cache + 4 batch vocab`: weights, keys and values of all tokens, logits of one.
    pub inference: u64,
    /// `w P + 16 A + activations`: `A` numbers in the adapters, each with a gradient and the two
    /// moments of AdamW, all of 4 bytes.
    pub lora: u64,
    /// `w P + 4 m P + activations`: the weights, and 4 bytes each for gradients and two moments (`m
    /// = 3`), where the weights are of 16 bits also for their copy in 32 (`m = 4`).
    pub full: u64,
}

/// Looks at a model folder.
///
/// # Errors
/// `config.json` is missing or of an unknown family, or a file is malformed.
pub fn inspect(dir: &Path, load: Load, device: &Device) -> Result<Inspection> {
    let dir = &hub::resolve(dir, Wanted::Description)?;
    let config = ModelConfig::read(&dir.join("config.json"))?;
    let context = config.architecture.max_len as u64;
    let load = Load {
        seq: load.seq.or(Some(context)),
        ..load
    };
    let architecture = &config.architecture;
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_string);
    // Nothing is drawn: a parameter is made when it is first read.
    let parameters = config.init(device).num_params() as u64;
    let tokenizer = match dir.join("tokenizer.json").exists() {
        true => Some(Tokenizer::load(dir)?),
        false => None,
    };
    let of_tokenizer = tokenizer.as_ref();
    let heads = if architecture.head == Head::Own { 2 } else { 1 };
    let (vocab, hidden) = (
        architecture.vocab_size as u64,
        architecture.hidden_size as u64,
    );
    Ok(Inspection {
        family: text(config.json.get("model_type")).unwrap_or_default(),
        class: text(config.json.pointer("/architectures/0")),
        parameters,
        embedding_parameters: heads * vocab * hidden,
        layers: architecture.layers.len() as u64,
        hidden_size: hidden,
        context,
        vocabulary: vocab,
        stored: stored(dir)?,
        tokens: of_tokenizer.map(|tokenizer| tokenizer.vocab_size() as u64),
        chat_template: of_tokenizer.is_some_and(|tokenizer| tokenizer.chat_template().is_some()),
        special_tokens: of_tokenizer
            .map(|t| t.special().named.clone())
            .unwrap_or_default(),
        eos: of_tokenizer.map(|t| t.eos().to_vec()).unwrap_or_default(),
        load,
        memory: memory(architecture, parameters, load),
    })
}

/// What the uses of a model are made of, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parts {
    /// The weights.
    pub weights: u64,
    /// What an optimizer holds beside them: gradients and two moments in 32 bits, and of weights of
    /// 16 bits their copy in 32.
    pub optimizer: u64,
    /// Adapters on every linear map, with gradients and moments.
    pub adapters: u64,
    /// What the backward pass keeps of one layer.
    pub block: u64,
    /// The states between two layers.
    pub states: u64,
    /// Layers.
    pub layers: u64,
    /// Logits of the tokens that are trained on, their softmax and its gradient; of as many as are
    /// held at a time.
    pub logits: u64,
    /// Keys and values of all tokens.
    pub cache: u64,
    /// Logits of one token of each text.
    pub next_logits: u64,
}

impl Parts {
    /// What the backward pass of a training step keeps.
    pub fn activations(&self) -> u64 {
        (self.layers.saturating_mul(self.block)).saturating_add(self.logits)
    }

    /// The same with `gradient_checkpointing`: what each layer read, and one layer at a time.
    pub fn recomputed_activations(&self) -> u64 {
        let read = self.layers.saturating_mul(self.states);
        read.saturating_add(self.block).saturating_add(self.logits)
    }
}

/// The memory of a model with `parameters` numbers.
pub fn memory(architecture: &Architecture, parameters: u64, load: Load) -> Memory {
    let parts = parts(architecture, parameters, load);
    let with_activations = |bytes: u64| bytes.saturating_add(parts.activations());
    Memory {
        inference: (parts.weights.saturating_add(parts.next_logits)).saturating_add(parts.cache),
        lora: with_activations(parts.weights.saturating_add(parts.adapters)),
        full: with_activations(parts.weights.saturating_add(parts.optimizer)),
    }
}

/// What the memory of a model with `parameters` numbers is made of.
///
/// Activations are what the backward pass of a training step keeps, per token: in each layer
/// `6 hidden + 3 q + 3 kv + f inner` numbers (`q` and `kv` the widths of queries and of keys, `f` 4
/// for a gated and 2 for a plain feed-forward block), and three times the vocabulary in 32 bits for
/// the logits, their softmax and its gradient, of the tokens whose logits are held at a time
/// ([`log_prob`](crate::log_prob)).
pub fn parts(architecture: &Architecture, parameters: u64, load: Load) -> Parts {
    let Load {
        dtype,
        batch,
        seq,
        lora_rank,
    } = load;
    let w = dtype.bytes();
    let seq = seq.unwrap_or(architecture.max_len as u64);
    let tokens = batch.saturating_mul(seq);
    let attention = &architecture.attention;
    let head_dim = attention.head_dim as u64;
    let (q, kv) = (
        attention.heads as u64 * head_dim,
        attention.kv_heads as u64 * head_dim,
    );
    let (hidden, inner) = (
        architecture.hidden_size as u64,
        architecture.feed_forward.inner as u64,
    );
    let (layers, vocab) = (
        architecture.layers.len() as u64,
        architecture.vocab_size as u64,
    );
    let (kept, maps) = match architecture.feed_forward.gate {
        Gate::Gated => (4, 3),
        Gate::Plain => (2, 2),
    };
    let sides = 2 * (hidden + q) + 2 * (hidden + kv) + maps * (hidden + inner);
    let adapters = lora_rank.saturating_mul(layers * sides);
    // Gradient, two moments and, beside 16 bits, the copy that the optimizer moves.
    let held = if dtype == Precision::F32 { 12 } else { 16 };
    let at_once = tokens.min(rows_at_once(architecture.vocab_size) as u64);
    Parts {
        weights: w * parameters,
        optimizer: held * parameters,
        adapters: adapters.saturating_mul(16),
        block: tokens.saturating_mul((6 * hidden + 3 * q + 3 * kv + kept * inner) * w),
        states: tokens.saturating_mul(hidden * w),
        layers,
        logits: at_once * 3 * vocab * 4,
        cache: tokens.saturating_mul(2 * layers * kv * w),
        next_logits: batch.saturating_mul(4 * vocab),
    }
}

#[derive(Deserialize)]
struct Tensor {
    dtype: String,
    shape: Vec<u64>,
}

/// Numbers in the safetensors files of a folder, by format.
fn stored(dir: &Path) -> Result<BTreeMap<String, u64>> {
    let mut numbers = BTreeMap::new();
    for path in weight_files(dir)? {
        for tensor in header(&path)?.into_values() {
            let n = tensor
                .shape
                .iter()
                .fold(1u64, |n, side| n.saturating_mul(*side));
            *numbers.entry(tensor.dtype).or_default() += n;
        }
    }
    Ok(numbers)
}

fn weight_files(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(Error::io("read", dir))? {
        let path = entry.map_err(Error::io("read", dir))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("model") && name.ends_with(".safetensors") {
            files.push(path);
        }
    }
    Ok(files)
}

/// The head of a safetensors file: its length in eight bytes, then JSON.
fn header(path: &Path) -> Result<BTreeMap<String, Tensor>> {
    let mut file = File::open(path).map_err(Error::io("read", path))?;
    let mut length = [0; 8];
    file.read_exact(&mut length)
        .map_err(Error::io("read", path))?;
    let length = u64::from_le_bytes(length);
    if length > MAX_HEADER {
        return Err(Error::file(
            path,
            format!("its head has {length} bytes, expected at most {MAX_HEADER}"),
        ));
    }
    let mut json = Vec::new();
    file.take(length)
        .read_to_end(&mut json)
        .map_err(Error::io("read", path))?;
    let refused = |e: serde_json::Error| Error::file(path, format!("its head: {e}"));
    let mut tensors: BTreeMap<String, Value> = serde_json::from_slice(&json).map_err(refused)?;
    tensors.remove("__metadata__");
    let tensors = tensors.into_iter();
    let tensors = tensors.map(|(name, value)| Ok((name, serde_json::from_value(value)?)));
    tensors.collect::<Result<_, _>>().map_err(refused)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::LlamaConfig;

    /// vocab 10, hidden 8, inner 24, 1 layer, 2 heads of 4, all of them with keys of their own,
    /// head tied: embedding 80; attention 4 * 64; feed-forward 3 * 8 * 24; norms 3 * 8.
    #[test]
    fn a_small_model_worked_out_by_hand() {
        let config = LlamaConfig::small(10, 8, 1, 2, 64);
        let folder = tempfile::tempdir().unwrap();
        let model = config.init(&Device::flex());
        crate::model::save(&model, folder.path()).unwrap();
        let load = Load {
            dtype: Precision::Bf16,
            batch: 3,
            seq: Some(5),
            lora_rank: 2,
        };
        let found = inspect(folder.path(), load, &Device::flex()).unwrap();
        let inner = model.config().architecture.feed_forward.inner as u64;
        let expected = 80 + 4 * 64 + 3 * 8 * inner + 24;
        assert_eq!(
            (found.parameters, found.embedding_parameters),
            (expected, 80)
        );
        assert_eq!(
            found.stored,
            BTreeMap::from([("F32".to_string(), expected)])
        );
        assert_eq!(
            (found.context, found.vocabulary, found.tokens),
            (64, 10, None)
        );
        // Cache: 15 tokens, 2 * 1 * 8 numbers of 2 bytes each. Logits: 3 * 10 of 4 bytes.
        assert_eq!(found.memory.inference, 2 * expected + 15 * 32 + 120);
        // Per token (6 * 8 + 3 * 8 + 3 * 8 + 4 inner) * 2 + 3 * 10 * 4.
        let activations = 15 * ((96 + 4 * inner) * 2 + 120);
        assert_eq!(found.memory.full, (2 + 16) * expected + activations);
        let plain = Load {
            dtype: Precision::F32,
            ..load
        };
        let plain = inspect(folder.path(), plain, &Device::flex()).unwrap();
        let activations_f32 = 15 * ((96 + 4 * inner) * 4 + 120);
        assert_eq!(plain.memory.full, (4 + 12) * expected + activations_f32);
        let adapters = 2 * (2 * 16 + 2 * 16 + 3 * (8 + inner));
        assert_eq!(
            found.memory.lora,
            2 * expected + 16 * adapters + activations
        );
    }

    #[test]
    fn a_torn_head_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let check = |bytes: &[u8], expected: &str| {
            std::fs::write(&path, bytes).unwrap();
            let error = stored(folder.path()).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        check(b"\x01", "cannot read");
        check(&[255; 16], "expected at most");
        check(b"\x05\0\0\0\0\0\0\0{", "its head: EOF");
        check(b"\x07\0\0\0\0\0\0\0{\"a\":1}", "its head: invalid type");
    }
}
